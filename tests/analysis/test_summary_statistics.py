"""Order statistics, yield bounds and the errors over chips and images, against closed forms and simulation."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from rramsweep import intervals
from rramsweep.analysis.frames import join
from rramsweep.analysis.schema import FACTS, METRIC
from rramsweep.analysis.summary import summarize
from rramsweep.intervals import crossed_errors, lower_rank, share_bound, t_interval, wilson
from tests.analysis.test_frames import chips, facts, failed, ok, point, sweep

ALL = np.arange(1, 301)


def with_images(frame, **points):
    """The frame with counts per image: `a=(n_chips, counts)`."""
    frame.attrs["images"] = {name: {"n_chips": n, "n_correct": counts} for name, (n, counts) in points.items()}
    return frame


# -- order statistics


@pytest.mark.parametrize(("quantile", "alpha", "first"), [(0.5, 0.025, 6), (0.05, 0.05, 59)])
def test_the_rank_is_the_largest_that_keeps_its_promise(quantile, alpha, first):
    rank = lower_rank(ALL, quantile, alpha)
    assert (rank == 0).tolist() == (first > ALL).tolist()
    known = rank > 0
    assert (stats.binom.cdf(rank - 1, ALL, quantile)[known] <= alpha).all()
    assert (stats.binom.cdf(rank, ALL, quantile) > alpha).all()


def test_no_value_bounds_no_quantile():
    assert lower_rank(np.array([0, 1]), 0.5, 0.025).tolist() == [0, 0]


def test_the_medians_interval_by_hand():
    """6 chips: the worst and best miss it with 2 / 2**6 = 3.1 %. 9: ranks 2 and 8, 2 * (1 + 9) / 512 = 3.9 %."""
    row = summarize(chips(5, 9, 7, 6, 8, 4)).iloc[0]
    assert row[["q50_low", "q50_high", "accuracy_min"]].tolist() == [0.4, 0.9, 0.4]
    row = summarize(chips(9, 1, 5, 3, 7, 2, 8, 4, 6)).iloc[0]
    assert row[["q50_low", "q50", "q50_high", "accuracy_min"]].tolist() == [0.2, 0.5, 0.8, 0.1]
    assert summarize(chips(9, 1, 5, 3, 7)).iloc[0][["q50_low", "q50_high"]].isna().all()


def test_the_tails_bound_is_the_worst_of_59_chips_and_the_second_of_93():
    """0.95**59 = 4.85 % but 0.95**58 = 5.10 %; 0.95**93 + 93 * 0.05 * 0.95**92 = 4.999 %."""
    counts = np.random.default_rng(0).permutation(93) + 1
    for n, rank in ((58, None), (59, 1), (92, 1), (93, 2)):
        row = summarize(chips(*counts[:n].tolist(), images=100, digital=80)).iloc[0]
        assert row["accuracy_min"] == counts[:n].min() / 100
        if rank is None:
            assert np.isnan(row["q05_low"])
        else:
            assert row["q05_low"] == np.sort(counts[:n])[rank - 1] / 100


def test_cells_of_any_size_and_order_keep_their_own_chips():
    sizes = {"a": 60, "b": 5, "c": 0, "d": 9, "e": 6}
    rng = np.random.default_rng(1)
    counts = {name: rng.permutation(100)[:n] for name, n in sizes.items()}
    rows = [ok(name, s, int(k), images=100, digital=80) for name in counts for s, k in enumerate(counts[name])]
    points = [point(name, {"t_s": float(i)}) for i, name in enumerate(sizes)]
    frame = join(points, facts(*rows, failed("c", 0)), ["t_s"]).sample(frac=1, random_state=2)
    table = summarize(frame).sort_values("t_s", ignore_index=True)
    ranks = {"a": 22, "b": 0, "c": 0, "d": 2, "e": 1}
    low = [np.sort(counts[name])[rank - 1] / 100 if rank else np.nan for name, rank in ranks.items()]
    high = [np.sort(counts[name])[-rank] / 100 if rank else np.nan for name, rank in ranks.items()]
    np.testing.assert_array_equal(table["q50_low"], low)
    np.testing.assert_array_equal(table["q50_high"], high)
    np.testing.assert_array_equal(table["q05_low"], [counts["a"].min() / 100] + [np.nan] * 4)
    np.testing.assert_array_equal(table["accuracy_min"], [c.min() / 100 if len(c) else np.nan for c in counts.values()])


@pytest.mark.parametrize("levels", [None, 5])
def test_order_statistics_cover_at_least_95_percent_of_4000_samples(levels):
    """A skewed law, smooth and of 5 levels; 3.5 binomial standard deviations of 4,000 at 95 % are 1.2 %."""
    rng = np.random.default_rng(3)
    for n, exact in ((9, 1 - 20 / 512), (60, None), (100, None)):
        x = np.sort(rng.gamma(0.5, 1.0, (4000, n)) if levels is None else rng.binomial(levels, 0.3, (4000, n)), axis=1)
        law = stats.gamma(0.5) if levels is None else stats.binom(levels, 0.3)
        rank = int(lower_rank(np.array([n]), 0.5, 0.025)[0])
        covered = np.mean((x[:, rank - 1] <= law.ppf(0.5)) & (law.ppf(0.5) <= x[:, n - rank]))
        assert covered > 0.95 - 0.012
        if levels is None:  # for a smooth law the coverage is known
            assert covered == pytest.approx(1 - 2 * stats.binom.cdf(rank - 1, n, 0.5), abs=0.012)
            assert exact is None or covered == pytest.approx(exact, abs=0.012)
        if n > 59:
            tail = int(lower_rank(np.array([n]), 0.05, 0.05)[0])
            assert np.mean(x[:, tail - 1] <= law.ppf(0.05)) > 0.95 - 0.012


# -- yield


def test_the_yields_bound_by_hand():
    """No failure in 3: 0.05**(1/3). One in 3: p with P(B(3, p) >= 2) = 3 p**2 - 2 p**3 = 0.05, p = 0.135350."""
    row = summarize(chips(8, 8, 9)).iloc[0]
    assert row["yield_bound"] == pytest.approx(0.05 ** (1 / 3), rel=1e-12)
    assert row["yield_bound"] < 1 == row["yield_high"]
    row = summarize(chips(8, 7, 9)).iloc[0]
    p = row["yield_bound"]
    assert 3 * p**2 - 2 * p**3 == pytest.approx(0.05, rel=1e-12)
    assert p == pytest.approx(0.135350, abs=1e-6)
    assert summarize(chips(7, 7)).iloc[0]["yield_bound"] == 0
    assert summarize(chips(7)).iloc[0]["yield_bound"] == 0


def test_without_a_failure_the_bound_is_about_1_less_3_in_n():
    n = np.array([50, 100, 1000])
    bound = share_bound(n, n)
    assert bound == pytest.approx(0.05 ** (1 / n), rel=1e-12)
    assert np.abs(bound - (1 - 3 / n)).max() < 2e-3


def test_the_bound_is_clopper_pearsons():
    k = np.array([(k, n) for n in (1, 2, 7, 50) for k in range(n + 1)])
    one_by_one = [stats.binomtest(a, n, alternative="greater").proportion_ci(0.95, "exact").low for a, n in k.tolist()]
    assert share_bound(k[:, 0], k[:, 1]) == pytest.approx(one_by_one, rel=1e-9)
    assert np.isnan(share_bound(np.array([0]), np.array([0]))).all()


# -- chips and images


def test_crossed_errors_by_hand():
    """Chips right on images 1; 1, 2; 1, 2, 3 of 4: accuracies 1/4, 2/4, 3/4 and shares 1, 2/3, 1/3, 0.

    Variances: over chips 1/16, over images 5/27 (deviations 1/2, 1/6 twice; sum 5/9, over 3).
    """
    se_chips, se_images = crossed_errors([3, 2, 1, 0], 3, [0.25, 0.5, 0.75])
    assert se_chips == pytest.approx(np.sqrt(1 / 16 / 3))
    assert se_images == pytest.approx(np.sqrt(5 / 27 / 4))


def test_crossed_errors_are_the_mean_squares_of_the_two_way_table():
    """And the variance over new chips and new images takes the residual, known from 0s and 1s, off once."""
    right = np.random.default_rng(4).random((7, 40)) < np.linspace(0.2, 1, 40)
    n, size = right.shape
    mean, chip, image = right.mean(), right.mean(axis=1), right.mean(axis=0)
    se_chips, se_images = crossed_errors(right.sum(axis=0), n, chip)
    assert se_chips**2 == pytest.approx(size * ((chip - mean) ** 2).sum() / (n - 1) / (n * size))
    assert se_images**2 == pytest.approx(n * ((image - mean) ** 2).sum() / (size - 1) / (n * size))
    residual = ((right - chip[:, None] - image[None] + mean) ** 2).sum() / (n - 1) / (size - 1)
    rest = n * size * mean * (1 - mean) - size * ((chip - mean) ** 2).sum() - n * ((image - mean) ** 2).sum()
    assert residual == pytest.approx(rest / (n - 1) / (size - 1))


def test_crossed_errors_of_a_known_model():
    """Y_ci = 1 where u_ci < q_c r_i: variances of chips, images and the rest in closed form.

    q uniform on 0.6..1 (mean 0.8, var 0.4**2/12), r on 0.2..1 (mean 0.6, var 0.8**2/12). With m = 0.48:
    va = 0.36 var q, vb = 0.64 var r, ve = m (1 - m) - va - vb. 4,000 sweeps of 12 chips x 30 images give the mean of
    the squares with a standard error of 0.7 %, hence 4 %; the variance of the 4,000 grand means has 2.2 %, hence 8.
    """
    n, size, sweeps = 12, 30, 4000
    rng = np.random.default_rng(5)
    q, r = rng.uniform(0.6, 1, (sweeps, n, 1)), rng.uniform(0.2, 1, (sweeps, 1, size))
    right = rng.random((sweeps, n, size)) < q * r
    va, vb = 0.36 * 0.4**2 / 12, 0.64 * 0.8**2 / 12
    ve = 0.48 * 0.52 - va - vb
    errors = np.array([crossed_errors(one.sum(axis=0), n, one.mean(axis=1)) for one in right])
    over_chips, over_images = (errors**2).mean(axis=0)
    assert over_chips == pytest.approx((va + ve / size) / n, rel=0.04)
    assert over_images == pytest.approx((vb + ve / n) / size, rel=0.04)
    # New chips and new images: the squares add up but for the residual, which both hold.
    both = right.mean(axis=(1, 2)).var(ddof=1)
    assert both == pytest.approx(va / n + vb / size + ve / (n * size), rel=0.08)
    assert over_chips + over_images - ve / (n * size) == pytest.approx(both, rel=0.08)
    assert over_chips + over_images > both


def test_se_images_is_the_error_over_other_images_read_by_the_same_chips():
    """Chips that are rules and no dice: chip c is right where the image's hardness is below its threshold."""
    rng = np.random.default_rng(6)
    threshold = np.array([0.5, 0.7, 0.8, 0.9])[None, :, None]
    right = rng.random((3000, 1, 50)) < threshold
    errors = [crossed_errors(one.sum(axis=0), 4, one.mean(axis=1))[1] for one in right]
    assert np.mean(np.square(errors)) == pytest.approx(right.mean(axis=(1, 2)).var(), rel=0.1)


