"""The page of a sweep: what stands in it, that it is one piece, and that a browser shows it as it is meant."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rramsweep.analysis.summary import summarize
from rramsweep.cli import catalog
from rramsweep.cli.catalog import TAGS
from rramsweep.cli.main import main
from rramsweep.reporting import page, report
from rramsweep.reporting.findings import findings
from rramsweep.simulation import provenance
from rramsweep.study.plan import Plan
from tests.analysis.test_frames import facts, failed, join, ok, point

AXES = ["technology=drift_alone,pyrram", "drift.relative_drift=0.0,0.1,0.5"]
COMMAND = ["-m", "name=page", "model=digits_mlp", "data=digits", "data.limit=50", "chips=6", *AXES]
EVIL = "<script>alert('x')</script>&\"quoted\""
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcffff3f0300080102ff5d9e0e"
    "3d0000000049454e44ae426082"
)


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


def render(frame, plan=None, runs=(), **pictures):
    summary = summarize(frame)
    return page.render(frame, summary, findings(frame, summary, summary.attrs["by"]), plan, runs, pictures)


# -- what stands in it


def test_it_asks_no_one_for_anything(html):
    assert not re.search(r"https?://", html)
    assert set(re.findall(r'(?:src|href)="(.{5})', html)) <= {"data:", "#warn", "#fail"}


def test_the_answer_comes_before_anything_else(html):
    places = [
        html.index(f'id="{name}"') for name in ("answer", "asked", "baselines", "figures", "summary", "components")
    ]
    assert places == sorted(places)
    assert "of this network on these 50 images" in html


def test_the_command_is_there_to_be_copied(folder, html):
    command = Plan.load(folder / "plan.json").settings.command
    assert f">{command}</pre>" in html


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
    html = render(frame, Plan(plan.points, plan.seeds, plan.swept, settings), runs, **{EVIL: PNG})
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


def test_every_image_is_there(opened):
    widths = opened.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(widths) == 4, "robustness, distribution, yield and differences"
    assert min(widths) > 300


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


@pytest.mark.parametrize("media", ["", "print"])
def test_nothing_runs_out_of_the_page(opened, media):
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
    every = "return [...document.querySelectorAll('body *')]"
    wide = "filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth)"
    found = opened.execute_script(f"{every}.{wide}.map(e => e.tagName + ' ' + e.textContent.slice(0, 60))")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert found == []
    assert opened.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


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
