"""Wires in a network: which weights they change, that zero ohm changes none, and what they are refused for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.crossbar import ConstantSum, Crossbar, Differential, LayerSpec, Offset, Segments, Sliced
from rramsweep.crossbar.programming import map_layer, program
from rramsweep.devices import Device
from rramsweep.effects import Gaussian, Ideal, WhiteReadNoise
from rramsweep.network.arrays import find_arrays

DEVICE = Device(1.0, 100.0)
NOISE = WhiteReadNoise(0.02)
TILE, WIRES = Crossbar(16, 8), Segments(20.0, 10.0, 100.0, 50.0)


def spec(**changes):
    parts = {"mapping": Differential(), "programming": Gaussian(0.05), "tile": TILE, "wires": WIRES}
    return LayerSpec(**{"device": DEVICE, **parts, **changes})


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 12, 3, groups=2)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12)
        self.up = nn.ConvTranspose2d(12, 6, 2, groups=3)
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = self.up(self.depthwise(self.conv(x))).flatten(2).mT
        return self.head(self.lstm(x)[0][:, -1])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Grouped().eval()


def expected(array, layer):
    """Weight of a layer whose matrices are cut into tiles by hand."""

    def matrix(g_uS):
        lines = [
            torch.cat([WIRES.effective(tile.mT[None])[0].mT for tile in outputs.split(TILE.rows, 1)], 1)
            for outputs in g_uS.split(TILE.columns)
        ]
        return torch.cat(lines)

    p, n = (
        torch.cat([matrix(g) for g in layer.g_uS[cell].flatten(1).double().chunk(array.matrices)])
        for cell in ("p", "n")
    )
    return (p - n).view(layer.g_uS["p"].shape) * layer.full_scale / DEVICE.span_uS


def test_every_matrix_of_a_network_has_wires_of_its_own(network):
    arrays = find_arrays(network)
    assert arrays["conv"].matrices == 2
    assert arrays["up"].matrices == 3
    analog = rs.AnalogNetwork(network, dict.fromkeys(arrays, spec()))
    chip = find_arrays(analog.chip(3))
    for name, array in arrays.items():
        mapped = map_layer(name, array.to_array(array.weight.detach()), spec(wires=Ideal()), array.parts)
        layer = program(mapped, 3)
        weight = array.from_array(expected(array, layer).float())
        torch.testing.assert_close(chip[name].weight.detach(), weight, rtol=1e-5, atol=1e-6)
        assert (chip[name].weight.detach() - array.from_array(layer.weight())).norm() > 1e-3 * weight.norm()


@pytest.mark.parametrize("wires", [Ideal(), Segments()])
def test_wires_without_resistance_leave_every_bit(network, wires):
    x = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    arrays = find_arrays(network)
    with_tiles = rs.AnalogNetwork(network, dict.fromkeys(arrays, spec(wires=wires)))
    without = rs.AnalogNetwork(network, dict.fromkeys(arrays, spec(tile=Ideal(), wires=Ideal())))
    with torch.inference_mode():
        assert torch.equal(with_tiles.chip(1)(x).clone(), without.chip(1)(x))


def test_the_ideal_chip_has_ideal_wires_and_its_own_accuracy(network):
    x = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    analog = rs.AnalogNetwork(network, dict.fromkeys(find_arrays(network), spec()))
    with torch.inference_mode():
        torch.testing.assert_close(analog.ideal()(x), network(x), rtol=1e-4, atol=1e-5)


def test_chips_in_one_pass_have_the_wires_of_chips_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    analog = rs.AnalogNetwork(net, {"0": spec(), "3": spec()})
    x = torch.randn(6, 1, 8, 8)
    with torch.inference_mode():
        for found, seed in zip(analog.chips([2, 5])(x), [2, 5], strict=True):
            torch.testing.assert_close(found, analog.chip(seed)(x), rtol=1e-5, atol=1e-5)


def test_the_chip_of_pyrram_sims_interface_is_that_of_a_network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 4)).eval()
    chip = rs.FastPyTorchRRAM(net, 1e-6, 100e-6, G_step=None, tile=TILE, wires=WIRES, seed=7)
    chip.apply_programming_error(0.05)
    analog = rs.AnalogNetwork(net, {"0": spec(), "2": spec()})
    for found, swept in zip(
        chip.get_noisy_model_for_inference().parameters(), analog.chip(7).parameters(), strict=True
    ):
        assert torch.equal(found, swept)


def test_read_noise_of_a_cell_reaches_the_output_through_its_wires():
    net = nn.Linear(16, 8, bias=False).eval()
    noise = WhiteReadNoise(alpha_ind=0.02)
    analog = rs.AnalogNetwork(net, {"": spec(read_noise=noise, programming=Ideal())})
    x = torch.zeros(20_000, 16)
    x[:, 5] = 1.0
    with torch.inference_mode():
        found = analog.chip(0)(x).std(0).double()
    layer = map_layer("", net.weight.detach(), spec())
    transfer = sum((layer.effective_uS[cell] / layer.g_uS[cell]).square() for cell in ("p", "n"))[:, 5]
    sigma = 0.02 * 100.0 * float(layer.full_scale) / DEVICE.span_uS * transfer.sqrt()
    torch.testing.assert_close(found, sigma.double(), rtol=4 / (2 * 20_000) ** 0.5, atol=0)
    assert (transfer < 1.9).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tile": Ideal()},
            r"wires needs a crossbar, whose size says how long wires are, got tile=none: set tile=crossbar",
        ),
        ({"mapping": Offset()}, r"wires needs pairs of cells.*got mapping=offset: set mapping=differential"),
        (
            {"mapping": Sliced("offset")},
            r"wires needs pairs of cells.*got mapping.base=offset: set mapping.base=differential",
        ),
        ({"device": Device(1.0, 100.0, edge="none")}, r"wires needs conductances of at least 0, got device.edge=none"),
        (
            {"mapping": Offset(), "wires": Ideal(), "tile": Crossbar(16, 8, arrangement="interleaved")},
            r"tile.arrangement must be separate for a mapping without pairs of cells, got 'interleaved'",
        ),
        (
            {"mapping": Sliced("offset"), "wires": Ideal(), "tile": Crossbar(16, 8, arrangement="interleaved")},
            r"tile.arrangement must be separate for a mapping without pairs of cells.*mapping.base=differential",
        ),
    ],
)
def test_wires_without_a_place_are_refused_before_any_chip(changes, message):
    with pytest.raises(ValueError, match=message):
        spec(**changes)


@pytest.mark.parametrize("mapping", [Differential(), ConstantSum()])
def test_wires_lower_every_weight_of_a_pair_more_where_more_cells_conduct(mapping):
    weight = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    layer = map_layer("fc", weight, spec(mapping=mapping, programming=Ideal()))
    loss = 1 - float(layer.weight().norm() / layer.weight_of_cells().norm())
    assert 0 < loss < 0.2
    long = map_layer("fc", weight, spec(mapping=mapping, programming=Ideal(), wires=Segments(40.0, 20.0, 200.0, 100.0)))
    assert 1 - float(long.weight().norm() / long.weight_of_cells().norm()) > 1.5 * loss


def test_a_sweep_of_wires_is_paired_and_named(workdir):
    points = ["model=digits_mlp", "data=digits", "chips=3", "technology=pyrram", "tile=crossbar", "tile.rows=32"]
    frame = rs.sweep(
        [*points, "wires=segments", "wires.word_line_ohm=0,5", "wires.bit_line_ohm=0", "wires.driver_ohm=0"]
    )
    none = rs.sweep([*points[:4]])
    assert frame["tile"].eq("crossbar").all()
    without = frame[frame["wires.word_line_ohm"] == 0]
    assert without["loss"].tolist() == none["loss"].tolist()  # the same chips
    assert (frame[frame["wires.word_line_ohm"] == 5]["loss"].to_numpy() != without["loss"].to_numpy()).all()


def test_inspection_names_wires_as_a_cause(workdir):
    table = rs.inspect(
        ["model=digits_mlp", "data=digits", "chips=2", "tile=crossbar", "wires=segments", "wires.word_line_ohm=30"]
    )
    assert (table["by_wires"] > 0.01).all()
    assert (table["by_drift"] == 0).all()
    ideal = rs.inspect(["model=digits_mlp", "data=digits", "chips=2"])
    assert (ideal["by_wires"] == 0).all()


def test_a_whole_tile_that_memory_cannot_solve_is_refused_and_one_of_used_cells_is_not(monkeypatch):
    monkeypatch.setattr("rramsweep.crossbar.programming.available_memory", lambda: 1_000_000_000)
    parts = {"tile": Crossbar(4096, 4096, fill="whole"), "wires": Segments(1.0, 1.0)}
    with pytest.raises(ValueError, match=r"tile must be solved within 80 % of the memory available, 1 GB, got 4096 x"):
        LayerSpec(Device(1.0, 100.0), Differential(), **parts)
    LayerSpec(Device(1.0, 100.0), Differential(), **{**parts, "tile": Crossbar(4096, 4096)})
    LayerSpec(Device(1.0, 100.0), Differential(), **{**parts, "tile": Crossbar(512, 512, fill="whole")})


@pytest.mark.parametrize("moved", [lambda layer: layer.to(torch.device("meta")), lambda layer: layer.read_by(NOISE)])
def test_wires_that_are_solved_are_not_solved_again_for_the_same_cells(monkeypatch, moved):
    layer = program(map_layer("fc", torch.randn(6, 20), spec()), 0)
    solved = layer.effective_uS
    monkeypatch.setattr(Crossbar, "effective_uS", lambda *args: pytest.fail("solved again"))
    kept = moved(layer)
    assert kept.effective_uS.keys() == solved.keys()
    assert all(kept.effective_uS[cell].device == kept.g_uS[cell].device for cell in solved)
