"""A chip programmed in pieces is the chip programmed layer by layer, bit for bit."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rramsweep.crossbar import pieces
from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset, Sliced
from rramsweep.crossbar.pieces import DRAWN, NetworkCells, cuts
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian, Ideal, RelativeDrift, Stuck, StuckLines, Variation
from rramsweep.groups import STAGES
from tests.presets import OPTIONS, device_of, law_of

SHAPES = {"a": (7, 5), "b": (4, 3, 3, 3), "c": (1, 1), "d": (61, 37), "e": (50, 16), "f": (96, 5, 3, 3), "g": (3, 700)}
CHAIN = {"programming": Gaussian(0.03), "relaxation": Gaussian(0.07), "drift": RelativeDrift(0.1)}
STUCK = {"faults": Stuck(0.1, 0.1, cv_lrs=0.1)}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """So that some layers are put together, some stand alone and some are cut."""
    monkeypatch.setattr(pieces, "PIECE", 512)
    monkeypatch.setattr(pieces, "CUT", 256)
    monkeypatch.setattr(pieces, "SMALL", 1000)


def weights_of(shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def programmed(cells, weights, seed=3, t_s=3600.0):
    """Every weight of a chip, as `NetworkCells` hands it over in its units."""
    found = {name: torch.full_like(weight, float("nan")) for name, weight in weights.items()}

    def write(name, weight, rows):
        assert found[name][rows].isnan().all(), "handed over twice"
        found[name][rows] = weight

    for unit in cells.units:
        cells.program(unit, seed, t_s, write)
    return found


def check(spec, weights=None, whole=(), parts=None):
    weights = weights or weights_of()
    parts = parts or dict.fromkeys(weights, 1)
    cells = NetworkCells(weights, dict.fromkeys(weights, spec), parts, whole)
    found = programmed(cells, weights)
    for name, weight in weights.items():
        expected = program(map_layer(name, weight, spec, parts[name]), 3, 3600.0).weight()
        assert torch.equal(found[name], expected), name
        assert torch.equal(cells.ideal(name).weight(), map_layer(name, weight, spec, parts[name]).weight())
    return cells


@pytest.mark.parametrize(("group", "option"), [one for one in OPTIONS if one[0] != "read_noise"])
def test_every_law_gives_the_same_chip_in_pieces(group, option, tmp_path):
    law = law_of(group, option, tmp_path)
    cells = check(LayerSpec(device_of(law), Differential(), **{group: law}))
    assert (len(cells.units) < len(SHAPES)) == getattr(law, "cellwise", False)


@pytest.mark.parametrize(
    "mapping",
    [
        Differential(),
        ConstantSum(scale="per_channel"),
        Offset(w_max="percentile"),
        Sliced(),
        Sliced("offset", 4, 2, "per_channel"),
    ],
)
@pytest.mark.parametrize("effects", [{}, CHAIN, CHAIN | STUCK], ids=["ideal", "chain", "stuck"])
def test_stages_and_mappings_give_the_same_chip_in_pieces(mapping, effects):
    check(LayerSpec(Device(1.0, 100.0, 0.1), mapping, **effects))


@pytest.mark.parametrize(
    ("mapping", "kept"),
    [(Differential(), True), (Offset(), True), (Sliced(slices=1), True), (Sliced(slices=2), False), (Sliced(), False)],
    ids=repr,
)
def test_targets_of_slices_count_towards_what_is_kept(mapping, kept):
    weights = weights_of({"e": (50, 16)})  # of at most 1,000 pairs of cells
    cells = NetworkCells(weights, {"e": LayerSpec(Device(1.0, 100.0), mapping)}, {"e": 1})
    assert (cells.ideal("e") is cells.ideal("e")) == kept


def test_parts_have_their_own_scale_in_pieces_too():
    weights = weights_of({"small": (12, 5), "large": (80, 33)})
    for k, part in enumerate(weights["large"].chunk(4)):
        part *= k + 1
    check(LayerSpec(Device(1.0, 100.0), Differential(), **CHAIN), weights, parts={"small": 3, "large": 4})


def test_weights_in_another_memory_format_are_the_same_chip():
    weights = {name: w.to(memory_format=torch.channels_last) if w.dim() == 4 else w for name, w in weights_of().items()}
    check(LayerSpec(Device(1.0, 100.0), Differential(), **CHAIN), weights)


@pytest.mark.parametrize("law", [{"variation": Variation(0.1, share_column=0.5)}, {"faults": StuckLines(0.1, 0.1)}])
def test_laws_of_whole_arrays_are_given_whole_arrays(law):
    seen = []

    class Watched(type(next(iter(law.values())))):
        def __call__(self, cells, rng):
            seen.append(tuple(cells.g_uS.shape))
            return super().__call__(cells, rng)

    (stage, effect), weights = next(iter(law.items())), weights_of()
    watched = Watched(**dataclasses.asdict(effect))
    spec = LayerSpec(Device(1.0, 100.0), Differential(), **{stage: watched})
    programmed(NetworkCells(weights, dict.fromkeys(weights, spec), dict.fromkeys(weights, 1)), weights)
    assert sorted(seen) == sorted(2 * list(SHAPES.values()))


def test_a_law_of_a_user_is_cut_only_where_it_says_so():
    class Mine:
        version = 1

        def __call__(self, cells, rng):
            return cells.g_uS + rng.normal(cells.g_uS.shape)

    cells = check(LayerSpec(Device(1.0, 100.0), Differential(), drift=Mine()))
    assert cells.units == {name: w.numel() for name, w in weights_of().items()}


def test_a_law_that_derives_from_one_of_each_cell_may_look_at_whole_arrays():
    class Mine(Gaussian):
        def __call__(self, cells, rng):
            return cells.g_uS + super().__call__(cells, rng).mean()

    cells = check(LayerSpec(Device(1.0, 100.0), Differential(), drift=Mine(0.1)))
    assert len(cells.units) == len(SHAPES)


def test_layers_that_are_wanted_whole_stand_alone():
    cells = check(LayerSpec(Device(1.0, 100.0), Differential(), **CHAIN), whole={"a", "d"})
    assert {"a", "d"} <= cells.units.keys()
    assert cells.units["a"] == 35


def test_layers_of_two_specs_are_not_put_together():
    weights, device = weights_of(dict.fromkeys("abcd", (5, 5))), Device(1.0, 100.0)
    one, other = (LayerSpec(device, Differential(), drift=RelativeDrift(r)) for r in (0.1, 0.2))
    specs = {"a": one, "b": other, "c": one, "d": other}
    cells = NetworkCells(weights, specs, dict.fromkeys(weights, 1))
    assert cells.units == {"a": 50, "b": 50}
    for name, weight in programmed(cells, weights).items():
        assert torch.equal(weight, program(map_layer(name, weights[name], specs[name]), 3, 3600.0).weight())


def test_few_targets_are_kept(monkeypatch):
    monkeypatch.setattr(pieces, "SMALL_IN_ALL", 200)
    cells = check(LayerSpec(Device(1.0, 100.0), Differential(), **CHAIN))
    assert cells._kept.keys() == {"a", "b", "c"}


@given(rows=st.integers(1, 300), row=st.integers(1, 200))
def test_pieces_begin_where_torch_begins_to_draw(rows, row):
    found = list(cuts(torch.empty(rows, row)))
    assert [s.start for s in found] == [0, *[s.stop for s in found[:-1]]]
    assert found[-1].stop == rows
    assert all(s.start * row % DRAWN == 0 for s in found)
    assert all((s.stop - s.start) * row >= DRAWN for s in found) or len(found) == 1


def test_a_cut_elsewhere_would_be_seen(monkeypatch):
    monkeypatch.setattr(pieces, "DRAWN", 1)
    with pytest.raises(AssertionError, match="d"):
        check(LayerSpec(Device(1.0, 100.0), Differential(), **CHAIN), weights_of({"d": (61, 37)}))


def test_every_stage_counts():
    assert set(CHAIN) | {"variation", "faults"} == set(STAGES)
    assert Ideal.cellwise
