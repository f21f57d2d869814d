"""Consistency of the parts of a layer's spec: errors that would be counted twice, and notes on odd combinations."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from collections.abc import Mapping as Map
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from typing import cast

import torch
from torch import Tensor

from rramsweep.crossbar.mapping import Mapping, Sliced
from rramsweep.devices.device import Device
from rramsweep.effects.protocol import Effect, Noted, declared
from rramsweep.errors import EffectName, Sentence, ValidationError, placed

# Error of the ideal chip above which a note mentions the levels: half of the limit of `inspect`. A pair of cells with
# 8 levels (conf/device/ihp_hfo2) has 0.165, one with 4 levels 0.38.
IDEAL_ERROR_LIMIT = 0.20

# Rounding to an integer moves a number by at most this.
HALF_A_STEP = 0.5

# Standard deviations at which normal weights fill the window, as in the closed forms of whole layers.
W_MAX_STD = 4.0
WEIGHTS = 2001


def check_double_counting(effects: Map[str, Effect]) -> None:
    """Check that no error after the write contains another.

    A total error against the target must be the only one. After a law that contains the error up to some time (`at_s`
    of a total, `until_s` of an increment), only a law that begins at that time or later may follow. Nothing may follow
    a law that contains all later times, not even a law without time: `RelativeDrift` is the retention that a measured
    law contains.

    Args:
        effects: `{stage: effect}` of programming, relaxation and drift, in this order.

    Raises:
        ValueError: names both stages and the remedy.
    """
    before: list[str] = []  # stages whose error has been applied
    covered_s = 0.0  # time after the write that a total, or a relaxation with its drift, covers
    for stage, effect in effects.items():
        if declared(effect, "silent"):
            continue
        name = {"law": effect_name(stage, effect)}
        if declared(effect, "kind") == "total":
            if before:
                raise ValidationError(
                    Sentence(
                        "{law} is the total error against the target and must stand alone, but "
                        f"{' and '.join(before)} would be counted twice",
                        name,
                    ),
                    f"set {' and '.join(f'{b}=ideal' for b in before)}",
                )
            covered_s = declared(effect, "at_s")
        elif covered_s == math.inf:
            raise ValidationError(
                Sentence(
                    f"{{law}} must begin where {' and '.join(before)} ends, but that holds all later times, its drift "
                    "included, which would be counted twice",
                    name,
                ),
                f"set {stage}=ideal",
            )
        elif covered_s > 0 and (stage == "relaxation" or declared(effect, "t0_s") is not None):
            t0_s = declared(effect, "t0_s") or 0.0
            if t0_s < covered_s:
                raise ValidationError(
                    Sentence(
                        f"{{law}} must begin where {' and '.join(before)} ends, at t0_s >= {covered_s:g} s, but "
                        f"begins at {t0_s:g} s and would be counted twice",
                        name,
                    ),
                    f"set {stage}=ideal, or {_later_start(stage, effect)}",
                )
        covered_s = max(covered_s, declared(effect, "until_s"))
        before.append(stage)


def retention_notes(effects: Map[str, Effect], t_s: float) -> list[Sentence]:
    """Note on a chip that is read later than its programming error was measured, with no law in between."""
    programming = effects["programming"]
    at_s = declared(programming, "at_s")
    moved = not all(declared(effects[stage], "silent") for stage in ("relaxation", "drift"))
    if declared(programming, "kind") != "total" or moved or t_s <= at_s:
        return []
    return [
        Sentence(
            f"{{law}} is the error at {at_s:g} s after the write and no relaxation or drift follows it, so the cells "
            f"stand still and a chip read at {t_s:g} s is that of {at_s:g} s: add a law that begins there, or set "
            f"t_s={at_s:g}",
            {"law": effect_name("programming", programming)},
        )
    ]


def time_notes(effects: Map[str, object], t_s: float) -> list[Sentence]:
    """Note on each law of time whose chip is read just after programming, unless it has notes of its own."""
    return [
        Sentence(
            f"{{law}} is a law of time from t0_s={t0_s} on, but is read at t_s=0, just after programming: "
            "give the time of reading, like t_s=1h",
            {"law": effect_name(slot, effect)},
        )
        for slot, effect in effects.items()
        if t_s == 0 and (t0_s := declared(effect, "t0_s")) is not None and not isinstance(effect, Noted)
    ]


def quantisation_notes(mapping: Mapping, device: Device) -> list[Sentence]:
    """Note on a device and a mapping whose quantisation alone changes the weights much."""
    try:
        error = _kept_error(cast(Hashable, mapping), device)
    except TypeError:  # a user's own mapping may have no hash
        error = ideal_error(mapping, device)
    if error <= IDEAL_ERROR_LIMIT:
        return []
    bits, more = "", "a device of more levels"
    if isinstance(mapping, Sliced):
        bits, more = f" of {mapping.bits} bits", "more mapping.slices or mapping.bits_per_cell on levels that hold them"
    return [
        Sentence(
            f"{{device}} of {_levels(device)} under {{mapping}}{bits} leaves the weights of an ideal chip "
            f"{100 * error:.2g} % from the digital ones, without any effect (normal weights that fill the window at "
            f"{W_MAX_STD:g} standard deviations) [D, derived in closed form]: take a network trained for so few "
            f"levels, mapping.w_max=percentile or mapping.scale=per_channel, or {more}",
            {"device": effect_name("device", device), "mapping": effect_name("mapping", mapping)},
        )
    ]


def slice_notes(mapping: Mapping, device: Device) -> list[Sentence]:
    """Note on slices whose digits the device's levels do not hold: off by more than the rounding to their bits."""
    if not isinstance(mapping, Sliced):
        return []
    off = float(mapping.digit_errors(device).abs().max())
    units = off * (2**mapping.bits - 1) / mapping.top
    if units <= HALF_A_STEP:
        return []
    return [
        Sentence(
            f"{{mapping}} writes digits of {mapping.top + 1} values, but the {_levels(device)} of {{device}} do not "
            f"hold them: a digit is off by up to {off:.2g} of a step, a weight of the ideal chip by up to {units:.2g} "
            f"steps of its {mapping.bits} bits: take device.step_uS=null device.levels={_fewest_levels(mapping)}, or "
            "no levels",
            {"device": effect_name("device", device), "mapping": effect_name("mapping", mapping)},
        )
    ]


