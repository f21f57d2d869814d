"""The same sweeps from Python: in a notebook, in a script."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pandas as pd
from omegaconf import DictConfig

from rramsweep.arguments import checked_arguments, user_level
from rramsweep.cli.composing import choices, composed_allowed, container, point_plan
from rramsweep.cli.composing import compose as compose_config
from rramsweep.cli.driver import compute
from rramsweep.cli.overrides import check, one_line, refuse_flags, refuse_unheeded
from rramsweep.cli.planning import plan_of
from rramsweep.errors import ValidationError
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan

__all__ = ["compose", "run", "sweep"]


@checked_arguments
def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the config of one point, as `rramsweep OVERRIDES...` does.

    Returns:
        The config, and in `choices` the option chosen in each group.

    Raises:
        ValueError: an unknown group, option or key, or a sweep.
    """
    with one_line():
        if not isinstance(overrides, str):
            refuse_flags(overrides, "compose", "rs.sweep([...]) sweeps over several values")
            check(overrides, single="rs.sweep([...]) sweeps over several")
            refuse_unheeded(overrides, "compose makes the config of one point for this process")
        return compose_config(overrides)


def run(cfg: DictConfig) -> pd.DataFrame:
    """Run the chips of one point and return their rows, those of the command line.

    What effects have to say of the device and time is a `UserWarning`, as in `sweep`.

    Args:
        cfg: from `compose`.

    Raises:
        ValueError: a parameter out of range, or a store that cannot be written.
    """
    if not isinstance(cfg, DictConfig):
        raise ValueError(f"run takes a config made by compose(), got {type(cfg).__name__}: run(compose([...]))")
    with one_line():
        allow = composed_allowed(cfg)
        given = ["allow_targets=[]"]  # checked above, where it came from
        plan, workbench = point_plan(container(cfg), choices(cfg), given, "rramsweep.run", allow)
        refuse_unheeded_settings(plan)
    return _compute(plan, workbench)


@checked_arguments
def sweep(overrides: Sequence[str]) -> pd.DataFrame:
    """Run a sweep and return its rows, those of `rramsweep -m OVERRIDES...`.

    Trials are kept in the store as on the command line, so that a second call computes nothing.

    Raises:
        ValueError: an unknown group, option or key, a point that refuses its parameters (before the first chip), or
            the store cannot be written.
    """
    with one_line():
        if not isinstance(overrides, str):
            refuse_flags(
                overrides, "sweep", "it is not needed from Python: sweep sweeps over several values as -m does"
            )
            check(overrides)
            refuse_unheeded(overrides, "sweep computes every trial in this process")
        plan, workbench = plan_of(overrides, "rramsweep.sweep")
        refuse_unheeded_settings(plan)
    return _compute(plan, workbench)


def refuse_unheeded_settings(plan: Plan) -> None:
    """Check that a config file sets nothing that a call from Python does not do.

    Raises:
        ValidationError: names the setting.
    """
    for name, default in (("preview", False), ("shards", 1)):
        value = getattr(plan.settings, name)
        if value != default:
            raise ValidationError(
                "is of the command line alone, since a call computes every trial in this process",
                f"add {name}={str(default).lower()}, or run it as rramsweep -m",
                value=value,
                parameter=name,
            )


def _compute(plan: Plan, workbench: Workbench) -> pd.DataFrame:
    for note in [*workbench.notes, *plan.settings.notes]:
        warnings.warn(note, UserWarning, stacklevel=user_level())
    return compute(plan, workbench)
