"""The statistical harness that every once-a-chip effect goes through.

A law gives the exact mean and standard deviation of a cell's conductance after the effect, and its distribution.
Tolerances follow from the sample: 4 standard errors for the mean and for the standard deviation (a false alarm in
about 16,000 checks), and a Kolmogorov-Smirnov p-value of 1e-4. Seeds are fixed, so a passing test keeps passing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from rramsweep.devices.device import Cells, Device
from rramsweep.devices.streams import Stream
from rramsweep.effects import Effect

N = 200_000
SIGMAS = 4.0
KS_FALSE_ALARM = 1e-4


@dataclass(frozen=True)
class Law:
    """One effect at one state of a cell.

    Args:
        name: shown in test ids.
        make: strength factor -> effect; 1.0 is the effect under test, 1.05 its mutation.
        g_uS, target_uS: conductance now and quantised target.
        mean_uS, sd_uS: closed form after the effect, edge `none`.
        cdf: distribution of the conductance after the effect, None where it has atoms.
        t_s: seconds since programming.
    """

    name: str
    make: Callable[[float], Effect]
    g_uS: float
    target_uS: float
    mean_uS: float
    sd_uS: float
    cdf: Callable[[np.ndarray], np.ndarray] | None = None
    t_s: float = 0.0


def sample(
    effect: Effect, g_uS: float, target_uS: float, device: Device, t_s: float = 0.0, seed: int = 0
) -> np.ndarray:
    """N cells in one state, after the effect, as float64."""
    now, target = torch.full((N,), g_uS), torch.full((N,), target_uS)
    before = now.clone(), target.clone()
    after = effect(Cells(now, target, device, t_s), Stream(seed, ("layer", "p", "stage")))
    assert torch.equal(now, before[0]), "an effect must leave the conductances it is given alone"
    assert torch.equal(target, before[1]), "an effect must leave the targets alone"
    assert after.shape == now.shape
    assert after.dtype == torch.float32
    return after.double().numpy()


def moments_match(x: np.ndarray, mean: float, sd: float) -> None:
    """Mean and standard deviation within 4 standard errors of the sample."""
    n = len(x)
    assert abs(x.mean() - mean) < SIGMAS * sd / np.sqrt(n) + 1e-5 * abs(mean), f"mean {x.mean()} is not {mean}"
    kurtosis = np.mean((x - x.mean()) ** 4) / x.var() ** 2
    error = np.sqrt((kurtosis - 1) / (4 * n))
    assert abs(x.std() / sd - 1) < SIGMAS * error, f"standard deviation {x.std()} is not {sd}"


def follows(law: Law, effect: Effect, device: Device) -> None:
    """Assert that an effect obeys a law: moments, and distribution where it has one."""
    x = sample(effect, law.g_uS, law.target_uS, device, law.t_s)
    moments_match(x, law.mean_uS, law.sd_uS)
    if law.cdf is not None:
        p = stats.kstest(x, law.cdf).pvalue
        assert p > KS_FALSE_ALARM, f"distribution differs, p = {p}"
