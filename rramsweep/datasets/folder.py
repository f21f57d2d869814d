"""A user's own pictures from a folder with one subfolder a class, as torchvision's `ImageFolder` sorts them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from rramsweep.arguments import checked_arguments
from rramsweep.datasets.arrays import Data
from rramsweep.datasets.pixels import by_turns, normalise
from rramsweep.errors import ValidationError

# Normalisation of torchvision's own ImageNet weights (pytorch.org/vision, "Models and pre-trained weights").
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")

ORDERS = ("text", "number")


@checked_arguments
def image_folder(
    root: str,
    resize: int | None = 256,
    crop: int | None = 224,
    interpolation: str = "bilinear",
    mean: list[float] | None = IMAGENET_MEAN,
    std: list[float] | None = IMAGENET_STD,
    limit: int | None = None,
    name: str | None = None,
    order: str | list[str] | None = None,
) -> Data:
    """Pictures `root/CLASS/FILE` as RGB, resized, cropped and used as `(pixel / 255 - mean) / std`.

    Each picture that the limit keeps is decoded once; all are held in memory as float32 (a thousand of 224 x 224 pixels
    take 0.6 GB). Classes are numbered in the order of their folders' names, and empty folders are refused: a network
    trained on ImageNet needs all of its 1000 folders, otherwise the labels differ. Names that sort differently as text
    and by number (`10` comes before `2`, `class_10` before `class_2`) need `order`.

    Args:
        root: the folder of class folders.
        resize: length in pixels of the shorter side before the crop; None leaves pictures as they are.
        crop: side in pixels of the square cut from the middle; None cuts nothing.
        interpolation: of the resizing: bilinear, bicubic or nearest.
        mean: one number a channel, as the network was trained with; None subtracts nothing.
        std: likewise; None divides by nothing.
        limit: keep this many pictures, balanced over the classes; None keeps all.
        name: name of the pictures in plots; None takes the folder's name.
        order: order of the classes: `text`, as torchvision's `ImageFolder` sorts; `number`, by the numbers in the
            names; or a list of the names, first label first. None takes `text` if `number` gives the same order.

    Raises:
        ValueError: no such folder, no classes in it or an empty one, classes whose order is ambiguous, a file that is
            not a picture, pictures smaller than the crop or of different sizes without one, or a parameter that does
            not fit.

    The defaults 256, 224, bilinear, mean and std are those of torchvision's first ImageNet weights; for newer weights
    see `weights.transforms()`.
    """
    from torchvision.datasets import ImageFolder

    for key, size in (("resize", resize), ("crop", crop)):
        if size is not None and size < 1:
            raise ValueError(f"data.{key} must be at least 1 pixel or null, got {size}: give a size")
    if resize is not None and crop is not None and crop > resize:
        raise ValueError(f"data.crop must be at most data.resize, got {crop} > {resize}: enlarge data.resize")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"data.interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}: pick one"
        )
    if not Path(root).is_dir():
        raise ValueError(f"data.root must be a folder with one folder of pictures a class, got {root}: check the path")
    try:
        found = ImageFolder(root)
    except FileNotFoundError as error:
        raise ValueError(
            f"data.root must be a folder with one folder of pictures a class, but {error}: sort the pictures so"
        ) from error
    classes = _ordered(found.classes, order)
    label_of = [classes.index(folder) for folder in found.classes]
    targets = [label_of[target] for target in found.targets]
    rows = by_turns(targets, limit)
    paths = [found.samples[row][0] for row in rows]
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(lambda path: _read(path, resize, crop, interpolation), paths))
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise ValueError(
                f"pictures must have one size, got {_size(pictures[0])} in {paths[0]} and {_size(picture)} in {path}: "
                "set data.crop"
            )
    labels = torch.tensor([targets[row] for row in rows])
    images = normalise(torch.stack(pictures).float() / 255, mean, std)
    return Data(images, labels, name or Path(root).resolve().name, len(classes))


def _ordered(folders: list[str], order: str | list[str] | None) -> list[str]:
    """Names of the class folders, first label first.

    Raises:
        ValidationError: `order` is not one of its choices, lists other folders, or is None where it matters.
    """
    text, number = sorted(folders), sorted(folders, key=_by_number)
    if isinstance(order, list):
        if sorted(order) != text:
            missing, unknown = sorted(set(text) - set(order)), sorted(set(order) - set(text))
            what = f"lacks {missing} and has {unknown}" if missing or unknown else "names one twice"
            raise ValidationError(
                f"must list each of the {len(text)} class folders once, but {what}",
                "correct the list",
                parameter="order",
                slot="data",
            )
        return order
    if order is not None and order not in ORDERS:
        raise ValidationError(
            f"must be {' or '.join(ORDERS)}, or a list of the class folders",
            "pick one",
            value=order,
            parameter="order",
            slot="data",
        )
    if order is None and text != number:
        i = next(i for i, (one, other) in enumerate(zip(text, number, strict=True)) if one != other)
        raise ValidationError(
            f"must be given where class folders sort differently as text and by number, got null: label {i} is "
            f"{text[i]!r} as text and {number[i]!r} by number",
            "set data.order=text (what torchvision's ImageFolder trained with), data.order=number, or list the folders",
            parameter="order",
            slot="data",
        )
    return number if order == "number" else text


def _by_number(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which digits count as the number that they are."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts]


def _read(path: str, resize: int | None, crop: int | None, interpolation: str) -> Tensor:
    """One picture as bytes, shape `(3, H, W)`."""
    from torchvision.datasets.folder import pil_loader
    from torchvision.transforms import InterpolationMode, functional

    try:
        picture = pil_loader(path)
    except (OSError, SyntaxError, ValueError) as error:  # PIL's errors on damaged files, depending on the format
        raise ValueError(f"pictures must be readable, but {path} is not ({error}): repair or remove it") from error
    if resize is not None:
        picture = functional.resize(picture, [resize], InterpolationMode(interpolation))
    if crop is not None:
        if crop > min(picture.size):
            # torchvision would pad it with black, which no network was trained on.
            raise ValueError(
                f"data.crop must fit every picture, got {crop} for {picture.width} x {picture.height} pixels in "
                f"{path}: set data.resize"
            )
        picture = functional.center_crop(picture, [crop])
    pixels: Tensor = functional.pil_to_tensor(picture)
    return pixels


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]} x {picture.shape[1]} pixels"
