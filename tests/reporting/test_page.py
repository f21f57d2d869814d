"""The page of a sweep: what stands in it, that it is one piece, and that a browser shows it as it is meant."""

import base64
import hashlib
import html as markup
import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from rramsweep.analysis.summary import summarize
from rramsweep.cli import catalog
from rramsweep.cli.catalog import TAGS
from rramsweep.cli.main import main
from rramsweep.reporting import page, report
from rramsweep.reporting.figures import figures_for
from rramsweep.reporting.findings import findings
from rramsweep.reporting.page import _prose
from rramsweep.simulation import provenance
from rramsweep.study.plan import Plan
from tests.analysis.test_frames import facts, failed, join, ok, point

AXES = ["technology=drift_alone,pyrram", "drift.relative_drift=0.0,0.1,0.5"]
COMMAND = ["-m", "name=page", "model=digits_mlp", "data=digits", "data.limit=50", "chips=6", *AXES]
DRIFT = "drift.relative_drift"
EVIL = "<script>alert('x')</script>&\"quoted\""
SVG = b"""<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><text id="&lt;b&gt;">
&lt;script&gt;alert(1)&lt;/script&gt;</text></svg>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a real sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        main(COMMAND)
        (found,) = Path("outputs/page").iterdir()
        return found.absolute()


@pytest.fixture(scope="module")
def html(folder):
    return (folder / "report.html").read_text()


def words(html):
    """Text without tags and spacing."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def render(frame, plan=None, runs=(), *pictures):
    summary = summarize(frame)
    return page.render(frame, summary, findings(frame, summary, summary.attrs["by"]), plan, runs, pictures)


# -- what stands in it


def test_it_asks_no_one_for_anything(html):
    assert not re.search(r"https?://", html)
    targets = re.findall(r'(?:src|href)="([^"]*)', html)
    assert {target[:5] for target in targets if target[0] != "#"} == {"data:"}
    inside = {target[1:] for target in targets if target[0] == "#"}
    names = re.findall(r' id="([^"]*)', html)
    assert inside <= set(names), "a link leads nowhere"
    assert len(names) == len(set(names)), "two elements of one name"


def test_the_answer_comes_before_anything_else(html):
    places = [
        html.index(f'id="{name}"')
        for name in ("answer", "bounds", "asked", "baselines", "figures", "summary", "components", "warnings", "notes")
    ]
    assert places == sorted(places)
    assert "of this network on these 50 images" in html


def test_the_command_is_there_to_be_copied(folder, html):
    command = Plan.load(folder / "plan.json").settings.command
    assert f">{command}</pre>" in html.replace("<wbr>", "")


def test_each_option_has_equation_source_tag_and_the_values_that_were_used(html):
    said = words(html)
    assert "drift = relative R2" in said
    assert "arXiv:2504.03763 as quoted by PyRRAM-Sim" in said
    assert re.search(r"drift.relative_drift 0.0, 0.1, 0.5 sigma as a fraction", said)
    assert "programming = gaussian" in said
    assert "variation everywhere" in said
    assert "programming at some points" in said
    assert TAGS["R2"] in said


def test_placeholders_are_warned_of(html):
    assert "programming=gaussian holds placeholders" in html[html.index('id="warnings"') :]


def test_a_placeholder_that_nothing_reads_is_not_warned_of(folder, html):
    told = "mapping.percentile = 99.9 is a placeholder"
    assert told not in html  # w_max=max
    plan, (run,) = Plan.load(folder / "plan.json"), json.loads((folder / "run.json").read_bytes())
    (mapping,) = [c for c in run["components"] if c["group"] == "mapping"]
    (w_max,) = [p for p in mapping["parameters"] if p["name"] == "mapping.w_max"]
    w_max["values"] = ["max", "percentile"]
    assert told in render(report.load(folder), plan, [run])


