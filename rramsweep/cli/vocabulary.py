"""Every name of the command line, read from the folder of configs, and what to say of one that is not there."""

from __future__ import annotations

from rramsweep.cli.composing import CONFIG_NAME, conf_dir, read_yaml
from rramsweep.groups import GROUPS, POINT_KEYS
from rramsweep.suggest import nearest, suggest

# Hydra's name of a launcher that comes with a plugin -> the extra that installs it.
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}

_NOT_PARAMETERS = ("_target_", "defaults")


def options(group: str) -> list[str]:
    """The options of a group, those of Hydra's own launchers among them."""
    others = ("basic", *EXTRAS) if group == "hydra/launcher" else ()
    return sorted([*(path.stem for path in (conf_dir() / group).glob("*.yaml")), *others])


def settings() -> list[str]:
    """What is set beside the groups."""
    document = read_yaml(conf_dir() / f"{CONFIG_NAME}.yaml")
    return [key for key in document if key not in ("defaults", "hydra", "plan", "shard")] + ["experiment"]


def parameters(group: str) -> dict[str, list[str]]:
    """The parameters of a group under their override names, and the options that have each."""
    owners: dict[str, list[str]] = {}
    for path in sorted((conf_dir() / group).glob("*.yaml")):
        for key in read_yaml(path) or {}:
            if key not in _NOT_PARAMETERS:
                owners.setdefault(f"{group}.{key}", []).append(path.stem)
    return owners


def first_parameter(group: str) -> str | None:
    """The override name of what the group's default option names first, None where that has no parameter."""
    entries = read_yaml(conf_dir() / f"{CONFIG_NAME}.yaml")["defaults"]
    default = next((entry[group] for entry in entries if isinstance(entry, dict) and entry.get(group)), None)
    document = read_yaml(conf_dir() / group / f"{default}.yaml") if default else {}
    return next((f"{group}.{key}" for key in document or {} if key not in _NOT_PARAMETERS), None)


def not_there(key: str, what: str = "set") -> str:
    """The message on a name that is not there to be `what`: whose parameter it is, or what may have been meant."""
    group = key.split(".")[0]
    owners = parameters(group) if "." in key else {}
    if key in owners:
        others = " or ".join(f"{group}={option}" for option in owners[key])
        several = f", and where several options of {group} are swept write '{key}=choice(VALUE)' for those that have it"
        return (
            f"{key} is not there to be {what}, because it is a parameter of {others}: choose that too"
            f"{several if group in POINT_KEYS else ''}"
        )
    if owners:
        return f"{key} is not there to be {what}: {suggest(key, owners)}"
    roots = [*GROUPS, *settings()]
    every = [*roots, *(name for group in (*POINT_KEYS, "stopping") for name in parameters(group))]
    return f"{key} is not there to be {what}: {suggest(key, every if nearest(key, every) else roots)}"
