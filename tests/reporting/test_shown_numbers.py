"""Numbers as they are shown: bounds rounded toward caution, the bad tail by its name, chance level and unseen failures.

Values are checked in all places that show them: terminal, page and the answer's sentences.
"""

from __future__ import annotations

import io
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console
from scipy import stats

import rramsweep as rs
from rramsweep.analysis.frames import join, read, write
from rramsweep.analysis.layer_table import _percent
from rramsweep.analysis.schema import CHANCE
from rramsweep.analysis.summary import summarize
from rramsweep.cli import layer_report
from rramsweep.cli.main import main
from rramsweep.datasets import digits
from rramsweep.intervals import binomial_tail, unseen_share
from rramsweep.metrics.scoring import MeanSquaredError, Top1, Top5, chance_accuracy
from rramsweep.network.partition import Share, describe_shares
from rramsweep.reporting import page, report
from rramsweep.reporting.findings import findings, guessing, unseen
from rramsweep.scale import HIGHER, UNIT, Scale, percent, rounded
from tests.analysis.test_frames import facts, failed, ok, point

DRIFT = "drift.relative_drift"
COUNTED = ["n_correct", "n_lost", "n_gained", "accuracy", "digital_accuracy", "ideal_accuracy"]


def frame_of(good, n, images=1000, digital=900, chance=None):
    """`good` of `n` chips are as good as digital, the others lose 5 % of the images."""
    rows = [ok("a", seed, digital if seed < good else digital - images // 20, images, digital) for seed in range(n)]
    frame = join([point("a", {DRIFT: 0.1})], facts(*rows), [DRIFT])
    frame[CHANCE] = chance
    return frame


def errors(*cells):
    """A frame of a metric of which less is better, one point for each list of scores."""
    points = [point(f"p{i}", {DRIFT: 0.1 * i}) for i in range(len(cells))]
    rows = [ok(f"p{i}", seed, 8) | {"score": score} for i, cell in enumerate(cells) for seed, score in enumerate(cell)]
    rows = [row | dict.fromkeys(COUNTED) | {"digital_score": 1.0, "ideal_score": 1.0} for row in rows]
    frame = join(points, facts(*rows), [DRIFT])
    frame[UNIT], frame[HIGHER] = "nat", False
    return frame


def terminal(frame, width=100):
    console = Console(file=io.StringIO(), width=width)
    report.show(frame, summarize(frame), Path("folder"), console)
    return console.file.getvalue()


def only_row(printed):
    """The row of a table of one point, whose constants stand above it."""
    lines = printed.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.split()[:2] == ["n", "mean"]) + 1]


def words(frame):
    """The page's text."""
    summary = summarize(frame)
    html = page.render(frame, summary, findings(frame, summary, summary.attrs["by"]), None, (), {})
    return " ".join(re.sub(r"<[^>]+>", " ", html[html.index("<body>") :]).split())


def cells(frame):
    """The numbers of the page's table, by column."""
    summary = summarize(frame)
    heads = [column["name"] for column in page._head(summary)]
    return [dict(zip(heads, (cell["text"] for cell in row), strict=True)) for row in page._rows(summary)]


# -- rounding


@given(st.floats(0, 1), st.integers(0, 4))
def test_a_bound_never_claims_more_and_gives_away_less_than_one_unit_of_the_last_place(share, decimals):
    unit = 10.0 ** -(decimals + 2)
    low, high = (float(percent(share, decimals, bound)) / 100 for bound in ("low", "high"))
    assert share - unit - 1e-12 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= share + unit + 1e-12


@given(st.floats(-1e300, 1e300), st.sampled_from(["low", "high", None]))
def test_four_significant_digits_of_any_number_are_rounded_toward_caution(value, bound):
    shown = float(rounded(value, bound=bound, significant=4))
    slack = 1e-12 * abs(value)
    assert bound != "low" or shown <= value + slack
    assert bound != "high" or shown >= value - slack
    assert abs(shown - value) <= 1.001e-3 * abs(value)
    scale = Scale("loss", "nat", False)
    assert float(scale.number(value, bound=bound)) == shown


