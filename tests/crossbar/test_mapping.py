"""Weights to cells and back, for every mapping and every scale."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rramsweep.crossbar.mapping import ConstantSum, Differential, Offset
from rramsweep.crossbar.programming import LayerSpec, map_layer, program
from rramsweep.devices.device import Device
from rramsweep.effects import Gaussian

KINDS = [Differential, ConstantSum, Offset]
OPEN = Device(1.0, 100.0, edge="none")
FINITE = st.one_of(st.just(0.0), st.floats(1e-6, 3), st.floats(-3, -1e-6))
MATRICES = st.integers(1, 5).flatmap(
    lambda columns: st.lists(st.lists(FINITE, min_size=columns, max_size=columns), min_size=1, max_size=5)
)


@given(
    values=MATRICES,
    kind=st.sampled_from(KINDS),
    scale=st.sampled_from(["per_tensor", "per_channel"]),
    window=st.sampled_from([(1.0, 100.0), (0.0, 40.0), (50.0, 225.0)]),
)
def test_round_trip_is_exact_to_rounding(values, kind, scale, window):
    weight = torch.tensor(values)
    layer = map_layer("fc", weight, LayerSpec(Device(*window, edge="none"), kind(scale=scale)))
    # A conductance is kept to 6e-8 of g_max, which a weight sees as g_max / span of that.
    rounding = 4e-7 * window[1] / (window[1] - window[0])
    limit = rounding * (layer.full_scale.expand_as(weight) + 1e-30)
    assert ((layer.weight() - weight).abs() <= limit).all()


@given(values=MATRICES, kind=st.sampled_from(KINDS), levels=st.integers(2, 40))
def test_quantised_targets_lie_in_the_window_half_a_level_from_the_weight(values, kind, levels):
    weight = torch.tensor(values)
    device = Device(1.0, 100.0, levels=levels)
    layer = map_layer("fc", weight, LayerSpec(device, kind()))
    for target in layer.target_uS.values():
        assert target.min() >= 1.0
        assert target.max() <= 100.0
    # Half a level a cell; the offset reference sits on a level, so the window ends half a level short on one side.
    half_levels = {Differential: 1, ConstantSum: 2, Offset: 4}[kind]
    limit = float(layer.full_scale) * (half_levels * 0.5 / (levels - 1) + 1e-6)
    assert (layer.weight() - weight).abs().max() <= limit


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", [OPEN, Device(1.0, 100.0, step_uS=0.1), Device(1.0, 100.0, levels=16)])
def test_weight_zero_is_exact_and_the_largest_weight_fills_the_window(kind, device):
    layer = map_layer("fc", torch.tensor([-2.0, 0.0, 2.0]), LayerSpec(device, kind()))
    w = layer.weight()
    assert w[1] == 0.0, "zero must be the balanced point"
    assert layer.target_uS["p"][2] == 100.0
    if kind is not Offset or device.levels is None:
        torch.testing.assert_close(w, torch.tensor([-2.0, 0.0, 2.0]), rtol=2e-6, atol=0)


def test_cells_of_each_mapping():
    weight = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    cells = {kind: map_layer("fc", weight, LayerSpec(OPEN, kind())).target_uS for kind in KINDS}
    assert cells[Differential]["p"].tolist() == [1.0, 1.0, 50.5, 100.0]
    assert cells[Differential]["n"].tolist() == [100.0, 1.0, 1.0, 1.0]
    assert cells[ConstantSum]["p"].tolist() == [1.0, 50.5, 75.25, 100.0]
    assert cells[ConstantSum]["n"].tolist() == [100.0, 50.5, 25.75, 1.0]
    assert cells[Offset]["p"].tolist() == [1.0, 50.5, 75.25, 100.0]
    assert set(cells[Offset]) == {"p"}


def test_mappings_share_the_draws_of_their_cells():
    weight = torch.randn(40, 30)

    def errors(kind):
        layer = program(map_layer("fc", weight, LayerSpec(OPEN, kind(), Gaussian(0.03))), 3)
        return {cell: g - layer.target_uS[cell] for cell, g in layer.g_uS.items()}

    pair, total, offset = (errors(kind) for kind in KINDS)
    for other in (total, offset):
        torch.testing.assert_close(pair["p"], other["p"], rtol=0, atol=2e-5)
    torch.testing.assert_close(pair["n"], total["n"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 3), (6,)])
def test_per_channel_scales_each_output_channel_by_itself(kind, shape):
    weight = torch.randn(*shape)
    weight[2] = 0
    weight[3] *= 100
    layer = map_layer("fc", weight, LayerSpec(Device(1.0, 100.0, levels=64), kind(scale="per_channel"), Gaussian(0.05)))
    expected = weight.abs().flatten(1).amax(1) if weight.dim() > 1 else weight.abs()
    assert torch.equal(layer.full_scale.flatten(), expected)
    noisy = program(layer, 0).weight()
    assert torch.count_nonzero(noisy[2]) == 0, "an all-zero channel stays zero"
    assert torch.count_nonzero(noisy[0]) > 0


def test_parts_of_a_weight_have_scales_of_their_own():
    weight = torch.tensor([[1.0, 10.0], [2.0, 30.0], [3.0, 4.0], [5.0, 6.0]])
    assert map_layer("lstm", weight, LayerSpec(OPEN, Differential()), parts=2).full_scale.tolist() == [
        [30],
        [30],
        [6],
        [6],
    ]
    per_channel = LayerSpec(OPEN, Differential(scale="per_channel"))
    assert map_layer("lstm", weight, per_channel, parts=2).full_scale.tolist() == [[10], [30], [4], [6]]


@pytest.mark.parametrize("kind", KINDS)
def test_percentile_saturates_larger_weights(kind):
    weight = torch.arange(1.0, 101.0)
    layer = map_layer("fc", weight, LayerSpec(OPEN, kind(w_max="percentile", percentile=90.0)))
    assert float(layer.full_scale) == 90.0
    torch.testing.assert_close(layer.weight(), weight.clamp(max=90.0), rtol=1e-5, atol=0)
    full = map_layer("fc", weight, LayerSpec(OPEN, kind(w_max="percentile", percentile=100.0)))
    assert float(full.full_scale) == 100.0


def test_a_percentile_of_zero_is_refused():
    weight = torch.zeros(1000)
    weight[0] = 1.0
    with pytest.raises(ValueError, match="must leave a weight above 0"):
        map_layer("fc", weight, LayerSpec(OPEN, Differential(w_max="percentile", percentile=99.0)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"scale": "per_row"}, "mapping.scale must be one of"),
        ({"w_max": "rms"}, "mapping.w_max must be one of"),
        ({"percentile": 0.0}, "percentile must lie above 0"),
        ({"percentile": 101.0}, "percentile must lie above 0"),
        ({"percentile": float("nan")}, "percentile must lie above 0"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_refuses(kind, arguments, says):
    with pytest.raises(ValueError, match=says):
        kind(**arguments)
