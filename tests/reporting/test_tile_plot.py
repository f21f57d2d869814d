"""The drop along the wires of one tile: the numbers of its frame, and the drawing of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import rramsweep as rs

POINT = ["model=digits_mlp", "data=digits", "tile=crossbar", "tile.rows=32", "tile.columns=16", "wires=segments"]
WIRES = ["wires.word_line_ohm=5", "wires.bit_line_ohm=3"]


@pytest.fixture(scope="module")
def drop():
    return rs.tile_drop([*POINT, *WIRES], "fc1", tile=1, cell="n")


def test_the_frame_has_the_drop_of_every_cell_of_the_tile(drop):
    assert drop.shape == (32, 16)
    assert drop.attrs == {"layer": "fc1", "tile": 1, "cell": "n", "seed": 0}
    # Weight 0 rests at g_min: where all cells are alike the drop grows from the driver and from the sense.
    assert drop.iloc[-1, 0] < drop.iloc[0, -1]
    assert (drop.to_numpy() > 0).all()


@pytest.mark.parametrize("wires", [["wires=ideal"], [f"wires.{name}_ohm=0" for name in ("word_line", "bit_line")]])
def test_wires_without_resistance_have_nothing_to_show(wires):
    with pytest.raises(ValueError, match="layer must have wires with a resistance, got 'fc1': add tile=crossbar"):
        rs.tile_drop([*POINT, *wires], "fc1")


def test_a_lone_cell_loses_what_its_series_resistance_takes():
    overrides = [*POINT[:3], "tile.rows=1", "tile.columns=1", "wires=segments", *WIRES, "wires.driver_ohm=100"]
    found = rs.tile_drop(overrides, "fc1", tile=5)
    assert found.shape == (1, 1)
    # Of a chain of resistors: 1 - G_eff / G = R / (R + 1 / G), for a G of the device's window.
    series_ohm, low, high = 108.0, 1e6 / 100.0, 1e6 / 1.0
    assert series_ohm / (series_ohm + high) * 0.99 <= float(found.iloc[0, 0]) <= series_ohm / (series_ohm + low) * 1.01


def test_the_plot_shows_the_frame_and_its_worst_cell(drop):
    ax = Figure(layout="constrained").subplots()
    assert rs.plot_tile(drop, ax) is ax
    (image,) = [artist for artist in ax.images if artist.get_gid() == "drop"]
    np.testing.assert_allclose(image.get_array(), 100 * drop.to_numpy())
    (caption,) = [text.get_text() for text in ax.texts if text.get_gid() == "caption"]
    assert f"largest {100 * drop.to_numpy().max():.2g} %" in " ".join(caption.split())
    assert "cells n of fc1, tile 1, chip 0" in " ".join(caption.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "fc9"}, r"layer must be an analog layer, got 'fc9': did you mean"),
        ({"layer": "fc1", "tile": 99}, r"tile must lie in 0\.\.\d+, the tiles of fc1, got 99"),
        ({"layer": "fc1", "cell": "q"}, r"cell must name an array of cells, got 'q': give p or n"),
    ],
)
def test_what_is_not_in_the_network_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rs.tile_drop([*POINT, *WIRES], **arguments)


def test_several_points_and_other_frames_are_refused():
    with pytest.raises(ValueError, match="must be one point"):
        rs.tile_drop([*POINT, "wires.word_line_ohm=1,2"], "fc1")
    with pytest.raises(ValueError, match="drop must be the frame of rramsweep.tile_drop"):
        rs.plot_tile(pd.DataFrame([[1.0]]))
