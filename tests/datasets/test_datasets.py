"""The embedded images are the source's, balanced in every prefix, and told apart by their digest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rramsweep.datasets import Data, Inputs, digits, fashion_mnist, npz
from rramsweep.datasets.embedded import FASHION_MNIST_MEAN, FASHION_MNIST_STD, FILES

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

SPLITS = [
    (fashion_mnist, "train", 4000, (1, 28, 28), 400),
    (fashion_mnist, "test", 1000, (1, 28, 28), 100),
    (digits, "train", 1447, (1, 8, 8), 139),
    (digits, "test", 350, (1, 8, 8), 35),
    (digits, "all", 1797, (1, 8, 8), 174),
]


def tiny(**changes):
    fields = {"x": torch.zeros(3, 1, 2, 2), "y": torch.tensor([0, 1, 1]), "name": "tiny", "n_classes": 2}
    return Data(**{**fields, **changes})


@pytest.mark.parametrize(("load", "split", "n", "shape", "rarest"), SPLITS)
def test_splits_have_the_documented_shapes(load, split, n, shape, rarest):
    data = load(split)
    assert data.x.shape == (n, *shape)
    assert data.x.dtype == torch.float32
    assert len(data) == n
    assert int(torch.bincount(data.y, minlength=10).min()) == rarest
    assert data.n_classes == 10
    assert split in data.name


@pytest.mark.parametrize(("load", "split", "n", "shape", "rarest"), SPLITS)
def test_every_prefix_is_balanced_until_the_rarest_class_runs_out(load, split, n, shape, rarest):
    counts = torch.nn.functional.one_hot(load(split).y, 10).cumsum(0)
    if (load, split) == (digits, "all"):
        # Test before train: balanced as far as both are.
        counts = counts[: 10 * (35 + 139)]
    spread = counts.amax(1) - counts.amin(1)
    assert int(spread[: 10 * rarest].max()) <= 1


@pytest.mark.parametrize("load", [fashion_mnist, digits])
def test_a_limit_keeps_a_prefix(load):
    whole, part = load(), load(limit=30)
    assert torch.equal(part.x, whole.x[:30])
    assert torch.bincount(part.y).tolist() == [3] * 10
    assert whole.take(None) is whole
    assert whole.take(len(whole)).digest() == whole.digest()


@pytest.mark.parametrize("limit", [0, -1, 351])
def test_a_limit_outside_the_data_is_refused(limit):
    with pytest.raises(ValueError, match=rf"limit must be in 1\.\.350, got {limit}: "):
        digits(limit=limit)


@pytest.mark.parametrize("load", [fashion_mnist, digits])
def test_an_unknown_split_is_refused_with_the_known_ones(load):
    with pytest.raises(ValueError, match=r"split must be one of train, test.*, got 'valid': "):
        load("valid")


@pytest.mark.parametrize(("load", "split"), [(fashion_mnist, "test"), (digits, "test"), (digits, "all")])
def test_loading_twice_gives_the_same_digest(load, split):
    assert load(split).digest() == load(split).digest()


def test_the_digest_sees_one_pixel_one_label_type_and_shape():
    data = digits(limit=20)
    x, y = data.x.clone(), data.y.clone()
    x[7, 0, 3, 3] += 1e-3
    y[7] = (y[7] + 1) % 10
    others = [
        Data(x, data.y, data.name, 10),
        Data(data.x, y, data.name, 10),
        Data(data.x.double(), data.y, data.name, 10),
        Data(data.x.reshape(20, 1, 4, 16), data.y, data.name, 10),
    ]
    assert len({data.digest(), *(other.digest() for other in others)}) == 5


def test_the_digest_sees_values_only_not_memory_layout_or_name():
    data = fashion_mnist(limit=20)
    strided = data.x.transpose(2, 3).contiguous().transpose(2, 3)
    assert not strided.is_contiguous()
    assert Data(strided, data.y, "another name", 10).digest() == data.digest()
    assert len(Data(data.x.bfloat16(), data.y, "half", 10).digest()) == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": torch.tensor([0, 1])}, "equally long, got 3 inputs and 2 targets: "),
        (
            {"x": torch.zeros(0, 1, 2, 2), "y": torch.zeros(0, dtype=torch.int64)},
            r"x must hold at least one value, got shape \(0, 1, 2, 2\): ",
        ),
        ({"y": torch.zeros(3, 0, dtype=torch.int64)}, r"y must hold at least one value, got shape \(3, 0\): "),
        ({"x": torch.full((3, 1, 2, 2), float("nan"))}, "finite, got 12 NaN or infinite values: "),
        ({"x": torch.full((3, 1, 2, 2), float("inf"))}, "finite, got 12 NaN or infinite values: "),
        ({"y": torch.tensor([0, 1, 2])}, r"labels must be in 0\.\.1, got 0\.\.2: "),
        ({"y": torch.tensor([-1, 1, 1])}, r"labels must be in 0\.\.1, got -1\.\.1: "),
        ({"x": torch.zeros(3, 1, 2, 2, dtype=torch.uint8)}, "floating point or int64 token ids, got torch.uint8: "),
        ({"x": torch.tensor(0.5)}, r"x must have the shape \(N, ...\), got \(\): "),
        ({"y": torch.tensor(1)}, r"y must have the shape \(N, ...\), got \(\): "),
        ({"x": torch.tensor([[0], [-1], [2]])}, "token ids must be at least 0, got -1 in x: "),
        (
            {"y": torch.tensor([0.0, 1.0, 1.0])},
            "n_classes belongs to integer labels, got 2 beside y of torch.float32: ",
        ),
        ({"y": torch.tensor([0.0, float("nan"), 1.0]), "n_classes": None}, "y must be finite, got 1 NaN or infinite"),
        ({"y": torch.tensor([0, 1, 1], dtype=torch.int32)}, "labels as torch.int64 .*, got torch.int32: "),
        ({"y": torch.tensor([True, False, True])}, "labels as torch.int64 .*, got torch.bool: "),
        ({"n_classes": 0}, "n_classes must be at least 1, got 0: "),
        ({"n_classes": None}, "n_classes must be at least 1, got None: "),
    ],
)
def test_wrong_data_is_refused_with_constraint_value_and_remedy(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"x": torch.zeros(3, 4)},
        {"x": torch.zeros(3)},
        {"x": torch.zeros(3, 7, dtype=torch.int64), "y": torch.ones(3, 7, dtype=torch.int64)},
        {"y": torch.zeros(3, 2), "n_classes": None},
        {"x": torch.zeros(3, 5, 6), "y": torch.zeros(3), "n_classes": None},
    ],
)
def test_vectors_sequences_and_numbers_to_predict_are_data_too(changes):
    data = tiny(**changes)
    assert len(data) == 3
    part = data.take(2)
    assert torch.equal(part.y, data.y[:2])
    assert part.n_classes == data.n_classes
    assert part.digest() != data.digest() == tiny(**changes).digest()


def test_an_npz_of_vectors_tokens_and_numbers(tmp_path):
    path = str(tmp_path / "mine.npz")
    x, y = np.arange(12, dtype=np.uint8).reshape(4, 3), np.linspace(0, 1, 8).reshape(4, 2)
    np.savez(path, x=x, y=y)
    data = npz(path, layout="any", scale=2.0)
    assert (data.x.dtype, data.y.dtype, data.n_classes) == (torch.float32, torch.float32, None)
    np.testing.assert_array_equal(data.x.numpy(), x / 2)
    np.testing.assert_allclose(data.y.numpy(), y, rtol=1e-7)
    np.savez(path, x=x, y=x)
    data = npz(path, layout="tokens", limit=2)
    assert (data.x.dtype, data.y.dtype, data.n_classes) == (torch.int64, torch.int64, 12)
    assert data.x.tolist() == data.y.tolist() == x[:2].tolist()
    assert npz(path, layout="tokens", n_classes=40).n_classes == 40


def test_the_scaling_constants_are_those_of_the_training_pixels():
    with np.load(FILES / "fashion_mnist.npz", allow_pickle=False) as arrays:
        pixels = arrays["x_train"].astype(np.float64) / 255
    assert pixels.mean() == pytest.approx(FASHION_MNIST_MEAN, abs=1e-5)
    assert pixels.std() == pytest.approx(FASHION_MNIST_STD, abs=1e-5)
    x = fashion_mnist("train").x
    assert abs(float(x.mean())) < 1e-3
    assert float(x.std()) == pytest.approx(1, abs=1e-3)


def test_digits_fill_0_to_1():
    x = digits("all").x
    assert float(x.min()) == 0
    assert float(x.max()) == 1


def test_the_embedded_files_stay_small_and_name_their_licences():
    assert sum(path.stat().st_size for path in FILES.glob("*.npz")) < 2_000_000
    licences = (FILES / "LICENSES.md").read_text()
    assert all(path.name in licences for path in FILES.glob("*.npz"))


def source(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"{SHARED / name} is not here")
    return np.load(SHARED / name, allow_pickle=False)


def interleaved(rows):
    """Row numbers per class -> one list that takes a row of each class in turn."""
    return [r[i] for i in range(max(map(len, rows))) for r in rows if i < len(r)]


@pytest.mark.parametrize(("split", "per_class"), [("train", 400), ("test", 100)])
def test_embedded_fashion_mnist_is_the_first_of_each_class_of_the_source(split, per_class):
    arrays = source("fashion_mnist_10k.npz")
    images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    rows = interleaved([np.flatnonzero(labels == c)[:per_class] for c in range(10)])
    with np.load(FILES / "fashion_mnist.npz", allow_pickle=False) as embedded:
        np.testing.assert_array_equal(embedded[f"x_{split}"], images[rows])
        np.testing.assert_array_equal(embedded[f"y_{split}"], labels[rows])
        assert embedded[f"x_{split}"].dtype == np.uint8
    x = torch.from_numpy(images[rows].astype(np.float32) / 255)[:, None]
    torch.testing.assert_close(fashion_mnist(split).x, (x - float(FASHION_MNIST_MEAN)) / float(FASHION_MNIST_STD))


def test_embedded_digits_are_the_source_split_as_documented():
    arrays = source("digits_8x8.npz")
    classes = [np.flatnonzero(arrays["y"] == c) for c in range(10)]
    test = [rows[2::5][:35] for rows in classes]
    train = [np.setdiff1d(rows, held) for rows, held in zip(classes, test, strict=True)]
    rows = interleaved(test) + interleaved(train)
    assert sorted(rows) == list(range(1797))
    data = digits("all")
    np.testing.assert_array_equal(data.x[:, 0].numpy(), arrays["x"][rows] / 16)
    np.testing.assert_array_equal(data.y.numpy(), arrays["y"][rows])
    assert torch.equal(digits("test").x, data.x[:350])
    assert torch.equal(digits("train").x, data.x[350:])


def test_without_others_keeps_the_rest_in_order():
    data = tiny(x=torch.tensor([5.0, 1.0, 3.0, 1.0]), y=torch.tensor([0, 1, 0, 1]))
    left = data.without(torch.tensor([1.0, 7.0]))
    assert (left.x.tolist(), left.y.tolist()) == ([5, 3], [0, 0])
    assert data.without(torch.tensor([2.0])) is data
    assert data.without(torch.tensor([3.0, 1.0, 5.0])) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.ones(3, 2), torch.ones(3, 2, dtype=torch.float64)),
        (torch.ones(3, 4), torch.ones(3, 2, 2)),
        (torch.ones(3, 2), Inputs((torch.ones(3, 2),))),
        (Inputs(kwargs={"a": torch.ones(3)}), Inputs(kwargs={"b": torch.ones(3)})),
        (Inputs((torch.ones(3, 2), torch.ones(3, 4))), Inputs((torch.ones(3, 4), torch.ones(3, 2)))),
        (torch.zeros(3, dtype=torch.bfloat16), torch.zeros(3, dtype=torch.float16)),
    ],
)
def test_inputs_of_another_form_are_others(one, other):
    data = tiny(x=one)
    assert data.without(other) is data
    assert data.without(one) is None


def test_the_digest_of_inputs_is_of_them_alone():
    data = tiny()
    assert data.inputs_digest() == tiny(y=torch.tensor([1, 1, 0]), name="other").inputs_digest()
    assert data.inputs_digest() != tiny(x=torch.ones(3, 1, 2, 2)).inputs_digest()
    assert data.inputs_digest() != data.digest()
