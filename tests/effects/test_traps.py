"""Traps that other tools fell into (physics reference, section 13), each a regression test of its name.

Those of one law alone stand beside that law's tests, under names of the same form: 13.6, 13.7 and two of 13.10 in
`test_coverage`, 13.8 and 13.10 in `test_time_laws`, 13.10 in `test_read_noise`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

import rramsweep as rs
from rramsweep.cli.catalog import CATALOG
from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import (
    Gaussian,
    InverseProportional,
    Lognormal,
    Polynomial,
    RelativeDrift,
    Stuck,
    Variation,
    WriteVerify,
)
from tests.laws import SIGMAS, moments_match

OPEN = Device(1.0, 100.0, step_uS=0.1, edge="none")
N = 200_000


@dataclass(frozen=True)
class Shift:
    """Moves every cell by the same conductance."""

    version: ClassVar[int] = 1
    shift_uS: float = 5.0

    def __call__(self, cells, rng):
        return cells.g_uS + self.shift_uS


def cells_of(w, mapping=None, device=OPEN, seed=0, **effects):
    """A programmed layer of N weights of value w and one of 1, which fixes the scale."""
    weight = torch.full((N + 1,), w)
    weight[-1] = 1.0
    return program(map_layer("fc", weight, LayerSpec(device, mapping or Differential(), **effects)), seed)


# --- 13.1: conductances converted to weights and back after every stage ----------------------------------------------


def test_trap_13_1_a_pair_keeps_its_common_mode_from_stage_to_stage():
    layer = cells_of(0.0, programming=Shift(), drift=RelativeDrift(0.2, reference="current"))
    for cell in "pn":  # a pair of weight 0, mapped anew after the shift, would drift by 0.2 uS
        moments_match(layer.g_uS[cell][:-1].double().numpy(), 6.0, 0.2 * 6.0)


def test_trap_13_1_the_scale_is_that_of_the_digital_weights():
    layer = cells_of(0.5, programming=Gaussian(0.3))
    assert float(layer.full_scale) == 1.0
    assert float(layer.weight().abs().max()) > 1.5


def test_trap_13_1_noisy_cells_are_not_quantised_again():
    # A conductance of a float32 cell at random is within 1 % of a level of 0.1 uS in 2 % of the cases.
    g = cells_of(0.5, programming=Gaussian(0.03), relaxation=Gaussian(0.07)).g_uS["p"].double().numpy()
    level = (g - 1) / 0.1
    near = float((np.abs(level - np.round(level)) < 0.01).mean())
    assert abs(near - 0.02) < SIGMAS * np.sqrt(0.02 * 0.98 / N)


def test_trap_13_1_drift_acts_on_the_cells_that_stand():
    before = cells_of(0.5, programming=Gaussian(0.1))
    after = cells_of(0.5, programming=Gaussian(0.1), drift=RelativeDrift(0.01))
    change = (after.g_uS["p"] - before.g_uS["p"])[:-1].double().numpy()
    moments_match(change, 0.0, 0.01 * float(before.target_uS["p"][0]))
    assert np.corrcoef(change, before.g_uS["p"][:-1])[0, 1] < 0.01


# --- 13.2, 13.3: which conductances a weight becomes -----------------------------------------------------------------


@pytest.mark.parametrize("mapping", [Differential(), ConstantSum()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("w_min", [-0.3, -1.0, 0.0])
def test_trap_13_2_weight_0_is_a_balanced_pair_however_lopsided_the_weights_are(mapping, w_min):
    # A mapping of w_min..w_max to the window has its middle off 0.
    layer = map_layer("fc", torch.tensor([w_min, 0.0, 0.7]), LayerSpec(OPEN, mapping))
    assert layer.g_uS["p"][1] == layer.g_uS["n"][1]
    assert float(layer.weight()[1]) == 0.0


def test_trap_13_2_weight_0_of_an_offset_sits_on_its_reference():
    layer = map_layer("fc", torch.tensor([-0.3, 0.0, 0.7]), LayerSpec(OPEN, Offset()))
    assert float(layer.weight()[1]) == 0.0


@pytest.mark.parametrize("mapping", [Differential(), ConstantSum(), Offset()], ids=lambda m: type(m).__name__)
def test_trap_13_3_the_largest_weight_stays_inside_the_window(mapping):
    # (W / w_max) G_max about mid-window gives 100.5 and 0.5 uS in a window of 1-100 uS; D is what a weight spans.
    layer = map_layer("fc", torch.tensor([1.0, -1.0]), LayerSpec(OPEN, mapping))
    for g_uS in mapping.targets(torch.tensor([1.0, -1.0]), torch.tensor(1.0), OPEN).values():
        assert float(g_uS.min()) >= 1.0 - 1e-5
        assert float(g_uS.max()) <= 100.0 + 1e-5
    torch.testing.assert_close(layer.weight(), torch.tensor([1.0, -1.0]), atol=2e-3, rtol=0)


# --- 13.4: blocks without an effect, and a Python loop over kernels --------------------------------------------------


@dataclass(frozen=True)
class Counted:
    """Counts its calls, and the sizes of the arrays."""

    version: ClassVar[int] = 1
    calls: ClassVar[Counter] = Counter()

    def __call__(self, cells, rng):
        self.calls[cells.g_uS.numel()] += 1
        return cells.g_uS


def test_trap_13_4_a_convolution_is_one_array_a_cell_not_a_loop_over_kernels():
    Counted.calls.clear()
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    program(map_layer("conv", weight, LayerSpec(OPEN, Differential(), programming=Counted())), 0)
    assert Counted.calls == {weight.numel(): 2}


def test_trap_13_4_what_is_called_spatial_has_a_statistical_effect():
    # Of an error that a bit line has in common the variance of a sum of n cells is n times that of independent cells.
    n, lines = 64, 20_000
    cells = Cells(torch.full((lines, n), 50.0), torch.full((lines, n), 50.0), OPEN, 0.0)
    alone, common = (
        law(cells, Stream(0, ("fc", "p", "variation"))).double().sum(1).var()
        for law in (Variation(0.1), Variation(0.1, share_column=1.0))
    )
    assert float(common / alone) == pytest.approx(n, rel=SIGMAS * np.sqrt(4 / lines))
    with pytest.raises(TypeError, match="block_size"):
        Gaussian(0.03, block_size=64)


# --- 13.5: mean and standard deviation are all that is left of the chips ---------------------------------------------


def test_trap_13_5_every_chip_is_a_row_of_its_own(workdir):
    point = ["model=digits_mlp", "data=digits", "data.limit=40", "chips=6", "drift.relative_drift=0.5"]
    frame = rs.run(rs.compose(point))
    assert frame["seed"].tolist() == list(range(6))
    assert frame["score"].nunique() > 1
    summary = rs.summarize(frame)
    assert float(summary["q50"].iloc[0]) == pytest.approx(frame["score"].median())


# --- 13.8, 13.9: one draw for many cells, cells that no draw reaches -------------------------------------------------

DRAWN = {
    "gaussian": Gaussian(0.03),
    "relative drift": RelativeDrift(0.1),
    "polynomial": Polynomial([1.0], 0, 100),
    "write-verify": WriteVerify(1.0),
    "lognormal": Lognormal(0.1),
    "inverse": InverseProportional(0.01),
    "variation": Variation(0.1),
}


def one_level(effect):
    g = torch.full((200, 500), 50.0)
    return effect(Cells(g, g, OPEN, 0.0), Stream(0, ("fc", "p", "stage")))


@pytest.mark.parametrize("name", DRAWN)
def test_trap_13_8_cells_of_one_level_have_draws_of_their_own(name):
    # MNSIM draws once a level and layer.
    assert len(one_level(DRAWN[name]).unique()) > 50_000


def test_trap_13_8_sets_of_stuck_cells_do_not_overlap():
    # MemTorch draws the two sets independently: at rates of 0.5 a quarter of the cells would not be stuck.
    stuck = one_level(Stuck(0.5, 0.5))
    assert sorted(stuck.unique().tolist()) == [1.0, 100.0]
    assert abs(float((stuck == 100).float().mean()) - 0.5) < SIGMAS * 0.5 / np.sqrt(stuck.numel())


@pytest.mark.parametrize("name", DRAWN)
def test_trap_13_9_every_cell_moves_and_as_often_up_as_down(name):
    # NeuroSim's random drift takes a sign of {-1, 0, 1}, so a third of the cells never drifts.
    moved = one_level(DRAWN[name]) - 50
    median = -50 * (1 - np.exp(-(0.1**2) / 2)) if name == "lognormal" else 0.0
    assert float((moved == 0).float().mean()) < 1e-3
    up = float((moved > median).float().mean())
    assert abs(up - 0.5) < SIGMAS * 0.5 / np.sqrt(moved.numel())


# --- 13.10: names that mean two things -------------------------------------------------------------------------------


def test_trap_13_10_no_parameter_is_called_sa0_or_sa1():
    for group in ("faults", "technology"):
        names = [p.name.lower() for option in CATALOG.options(group) for p in option.parameters]
        assert not [name for name in names if "sa0" in name or "sa1" in name]
    lrs = one_level(Stuck(1.0, 0.0))
    assert (lrs == 100.0).all(), "stuck at LRS is high conductance"
