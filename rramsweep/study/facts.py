"""Facts kept of every trial: the columns of the store's tables."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# Power that the array draws for one input: `sum over pulses of sum_ij G_ij u_i^2`, u relative to a full input.
ARRAY = "cost.array_uS"

FACTS = pa.schema(
    [
        pa.field("point_id", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # ok or failed
        pa.field("error", pa.string()),  # null unless the trial failed
        pa.field("n_images", pa.int64()),
        pa.field("score", pa.float64()),  # the metric's value, in its unit
        pa.field("digital_score", pa.float64()),  # of the network with its own weights
        pa.field("ideal_score", pa.float64()),  # mapped and quantised, every effect ideal
        pa.field("n_correct", pa.int64()),  # from here to ideal_accuracy null unless the metric counts right inputs
        pa.field("n_lost", pa.int64()),  # digital right, chip wrong
        pa.field("n_gained", pa.int64()),  # digital wrong, chip right
        pa.field("accuracy", pa.float64()),  # n_correct / n_images
        pa.field("digital_accuracy", pa.float64()),
        pa.field("ideal_accuracy", pa.float64()),
        pa.field("chance_accuracy", pa.float64()),  # of one answer to every input; null in rows of older versions
        pa.field("agreement", pa.float64()),  # share of labels where chip and digital predict the same class
        pa.field("loss", pa.float64()),  # mean cross-entropy; null as agreement, and where a label is masked
        pa.field("seconds", pa.float64()),
        pa.field("batch_size", pa.int64()),  # from here on how the trial was run; null in rows of older versions
        pa.field("memory_format", pa.string()),
        pa.field("threads", pa.int64()),
        pa.field("accelerator", pa.string()),  # cpu, or what the GPU is
        pa.field("wires_kernel", pa.string()),  # what solved the wires, numba or torch; null where they are ideal
        pa.field("dac_clip_rate", pa.float64()),  # share of inputs outside their range in each layer's first read
        pa.field("adc_clip_rate", pa.float64()),  # of conversions, likewise; null without the converter
        pa.field("calibration.extra_parameters", pa.int64()),  # from here on null unless the chip was calibrated
        pa.field("calibration.extra_macs", pa.int64()),  # for one input
        pa.field("calibration.seconds", pa.float64()),  # of its fit, part of `seconds`
        pa.field(ARRAY, pa.float64()),  # null unless a cost was asked for and every layer has a DAC
    ]
)

# A score is an accuracy where the metric counts right inputs, and then stands in both columns.
ACCURACY_OF = {"score": "accuracy", "digital_score": "digital_accuracy", "ideal_score": "ideal_accuracy"}

POINTS = pa.schema([pa.field("point_id", pa.string(), nullable=False), pa.field("text", pa.string())])

# Two-level honesty: how many of these chips get each image right, a block of chips at a time.
IMAGES = pa.schema(
    [
        pa.field("point_id", pa.string(), nullable=False),
        pa.field("seeds", pa.list_(pa.int64()), nullable=False),
        pa.field("n_correct", pa.list_(pa.uint32()), nullable=False),
    ]
)

# A fragment of facts carries the answers by image of its own rows, on the first of each point: one write, so that a
# kill leaves both or neither. Up to scheme 2 they had fragments of their own.
IMAGE_COUNTS = pa.field("images", pa.list_(pa.struct([IMAGES.field("seeds"), IMAGES.field("n_correct")])))


def scored(facts: pa.Table) -> pa.Table:
    """Facts with the scores that scheme 1 left out: each row of it was a top-1 accuracy, and was called one."""
    for name, accuracy in ACCURACY_OF.items():
        filled = pc.coalesce(facts[name], facts[accuracy])
        facts = facts.set_column(facts.column_names.index(name), FACTS.field(name), filled)
    return facts