@given(st.integers(0, 100), st.integers(0, 3))
def test_binary_arithmetic_costs_no_digit(k, decimals):
    """0.29 * 100 is 28.999999999999996 and 1 - 0.9 is 0.09999999999999998: 29 and 10, in both directions."""
    for share in (k / 100, 1 - (100 - k) / 100, sum([0.01] * k)):
        for bound in ("low", "high"):
            assert percent(share, decimals, bound) == f"{k:.{decimals}f}"


@pytest.mark.parametrize(
    ("share", "low", "high", "estimate"),
    [
        (0.8951, "89", "90", "90"),
        (0.9287, "92", "93", "93"),
        (0.995, "99", "100", ">99"),
        (0.9999, "99", "100", ">99"),
        (0.004, "0", "1", "<1"),
        (0.29, "29", "29", "29"),
        (0.0, "0", "0", "0"),
        (1.0, "100", "100", "100"),
        (math.nan, "-", "-", "-"),
    ],
)
def test_shares_in_whole_percent(share, low, high, estimate):
    assert [percent(share, 0, bound) for bound in ("low", "high", None)] == [low, high, estimate]


@given(st.integers(1, 3000), st.data())
def test_an_estimate_is_0_or_100_only_where_it_is_exactly_that(n, data):
    k = data.draw(st.integers(0, n))
    for shown in (percent(k / n), percent(k / n, 1), percent(k / n, significant=3)):
        assert (shown in ("100", "100.0")) == (k == n)
        assert (shown in ("0", "0.0")) == (k == 0)
        told = Fraction(shown.strip("<>")) / 100
        assert not shown.startswith(">") or Fraction(k, n) > told
        assert not shown.startswith("<") or Fraction(k, n) < told


@pytest.mark.parametrize("value", [1e30, -1e30, 1.7e308, math.inf, -math.inf, -0.001, -1e-9])
def test_a_fraction_that_is_no_share_is_shown_too(value):
    shown = Scale("R2", "fraction", True).number(value)
    assert float(shown) == pytest.approx(100 * value, abs=0.006, rel=1e-9)
    assert shown != "-0.00"


@pytest.mark.parametrize(
    ("good", "n"), [(50, 50), (49, 50), (199, 200), (35, 40), (1, 300), (299, 300), (7, 7), (0, 9)]
)
def test_terminal_page_and_words_show_one_and_the_same_caution(good, n):
    frame = frame_of(good, n)
    (row,) = summarize(frame).to_dict("records")
    line = only_row(terminal(frame))
    share, ends = re.search(r"(\S+)\s+(\d+\.\.\d+)\s*$", line).groups()
    assert ends == f"{math.floor(100 * row['yield_low'])}..{math.ceil(100 * row['yield_high'])}"
    assert (share == "100", share == "0") == (good == n, good == 0)
    (low, high) = re.search(r"(\d+\.\d+)\.\.(\d+\.\d+)", line).groups()
    assert float(low) / 100 <= row["score_low"] + 1e-12
    assert float(high) / 100 >= row["score_high"] - 1e-12
    (shown,) = cells(frame)
    assert float(shown["yield at least, %"]) <= 100 * row["yield_bound"] < float(shown["yield at least, %"]) + 0.1
    assert (shown["95 % low"], shown["95 % high"]) == (low, high)
    assert (shown["yield seen, %"] == "100.0", shown["yield seen, %"] == "0.0") == (good == n, good == 0)
    said = findings(frame, summarize(frame), [DRIFT]).sentences[0]
    assert f"at least {math.floor(100 * row['yield_bound'])} %" in said


def test_a_mean_just_below_1_is_not_shown_as_100():
    frame = frame_of(30, 30, images=100_000, digital=99_999)
    line = only_row(terminal(frame))
    assert "100.00" not in line.split(">99.99")[0]
    assert line.count(">99.99") == 2  # mean and worst chip


def test_the_bad_end_of_an_error_is_rounded_up():
    frame = errors([1.00004, 1.00005, 1.00006] * 4)
    (row,) = summarize(frame).to_dict("records")
    (sentence,) = findings(frame, summarize(frame), [DRIFT]).sentences
    assert row["score_high"] < 1.0001
    assert "at most 1.001 nat" in sentence
    assert cells(frame)[0]["95 % low"] == "1.000"
    assert cells(frame)[0]["95 % high"] == "1.001"