def test_values_outside_a_sources_range_are_warned_of(html):
    beyond = "elative drift above 0.2 lies outside the range its source gives"
    assert beyond in html
    frame = join([point("a", {"drift.relative_drift": 0.2})], facts(ok("a", 0, 8)), [])
    assert beyond not in render(frame)


def test_the_run_is_recorded_when_it_runs_and_only_shown_later(folder, html, monkeypatch):
    (run,) = json.loads((folder / "run.json").read_bytes())
    assert run["started"] <= run["ended"]
    assert {"python", "torch", "rramsweep", "processor"} <= set(run["machine"])
    monkeypatch.setattr(provenance, "machine", lambda: pytest.fail("a report must not look at the machine"))
    report.write(folder)
    again = (folder / "report.html").read_text()
    assert words(again[again.index('id="machine"') :]) == words(html[html.index('id="machine"') :])


def test_a_sweep_that_goes_on_in_its_folder_keeps_both_runs(folder, tmp_path):
    plan = Plan.load(folder / "plan.json")
    for _ in range(2):
        provenance.begin(tmp_path, list(catalog.components(plan)))
    provenance.end(tmp_path)
    first, second = json.loads((tmp_path / "run.json").read_bytes())
    assert (first["ended"] is None, second["ended"] is None) == (True, False)
    said = words(render(report.load(folder), plan, [first, second]))
    assert "did not end by itself" in said
    assert re.search(r"drift.relative_drift 0.0, 0.1, 0.5 sigma", said), "values of both runs, each once"


def test_a_folder_of_before_there_was_a_run_file_says_so(folder, tmp_path):
    for name in ("plan.json", "results.parquet"):
        shutil.copy(folder / name, tmp_path)
    report.write(tmp_path)
    assert (tmp_path / "report.html").read_text().count("Not recorded") == 2
    (tmp_path / "plan.json").unlink()
    report.write(tmp_path)
    assert "the command is not known" in (tmp_path / "report.html").read_text()


def test_names_of_users_are_text_and_never_markup(folder):
    plan, runs = Plan.load(folder / "plan.json"), json.loads((folder / "run.json").read_bytes())
    settings = replace(plan.settings, name=EVIL, command=EVIL, notes=(EVIL,))
    runs[0]["components"][0] |= {"option": EVIL, "meaning": EVIL, "source": [EVIL], "equation": EVIL}
    points = [point("a", {"x.y": EVIL}, technology=EVIL), point("b", {"x.y": "b"})]
    bad = failed("b", 0) | {"error": EVIL}
    frame = join(points, facts(ok("a", 0, 8), bad), ["technology", "x.y"])
    html = render(
        frame, Plan(plan.points, plan.seeds, plan.swept, settings), runs, page.Picture(EVIL, SVG, [EVIL], [EVIL])
    )
    assert "alert(" in html
    assert EVIL not in html
    assert html.count("<script") == 1


def test_failed_trials_are_counted_by_their_error():
    frame = join([point("a"), point("b", {"t_s": 1.0})], facts(ok("a", 0, 8), failed("a", 1), failed("b", 3)), ["t_s"])
    said = words(render(frame))
    assert "2 failed trials" in said
    assert "2 2 1 ValueError: no" in said


def test_points_at_the_cap_are_warned_of(workdir):
    rule = ["stopping=interval", "stopping.half_width=0.0001", "stopping.min_chips=2", "stopping.max_chips=3"]
    main(["-m", "model=digits_mlp", "data=digits", "data.limit=20", "drift.relative_drift=0.2,0.3", *rule])
    (path,) = Path("outputs/sweep").glob("*/report.html")
    assert "2 of 2 points ended at the cap" in words(path.read_text())


def test_a_sweep_without_a_finished_chip_still_has_a_page(workdir):
    frame = join([point("a")], facts(failed("a", 0)), [])
    assert "No chip has finished" in render(frame)


def test_the_policy_lets_the_pages_own_script_run_and_no_other(html):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)', html)
    rules = dict(rule.strip().split(" ", 1) for rule in markup.unescape(policy).split(";"))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")


