"""Trials of IBM's Analog Hardware Acceleration Kit: program the analog weights, let them drift a day, run the images.

The nearest it has to programming error, relaxation and drift of a resistive pair, without converters or read noise:

- `ReRamWan2022NoiseModel`, programming and then one day of retention, each a polynomial of the target conductance that
  is drawn for both cells of a pair;
- `forward.is_perfect`, so that inputs and outputs are not converted and the product is exact: the library's fast path;
- no drift compensation, one tile a layer however large, biases digital.

`TorchInferenceRPUConfig`, whose products torch computes, was faster on the MLP, the small CNN and LeNet-5 than
`InferenceRPUConfig`, whose products the library's own C++ tiles compute. The batch size is the fastest for each
network.
"""

from __future__ import annotations

from importlib.metadata import version

from aihwkit.inference import ReRamWan2022NoiseModel
from aihwkit.nn.conversion import convert_to_analog
from aihwkit.simulator.configs import TorchInferenceRPUConfig
from runner import Prepared, accuracy, fastest_batch, serve
from torch import nn

from rramsweep.datasets import Data

# The model knows 1 s, one day and two days.
DAY_S = 24 * 3600.0


def config() -> TorchInferenceRPUConfig:
    chosen = TorchInferenceRPUConfig(noise_model=ReRamWan2022NoiseModel(), drift_compensation=None)
    chosen.forward.is_perfect = True
    chosen.mapping.weight_scaling_omega = 1.0  # the largest weight of a layer is g_max
    chosen.mapping.max_input_size = chosen.mapping.max_output_size = 0  # no tiles
    return chosen


def prepare(network: str, model: nn.Module, data: Data) -> Prepared:
    analog = convert_to_analog(model, config()).eval()

    def trial(batch: int) -> float:
        analog.program_analog_weights()
        analog.drift_analog_weights(DAY_S)
        return accuracy(analog, data, batch)

    batch = fastest_batch(trial, len(data))
    return Prepared(lambda: trial(batch), batch)


serve("aihwkit", version("aihwkit"), "ReRamWan2022 noise, programming and one day, exact products", prepare)