@pytest.mark.parametrize(("parameters", "shown"), [(3, ">99.9"), (0, "100"), (999_900, "0.01"), (999_999, "0.0001")])
def test_a_network_is_analog_to_100_percent_only_where_all_of_it_is(parameters, shown):
    found = [Share("Linear", True, 1, 1_000_000 - parameters, 10), Share("bias", False, 1, parameters, 0)]
    assert describe_shares(found).startswith(f"analog: {shown} % of parameters, 100 % of multiplications")


@pytest.mark.parametrize(("share", "table", "warning"), [(0.9997, ">99.9", ">99.9 %"), (1.0, "100.0", "100 %")])
def test_shares_of_cells_too(share, table, warning):
    assert layer_report._text(share, "share") == table
    assert _percent(share) == warning


# -- the bad tail


@pytest.mark.parametrize("n", [1, 2, 5, 10, 20, 50, 58, 59, 92, 93, 200])
@pytest.mark.parametrize("higher", [True, False])
def test_the_tail_is_the_worst_chip_until_order_statistics_bound_the_quantile(n, higher):
    scores = np.random.default_rng(n).permutation(n) / 1000 + 0.5
    frame = errors((scores if higher else 2 - scores).tolist())
    frame[HIGHER] = higher
    (row,) = summarize(frame).to_dict("records")
    rank = sum(stats.binom.cdf(k, n, 0.05) <= 0.05 for k in range(n))  # 0 where no order statistic is a bound
    wanted = np.sort(scores)[max(rank, 1) - 1]
    assert row["tail"] == pytest.approx(wanted if higher else 2 - wanted, abs=1e-12)
    name = "worst chip" if n < 59 else "q05 bound" if higher else "q95 bound"
    assert row["tail_name"] == name
    printed = terminal(frame)
    assert f" {name} " in printed
    (shown,) = cells(frame)
    bound = None if n < 59 else "low" if higher else "high"
    text = Scale.of(row).number(row["tail"], bound=bound)
    assert shown[name] == text
    assert f" {text} " in printed
    for other in {"worst chip", "q05", "q95", "5 % quantile", "95 % quantile"} - {name, name.removesuffix(" bound")}:
        assert other not in printed
        assert other not in shown


def test_points_of_few_and_of_many_chips_name_each_tail():
    rng = np.random.default_rng(0)
    frame = errors(rng.random(20).tolist(), rng.random(80).tolist())
    lines = terminal(frame).splitlines()
    assert "tail" in next(line for line in lines if line.startswith(DRIFT))
    assert "worst chip" in next(line for line in lines if line.startswith("0 "))
    assert "q95 bound" in next(line for line in lines if line.startswith("0.1 "))
    few, many = cells(frame)
    assert (few["tail"].split(" ", 1)[1], many["tail"].split(" ", 1)[1]) == ("worst chip", "q95 bound")


def test_a_point_without_a_chip_has_no_tail():
    frame = join([point("a", {DRIFT: 0.1})], facts(failed("a", 0)), [DRIFT])
    (row,) = summarize(frame).to_dict("records")
    assert math.isnan(row["tail"])
    assert row["tail_name"] is None
    assert set(cells(frame)[0]) == {DRIFT, "chips", "failed"}  # no column without a value


@pytest.mark.parametrize(("n", "told"), [(20, "all chips"), (58, "all chips"), (59, "95 % bounds on the 5 and 95 % q")])
def test_a_plots_light_band_is_all_chips_until_it_can_be_bounds(n, told):
    frame = errors(*(np.random.default_rng(i).random(n).tolist() for i in range(2)))
    ax = rs.plot_robustness(frame, DRIFT, ax=Figure().subplots())
    (caption,) = (text for text in ax.findobj(lambda a: a.get_gid() == "caption"))
    assert f"light band: {told}" in " ".join(caption.get_text().split())
    assert "5–95" not in caption.get_text()


