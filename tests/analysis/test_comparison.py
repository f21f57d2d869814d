"""Points compared chip by chip, against frames made by hand and numbers worked out on paper."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

import rramsweep as rs
from rramsweep.analysis.comparison import compare
from rramsweep.analysis.frames import join
from rramsweep.analysis.schema import FACTS
from rramsweep.analysis.summary import summarize
from tests.analysis.test_frames import facts, failed, ok, point

DRIFT = "drift.relative_drift"
STATISTICS = ["n", "difference_mean", "difference_low", "difference_high", "difference_std"]
STATISTICS += ["worse_share", "correlation", "chips_saved", "interval"]


def grid(cells, swept=("technology", DRIFT), first=0, images=10):
    """A point for each `(technology, drift): counts` (None: a failed chip), its seeds counted from `first`."""
    points, rows = [], []
    for i, ((technology, drift), counts) in enumerate(cells.items()):
        params = {} if drift is None else {DRIFT: drift}
        points.append(point(f"p{i}", params, technology=technology, drift="ideal" if drift is None else "relative"))
        for seed, count in enumerate(counts, first):
            rows.append(failed(f"p{i}", seed) if count is None else ok(f"p{i}", seed, count, images=images))
    return join(points, facts(*rows), list(swept))


def line(*levels, **more):
    """One technology: drift 0, 0.1, ... with these counts."""
    return grid({("t", i / 10): counts for i, counts in enumerate(levels)}, swept=[DRIFT], **more)


def shifted(frame, name, by):
    """The frame with the seeds of one point moved."""
    moved = frame["point_id"] == name
    return frame.assign(seed=frame["seed"].where(~moved, frame["seed"] + by))


# -- numbers


def test_three_chips_by_hand():
    """Chips 8, 7, 9 at the baseline and 6, 6, 8 here: d = -2, -1, -1 of 10.

    Mean -4/30, std 0.1 / sqrt(3), so 4/30 +- 4.30265 * 0.1 / 3. Variances 1/100 and 4/300; of d 1/300, so
    chips_saved 7. Covariance: deviations 0, -1, 1 and -2/3, -2/3, 4/3, so 2/2 and Pearson 1 / sqrt(4/3) = 0.866.
    """
    row = compare(line((8, 7, 9), (6, 6, 8)), {DRIFT: 0.0}).iloc[1]
    assert row["n"] == 3
    assert row["difference_mean"] == pytest.approx(-4 / 30)
    assert row["difference_low"] == pytest.approx(-4 / 30 - 4.302652730 * 0.1 / 3, abs=1e-9)
    assert row["difference_high"] == pytest.approx(-4 / 30 + 4.302652730 * 0.1 / 3, abs=1e-9)
    assert row["difference_std"] == pytest.approx(0.1 / np.sqrt(3))
    assert row["worse_share"] == 1
    assert row["correlation"] == pytest.approx(np.sqrt(3) / 2)
    assert row["chips_saved"] == pytest.approx(7)


def test_many_chips_agree_with_scipy():
    rng = np.random.default_rng(0)
    base = rng.binomial(100, 0.8, 50)
    here = base - rng.binomial(20, 0.2, 50) + 2
    frame = line(base.tolist(), here.tolist(), images=120)
    row = compare(frame, {DRIFT: 0.0}).iloc[1]
    test = stats.ttest_rel(here / 120, base / 120)
    interval = test.confidence_interval(0.95)
    assert row[["difference_low", "difference_high"]].tolist() == pytest.approx([interval.low, interval.high])
    assert row["difference_mean"] == pytest.approx((here - base).mean() / 120)
    assert row["correlation"] == pytest.approx(stats.pearsonr(here, base).statistic)
    assert row["worse_share"] == (here < base).mean()
    saved = (np.var(here, ddof=1) + np.var(base, ddof=1)) / np.var(here - base, ddof=1)
    assert row["chips_saved"] == pytest.approx(saved)
    means = summarize(frame)["accuracy_mean"]
    assert row["difference_mean"] == pytest.approx(means[1] - means[0])


def test_the_interval_of_a_difference_of_shares_ends_at_minus_1_and_1():
    row = compare(line([10, 0], [0, 10]), {DRIFT: 0.0}).iloc[1]
    assert row[["difference_low", "difference_mean", "difference_high"]].tolist() == [-1, 0, 1]
    row = compare(line([9, 9], [2, 1]), {DRIFT: 0.0}).iloc[1]
    half = 0.05 * stats.t.ppf(0.975, 1)
    assert row[["difference_low", "difference_high"]].tolist() == pytest.approx([-1, -0.75 + half])


def test_the_interval_covers_and_the_pairing_saves_what_it_says():
    """2,000 sweeps of 20 pairs of correlation 0.8: cover 95 -+ 1.7 % (3.5 sd), and 1 / (1 - 0.8) = 5 times fewer.

    The ratio of variances scatters: its median over sweeps is 5 to 3 %, its log's standard error being below 1 %.
    """
    rng = np.random.default_rng(1)
    size, n = 2000, 20
    common, own = rng.normal(size=(1, size, n)), rng.normal(size=(2, size, n))
    x = np.sqrt(0.8) * common + np.sqrt(0.2) * own
    count = np.rint(500_000 + 20_000 * (x - np.array([0, 0.5])[:, None, None])).astype(int)
    ids = [f"p{i}" for i in range(2 * size)]
    columns = {name: pa.array([value] * (2 * size * n), FACTS[name]) for name, value in ok("", 0, 8).items()}
    columns |= {"point_id": pa.array(np.repeat(ids, n)), "seed": pa.array(np.tile(np.arange(n), 2 * size))}
    columns |= {"n_correct": pa.array(count.ravel()), "n_gained": pa.array(count.ravel() * 0)}
    columns |= {name: pa.array(count.ravel() / 10**6) for name in ("accuracy", "score")} | {
        "n_images": pa.array(count.ravel() * 0 + 10**6)
    }
    columns |= {"n_lost": pa.array(800_000 - count.ravel())}
    points = [point(one, {"t_s": float(i % size), DRIFT: float(i >= size)}) for i, one in enumerate(ids)]
    table = compare(join(points, pa.table(columns), ["t_s", DRIFT]), {DRIFT: 0.0})
    table = table[table[DRIFT] == 1]
    assert len(table) == size
    truth = -0.01
    covered = ((table["difference_low"] <= truth) & (truth <= table["difference_high"])).mean()
    assert covered == pytest.approx(0.95, abs=0.017)
    assert table["correlation"].median() == pytest.approx(0.8, abs=0.02)
    assert table["chips_saved"].median() == pytest.approx(5, rel=0.03)


def test_equal_differences_are_no_spread_though_their_floats_differ():
    assert len({0.8 - 0.7, 0.3 - 0.2, 0.9 - 0.8}) > 1
    row = compare(line((8, 3, 9), (7, 2, 8)), {DRIFT: 0.0}).iloc[1]
    assert row[["difference_mean", "difference_low", "difference_high"]].tolist() == [-0.1] * 3
    assert row["difference_std"] == 0
    assert row["correlation"] == pytest.approx(1)
    assert row["chips_saved"] == np.inf


def test_no_spread_has_no_correlation():
    rows = compare(line((8, 8, 8), (7, 7, 7), (6, 7, 8)), {DRIFT: 0.0})
    assert rows["correlation"].isna().all()
    assert rows["chips_saved"].tolist() == pytest.approx([np.nan, np.nan, 1], nan_ok=True)
    assert rows["difference_std"].tolist() == pytest.approx([0, 0, 0.1])
    assert rows["worse_share"].tolist() == [0, 1, pytest.approx(2 / 3)]


def test_opposite_chips_correlate_to_minus_one_and_pairing_costs():
    row = compare(line((6, 7, 8), (8, 7, 6)), {DRIFT: 0.0}).iloc[1]
    assert row["correlation"] == pytest.approx(-1)
    assert row["chips_saved"] == pytest.approx(0.5)
    assert row["difference_mean"] == pytest.approx(0, abs=1e-15)
    assert row["worse_share"] == pytest.approx(1 / 3)


def test_one_common_chip_has_a_difference_and_no_interval():
    row = compare(line((8,), (6, 9)), {DRIFT: 0.0}).iloc[1]
    assert row[["n", "difference_mean", "worse_share"]].tolist() == [1, pytest.approx(-0.2), 1]
    assert row[["difference_low", "difference_high", "difference_std", "correlation", "chips_saved"]].isna().all()


def test_a_baseline_against_itself_is_zero():
    row = compare(line((8, 7, 9)), {DRIFT: 0.0}).iloc[0]
    assert row[STATISTICS[:6]].tolist() == [3, 0, 0, 0, 0, 0]
    assert row["correlation"] == pytest.approx(1)
    assert row["chips_saved"] == np.inf


def test_other_numbers_of_images_are_compared_as_shares_exactly():
    """6 of 9 is 2 of 3, and 1 of 3 is one image of three fewer."""
    points = [point("a", {"data.n": 9}), point("b", {"data.n": 3})]
    rows = [ok("a", 0, 6, images=9), ok("a", 1, 6, images=9), ok("b", 0, 2, 3, 3), ok("b", 1, 1, 3, 3)]
    row = compare(join(points, facts(*rows), ["data.n"]), {"data.n": 9}).iloc[1]
    assert row["difference_mean"] == pytest.approx(-1 / 6)
    assert row["worse_share"] == 0.5


# -- which chips


def test_only_common_seeds_that_finished_count():
    """Seeds 0..3 at the baseline, 2 failed; here 1..4, 3 failed: only seed 1 is common, and 2 and 3 are not."""
    frame = shifted(line((8, 7, None, 9), (6, 5, None, 4)), "p1", 1)
    row = compare(frame, {DRIFT: 0.0}).iloc[1]
    assert row["n"] == 1
    assert row["difference_mean"] == pytest.approx(-0.1)


def test_pairs_are_of_one_seed_whatever_the_order_of_the_rows():
    frame = line((8, 7, 9, 5), (7, 7, 4, 5))
    frame = frame.sample(frac=1, random_state=3)
    frame.index = [1] * len(frame)
    row = compare(frame, {DRIFT: 0.0}).set_index(DRIFT).loc[0.1]
    assert row["difference_mean"] == pytest.approx(-0.15)
    assert row["worse_share"] == 0.5


def test_a_chip_under_two_names_counts_once():
    frame = line((8, 7, 9), (6, 6, 8))
    both = pd.concat([frame, frame.assign(technology="again")], ignore_index=True)
    table = compare(both, {DRIFT: 0.0}, [DRIFT])
    pd.testing.assert_frame_equal(table, compare(frame, {DRIFT: 0.0}, [DRIFT]))


# -- which cells

CELLS = {("a", 0.0): (9, 8), ("a", 0.1): (8, 6), ("b", 0.0): (6, 5), ("b", 0.1): (3, 1)}


def test_what_the_baseline_leaves_open_is_matched_cell_by_cell():
    table = compare(grid(CELLS), {DRIFT: 0.0})
    assert table.columns.tolist() == ["technology", DRIFT, *STATISTICS]
    assert table["technology"].tolist() == ["a", "a", "b", "b"]
    assert table["difference_mean"].tolist() == pytest.approx([0, -0.15, 0, -0.35])
    kinds = {"interval": "t", "correction": "none"}
    assert table.attrs == {"by": ["technology", DRIFT], "baseline": {DRIFT: 0.0}, **kinds}
    assert str(table["n"].dtype) == "int64"


def test_a_whole_baseline_is_one_cell_for_all():
    table = compare(grid(CELLS), {"technology": "b", DRIFT: 0.1})
    assert table["difference_mean"].tolist() == pytest.approx([0.65, 0.5, 0.35, 0])
    table = compare(grid(CELLS), {"technology": "a"})
    assert table["difference_mean"].tolist() == pytest.approx([0, 0, -0.3, -0.5])


def test_several_open_columns_nulls_included_are_matched_together():
    """Each of 3 x 3 pairs of open values has a baseline of its own, and loses its own number of images."""
    points, rows, expected = [], [], []
    for k, (x, y) in enumerate((x, y) for x in (None, 1, 2) for y in ("u", None, "v")):
        for t_s in (0.0, 1.0):
            name, lost = f"{x}{y}{t_s}", k if t_s else 0
            points.append(point(name, {"a.x": x, "a.y": y, "t_s": t_s}))
            rows += [ok(name, seed, 20 + 3 * k - lost, images=50, digital=44) for seed in (0, 1)]
            expected.append(-lost / 50)
    table = compare(join(points, facts(*rows), ["a.x", "a.y", "t_s"]), {"t_s": 0.0})
    assert table["difference_mean"].tolist() == pytest.approx(expected)


def test_rows_are_those_of_the_summary():
    frame = grid(CELLS).sample(frac=1, random_state=0)
    keys = ["technology", DRIFT]
    pd.testing.assert_frame_equal(compare(frame, {DRIFT: 0.0})[keys], pd.DataFrame(summarize(frame)[keys]))


def test_columns_of_the_baseline_join_by():
    table = compare(grid(CELLS), {DRIFT: 0.0}, by="technology")
    assert table.attrs["by"] == ["technology", DRIFT]
    assert compare(grid(CELLS), {DRIFT: 0.0}, by=[DRIFT, "technology"]).columns.tolist()[:2] == [DRIFT, "technology"]
    frame = grid(CELLS, swept=[])
    frame.attrs.clear()
    assert compare(frame, {DRIFT: 0.0}).attrs["by"] == ["technology", DRIFT]


def test_a_null_is_a_value_of_by_and_of_the_baseline():
    frame = grid({("a", None): (9, 8), ("a", 0.1): (8, 6), ("b", None): (6, 5), ("b", 0.1): (3, 1)})
    for null in (None, np.nan, pd.NA):
        table = compare(frame, {DRIFT: null})
        assert table[DRIFT].isna().tolist() == [True, False, True, False]
        assert table["difference_mean"].tolist() == pytest.approx([0, -0.15, 0, -0.35])
    table = compare(frame, {"technology": "a"})
    assert table[DRIFT].isna().tolist() == [True, False, True, False]
    assert table["difference_mean"].tolist() == pytest.approx([0, 0, -0.3, -0.5])


@pytest.mark.parametrize("values", [[1, None, 2], [0.5, None, 1.0], [True, None, False], ["x", None, "y"]])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_values_of_every_kind_name_a_baseline(values, which):
    points = [point(str(i), {"a.x": value}) for i, value in enumerate(values)]
    frame = join(points, facts(*(ok(str(i), s, 5 + i) for i in range(3) for s in range(2))), ["a.x"])
    table = compare(frame, {"a.x": values[which]})
    assert table["difference_mean"].tolist() == pytest.approx([(i - which) / 10 for i in range(3)])
    assert table["a.x"].dtype == frame["a.x"].dtype


def test_a_number_is_itself_to_12_digits_and_exactly_where_both_are_there():
    frame = grid({("t", 0.1 + 0.2): (9, 8), ("t", 0.4): (8, 7)}, swept=[DRIFT])
    assert compare(frame, {DRIFT: 0.3})["difference_mean"].tolist() == pytest.approx([0, -0.1])
    assert compare(frame, {DRIFT: np.float64(0.3)})["n"].tolist() == [2, 2]
    with pytest.raises(ValueError, match="got drift.relative_drift=0.3000001"):
        compare(frame, {DRIFT: 0.3000001})
    frame = grid({("t", 0.3 + 1e-15): (9, 8), ("t", 0.3 - 1e-15): (6, 5)}, swept=[DRIFT])
    assert compare(frame, {DRIFT: 0.3})["difference_mean"].tolist() == pytest.approx([0, -0.3])
    frame = grid({("t", 0.1 + 0.2): (9, 8), ("t", 0.3): (6, 5)}, swept=[DRIFT])
    assert compare(frame, {DRIFT: 0.3})["difference_mean"].tolist() == pytest.approx([0.3, 0])
    assert compare(frame, {DRIFT: 0.1 + 0.2})["difference_mean"].tolist() == pytest.approx([0, -0.3])


# -- refusals


@pytest.mark.parametrize(
    ("baseline", "by", "message"),
    [
        ({}, None, "a dict {column: value} of at least one column, got {}: write {'drift.relative_drift': 0.0}"),
        ({"drift.relative_drft": 0.0}, None, "got 'drift.relative_drft': did you mean drift.relative_drift"),
        ({DRIFT: 0.0}, ["tecnology"], "got 'tecnology': did you mean technology"),
        ({"accuracy": 0.9}, None, "got 'accuracy', an outcome"),
        (
            {DRIFT: 0.12},
            None,
            r"baseline must be a value that some row has, got drift.relative_drift=0.12: the nearest are 0.1, 0.0$",
        ),
        ({DRIFT: "0.0"}, None, r"got drift.relative_drift='0.0': the nearest are 0.0"),
        ({DRIFT: None}, None, r"got drift.relative_drift=None: the nearest are 0.0, 0.1"),
        ({DRIFT: [0.0, 0.1]}, None, r"got drift.relative_drift=\[0.0, 0.1\]"),
        ({"mapping": "diferential"}, None, "got mapping='diferential': the nearest are 'differential'$"),
        ({"technology": "zzz"}, None, "got technology='zzz': the nearest are 'a', 'b'$"),
        ({DRIFT: 0.0}, [], r"one point, drift.relative_drift=0.0 holds 2, which differ in technology"),
        ({"technology": "a"}, ["technology"], r"holds 2, which differ in drift.relative_drift: add it to by"),
        (
            "technology",
            None,
            r"baseline must be a dict \{column: value\} .*, got 'technology': write \{'technology': 'a'\}",
        ),
        ("tecnology", None, r"got 'tecnology': write \{'drift.relative_drift': 0.0\}"),
    ],
)
def test_compare_refuses(baseline, by, message):
    with pytest.raises(ValueError, match=message) as caught:
        compare(grid(CELLS), baseline, by)
    assert "\n" not in str(caught.value)


def test_nulls_are_among_the_nearest():
    with pytest.raises(ValueError, match="got drift.relative_drift=0.2: the nearest are 0.1, None"):
        compare(grid({("a", None): (9,), ("a", 0.1): (8,)}), {DRIFT: 0.2})
    with pytest.raises(ValueError, match="got technology='a': the frame has no row"):
        compare(grid(CELLS)[:0], {"technology": "a"})


def test_a_cell_without_a_baseline_is_refused_with_what_there_is():
    frame = grid({("a", 0.0): (9, 8), ("a", 0.1): (8, 6), ("b", None): (6, 5), ("b", 0.1): (3, 1)})
    told = r"no row with technology='b' has drift.relative_drift=0.0, only drift.\w+=None; drift.\w+=0.1: sweep"
    with pytest.raises(ValueError, match=told) as caught:
        compare(frame, {DRIFT: 0.0})
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match=r"no row has technology='b', drift.relative_drift=0.0, only .* and 1 more: take"
    ):
        compare(frame, {"technology": "b", DRIFT: 0.0})


def test_frames_without_common_seeds_are_refused():
    frame = shifted(line((8, 7, 9), (6, 6, 8), (5, 5, 5)), "p2", 50)
    message = r"in common, but drift.relative_drift=0.2 has 3 \(50 to 52\) and its baseline 3 \(0 to 2\): sweep both"
    with pytest.raises(ValueError, match=message) as caught:
        compare(frame, {DRIFT: 0.0})
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"drift.relative_drift=0.1 has none and its baseline 2"):
        compare(line((8, 7), (None, None)), {DRIFT: 0.0})
    with pytest.raises(ValueError, match=r"drift.relative_drift=0.0 has none and its baseline none"):
        compare(line((None, None), (8, 7)), {DRIFT: 0.0})
    with pytest.raises(ValueError, match=r"has none and its baseline none"):
        compare(line((None,), (None,)), {DRIFT: 0.0})


def test_a_frame_without_facts_is_refused():
    with pytest.raises(ValueError, match="lacks columns n_images"):
        compare(line((8, 7)).drop(columns="n_images"), {DRIFT: 0.0})


# -- the package


def test_the_frame_stays_as_it_was():
    frame = line((8, 7, 9), (6, 6, 8))
    frame.attrs["images"] = {"p0": {"n_chips": 3, "n_correct": [3] * 8 + [0] * 2}}
    before = frame.copy()
    compare(frame, {DRIFT: 0.0})
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == before.attrs


def test_compare_is_the_packages_and_loads_neither_torch_nor_hydra():
    assert rs.compare is compare
    heavy = ["torch", "hydra", "omegaconf", "matplotlib"]
    code = f"import sys, rramsweep; rramsweep.compare; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_of_many_points_is_compared_with_its_own_baseline():
    size, n = 100, 10
    ids = [f"{i:020x}" for i in range(size)]
    columns = {name: pa.array([value] * (size * n), FACTS[name]) for name, value in ok("", 0, 8).items()}
    columns |= {"point_id": pa.array(np.repeat(ids, n)), "seed": pa.array(np.tile(np.arange(n), size))}
    points = [point(one, {"t_s": float(i // 10), DRIFT: i % 10 / 10}) for i, one in enumerate(ids)]
    frame = join(points, pa.table(columns), ["t_s", DRIFT])
    table = compare(frame, {DRIFT: 0.0})
    assert table["n"].tolist() == [n] * size