def test_crossed_errors_where_nothing_varies_or_one_is_alone():
    assert crossed_errors([3, 3, 3], 3, [1.0, 1.0, 1.0]) == (0, 0)
    assert crossed_errors([1, 1, 0], 2, [1 / 3, 1 / 3])[0] == 0
    one_chip = crossed_errors([1, 1, 1, 0], 1, [0.75])
    assert np.isnan(one_chip[0])
    assert one_chip[1] == pytest.approx(np.sqrt(0.75 * 0.25 / 3))  # the binomial's, of ddof 1
    assert np.isnan(crossed_errors([1], 2, [1.0, 0.0])[1])


@pytest.mark.parametrize(
    ("counts", "n", "accuracy", "message"),
    [
        ([1, 2], 2, [0.75], "chip_accuracy must be one a chip, got 1 for 2"),
        ([1, 2], 0, [], "chip_accuracy must be one a chip, got 0 for 0"),
        ([1, 3], 2, [1.0, 1.0], r"lie in 0..n_chips = 2, got 1..3"),
        ([-1, 1], 2, [0.0, 0.0], r"got -1..1"),
        ([], 2, [0.5, 0.5], "got no image"),
        ([1, 2], 2, [0.5, 0.5], r"add up to the right answers of the chips, got 3 and 2.0"),
    ],
)
def test_crossed_errors_refuse(counts, n, accuracy, message):
    with pytest.raises(ValueError, match=message) as caught:
        crossed_errors(counts, n, accuracy)
    assert "\n" not in str(caught.value)