def _levels(device: Device) -> str:
    if device.levels:
        return f"{device.levels} levels"
    return "continuous conductances" if device.step_uS is None else f"steps of {device.step_uS:g} uS"


def _fewest_levels(mapping: Sliced) -> int:
    """Smallest number of levels that holds the digits; a constant sum needs them on both sides of mid-window."""
    return 2 * mapping.top + 1 if mapping.base == "constant_sum" else mapping.top + 1


def ideal_error(mapping: Mapping, device: Device) -> float:
    """|W_ideal - W| / |W| of normal weights with W_max = 4 standard deviations, mapped and quantised.

    Levels spaced by s standard deviations give about s / sqrt(12): 4 / (L - 1) for L levels of a one-sided pair,
    twice that for a constant sum or an offset.
    """
    w = _normal_weights()
    full_scale = torch.tensor(W_MAX_STD)
    targets = mapping.targets(w, full_scale, device)
    cells = {cell: device.quantise(g_uS) for cell, g_uS in targets.items()}
    return float((mapping.weight(cells, full_scale, device) - w).norm() / w.norm())


_kept_error = lru_cache(maxsize=1024)(ideal_error)  # many points of a sweep share both


@cache
def _normal_weights() -> Tensor:
    """Quantiles of the standard normal, the same for every device."""
    quantiles: Tensor = torch.special.ndtri((torch.arange(WEIGHTS, dtype=torch.float64) + 0.5) / WEIGHTS)
    return quantiles.float()


def effect_name(slot: str, effect: object) -> EffectName:
    """Name of the effect in a slot."""
    return EffectName(type(effect).__name__, slot)


def _later_start(stage: str, effect: object) -> str:
    if is_dataclass(effect) and "t0_s" in (field.name for field in fields(effect)):
        return f"let it begin then with {stage}.t0_s"
    return "begin with an error of the write alone, as technology=neurram_relaxing does"


def run_check(slot: str, effect: object, check: Callable[[], None]) -> None:
    """Run an effect's own check and add the slot to its error.

    Raises:
        ValueError: as the check does.
    """
    try:
        check()
    except ValidationError as error:
        raise error.placed(slot) from None
    except ValueError as error:
        raise ValidationError(placed(str(error), slot, effect)) from None
