"""Options that may be the best, Holm's correction, and what they promise, by simulation and by hand."""

import numpy as np
import pytest
from scipy import stats

import rramsweep as rs
from rramsweep.analysis.comparison import compare
from rramsweep.analysis.frames import join
from rramsweep.analysis.ranking import best_p_values, rank
from rramsweep.intervals import binomial_tail, holm, t_p_value
from tests.analysis.test_frames import facts, failed, ok, point

A, B, C = (9, 8, 9, 10, 7, 9), (8, 7, 9, 9, 6, 7), (2, 1, 3, 2, 1, 3)


def options(first=0, **counts):
    """An option of `mapping` for each list of right images of 10, `None` a failed chip."""
    rows = []
    for name, chips in counts.items():
        for seed, right in enumerate(chips, first):
            rows.append(failed(name, seed) if right is None else ok(name, seed, right))
    return join([point(name, {"t_s": 1.0}, mapping=name) for name in counts], facts(*rows), ["mapping"])


# -- Holm


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([0.01, np.nan, 0.02], [0.02, np.nan, 0.02]),
        ([np.nan], [np.nan]),
    ],
)
def test_holms_adjusted_p_values(p, adjusted):
    assert holm(p) == pytest.approx(adjusted, nan_ok=True)


def test_holm_keeps_the_family_wise_error_whatever_the_shared_part():
    """Six true null hypotheses that share chips, 4,000 times: some test is significant in at most 5 %."""
    rng = np.random.default_rng(0)
    d = rng.standard_normal((4000, 6, 20)) + rng.standard_normal((4000, 1, 20))
    n = np.full((4000, 6), 20)
    p = t_p_value(d.mean(axis=2).ravel(), d.std(axis=2, ddof=1).ravel() / np.sqrt(20), n.ravel()).reshape(n.shape)
    wrong = int((holm(p) <= 0.05).any(axis=1).sum())
    assert binomial_tail(wrong, 4000, 0.05) > 1e-3
    assert int((p <= 0.05).any(axis=1).sum()) > 2 * wrong  # without it


def test_a_p_value_is_students_and_without_spread_that_of_the_sign_test():
    x = np.array([0.1, 0.3, -0.1, 0.2])
    found = t_p_value(np.array([x.mean(), 0.1, 0.0, 0.1]), np.array([stats.sem(x), 0, 0, 0]), np.array([4, 4, 4, 1]))
    assert found == pytest.approx([stats.ttest_1samp(x, 0).pvalue, 0.125, 1.0, np.nan], nan_ok=True)


def test_compare_corrects_for_the_number_of_comparisons():
    frame = options(a=A, b=B, c=C, d=(9, 9, 9, 10, 7, 9))
    plain = compare(frame, {"mapping": "a"})
    table = compare(frame, {"mapping": "a"}, correction="holm")
    own = [stats.ttest_rel(x, A).pvalue for x in (B, C, (9, 9, 9, 10, 7, 9))]
    assert table["p_value"].tolist() == pytest.approx([np.nan, *own], nan_ok=True)
    assert table["p_value_holm"].tolist() == pytest.approx([np.nan, *holm(own)], nan_ok=True)
    assert table["differs_holm"].tolist() == [False, True, True, False]
    assert [name for name in table if name not in plain] == ["p_value", "p_value_holm", "differs_holm"]
    assert table[plain.columns].equals(plain)
    with pytest.raises(ValueError, match="^correction must be one of none, holm, got 'bonferroni': pick one$"):
        compare(frame, {"mapping": "a"}, correction="bonferroni")


# -- ranks


def test_the_set_holds_what_may_be_best_by_hand():
    """Holm of the smallest of m tests is m times it: b loses to a, c to both."""
    table = rs.rank(options(c=C, b=B, a=A))
    assert table["mapping"].tolist() == ["a", "b", "c"]
    assert table["n"].tolist() == [6, 6, 6]
    assert table["score_mean"].tolist() == pytest.approx([np.mean(x) / 10 for x in (A, B, C)])
    b, c = (
        min(1.0, 2 * min(stats.ttest_rel(other, own, alternative="greater").pvalue for other in others))
        for own, others in ((B, (A, C)), (C, (A, B)))
    )
    assert table["p_value_holm"].tolist() == pytest.approx([1.0, b, c])
    assert table["may_be_best"].tolist() == [True, False, False]
    assert table["share_of_bootstrap_resamples_won"].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=0.01)
    assert table.attrs == {"by": ["mapping"]}


