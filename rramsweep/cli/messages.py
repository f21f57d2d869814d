"""What went wrong, in one line: constraint, value, remedy. Hydra's own errors get the nearest name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from rramsweep.cli.composing import conf_dir, read_yaml
from rramsweep.cli.vocabulary import EXTRAS, not_there, options
from rramsweep.errors import ValidationError
from rramsweep.study.folders import check_can_be_folder
from rramsweep.suggest import suggest

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
    except ValidationError as error:
        raise with_devices(error) from error.__cause__
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error)) from error


def explain(error: BaseException) -> str:
    """The message of an error and of what caused it, folded to one line."""
    parts: list[str] = []
    for cause in causes(error):
        if isinstance(cause, ValidationError):
            with_devices(cause)
        if (ours := _in_our_words(cause)) is not None:
            return ours
        if isinstance(cause, FileExistsError | NotADirectoryError) and isinstance(cause.filename, str):
            try:  # a folder that Hydra could not make
                check_can_be_folder(Path(cause.filename), "what is written to", "choose another folder")
            except ValidationError as taken:
                return str(taken)
        text = " ".join(str(cause).split())
        # What an OSError adds to its reason is a number, and often a temporary name.
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else text
        if text and not any(reason in part for part in parts):
            parts.append(text)
    return ": ".join(parts) or type(error).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def missing_key(error: BaseException) -> str | None:
    """The dotted key that an override names and no config has; None of any other error."""
    for cause in causes(error):
        if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            return str(cause.full_key)
    return None


def with_devices(error: ValidationError) -> ValidationError:
    """An error that asks for another device, with the names of those that the law covers, widest first."""
    if error.window_uS is None:
        return error
    low, high = error.window_uS
    windows = {path.stem: read_yaml(path) for path in sorted((conf_dir() / "device").glob("*.yaml"))}
    spans = {
        name: node["g_max_uS"] - node["g_min_uS"]
        for name, node in windows.items()
        if low <= node["g_min_uS"] and node["g_max_uS"] <= high
    }
    return error.naming(sorted(spans, key=lambda name: -spans[name])[:DEVICES])


def _in_our_words(cause: BaseException) -> str | None:
    """The message on what Hydra and OmegaConf say in fields; None on anything else."""
    if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
        group, _, option = cause.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and option in EXTRAS:
            return (
                f"the launcher {option} must be installed to be chosen, but its plugin is not: pip install "
                f"'rramsweep[{EXTRAS[option]}]'"
            )
        return f"{group} has no option {option!r}: {suggest(option, options(group))}" if group else None
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key} has no default: give {cause.full_key}=VALUE"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return not_there(str(cause.full_key))
    return None
