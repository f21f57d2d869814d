"""The calibration of the chips of a point: inputs drawn for each, reference, fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rramsweep.calibration.fitting import changed, versions
from rramsweep.calibration.protocol import PROGRAMMED, Calibration
from rramsweep.datasets.inputs import AnyInputs
from rramsweep.devices.streams import SHARED, Chip, Stream, seed_of
from rramsweep.network.analog import AnalogNetwork
from rramsweep.network.corrections import Corrections
from rramsweep.network.recording import record


@dataclass(frozen=True, eq=False)
class ChipCalibration:
    """Calibrates chip after chip of an `AnalogNetwork`.

    The inputs of a chip are drawn by the stream `(calibration.seed, "calibration", chip)` alone: chips of a point
    differ in their cells and their inputs, and one chip under several `calibration.seed` in its inputs alone.

    Args:
        method: of calibration.
        pool: the inputs of `data.fitting`.
    """

    method: Calibration
    pool: AnyInputs

    def inputs(self, seed: Chip) -> AnyInputs:
        """The calibration inputs of chip `seed`."""
        name = ("calibration", str(seed_of(seed, SHARED, "calibration")))
        draws = Stream(self.method.seed, name).uniform((len(self.pool),))
        return self.pool[draws.argsort(stable=True)[: self.method.images]]

    def __call__(self, network: AnalogNetwork, seed: Chip) -> Corrections:
        """Fit the corrections of chip `seed`; the network then holds the chip as it was fitted, without them."""
        method, accelerator = self.method, network.accelerator
        parts = [accelerator.take(part) for part in method.parts(self.inputs(seed))]
        with accelerator.arithmetic(), torch.no_grad():
            reference = network.written(seed) if method.reference == PROGRAMMED else network.digital()
            recordings = record(reference, network.layers, parts)
            chip = network.programmed(seed, network.t_s if method.at_s is None else method.at_s, ("calibration",))
            before = versions(chip)
            corrections = method.calibrate(chip, recordings, network.layers)
        if versions(chip) != before:  # a user's method may change weights outside the fit of a layer, too
            raise changed(method, "the chip's weights")
        return corrections