def test_scores_come_before_bounds_and_warnings_apart_from_notes_on_sources(html):
    answer = words(html[html.index('id="answer"') : html.index('id="bounds"')])
    assert re.search(r"Digital [\d.]+ %", answer)
    assert "at least" not in answer
    warnings = words(html[html.index('id="warnings"') : html.index('id="notes"')])
    assert "placeholder" not in warnings
    assert "source gives" in warnings


def test_each_figure_is_beside_the_page_for_slides_page_and_paper(folder, monkeypatch):
    monkeypatch.setattr(report, "FORMATS", ("png", "svg", "pdf"))
    picture = report._save_picture(figures_for(report.load(folder))["robustness"], folder, "robustness", "Robustness")
    assert [(folder / name).read_bytes()[:5] for name in picture.files] == [b"\x89PNG\r", b"<?xml", b"%PDF-"]
    assert picture.caption[0] == "mean with 95 % t interval over 6 chips of this network on these 50 images"


def test_equations_are_mathml(html):
    math = html[html.index("drift = relative") :]
    assert '<math><mrow><mrow><mi>G</mi><mo lspace="0" rspace="0">′</mo></mrow><mo>=</mo>' in math


def test_layers_that_differ_are_a_table_with_the_command_that_inspects_them(folder, html):
    assert 'id="layers"' not in html
    plan = Plan.load(folder / "plan.json")
    rules = {"analog.layers.late.match": "fc*", "analog.layers.late.drift.relative_drift": 0.3}
    points = [replace(each, params={**each.params, **rules}) for each in plan.points]
    text = render(report.load(folder), replace(plan, points=points))
    shown = words(text[text.index('id="layers"') : text.index('id="components"')])
    assert "late match fc* late drift.relative_drift 0.3" in shown
    assert "rramsweep inspect name=page model=digits_mlp" in shown


def test_no_column_is_empty():
    frame = join([point("a", {DRIFT: 0.1}), point("b", {DRIFT: 0.2})], facts(ok("a", 0, 8), ok("b", 0, 7)), [DRIFT])
    heads = [column["name"] for column in page._head(summarize(frame))]
    assert heads == [DRIFT, "chips", "mean top-1 accuracy (%)", "worst chip", "yield at least, %", "yield seen, %"]
    frame = join([point("a", {DRIFT: 0.1})], facts(ok("a", 0, 8), ok("a", 1, 7), failed("a", 2)), [DRIFT])
    assert {"failed", "95 % low", "95 % high"} <= {column["name"] for column in page._head(summarize(frame))}


def test_a_page_of_3000_points_is_small():
    points = [point(f"p{i}", {DRIFT: i / 3000}) for i in range(3000)]
    rows = [ok(f"p{i}", seed, 8 - seed) for i in range(3000) for seed in (0, 1)]
    assert len(render(join(points, facts(*rows), [DRIFT]))) < 3e6  # of 5 MB; figures have the rest


