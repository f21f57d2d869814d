"""What went wrong, in one line: constraint, value, remedy. Hydra's own errors get the nearest name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from rramsweep.config import conf_dir, read_yaml
from rramsweep.names import suggest
from rramsweep.vocabulary import EXTRAS, not_there, options

# How many devices a message names.
DEVICES = 2


@contextmanager
def one_line() -> Iterator[None]:
    """Turns what is refused within it into the ValueError of one line that the command line prints.

    Raises:
        ValueError: Hydra or OmegaConf refused, or a law the device.
    """
    try:
        yield
    except ValueError as error:
        told = with_devices(str(error))
        if told == str(error):
            raise
        raise ValueError(told) from error.__cause__
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
    return with_devices(message)


def with_devices(message: str) -> str:
    """A message that asks for another device, with the names of those that the law in it covers, widest first."""
    match = _ANOTHER_DEVICE.search(message)
    if match is None:
        return message
    low, high = float(match["low"]), float(match["high"])
    windows = {path.stem: read_yaml(path) for path in sorted((conf_dir() / "device").glob("*.yaml"))}
    spans = {
        name: node["g_max_uS"] - node["g_min_uS"]
        for name, node in windows.items()
        if low <= node["g_min_uS"] and node["g_max_uS"] <= high
    }
    inside = sorted(spans, key=lambda name: -spans[name])[:DEVICES]
    if not inside:
        return message
    named = " or ".join(f"device={name}" for name in inside)
    return f"{message[: match.end()]} ({named}){message[match.end() :]}"


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
    return f"{group} has no option {option!r}: {suggest(option, options(group))}"


def _unknown_key(match: re.Match[str]) -> str:
    return not_there(match["key"])


def _missing(match: re.Match[str]) -> str:
    return f"{match['key']} has no default: give {match['key']}=VALUE"


# A law that covers another window than the device's, up to where a device is asked for.
_ANOTHER_DEVICE = re.compile(
    r"(?:in|covers,) (?P<low>[\d.e+-]+?)\.\.(?P<high>[\d.e+-]+) uS, got .*?"
    r"take (?:a device inside|another device)(?! \(device)"
)

# What Hydra and OmegaConf say -> what helps.
_REWRITES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (rf"Could not (?:find|load) 'hydra/launcher/(?P<launcher>{'|'.join(EXTRAS)})'", _missing_extra),
    (r"Ambiguous value for argument '(?P<given>[^']+)'", _several_values),
    (r"Could not find '(?P<path>[^']+)'", _unknown_option),
    (r"Could not override '(?P<key>[^']+)'", _unknown_key),
    (r"Missing mandatory value: .*full_key: (?P<key>[\w.]+)", _missing),
)
