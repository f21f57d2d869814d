"""Writes tiny data sets in the formats that torchvision reads: idx files, pickled batches, folders of pictures."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import TensorDataset


def network():
    """A small network for digits, with the weights that it is made with."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))


def bytes_of(shape, seed=0):
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def dataset(n=20):
    """A Dataset of grey pictures of 28 x 28 pixels."""
    return TensorDataset(torch.rand(n, 1, 28, 28), torch.arange(n) % 10)


def write_idx(root: Path, kind: str, images, labels, part="t10k") -> None:
    """`images` (N, 28, 28) and `labels` (N,) as one half of MNIST or FashionMNIST."""
    folder = root / kind / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        array = np.asarray(array, dtype=np.uint8)
        header = struct.pack(f">{1 + array.ndim}i", 0x0800 + array.ndim, *array.shape)
        (folder / name).write_bytes(header + array.tobytes())


def write_mnist(root: Path, kind: str, images, labels) -> None:
    """A whole set whose test half is given and whose training half is its first two images."""
    write_idx(root, kind, images, labels, "t10k")
    write_idx(root, kind, images[:2], labels[:2], "train")


def write_cifar(root: Path, kind: str, images, labels, monkeypatch) -> None:
    """`images` (N, 32, 32, 3) as CIFAR10 or CIFAR100, and their checksums where torchvision has the publisher's."""
    cls = getattr(torchvision.datasets, kind)
    folder = root / cls.base_folder
    folder.mkdir(parents=True)
    rows = np.asarray(images).transpose(0, 3, 1, 2).reshape(len(images), -1)
    key = "labels" if kind == "CIFAR10" else "fine_labels"
    n_classes = 10 if kind == "CIFAR10" else 100
    for lists, count in (("train_list", 2), ("test_list", len(rows))):
        entries = []
        for name, _ in getattr(cls, lists):
            batch = {"data": rows[:count], key: [int(label) for label in labels[:count]]}
            entries.append([name, _pickle(folder / name, batch)])
        monkeypatch.setattr(cls, lists, entries)
    meta = {cls.meta["key"]: [f"class {i}" for i in range(n_classes)]}
    checksum = _pickle(folder / cls.meta["filename"], meta)
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": checksum})


def write_folder(root: Path, pictures: dict[str, list]) -> None:
    """`{class: [pixels (H, W, 3) or (H, W)]}` as PNG files."""
    for name, arrays in pictures.items():
        (root / name).mkdir(parents=True)
        for i, array in enumerate(arrays):
            Image.fromarray(array).save(root / name / f"{i}.png")


def _pickle(path: Path, content) -> str:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return hashlib.md5(path.read_bytes()).hexdigest()
