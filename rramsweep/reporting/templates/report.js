"use strict";
const table = document.getElementById("points");

// A click on a heading sorts, another one turns the order.
table?.querySelectorAll("th button").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = table.tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[head.cellIndex].dataset.key;
    const rows = [...body.rows];
    const numeric = rows.every((row) => key(row) === "" || key(row) === "inf" || !Number.isNaN(Number(key(row))));
    const value = (row) => (numeric ? (key(row) === "inf" ? Infinity : Number(key(row))) : key(row));
    rows.sort((a, b) => {
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
      const order = value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0;
      return down ? -order : order;
    });
    body.append(...rows);
  });
});

// As in summary.csv, no spreadsheet shall take a text for a formula.
function quoted(text) {
  if (/^[=+@\t\r＝＋－＠-]/.test(text) && Number.isNaN(Number(text)) && text !== "-" && text !== "-inf") text = `'${text}`;
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The table under the names of summary.csv, with every digit.
function csv() {
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.column);
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.dataset.key));
  return [heads, ...rows].map((row) => row.map(quoted).join(",") + "\n").join("");
}

function textOf(source) {
  return source === "csv" ? csv() : document.getElementById(source).textContent;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A file opened from a disk may have no clipboard of its own.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

document.querySelectorAll("button[data-copy]").forEach((button) => {
  const name = button.textContent;
  button.addEventListener("click", async () => {
    await copy(textOf(button.dataset.copy));
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = name; }, 1500);
  });
});

document.querySelectorAll("button[data-download]").forEach((button) => {
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([textOf(button.dataset.download)], { type: "text/plain" }));
    link.download = button.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
});

// What is wider than the page scrolls, and says so.
function markWide() {
  document.querySelectorAll(".wide").forEach((box) => {
    const scrolls = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("scrolls", scrolls);
    box.tabIndex = scrolls ? 0 : -1;
  });
}
markWide();
addEventListener("resize", markWide);
document.addEventListener("toggle", markWide, true);

// Paper shows what is folded.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));