LAW = '''
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class {name}:
    """An own law: `G' = G + sigma G_max`, once a cell.

    More on it.

    Args:
        sigma: shift as a fraction of
            the window.
        other: not set.
    """

    version: ClassVar[int] = 1
    sigma: float = 0.0

    def __call__(self, cells, rng):
        return cells.g_uS + self.sigma * cells.device.g_max_uS * rng.normal(cells.g_uS.shape)
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The folder of a sweep with effects of a user's own in two slots, over three axes."""
    root = tmp_path_factory.mktemp("own")
    (root / "pagelab.py").write_text(LAW.format(name="Shift") + LAW.format(name="Other"))
    axes = [
        "programming._target_=pagelab.Shift",
        "+programming.sigma=0.02,0.05",
        "mapping=differential,offset",
    ]
    axes += [f"{DRIFT}=0.1,0.2", "+variation.sigma=0.01", "variation._target_=pagelab.Other", "allow_targets=[pagelab]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.syspath_prepend(str(root))
        main(["-m", "name=own", "model=digits_mlp", "data=digits", "data.limit=20", "chips=2", *axes])
        (found,) = Path("outputs/own").iterdir()
        return found.absolute()


def test_an_own_effect_stands_on_the_page_in_the_place_of_the_option(own):
    html = (own / "report.html").read_text()
    shown = words(html[html.index('id="components"') :])
    for slot, name in (("programming", "Shift"), ("variation", "Other")):
        entry = shown[shown.index(f"{slot} = pagelab.{name} An own law:") :]
        assert f"Set by {slot}._target_=pagelab.{name}, in the place of the option ideal." in entry
        assert f"{slot}.sigma" in entry
        assert "shift as a fraction of the window." in entry
    nothing = shown[shown.index("Without effect:") :]
    assert "programming" not in nothing[: nothing.index(".")]
    assert "variation" not in nothing[: nothing.index(".")]
    assert "tile everywhere" in nothing


@pytest.mark.parametrize(
    "inside", ["No effect", "identity", "data.inputs", "axis technology", "Files:", "robustness.png", "results.parquet"]
)
def test_the_page_needs_no_folder_and_speaks_of_no_insides(html, inside):
    assert inside not in words(re.sub(r"<svg.*?</svg>", "", html[: html.index('id="machine"')], flags=re.DOTALL))


@pytest.mark.parametrize("chips", [1, 3])
def test_identical_chips_bound_no_share_in_terminal_and_page(workdir, capsys, chips):
    main(["name=alike", "model=digits_mlp", "data=digits", "data.limit=20", f"chips={chips}"])
    (path,) = Path("outputs/alike").glob("*/report.html")
    for text in (" ".join(capsys.readouterr().out.split()), words(path.read_text())):
        assert "is the same one" in text
        assert "rare failures" not in text
        assert "may be bad" not in text
    assert "yield at least" not in path.read_text()


def test_numbers_of_a_path_are_no_numbers():
    path, score = "outputs/mine/2026-11-28_20-53-59/w-2.pt", '<span class="name">88.1–88.6 %</span>'
    assert str(_prose(f"{path}: digital 88.1–88.6 %.")) == f"{path}: digital {score}."


# -- in a browser


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that keeps what it logs and asks for."""
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        if os.environ.get("CI") == "true":
            pytest.fail("the report is tested in Chromium: install Debian's chromium and chromium-driver")
        pytest.skip("needs Debian's chromium and chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver") if os.environ.get("CI") != "true" else _selenium()
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
    yield driver
    driver.quit()


def _selenium():
    from selenium import webdriver

    return webdriver


@pytest.fixture
def opened(browser, folder):
    browser.get_log("performance")
    browser.get((folder / "report.html").as_uri())
    return browser


def column(browser, index):
    script = "return [...document.querySelectorAll('#points tbody tr')].map(r => r.cells[arguments[0]].textContent)"
    return browser.execute_script(script, index)


def test_the_browser_has_nothing_to_complain_of(opened):
    assert opened.get_log("browser") == []


def test_the_browser_asks_for_the_file_alone(opened):
    sent = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [url[:5] for url in urls if not url.startswith("data:")] == ["file:"]


def test_every_figure_is_there_and_the_first_one_above_the_fold(opened):
    boxes = opened.execute_script(
        "return [...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) == 4, "robustness, distribution, yield and differences"
    assert min(box["width"] for box in boxes) > 300
    assert boxes[0]["bottom"] < 900
    answer = opened.find_element("css selector", "#answer .words").rect
    assert answer["x"] + answer["width"] <= boxes[0]["left"], "beside it"
    assert answer["y"] + answer["height"] < 900


def test_a_click_sorts_and_another_turns_the_order(opened):
    heads = opened.find_elements("css selector", "#points th button")
    names = [head.text for head in heads]
    mean = next(i for i, name in enumerate(names) if name.startswith("mean"))
    heads[mean].click()
    up = [float(text) for text in column(opened, mean)]
    assert up == sorted(up)
    assert len(set(up)) > 2
    heads[mean].click()
    assert [float(text) for text in column(opened, mean)] == sorted(up, reverse=True)
    sorts = opened.execute_script("return [...document.querySelectorAll('[aria-sort]')].map(h => h.ariaSort)")
    assert sorts == ["descending"]


def test_text_sorts_too_and_by_the_keyboard(opened):
    head = opened.find_elements("css selector", "#points th button")[0]
    opened.execute_script("arguments[0].focus()", head)
    for reverse in (False, True):
        opened.switch_to.active_element.send_keys("\ue007")  # Enter
        assert column(opened, 0) == sorted(column(opened, 0), reverse=reverse)


# What runs out of the page or of its box, is cut off in a figure, or is broken within a word; all folds are open.
MEASURE = """
document.querySelectorAll("details").forEach(d => { d.open = true; });
window.dispatchEvent(new Event("resize"));
const found = [];
const say = (what, text) => found.push(what + ": " + text.trim().slice(0, 60));
if (document.documentElement.scrollWidth > window.innerWidth) say("page", document.title);
for (const e of document.querySelectorAll("body *")) {
  if (!(e instanceof HTMLElement) || !e.clientWidth || e.matches(".wide")) continue;
  if (e.scrollWidth > e.clientWidth + 1) say("overflow " + e.tagName, e.textContent);
}
for (const text of document.querySelectorAll("figure svg text")) {
  const [inner, outer] = [text, text.ownerSVGElement].map(e => e.getBoundingClientRect());
  // The box of a line is higher than its letters, that of a formula much.
  const room = 0.6 * parseFloat(getComputedStyle(text.querySelector("tspan") ?? text).fontSize) * outer.width
    / text.ownerSVGElement.viewBox.baseVal.width;
  const out = Math.max(outer.left - inner.left, inner.right - outer.right, outer.top - inner.top - room,
                       inner.bottom - outer.bottom - room);
  if (out > 1) say("clipped by " + out, text.textContent);
}
const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (nodes.nextNode()) {
  const node = nodes.currentNode, range = document.createRange();
  if (node.parentElement.closest("script, style, svg, math")) continue;
  for (const word of node.data.matchAll(/[A-Za-z0-9_][A-Za-z0-9_.=]*/g)) {
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    if (new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1) say("broken", word[0]);
  }
}
for (const box of document.querySelectorAll(".scrolls")) {
  const first = box.querySelector("td, th"), hint = box.previousElementSibling;
  if (!hint.offsetHeight || !hint.textContent.includes("scrolls")) say("no hint", box.textContent);
  box.scrollLeft = 1e4;
  if (first.getBoundingClientRect().left > box.getBoundingClientRect().left + 1) say("not fixed", first.textContent);
  box.scrollLeft = 0;
}
return [found, document.querySelectorAll(".scrolls").length];
"""


@pytest.fixture
def of_width(opened):
    """Sets width, colours and medium of the page; as they were afterwards."""

    def set_to(width, mode="light", media=""):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": mode}]
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        return opened

    yield set_to
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(("width", "media"), [(1280, ""), (390, ""), (1280, "print")])
def test_nothing_runs_out_of_the_page_or_is_cut_off(of_width, width, media):
    browser = of_width(width, media=media)
    found, scrolling = browser.execute_script(MEASURE)
    assert found == []
    assert bool(scrolling) == (width == 390)
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(("width", "media"), [(1280, ""), (794, "print"), (680, "print"), (390, "")])
def test_a_summary_of_three_axes_fits_or_names_each_row(of_width, own, width, media):
    browser = of_width(width, media=media)
    browser.get((own / "report.html").as_uri())
    sizes = """
        const box = document.getElementById("points").parentElement, first = box.querySelector("tbody td");
        return [box.scrollWidth - box.clientWidth, first.offsetWidth,
                getComputedStyle(first, "::after").content, getComputedStyle(first.nextElementSibling).display];
    """
    beyond, first, after, second = browser.execute_script(sizes)
    if width == 390:
        assert first < 0.4 * width
        assert (after, second) == ('"differential\\a 0.1"', "none")
    else:
        assert beyond <= 0
        assert (after, second) == ("none", "table-cell")


# Smallest contrast (WCAG) of a text to what lies behind it, and the brightness of the page and of a figure's card.
CONTRAST = """
const numbers = c => c.match(/[\\d.]+/g).map(Number);
const light = c => { const [r, g, b] = numbers(c).map(v => (v / 255 <= 0.03928 ? v / 255 / 12.92
  : ((v / 255 + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const opaque = c => { const n = numbers(c); return n.length < 4 || n[3] > 0; };
const behind = e => { while (e && !opaque(getComputedStyle(e).backgroundColor)) e = e.parentElement;
  return e ? getComputedStyle(e).backgroundColor : "rgb(255, 255, 255)"; };
const texts = "p, td, th, a, h1, h2, li, small, pre, button, summary, figcaption";
const ratios = [...document.querySelectorAll(texts)].map(e => {
  const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05); });
return [Math.min(...ratios), light(getComputedStyle(document.body).backgroundColor),
        light(getComputedStyle(document.querySelector(".card")).backgroundColor)];
"""


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_is_legible_in_both_modes_and_figures_keep_a_light_card(of_width, mode):
    contrast, page_light, card_light = of_width(1280, mode).execute_script(CONTRAST)
    assert contrast >= 4.5
    assert (page_light < 0.1) == (mode == "dark")
    assert card_light > 0.8


def test_command_csv_and_bibtex_can_be_taken_along(opened, folder):
    opened.execute_script("""
        window.taken = {};
        URL.createObjectURL = blob => { blob.text().then(text => { window.taken.text = text; }); return "#"; };
        HTMLAnchorElement.prototype.click = function () { window.taken.file = this.download; };
        const writeText = async text => { window.taken.copied = text; };
        Object.defineProperty(navigator, "clipboard", {value: {writeText}});
        document.querySelectorAll("details").forEach(d => { d.open = true; });
    """)

    def take(selector, what):
        opened.find_element("css selector", selector).click()
        return opened.execute_async_script(
            "const done = arguments[1], what = arguments[0];"
            "setTimeout(() => { const t = window.taken[what]; window.taken[what] = null; done(t); }, 50)",
            what,
        )

    summary = pd.read_csv(folder / "summary.csv")
    for selector, what in (("[data-copy=csv]", "copied"), ("[data-download=csv]", "text")):
        table = pd.read_csv(io.StringIO(take(selector, what)))
        assert len(table.columns) > 8
        assert {"technology", "score_mean", "score_low", "yield_bound"} <= set(table)
        pd.testing.assert_frame_equal(table, summary[list(table)])
    assert take("[data-copy=command]", "copied") == Plan.load(folder / "plan.json").settings.command
    assert take("[data-download=bibtex]", "text").startswith("@software{rramsweep,")
    assert opened.execute_script("return window.taken.file") == "page.bib"


def test_it_prints(opened):
    printed = opened.execute_cdp_cmd("Page.printToPDF", {})
    assert len(printed["data"]) > 10_000


def test_markup_in_names_is_shown_and_not_run(browser, tmp_path):
    points = [point("a", {"x.y": EVIL}, technology=EVIL), point("b", {"x.y": "b"})]
    frame = join(points, facts(ok("a", 0, 8), ok("b", 0, 7)), ["technology", "x.y"])
    (tmp_path / "evil.html").write_text(render(frame))
    browser.get((tmp_path / "evil.html").as_uri())
    assert browser.get_log("browser") == []
    assert EVIL in column(browser, 0)
