"""Inputs in several tensors: one length, slices, batches, shapes, digests; from arrays, samples and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from rramsweep.datasets import Data, Inputs, from_dataset, npz
from rramsweep.datasets.inputs import call, each_input, gathered, mapped, same, sizes, tensors
from rramsweep.errors import ValidationError

IDS = torch.arange(15).view(5, 3)
MASK = IDS % 2 == 0
PIXELS = torch.rand(5, 1, 2, 2)
Y = torch.tensor([0, 1, 0, 1, 1])
BOTH = Inputs((PIXELS,), {"ids": IDS, "mask": MASK})


def test_parts_batches_and_copies_are_those_of_each_tensor():
    assert (len(BOTH), BOTH.shape) == (5, (5,))
    assert list(tensors(BOTH)) == ["x[0]", "ids", "mask"]
    part = BOTH[1:3]
    assert torch.equal(part.args[0], PIXELS[1:3])
    assert torch.equal(part.kwargs["ids"], IDS[1:3])
    chosen = BOTH[torch.tensor([4, 0])]
    assert torch.equal(chosen.kwargs["mask"], MASK[[4, 0]])
    batches = BOTH.split(2)
    assert [len(batch) for batch in batches] == [2, 2, 1]
    for name, tensor in tensors(BOTH).items():
        assert torch.equal(torch.cat([tensors(batch)[name] for batch in batches]), tensor)
    copied = BOTH.clone()
    assert same(copied, BOTH)
    copied.kwargs["ids"][0, 0] = 7
    assert not same(copied, BOTH)
    assert BOTH.kwargs["ids"][0, 0] == 0


def test_a_lone_tensor_is_the_simplest_case():
    assert list(tensors(IDS)) == ["x"]
    assert (sizes(PIXELS), each_input(PIXELS)) == ([5, 1, 2, 2], "shape (1, 2, 2)")
    assert sizes(BOTH) == {"x[0]": [5, 1, 2, 2], "ids": [5, 3], "mask": [5, 3]}
    assert each_input(BOTH) == "shapes x[0] (1, 2, 2), ids (3,), mask (3,)"
    assert torch.equal(mapped(IDS, torch.neg), -IDS)
    assert torch.equal(mapped(BOTH, torch.clone).kwargs["ids"], IDS)
    assert call(lambda x: x, IDS) is IDS
    assert call(lambda *args, **kwargs: (args, list(kwargs)), BOTH) == (BOTH.args, ["ids", "mask"])


@pytest.mark.parametrize(
    ("given", "args", "kwargs"),
    [
        ((PIXELS, IDS), 2, []),
        ([PIXELS, IDS], 2, []),
        ({"ids": IDS, "mask": MASK}, 0, ["ids", "mask"]),
        (BOTH, 1, ["ids", "mask"]),
    ],
)
def test_data_take_inputs_in_any_form(given, args, kwargs):
    data = Data(given, Y, "several", 2)
    assert (len(data.x.args), list(data.x.kwargs)) == (args, kwargs)
    assert gathered((PIXELS,)) is PIXELS
    few = data.take(2)
    assert (len(few), len(few.x)) == (2, 2)
    spread = data.spread(3)
    assert torch.equal(spread.y, Y[[0, 2, 4]])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"input tensors must be equally long, got none"),
        ({"a": IDS, "b": IDS[:4]}, r"input tensors must be equally long, got a 5, b 4: give one row an input in each"),
        ({"a": IDS, "b": torch.tensor(1)}, r"b must be a tensor of shape \(N, \.\.\.\), got shape \(\): unsqueeze it"),
        ({"a": IDS, "b": "text"}, r"b must be a tensor of shape \(N, \.\.\.\), got str"),
        ({"a": IDS, "b": IDS.int()}, r"b must be floating point or int64 token ids, or a bool mask, got torch.int32"),
        ({"a": IDS, "b": torch.full((5, 2), float("nan"))}, r"b must be finite, got 10 NaN or infinite values"),
        ({"a": IDS, "b": torch.zeros(5, 0)}, r"b must hold at least one value, got shape \(5, 0\)"),
        ((IDS[:3], IDS[:3]), r"x and y must be equally long, got 3 inputs and 5 targets"),
    ],
)
def test_inputs_that_do_not_belong_together_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Data(given, Y, "several", 2)


def test_a_digest_knows_names_and_not_their_order():
    def digest(x):
        return Data(x, Y, "several", 2).digest()

    assert digest({"ids": IDS, "mask": MASK}) == digest({"mask": MASK, "ids": IDS})
    others = [{"ids": IDS, "masks": MASK}, {"ids": IDS, "mask": ~MASK}, (IDS, MASK), (MASK, IDS), {"ids": IDS}, IDS]
    assert len({digest(x) for x in [{"ids": IDS, "mask": MASK}, *others]}) == 7
    many = tuple(torch.full((5,), float(i)) for i in range(12))
    assert digest(many) != digest(many[::-1])


def test_ignored_labels_are_no_classes(tmp_path):
    y = torch.tensor([[0, 1, -100], [2, -100, -100], [1, 1, 1], [0, 0, 0], [2, 2, 2]])
    assert Data(IDS, y, "tokens", 3).n_classes == 3
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.2, got -1\.\.2: .*, or set ignore_index=-1 where"):
        Data(IDS, y.masked_fill(y == 0, -1), "tokens", 3)
    with pytest.raises(
        ValidationError, match=r"y must hold at least one label that is scored, got -100s: check ignore"
    ):
        Data(IDS, torch.full((5, 3), -100), "tokens", 3)
    for ignored in (-100, -1, 255):
        np.savez(tmp_path / "t.npz", x=IDS.numpy(), y=y.masked_fill(y == -100, ignored).numpy())
        data = npz(str(tmp_path / "t.npz"), layout="tokens", ignore_index=ignored)
        assert torch.equal(data.y, y)
        assert data.n_classes == 3


# -- arrays of a file


@pytest.fixture
def arrays(tmp_path):
    def save(**given):
        np.savez(tmp_path / "several.npz", **{name: np.asarray(value) for name, value in given.items()})
        return str(tmp_path / "several.npz")

    return save


@pytest.mark.parametrize(
    ("given", "changes", "inputs"),
    [
        ({"ids": IDS, "mask": MASK, "y": Y}, {}, ["ids", "mask"]),
        ({"ids": IDS, "mask": MASK, "labels": Y}, {}, ["ids", "mask"]),
        ({"ids": IDS, "mask": MASK, "z": Y}, {"labels": "z"}, ["ids", "mask"]),
        ({"ids": IDS, "mask": MASK, "y": Y}, {"inputs": ["mask"]}, ["mask"]),
        ({"x": PIXELS, "mask": MASK, "y": Y}, {"inputs": ["x", "mask"]}, ["x", "mask"]),
        ({"ids": IDS.int(), "y": Y}, {"layout": "any"}, ["ids"]),
    ],
)
def test_each_array_of_a_file_is_an_argument(given, changes, inputs, arrays):
    data = npz(arrays(**given), **changes)
    assert list(data.x.kwargs) == inputs
    assert torch.equal(data.y, Y)
    for name in inputs:
        assert torch.equal(data.x.kwargs[name], given[name].long() if name == "ids" else given[name])


def test_arrays_beside_x_are_left_out_and_said(arrays):
    data = npz(arrays(x=PIXELS, mask=MASK, y=Y), layout="any")
    assert torch.equal(data.x, PIXELS)
    assert data.notes[0].endswith("mask beside x and y are not used: data.inputs=[x,...] names what is")
    assert npz(arrays(x=PIXELS, y=Y), layout="any").notes == ()


@pytest.mark.parametrize(
    ("given", "changes", "says"),
    [
        (
            {"ids": IDS, "mask": MASK},
            {},
            r"path must hold labels beside ids, mask, as an array y, labels or label, got .*: save them",
        ),
        ({"ids": IDS, "y": Y}, {"labels": "label"}, r"labels must be of the arrays ids, y, got 'label': name them"),
        ({"ids": IDS, "y": Y}, {"inputs": ["id"]}, r"inputs must be of the arrays ids, y, got 'id'"),
        ({"ids": IDS, "y": Y}, {"inputs": ["ids", "y"]}, r"inputs must name at least one array beside the labels 'y'"),
        ({"ids": IDS, "y": Y}, {"inputs": []}, r"inputs must name at least one array"),
        (
            {"ids": IDS, "y": Y},
            {"scale": 255.0},
            r"layout, scale, mean and std are of one array x, but .* gives ids by",
        ),
        ({"ids": IDS, "y": Y}, {"layout": "tokens"}, r"layout, scale, mean and std are of one array x"),
        ({"ids": ["a"] * 5, "y": Y}, {}, r"ids must hold numbers or a mask, .*, got dtype <U1 of shape \(5,\)"),
        ({"ids": IDS, "mask": MASK[:3], "y": Y}, {}, r"input tensors must be equally long, got ids 5, mask 3"),
    ],
)
def test_arrays_that_make_no_inputs_are_refused(given, changes, says, arrays):
    with pytest.raises(ValueError, match=says):
        npz(arrays(**given), **changes)


# -- samples


class Samples(Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]


ROWS = range(5)
DICTS = [{"ids": IDS[i], "mask": MASK[i], "labels": Y[i]} for i in ROWS]


@pytest.mark.parametrize(
    "samples",
    [
        Samples(DICTS),
        Samples([{"ids": IDS[i].tolist(), "mask": MASK[i].numpy(), "label": int(Y[i])} for i in ROWS]),
        Samples([({"ids": IDS[i], "mask": MASK[i]}, Y[i]) for i in ROWS]),
        DataLoader(Samples(DICTS), batch_size=2),
        DataLoader(Samples([({"ids": IDS[i], "mask": MASK[i]}, Y[i]) for i in ROWS]), batch_size=3),
    ],
)
def test_samples_with_names_are_arguments(samples):
    data = from_dataset(samples)
    assert same(data.x, Inputs(kwargs={"ids": IDS, "mask": MASK}))
    assert torch.equal(data.y, Y)
    assert (data.n_classes, data.name) == (2, "Samples")
    lone = from_dataset(samples, inputs=["ids"], limit=3)
    assert list(lone.x.kwargs) == ["ids"]
    assert len(lone) == 3


@pytest.mark.parametrize(
    "samples",
    [
        TensorDataset(IDS, MASK, Y),
        Samples([((IDS[i], MASK[i]), int(Y[i])) for i in ROWS]),
        Samples([[IDS[i], MASK[i], Y[i]] for i in ROWS]),
        DataLoader(TensorDataset(IDS, MASK, Y), batch_size=4),
    ],
)
def test_samples_without_names_are_positions(samples):
    data = from_dataset(samples)
    assert same(data.x, Inputs((IDS, MASK)))
    assert torch.equal(data.y, Y)


def test_a_loader_of_pairs_is_its_tensors():
    data = from_dataset(DataLoader(TensorDataset(PIXELS, Y), batch_size=2))
    assert torch.equal(data.x, PIXELS)
    assert data.name == "TensorDataset"


RAGGED = [
    {"ids": IDS[i][: 1 + i % 3], "mask": torch.ones(1 + i % 3).long(), "labels": IDS[i][: 1 + i % 3]} for i in ROWS
]


def collated(rows):
    """A batch as a collator pads it: to the longest of its own sequences."""
    longest = max(len(row["ids"]) for row in rows)
    fill = {"ids": 9, "mask": 0, "labels": -100}
    return {
        key: torch.stack([torch.nn.functional.pad(row[key], (0, longest - len(row[key])), value=value) for row in rows])
        for key, value in fill.items()
    }


@pytest.mark.parametrize("samples", [Samples(RAGGED), DataLoader(Samples(RAGGED), batch_size=2, collate_fn=collated)])
def test_sequences_of_different_lengths_are_padded_and_their_labels_ignored(samples):
    data = from_dataset(samples, padding={"ids": 9})
    for i in ROWS:
        n = 1 + i % 3
        assert data.x.kwargs["ids"][i].tolist() == [*IDS[i, :n].tolist(), *[9] * (3 - n)]
        assert data.x.kwargs["mask"][i].tolist() == [1] * n + [0] * (3 - n)
        assert data.y[i].tolist() == [*IDS[i, :n].tolist(), *[-100] * (3 - n)]
    with pytest.raises(
        ValueError, match=r"samples must have one shape and type, got ids \(\d,\) .*data\.padding={ids: 0}"
    ):
        from_dataset(samples)


def test_a_mask_of_what_is_padded_is_padded_as_it_is_told():
    rows = [{"ids": IDS[i][: 1 + i], "ignored": torch.zeros(1 + i, dtype=torch.bool), "labels": 0} for i in range(3)]
    mask = from_dataset(Samples(rows), padding={"ignored": 1}).x.kwargs["ignored"]
    assert mask.tolist() == [[False, True, True], [False, False, True], [False, False, False]]


def test_any_key_may_hold_the_labels():
    data = from_dataset(Samples(RAGGED), padding={}, labels="mask", inputs=["ids", "labels"])
    assert data.y.tolist()[0] == [1, -100, -100]
    assert list(data.x.kwargs) == ["ids", "labels"]


def test_a_lone_sequence_is_padded_under_its_own_name():
    data = from_dataset(Samples([(IDS[0], 0), (IDS[1][:2], 1)]), padding={"x": 4})
    assert data.x.tolist() == [[0, 1, 2], [3, 4, 4]]


@pytest.mark.parametrize(
    ("samples", "changes", "says"),
    [
        (
            [DICTS[0], {"ids": IDS[0], "labels": Y[0]}],
            {},
            r"samples must have the same inputs in each, got ids, mask in",
        ),
        (DICTS, {"labels": "target"}, r"labels must be of the arrays ids, mask, labels, got 'target'"),
        (DICTS, {"inputs": ["id"]}, r"inputs must be of the arrays ids, mask, labels, got 'id'"),
        ([({"ids": IDS[0]}, 1)], {"inputs": ["mask"]}, r"inputs must be of the arrays ids, .*got 'mask'"),
        ([(IDS[0], 1)], {"inputs": ["ids"]}, r"data\.inputs names keys of a dict, got \['ids'\]: leave it out"),
        (DICTS, {"padding": {"id": 0}}, r"padding must name inputs, ids, mask, got 'id'"),
        (DICTS, {"padding": {"ids": 0.5}}, r"padding\.ids must be a whole number, got 0\.5"),
        (DICTS, {"padding": {"ids": "0"}}, r"padding must be a dict of numbers or None"),
        ([{"ids": IDS[0], "text": "a", "labels": 0}], {}, r"text of sample 0 is a str"),
        ([(IDS[0], 1, 2)], {}, r"a pair \(x, y\), got a tuple of 3 as sample 0: .*or a dict with labels"),
        ([(IDS[0], 1, "a.png")], {}, r"a pair \(x, y\), got a tuple of 3 as sample 0"),
    ],
)
def test_samples_that_make_no_inputs_are_refused(samples, changes, says):
    with pytest.raises(ValueError, match=says):
        from_dataset(Samples(samples), **changes)


def test_numbers_to_predict_are_never_padded():
    samples = Samples([({"ids": IDS[0]}, torch.rand(3)), ({"ids": IDS[1][:2]}, torch.rand(2))])
    with pytest.raises(ValueError, match=r"one shape and type, got y \(3,\)"):
        from_dataset(samples, padding={"ids": 0})