def test_where_lower_is_better_the_smallest_score_is_first():
    frame = options(a=A, b=B).assign(**{"metric.higher_is_better": False})
    table = rank(frame, by=["mapping"])
    assert table["mapping"].tolist() == ["b", "a"]
    assert table["may_be_best"].tolist() == [True, False]
    assert table["share_of_bootstrap_resamples_won"].tolist() == pytest.approx([1.0, 0.0], abs=0.01)


def test_equal_options_share_every_resample_and_stay():
    table = rank(options(a=A, b=A, c=C))
    assert table["may_be_best"].tolist() == [True, True, False]
    assert table["share_of_bootstrap_resamples_won"].tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_few_chips_that_agree_rule_nothing_out():
    """Two chips that both lose one image may be chance: 2 ** -2."""
    table = rank(options(a=(9, 8), b=(8, 7)))
    assert table["p_value_holm"].tolist() == pytest.approx([0.75, 0.25])
    assert table["may_be_best"].all()


def test_a_resample_is_won_as_often_as_the_binomial_says():
    """Of n chips b is better on one, by 5 images, and a on the n - 1 = 5 others, by one each.

    So b wins where the one is drawn more often than once, P(Binomial(n, 1/n) > 1), and half where it is drawn once.
    """
    n = 6
    table = rank(options(a=(5,) * n, b=(10, *(4,) * (n - 1))))
    share = stats.binom.sf(1, n, 1 / n) + stats.binom.pmf(1, n, 1 / n) / 2
    found = table.set_index("mapping")["share_of_bootstrap_resamples_won"]
    assert found["b"] == pytest.approx(share, abs=4 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize("lead", [0.0, 0.005])
def test_the_set_holds_the_best_option_in_95_percent(lead):
    """Five options that share their chips, the first the best one by ``lead`` or as good as all others."""
    rng, missed, repeats = np.random.default_rng(4), 0, 1500
    for _ in range(repeats):
        scores = 0.02 * rng.standard_normal((1, 12)) + 0.01 * rng.standard_normal((5, 12))
        scores[0] += lead
        missed += best_p_values(scores)[0] <= 0.05
    assert binomial_tail(missed, repeats, 0.05) > 1e-3
    assert missed > 0 or lead > 0


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (options(a=A), "rank needs at least 2 options, got 1: sweep another value, or name its column in by"),
        (options(a=A, b=(None, *B[1:])), "rank needs every chip finished, got 1 failed of seed 0: run them again with"),
        (
            options(a=A, b=B[:4]),
            "rank needs the same seeds of every option, got no seed 4 of mapping=b: sweep all with",
        ),
        (options(a=(9,), b=(8,)), "rank needs at least 2 chips an option, got 1: sweep more chips"),
        (options(a=A, b=B).iloc[:0], "rank needs at least 2 options, got 0"),
    ],
)
def test_what_cannot_be_ranked_is_refused(frame, says):
    with pytest.raises(ValueError, match=f"^{says}") as caught:
        rank(frame)
    assert "\n" not in str(caught.value)


def test_scores_of_several_metrics_and_pooled_options_are_refused():
    frame = options(a=A, b=B)
    units = frame["metric.unit"].where(frame["mapping"] == "a", "nat")
    with pytest.raises(ValueError, match=r"^rank needs scores of one metric, got .*: filter the frame$"):
        rank(frame.assign(**{"metric.unit": units}))
    with pytest.raises(ValueError, match="a group of chips must hold one point"):
        rank(frame, by=["t_s"])
    with pytest.raises(ValueError, match=r"columns must be in the frame, got 'maping': did you mean mapping\?"):
        rank(frame, by=["maping"])