# -- chance level


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.01, 1))
def test_the_binomial_test_is_scipys(k, n, share):
    k = min(k, n)
    assert binomial_tail(k, n, share) == pytest.approx(
        stats.binomtest(k, n, share, "greater").pvalue, rel=1e-9, abs=1e-300
    )


@pytest.mark.parametrize(
    ("metric", "targets", "chance"),
    [
        (Top1(), torch.arange(1000) % 10, 0.1),
        (Top1(), (torch.arange(1000) >= 900).long(), 0.9),
        (Top1(), torch.zeros(7, dtype=torch.int64), 1.0),
        (Top5(), torch.arange(1000) % 10, 0.5),
        (Top5(), torch.cat([torch.zeros(94), torch.arange(1, 7)]).long(), 0.98),
        (Top1(), torch.eye(4), 0.25),
        (Top1(), torch.tensor([[0, 1], [0, 1], [1, 0]]), 2 / 3),
        (Top1(), torch.rand(9), None),
        (MeanSquaredError(), torch.arange(5), None),
    ],
)
def test_chance_is_the_best_single_answer(metric, targets, chance):
    assert chance_accuracy(metric, targets) == (None if chance is None else pytest.approx(chance))


@pytest.mark.parametrize(
    ("digital", "images", "chance", "at_chance"),
    [
        (100, 1000, 0.1, True),  # exactly what guessing gives
        (50, 1000, 0.1, True),  # and worse than that
        (115, 1000, 0.1, True),  # P(B >= 115) = 6.4 %
        (117, 1000, 0.1, False),  # 4.3 %
        (905, 1000, 0.9, True),  # imbalanced: 90.5 % is nothing
        (950, 1000, 0.9, False),
        (2, 2, 0.5, True),  # P = 25 %: too few images to tell
        (10, 10, 1.0, True),  # one class alone
        (900, 1000, None, False),  # rows of an older version: not known
    ],
)
def test_a_network_at_chance_level_is_said_first_and_has_no_yield(digital, images, chance, at_chance):
    frame = frame_of(30, 30, images, digital, chance)
    told = f"lenet5 on fashion_mnist is at chance level before any chip: it gets {digital} of {images} images right"
    printed, shown = terminal(frame), words(frame)
    line = only_row(printed)
    assert " ".join(printed.split()).startswith(f"note: {told}") == at_chance
    assert line.split()[-2:] == (["-", "-"] if at_chance else ["100", "88..100"])
    assert (told in shown) == at_chance
    assert shown.find(told) < shown.find("no yield" if at_chance else "at least 90 %")
    assert ("at least 90 %" in shown) != at_chance
    (table,) = cells(frame)
    shares = [table.get(name) for name in ("yield at least, %", "yield seen, %")]
    assert shares == ([None, None] if at_chance else ["90.4", "100.0"])
    (row,) = summarize(frame).to_dict("records")
    assert row["yield_share"] == 1  # the statistic itself stays in the table
    if chance is not None:
        assert row["chance_p"] == pytest.approx(stats.binomtest(digital, images, chance, "greater").pvalue, rel=1e-9)


def test_a_guessing_network_beside_another_is_named_and_kept_out_of_the_range():
    points = [point(name, {DRIFT: level}, model=name) for name, level in (("good", 0.0), ("bad", 0.1))]
    rows = [ok("good", seed, 900, 1000, 900) for seed in range(30)]
    rows += [ok("bad", seed, 100, 1000, 100) for seed in range(30)]
    frame = join(points, facts(*rows), [DRIFT])
    frame[CHANCE] = 0.1
    (sentence,) = guessing(frame)
    assert sentence.startswith("bad on fashion_mnist is at chance level")
    (said,) = findings(frame, summarize(frame), [DRIFT]).sentences
    assert said.startswith(f"{DRIFT} = 0.1: no yield, for the digital network itself is at chance level.")
    assert f"{DRIFT} = 0: at least 90 %" in said


