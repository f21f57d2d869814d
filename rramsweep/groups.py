"""Names of the config groups, and lists of those that make up a chip, a point and the columns of a table."""

from __future__ import annotations

# Once a chip, in the order of physics. Variation is the part of a cell's error that write-verify did not see, so it
# acts on what the errors over time have left. Faults come last, because a stuck cell ignores every other stage and the
# edge: its earlier value is overwritten.
STAGES = ("programming", "relaxation", "drift", "variation", "faults")

# The groups that decide a chip, one for each field of a `LayerSpec`.
CELL_GROUPS = ("device", "mapping", *STAGES, "read_noise", "tile", "wires", "iv", "dac", "adc")

# Keys of a config that are part of a point; all but `cost` decide its chips, and its identity.
POINT_KEYS = (*CELL_GROUPS, "calibration", "analog", "model", "data", "metric", "t_s", "accelerator", "cost")

# Key of a config that only hybrid chips have, which are made to split the spread between chips: `streams.Redraw`.
REDRAW = "redraw"

# Groups whose options only set the others.
SETTERS = ("technology", "macro")

# Config groups of a point, in the order of the table's columns.
GROUPS = (*SETTERS, *CELL_GROUPS, "calibration", "model", "data", "metric", "cost")

# Groups added after the first plans were stored -> the option that stands for them in those plans and tables, and its
# node (none for a setter).
ADDED: dict[str, tuple[str, dict[str, str] | None]] = {
    "macro": ("none", None),
    "tile": ("none", {"_target_": "rramsweep.crossbar.Ideal"}),
    "wires": ("ideal", {"_target_": "rramsweep.crossbar.Ideal"}),
    "iv": ("linear", {"_target_": "rramsweep.crossbar.Ideal"}),
    "dac": ("ideal", {"_target_": "rramsweep.crossbar.Ideal"}),
    "adc": ("ideal", {"_target_": "rramsweep.crossbar.Ideal"}),
    "calibration": ("none", {"_target_": "rramsweep.calibration.Ideal"}),
    "cost": ("none", {"_target_": "rramsweep.cost.NoCost"}),
}
