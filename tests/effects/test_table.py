"""A user's own law from a file: linear in G and log t, refused where the file ends, found again by its numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rramsweep.cli.main import main
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Gaussian, Table
from rramsweep.identity import describe
from tests.laws import Law, follows, moments_match, sample

DEVICE = Device(1.0, 100.0, edge="none")
G = np.array([1.0, 20.0, 40.0, 100.0])
T = np.array([0.01, 1.0, 1e5])
MU = np.array([[0.0, 0.3, 0.5], [-0.1, -0.4, -2.0], [0.2, -0.5, -2.1], [0.0, 0.0, -1.0]])
SIGMA = np.array([[0.7, 1.5, 2.2], [1.1, 2.3, 4.0], [0.9, 1.9, 3.6], [0.7, 1.5, 3.2]])


def rows(g=G, t=T, mu=MU, sigma=SIGMA):
    return [(g[i], t[j], mu[i, j], sigma[i, j]) for i in range(len(g)) for j in range(len(t))]


def write(path, lines, header="g_uS,t_s,mu_uS,sigma_uS"):
    path.write_text("\n".join([header, *(",".join(repr(float(x)) for x in line) for line in lines)]))
    return str(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "plain.csv"
    return write(path, zip(G, MU[:, 1], SIGMA[:, 1], strict=True), "g_uS,mu_uS,sigma_uS")


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tables") / "timed.csv", rows())


def expected(g, t=1.0):
    """mu and sigma by hand: along log t at the two neighbouring conductances, then along G."""
    j = min(max(int(np.searchsorted(T, t)) - 1, 0), len(T) - 2)
    u = math.log(t / T[j]) / math.log(T[j + 1] / T[j])
    i = min(max(int(np.searchsorted(G, g)) - 1, 0), len(G) - 2)
    v = (g - G[i]) / (G[i + 1] - G[i])
    at = [(1 - u) * law[:, j] + u * law[:, j + 1] for law in (MU, SIGMA)]
    return tuple((1 - v) * law[i] + v * law[i + 1] for law in at)


@pytest.mark.parametrize("g", [1.0, 13.0, 20.0, 33.3, 100.0])
@pytest.mark.parametrize("kind", ["total", "increment"])
def test_a_table_follows_its_law(plain, g, kind):
    mu, sd = expected(g)
    # a total is referred to the target, an increment to what stands
    now, target, mean = (30.0, g, g + mu) if kind == "total" else (g, 30.0, g + mu)
    law = Law("table", lambda k: Table(plain, kind, strength=k), now, target, mean, sd, stats.norm(mean, sd).cdf)
    follows(law, law.make(1.0), DEVICE)
    with pytest.raises(AssertionError):
        follows(law, law.make(1.05), DEVICE)


@settings(max_examples=20)
@given(g=st.floats(1, 100), log_t=st.floats(-2, 5))
def test_a_table_over_times_is_linear_in_log_time(timed, g, log_t):
    t = 10**log_t
    mu, sd = expected(g, t)
    x = sample(Table(timed, "total"), g, g, DEVICE, t_s=t)
    moments_match(x, g + mu, sd)
    assert stats.kstest(x, stats.norm(g + mu, sd).cdf).pvalue > 1e-4


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
@pytest.mark.parametrize("spaced", [np.linspace, np.geomspace])
def test_any_spacing_of_rows_is_interpolated_exactly(tmp_path, spaced, n):
    # Rows far closer than the steps of the search, and steps without any
    g = spaced(0.01, 100.0, n)
    mu = np.sin(3 * np.log(g))
    np.savez(tmp_path / "t.npz", g_uS=g, mu_uS=mu, sigma_uS=np.zeros(n))
    now = torch.cat([torch.rand(1000) * 100, 10 ** (4 * torch.rand(1000) - 2)]).clamp_(0.01, 100).view(2, -1)
    after = Table(str(tmp_path / "t.npz"))(Cells(now, now, Device(0.01, 100.0), 0.0), Stream(0))
    assert after.shape == now.shape
    np.testing.assert_allclose((after - now).numpy(), np.interp(now.numpy(), g, mu), atol=3e-5)


def test_strength_scales_shift_and_spread(plain):
    mu, sd = expected(40.0)
    moments_match(sample(Table(plain, strength=0.5), 40.0, 40.0, DEVICE), 40 + mu / 2, sd / 2)


def test_zero_strength_is_ideal_bit_for_bit(plain):
    g = torch.rand(1000) * 99 + 1
    assert Table(plain, strength=0.0)(Cells(g, g.flip(0), DEVICE, 0.0), Stream(1)) is g


def test_scaled_to_another_window(plain):
    device = Device(10.0, 200.0, edge="none")
    effect = Table(plain, outside="scale")
    effect.check(device)
    mu, sd = expected(30.0)
    moments_match(sample(effect, 60.0, 60.0, device), 60 + 2 * mu, 2 * sd)
    assert effect.notes(device, 0.0) == ["Table covers 1..100 uS and is scaled by 2 to a window that ends at 200 uS"]
    with pytest.raises(ValueError, match="what Table covers, 1..100 uS, got 10..200 uS"):
        Table(plain).check(device)


@pytest.mark.parametrize("t_s", [0.0, 0.001, 1e6])
def test_a_time_outside_is_refused_unless_clamped(timed, t_s):
    cells = Cells(torch.ones(3), torch.ones(3), DEVICE, t_s)
    with pytest.raises(
        ValueError, match=r"t_s must lie in the times of the table, 0.01..100000 s, got .*outside=clamp"
    ):
        Table(timed, "total").check_time(t_s)
    with pytest.raises(ValueError, match="t_s must lie in the times of the table"):
        Table(timed, "total")(cells, Stream(0))
    clamped = Table(timed, "total", outside="clamp")
    clamped.check_time(t_s)
    mu, sd = expected(30.0, min(max(t_s, T[0]), T[-1]))
    moments_match(sample(clamped, 30.0, 30.0, DEVICE, t_s=t_s), 30 + mu, sd)
    assert clamped.notes(DEVICE, t_s) == [f"Table covers 0.01..100000 s, so a chip at {t_s:g} s gets the nearest end"]


def test_an_increment_over_times_has_not_begun_before_t0(timed):
    g = torch.full((5,), 30.0)
    effect = Table(timed, t0_s=1.0)
    for t_s in (0.0, 0.5, 1.0):
        effect.check_time(t_s)
        (note,) = effect.notes(DEVICE, t_s)
        assert note == f"Table counts from 1 s, so at {t_s:g} s nothing has happened yet: give t_s"
        assert effect(Cells(g, g, DEVICE, t_s), Stream(0)) is g
    assert not torch.equal(effect(Cells(g, g, DEVICE, 2.0), Stream(0)), g)


def test_a_total_over_times_stands_alone(plain, timed):
    late = Table(timed, "total")
    assert late.at_s == math.inf
    LayerSpec(DEVICE, Differential(), relaxation=late)
    with pytest.raises(ValueError, match="relaxation=Table is the total error"):
        LayerSpec(DEVICE, Differential(), Gaussian(0.03), late)
    with pytest.raises(ValueError, match="drift=Table must begin where relaxation ends"):
        LayerSpec(DEVICE, Differential(), relaxation=late, drift=Table(plain))
    read_at = Table(plain, "total", at_s=1.0)
    with pytest.raises(ValueError, match="begins at 0 s and would be counted twice"):
        LayerSpec(DEVICE, Differential(), read_at, Table(plain))
    LayerSpec(DEVICE, Differential(), read_at, Table(plain, t0_s=1.0))
    assert read_at.notes(DEVICE, 0.0) == ["Table is the error at 1 s, so a chip read at 0 s has too much of it"]


def test_a_chip_over_times_keeps_its_draws(timed):
    spec = LayerSpec(DEVICE, Differential(), relaxation=Table(timed))
    layer = map_layer("fc", torch.randn(20, 20), spec)
    chips = [program(layer, 3, t_s).g_uS["p"] - layer.g_uS["p"] for t_s in (1.0, 1e5)]
    assert torch.corrcoef(torch.stack([chip.flatten() for chip in chips]))[0, 1] > 0.9


class TestIdentity:
    """A point is that of the numbers in the table, wherever and however they are kept."""

    def test_the_path_plays_no_part(self, timed, tmp_path):
        shuffled = [rows()[i] for i in np.random.default_rng(0).permutation(len(rows()))]
        other = tmp_path / "other.csv"
        write(other, shuffled)
        other.write_text("# measured on a Monday\n" + other.read_text())
        np.savez(tmp_path / "same.npz", g_uS=G, t_s=T, mu_uS=MU, sigma_uS=SIGMA)
        texts = {describe(Table(str(path))) for path in (timed, other, tmp_path / "same.npz")}
        assert len(texts) == 1
        assert "path" not in texts.pop()
        assert Table(timed) == Table(str(other))

    @pytest.mark.parametrize("which", range(4))
    def test_every_number_does(self, timed, tmp_path, which):
        arrays = {"g_uS": G, "t_s": T, "mu_uS": MU, "sigma_uS": SIGMA}
        name = list(arrays)[which]
        arrays[name] = arrays[name] * (1 + 1e-9)
        np.savez(tmp_path / "other.npz", **arrays)
        assert describe(Table(str(tmp_path / "other.npz"))) != describe(Table(timed))

    def test_a_moved_table_computes_nothing_again(self, workdir, capfd):
        for name in ("one.csv", "two.csv"):
            write(workdir / name, [(1, 0, 2), (100, -1, 3)], "g_uS,mu_uS,sigma_uS")
            main(["model=digits_mlp", "data=digits", "programming=table", f"programming.path={name}", "chips=2"])
        assert "every trial is in the store: nothing to compute" in capfd.readouterr().out

    def test_so_do_its_other_arguments(self, plain):
        tables = [Table(plain), Table(plain, "total"), Table(plain, t0_s=1.0), Table(plain, strength=0.5)]
        assert len({describe(table) for table in tables}) == 4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kind": "totals"}, r"kind must be one of total, increment, got 'totals'"),
        ({"outside": "widen"}, r"outside must be one of refuse, clamp, scale"),
        ({"strength": -1.0}, r"strength must be finite and at least 0"),
        ({"at_s": 1.0}, r"at_s belongs to kind=total, got at_s=1 of an increment: give t0_s"),
        ({"kind": "total", "t0_s": 1.0}, r"t0_s belongs to kind=increment, got t0_s=1 of a total: give at_s"),
    ],
)
def test_refuses(plain, more, message):
    with pytest.raises(ValueError, match=message):
        Table(plain, **more)


def test_refuses_a_time_beside_those_of_the_table(timed):
    with pytest.raises(ValueError, match="at_s belongs to a table without times, got at_s=1: leave it at 0"):
        Table(timed, "total", at_s=1.0)
