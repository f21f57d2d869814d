"""Every law of conf/ with its default parameters, and a window that it covers."""

from __future__ import annotations

from rramsweep.cli.catalog import conf_dir, read_yaml
from rramsweep.construct import build
from rramsweep.devices.device import Device
from rramsweep.groups import STAGES
from rramsweep.simulation.components import KINDS

TABLE = "g_uS,t_s,mu_uS,sigma_uS\n" + "\n".join(f"{g},{t},0.1,1" for g in range(0, 1001, 10) for t in (1, 1e5))

OPTIONS = [
    (group, path.stem)
    for group in (*STAGES, "read_noise")
    for path in sorted((conf_dir() / group).glob("*.yaml"))
    if path.stem != "ideal"
]


def law_of(group, option, folder):
    """The law of an option; one that asks for a table of the user's gets one, written to a folder."""
    node = read_yaml(conf_dir() / group / f"{option}.yaml")
    if node.get("path") == "???":
        node["path"] = str(folder / "table.csv")
        (folder / "table.csv").write_text(TABLE)
        node["kind"] = "increment"
    if option == "relative":
        node["relative_drift"] = 0.1
    return build(node, group, KINDS[group])


def device_of(law):
    """A window that the law covers."""
    for window in ((1.0, 40.0), (9.0, 39.0), (10.0, 40.0), (50.0, 225.0), (133.0, 233.0), (0.25, 25.0)):
        device = Device(*window)
        try:
            getattr(law, "check", lambda device: None)(device)
        except ValueError:
            continue
        return device
    raise AssertionError(f"no window for {law}")
