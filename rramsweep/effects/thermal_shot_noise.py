"""Thermal and shot noise of the cells' currents, from bandwidth, temperature and read voltage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from rramsweep.arguments import check_fields
from rramsweep.devices.streams import Stream
from rramsweep.effects.checks import above_zero, not_negative
from rramsweep.effects.protocol import EffectBase, Linear
from rramsweep.effects.reads import normal_read, per_output, weight_variance

# Exact by the definition of the SI units.
BOLTZMANN_J_PER_K = 1.380649e-23
CHARGE_C = 1.602176634e-19

_S_PER_US = 1e-6


@dataclass(frozen=True)
class ThermalShotNoise(EffectBase):
    """Johnson-Nyquist and shot noise of a bit line's current, white over the bandwidth and new at every read.

    `var(I) = 4 k T B sum G + 2 q B sum G |V|` (A^2), over the cells of the bit line (both cells of a pair), with
    `V = v_read_V x` on each word line. An output is `y = sum (dW/dG) G x`, so `var(y) = sum (dW/dG)^2 (4 k T B G +
    2 q B G v_read_V |x|) / v_read_V^2`. The thermal part does not depend on x: cells of word lines at 0 V, including
    padding, contribute too, and all positions of a convolution see the whole bit line. The noise is normal, because a
    current consists of many carriers.

    A negative activation is a read voltage of reversed polarity in the same read; the cells' I-V curve is assumed odd
    (ohmic). Arrays that read positive and negative inputs in two phases and subtract have the same shot noise and
    twice the thermal variance.

    Source: the usual formulas [D], as PytorX uses them for conductances [R]; shot noise with a Fano factor of 1 is an
    upper bound. At 300 K and 0.2 V: 0.14 % of a conductance of 1 uS at 1 MHz, 1.4 % at 100 MHz [D]. A copy of PytorX's
    law writes 100e6 Hz as `100*10e6`, which is 1 GHz [R].

    It does not include the noise of sense amplifier and converter, which is often larger.

    Args:
        bandwidth_Hz: noise bandwidth B of the read, at least 0; 0 is no noise.
        temperature_K: T of the cells, at least 0.
        v_read_V: read voltage of a full input of a DAC, above 0. Without a DAC (`dac=ideal`) it is the voltage of an
            activation of 1: with activations up to x_max, the largest voltage is `v_read_V x_max`.

    Raises:
        ValueError: a value is negative or not finite, or v_read_V is 0.
    """

    version: ClassVar[int] = 1

    bandwidth_Hz: float = 0.0
    temperature_K: float = 300.0
    v_read_V: float = 0.2

    def __post_init__(self) -> None:
        check_fields(self)
        not_negative("bandwidth_Hz", self.bandwidth_Hz)
        not_negative("temperature_K", self.temperature_K)
        above_zero("v_read_V", self.v_read_V, "the read voltage for an activation of 1 in volts, like 0.2")

    @property
    def silent(self) -> bool:
        """True for a bandwidth of zero."""
        return self.bandwidth_Hz == 0

    @property
    def thermal_A2_per_S(self) -> float:
        """Variance of the thermal current per siemens, `4 k T B`."""
        return 4 * BOLTZMANN_J_PER_K * self.temperature_K * self.bandwidth_Hz

    @property
    def shot_A2_per_A(self) -> float:
        """Variance of the shot current per ampere, `2 q B`."""
        return 2 * CHARGE_C * self.bandwidth_Hz

    def __call__(self, linear: Linear, x: Tensor, layer: Any, rng: Stream) -> Tensor:
        """Output of one read with thermal and shot noise, see `ReadEffect`."""
        # In uS^2 per uS: a variance of current (A^2) over v_read_V^2 is one of conductance (S^2).
        thermal_uS = self.thermal_A2_per_S / self.v_read_V**2 / _S_PER_US
        shot_uS = self.shot_A2_per_A / self.v_read_V / _S_PER_US
        per_uS = weight_variance(layer, (g_uS.clamp(min=0.0) for g_uS in layer.g_uS.values()))
        variance = linear(x.abs(), per_uS * shot_uS) + per_output(per_uS) * thermal_uS
        return normal_read(linear(x, layer.weight()), variance, rng)