def test_a_table_of_before_chance_was_kept_can_still_be_read(tmp_path):
    frame = frame_of(3, 3)
    write(frame, tmp_path / "results.parquet")
    old = pd.read_parquet(tmp_path / "results.parquet").drop(columns=CHANCE)
    old.to_parquet(tmp_path / "old.parquet")
    assert read(tmp_path / "old.parquet")[CHANCE].isna().all()
    older = frame.drop(columns=CHANCE)
    assert summarize(older)["chance_p"].isna().all()
    assert guessing(older) == []
    assert "chance" not in terminal(older)


SMALL = ["-m", "model=digits_mlp", "data=digits", "chips=3", "drift.relative_drift=0,0.1"]


def test_a_sweep_says_it_before_the_first_chip_and_again_before_the_table(workdir, capsys):
    main([*SMALL, "model.checkpoint=null"])
    printed = " ".join(capsys.readouterr().out.split())
    told = "note: digits_mlp on digits is at chance level before any chip: it gets 33 of 350 images right"
    first, second = (match.start() for match in re.finditer(told, printed))
    assert first < printed.index("the network's weights are untrained") < second < printed.index("mean with 95 %")
    (folder,) = Path("outputs/sweep").iterdir()
    assert rs.load(folder)[CHANCE].tolist() == [pytest.approx(35 / 350)] * 6
    main(["report", str(folder)])
    assert " ".join(capsys.readouterr().out.split()).startswith(told)
    html = (folder / "report.html").read_text()
    assert html.index("is at chance level before any chip") < html.index('id="asked"')


def test_labels_in_another_order_are_seen(workdir, capsys):
    data = digits("test")
    np.savez("moved.npz", x=data.x.numpy(), y=(data.y.numpy() + 3) % 10)
    main(["-m", "model=digits_mlp", "data=npz", "data.path=moved.npz", "data.layout=any", "chips=2"])
    assert "digits_mlp on npz is at chance level before any chip" in " ".join(capsys.readouterr().out.split())


def test_a_trained_network_is_not_accused(workdir, capsys):
    main(SMALL)
    assert "chance" not in capsys.readouterr().out


# -- what n chips cannot see


@pytest.mark.parametrize(("n", "most"), [(1, "95.0"), (3, "63.2"), (29, "9.9"), (50, "5.9"), (59, "5.0"), (300, "1.0")])
def test_what_n_good_chips_cannot_see_is_said_once_in_terminal_and_page(n, most):
    assert unseen_share(n) == pytest.approx(1 - 0.05 ** (1 / n), rel=1e-12)
    frame = frame_of(n, n)
    chips = "1 chip" if n == 1 else f"{n} chips"
    all_ = "it were" if n == 1 else f"all {n} were"
    told = f"{chips} cannot see rare failures: even if {all_} good, up to {most} % of all chips may be bad"
    assert float(most) >= 100 * (1 - 0.05 ** (1 / n))
    for text in (" ".join(terminal(frame).split()), words(frame)):
        assert text.count(told) == 1


def test_points_of_unlike_numbers_of_chips_name_the_fewest_and_the_most():
    frame = errors([1.0] * 5, [1.0] * 50)
    (sentence,) = unseen(summarize(frame, yield_drop=0.1))
    assert "even if all 5 were good, up to 45.1 % of all chips may be bad; if all 50 were, up to 5.9 %" in sentence
    assert unseen(summarize(frame[frame["seed"] > 99], yield_drop=0.1)) == []


@pytest.mark.parametrize(
    "frame",
    [frame_of(3, 3, digital=100, chance=0.1), frame_of(0, 3, digital=90, chance=0.1), errors([1.0] * 5, [1.0] * 50)],
    ids=["chance level", "below chance level", "no yield_drop"],
)
def test_where_no_yield_is_shown_nothing_is_said_of_bad_chips(frame):
    for text in (terminal(frame), words(frame)):
        assert "rare failures" not in text
        assert "Clopper-Pearson) lower bound on the share" not in text


def test_points_at_chance_level_do_not_count_among_those_with_a_yield():
    frame = pd.concat([frame_of(5, 5, chance=0.1), frame_of(3, 3, digital=100, chance=0.1).assign(**{DRIFT: 0.2})])
    summary = summarize(frame, [DRIFT])
    (sentence,) = unseen(summary)
    assert sentence.startswith("5 chips cannot see rare failures: even if all 5 were good, up to 45.1 %")
