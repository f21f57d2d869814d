"""What went wrong, in one line: constraint, value, remedy. Hydra's own errors get the nearest name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from rramsweep.config import CONFIG_NAME, conf_dir, read_yaml
from rramsweep.names import suggest
from rramsweep.plan import GROUPS

# Hydra's name of a launcher that comes with a plugin -> the extra that installs it.
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}


@contextmanager
def one_line() -> Iterator[None]:
    """Turns what Hydra and OmegaConf refuse within it into a ValueError of one line, as on the command line.

    Raises:
        ValueError: they refused.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error)) from error


def explain(error: BaseException) -> str:
    """The message of an error and of what caused it, folded to one line."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        text = " ".join(str(cause).split())
        # What an OSError adds to its reason is a number, and often a temporary name.
        told = cause.strerror if isinstance(cause, OSError) and cause.strerror else text
        if text and not any(told in part for part in parts):
            parts.append(text)
        cause = cause.__cause__
    message = ": ".join(parts) or type(error).__name__
    for pattern, rewrite in _REWRITES:
        match = re.search(pattern, message)
        if match:
            return rewrite(match)
    return message


def _missing_extra(match: re.Match[str]) -> str:
    name = match["launcher"]
    return (
        f"the launcher {name} must be installed to be chosen, but its plugin is not: pip install "
        f"'rramsweep[{EXTRAS[name]}]'"
    )


def _several_values(match: re.Match[str]) -> str:
    return (
        f"a single point takes one value, got {match['given']}: add -m to sweep over them, or put them in brackets "
        "where the parameter is a list"
    )


def _unknown_option(match: re.Match[str]) -> str:
    group, _, option = match["path"].rpartition("/")
    return f"{group} has no option {option!r}: {suggest(option, _options(group))}"


def _unknown_key(match: re.Match[str]) -> str:
    key = match["key"]
    group = key.split(".")[0]
    owners = _parameters(group) if "." in key else {}
    if key in owners:
        others = " or ".join(f"{group}={option}" for option in owners[key])
        return (
            f"{key} is not there to be set, because it is a parameter of {others}: choose that too, or where {group} "
            f"is swept write {key}=choice(VALUE)"
        )
    return f"{key} is not there to be set: {suggest(key, owners or [*GROUPS, *_settings()])}"


def _missing(match: re.Match[str]) -> str:
    return f"{match['key']} has no default: give {match['key']}=VALUE"


def _options(group: str) -> list[str]:
    others = ("basic", *EXTRAS) if group == "hydra/launcher" else ()
    return sorted([*(path.stem for path in (conf_dir() / group).glob("*.yaml")), *others])


def _settings() -> list[str]:
    document = read_yaml(conf_dir() / f"{CONFIG_NAME}.yaml")
    return [key for key in document if key not in ("defaults", "hydra", "plan", "shard")] + ["experiment"]


def _parameters(group: str) -> dict[str, list[str]]:
    """The parameters of a group, and the options that have each."""
    owners: dict[str, list[str]] = {}
    for path in sorted((conf_dir() / group).glob("*.yaml")):
        for key in read_yaml(path):
            if key not in ("_target_", "defaults"):
                owners.setdefault(f"{group}.{key}", []).append(path.stem)
    return owners


# What Hydra and OmegaConf say -> what helps.
_REWRITES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (rf"Could not (?:find|load) 'hydra/launcher/(?P<launcher>{'|'.join(EXTRAS)})'", _missing_extra),
    (r"Ambiguous value for argument '(?P<given>[^']+)'", _several_values),
    (r"Could not find '(?P<path>[^']+)'", _unknown_option),
    (r"Could not override '(?P<key>[^']+)'", _unknown_key),
    (r"Missing mandatory value: .*full_key: (?P<key>[\w.]+)", _missing),
)