# -- the columns


@pytest.mark.parametrize("name", ["score", "accuracy"])
def test_an_interval_ends_where_a_share_does_and_that_of_an_error_does_not(name):
    """Two chips 6 and 8 of 10: 0.7 -+ 12.7 * 0.1; cut at 0 and 1, as the mean of shares lies there in any case."""
    frame = chips(6, 8)
    assert summarize(frame)[[f"{name}_low", f"{name}_high"]].to_numpy().tolist() == [[0, 1]]
    frame["metric.unit"] = "nat"
    half = 0.1 * stats.t.ppf(0.975, 1)
    assert summarize(frame)[["score_low", "score_high"]].to_numpy() == pytest.approx(
        np.array([[0.7 - half, 0.7 + half]])
    )


def test_a_means_interval_is_students():
    n = np.array([1, 2, 3, 10, 1000])
    low, high = stats.t.interval(0.95, df=n[1:] - 1, loc=0.7, scale=0.01)
    found = t_interval(np.full(5, 0.7), np.full(5, 0.01), n)
    assert np.isnan(found)[:, 0].all()
    assert np.array(found)[:, 1:] == pytest.approx(np.array([low, high]), rel=1e-9)
    flat = t_interval(np.array([0.7, 0.7]), np.zeros(2), np.array([1, 2]))
    assert np.array(flat).tolist() == [[pytest.approx(np.nan, nan_ok=True), 0.7]] * 2


def test_a_shares_interval_is_wilsons():
    for n in (1, 2, 7, 50, 10_000):
        for k in {0, 1, n // 3, n - 1, n}:
            known = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
            assert wilson(k, n) == pytest.approx((known.low, known.high), rel=1e-9, abs=1e-15)
    assert np.isnan(wilson(0, 0)).all()
    assert stats.norm.ppf((1 + intervals.CONFIDENCE) / 2) == intervals._Z


def test_cutting_costs_no_coverage():
    """Means of 3 uniform shares below 1: the cut interval holds 0.5 exactly where the whole one does."""
    x = np.random.default_rng(0).random((2000, 3))
    mean, sem, n = x.mean(axis=1), x.std(axis=1, ddof=1) / np.sqrt(3), np.full(2000, 3)
    whole, cut = t_interval(mean, sem, n), t_interval(mean, sem, n, 0.0, 1.0)
    held = [(low <= 0.5) & (high >= 0.5) for low, high in (whole, cut)]
    assert np.array_equal(*held)
    assert (whole[0] < 0).mean() > 0.1
    assert (cut[0].min(), cut[1].max()) == (0, 1)


THREE = [3, 3, 3, 3, 3, 3, 3, 2, 1, 0]  # chips right on 8, 7 and 9 of 10 images


@pytest.mark.parametrize("text", [False, True])
def test_se_chips_and_se_images_of_a_cell(text):
    counts = str(THREE) if text else THREE
    row = summarize(with_images(chips(8, 7, 9), a=(3, counts))).iloc[0]
    assert row["se_chips"] == pytest.approx(0.1 / np.sqrt(3))
    assert row["se_images"] == pytest.approx(np.std(np.array(THREE) / 3, ddof=1) / np.sqrt(10))
    assert row["accuracy_mean"] - row["accuracy_low"] == pytest.approx(4.302652730 * row["se_chips"])


def test_se_images_is_null_without_counts_or_with_those_of_other_chips():
    def se(frame):
        return summarize(frame)["se_images"].isna().tolist()

    assert se(chips(8, 7, 9)) == [True]
    assert se(with_images(chips(8, 7, 9), b=(3, THREE))) == [True]
    assert se(with_images(chips(8, 7, 9), a=(4, THREE))) == [True]
    assert se(with_images(chips(8, 7, 8), a=(3, THREE))) == [True]
    whole = with_images(chips(8, 7, 9), a=(3, THREE))
    assert se(whole) == [False]
    assert se(whole[whole["seed"] < 2]) == [True]
    assert se(with_images(chips(None), a=(0, []))) == [True]
    assert summarize(with_images(chips(8, None, 7, 9), a=(3, THREE)))["se_images"].notna().all()


def test_each_cell_gets_the_counts_of_its_own_point():
    frame = sweep([0.1, None, 0.2], correct=(8, 7, 9))
    flat = [3, 3, 3, 3, 3, 3, 2, 2, 1, 1]
    table = summarize(with_images(frame, p2=(3, THREE), p0=(3, flat)))
    expected = [np.std(flat, ddof=1) / 3 / np.sqrt(10), np.nan, np.std(THREE, ddof=1) / 3 / np.sqrt(10)]
    assert table["se_images"].tolist() == pytest.approx(expected, nan_ok=True)
    shuffled = sweep([0.1, 0.2], correct=(8, 7, 9)).sort_values("seed")
    shuffled.loc[shuffled["point_id"] == "p1", ["n_correct", "accuracy", "score"]] = [6, 0.6, 0.6]
    shuffled.loc[shuffled["point_id"] == "p1", ["n_lost", "n_gained"]] = [2, 0]
    mixed = summarize(with_images(shuffled, p0=(3, THREE), p1=(3, [3, 3, 3, 3, 3, 3, 0, 0, 0, 0])))
    assert mixed["se_images"].tolist() == pytest.approx([expected[2], np.sqrt(0.24 / 9)])
    assert "images" not in table.attrs
    assert set(frame.attrs) == {"swept", "images"}


@pytest.mark.parametrize(
    "entry",
    [{"n_correct": THREE}, {"n_chips": 3}, {"n_chips": 3, "n_correct": "[1, "}, {"n_chips": 3, "n_correct": ["x"]}, 7],
)
def test_counts_of_another_form_are_refused(entry):
    frame = chips(8, 7, 9)
    frame.attrs["images"] = {"a": entry}
    with pytest.raises(ValueError, match=r"attrs\['images'\]\['a'\] must hold n_chips and n_correct") as caught:
        summarize(frame)
    assert "\n" not in str(caught.value)


TEXTS = ("interval", "tail_name")


def test_the_table_holds_these_columns_in_this_order():
    expected = "t_s n n_failed accuracy_mean accuracy_low accuracy_high accuracy_std accuracy_min "
    expected += (
        "score_mean score_low score_high interval score_std score_min score_max score_skewness se_chips se_images "
    )
    expected += "q05 q25 q50 q75 q95 q50_low q50_high q05_low q95_high tail tail_name "
    expected += "digital_accuracy ideal_accuracy digital_score ideal_score chance_accuracy chance_p "
    expected += "yield_share yield_low yield_high yield_bound"
    frame = join([point("a", {"t_s": 1.0})], facts(ok("a", 0, 8)), ["t_s"])
    table = summarize(frame)
    assert table.columns.tolist() == [*expected.split(), *METRIC]
    assert all(str(table[name].dtype) == "float64" for name in expected.split()[3:] if name not in TEXTS)


def test_counts_of_right_chips_may_be_text():
    """As `attrs` hold them that were read from a file."""
    size, n, whole = 3, 10, ok("", 0, 800, images=1000, digital=800)
    ids = [f"{i:020x}" for i in range(size)]
    columns = {name: pa.array([value] * (size * n), FACTS[name]) for name, value in whole.items()}
    columns |= {"point_id": pa.array(np.repeat(ids, n)), "seed": pa.array(np.tile(np.arange(n), size))}
    frame = join([point(name, {"t_s": float(i)}) for i, name in enumerate(ids)], pa.table(columns), ["t_s"])
    with_images(frame, **{name: (n, str([10] * 800 + [0] * 200)) for name in ids})
    table = summarize(frame)
    assert table["se_images"].tolist() == pytest.approx([np.sqrt(0.8 * 0.2 / 999)] * size)
