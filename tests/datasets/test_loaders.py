"""Loaders of the usual sets, of folders and of a user's Dataset give the pixels and labels of the files, no others."""

from __future__ import annotations

import inspect
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision import transforms

import rramsweep as rs
from rramsweep import datasets
from rramsweep.cli.catalog import conf_dir
from rramsweep.cli.composing import compose, container
from rramsweep.datasets import from_dataset, image_folder, torchvision_sets
from rramsweep.datasets.pixels import by_turns, normalise
from rramsweep.simulation.components import Components
from tests.pictures import bytes_of, write_cifar, write_folder, write_idx, write_mnist

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

# loader -> torchvision's class, shape of its pixels as stored, title, classes
SETS = {
    "mnist": ("MNIST", (28, 28), "MNIST", 10),
    "fashion_mnist_full": ("FashionMNIST", (28, 28), "Fashion-MNIST", 10),
    "cifar10": ("CIFAR10", (32, 32, 3), "CIFAR-10", 10),
    "cifar100": ("CIFAR100", (32, 32, 3), "CIFAR-100", 100),
}
LABELS = [3, 3, 1, 3, 1, 0, 2]
BY_TURNS = [5, 2, 6, 0, 4, 1, 3]  # 0, 1, 2, 3, then 1, 3, then 3


def write(name, root, monkeypatch):
    kind, shape, _, _ = SETS[name]
    images = bytes_of((len(LABELS), *shape))
    if kind.startswith("CIFAR"):
        write_cifar(root, kind, images, LABELS, monkeypatch)
    else:
        write_mnist(root, kind, images, LABELS)
    return images


@pytest.fixture
def offline(monkeypatch):
    """Every way in which torchvision fetches files."""

    def no(*_, **__):
        raise AssertionError("a download was begun")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", no)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", no)


@pytest.mark.parametrize("name", SETS)
def test_a_torchvision_set_is_its_pixels_normalised_and_its_classes_by_turns(name, tmp_path, monkeypatch, offline):
    images = write(name, tmp_path, monkeypatch)
    data = getattr(datasets, name)(str(tmp_path), mean=None, std=None)
    assert (data.name, data.n_classes) == (f"{SETS[name][2]} (test)", SETS[name][3])
    assert data.y.tolist() == [LABELS[row] for row in BY_TURNS]
    pixels = images if images.ndim == 4 else images[..., None]
    expected = pixels[BY_TURNS].transpose(0, 3, 1, 2).astype(np.float32) / 255
    torch.testing.assert_close(data.x, torch.from_numpy(expected), rtol=0, atol=1e-7)

    normal = getattr(datasets, name)(str(tmp_path), limit=4)
    defaults = inspect.signature(getattr(datasets, name)).parameters
    mean, std = (np.array(defaults[key].default).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(normal.x.numpy(), ((expected - mean) / std)[:4].astype(np.float32), rtol=1e-5, atol=1e-6)
    assert normal.y.tolist() == [0, 1, 2, 3], "one image of each class"

    train = getattr(datasets, name)(str(tmp_path), split="train")
    assert "(train)" in train.name
    assert set(train.y.tolist()) == {3}


@pytest.mark.parametrize("name", SETS)
def test_a_torchvision_set_that_is_not_there_is_refused_and_never_fetched(name, tmp_path, offline):
    with pytest.raises(ValueError, match=rf"data.root must hold {SETS[name][2]} in .*data.download=true"):
        getattr(datasets, name)(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_download_fetches_what_is_not_there_and_nothing_else(tmp_path, monkeypatch, offline):
    images = bytes_of((len(LABELS), 28, 28))
    fetched = []

    def fetch(url, download_root, filename, md5):
        fetched.append(filename)
        write_mnist(tmp_path, "MNIST", images, LABELS)

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fetch)
    data = datasets.mnist(str(tmp_path), download=True)
    assert len(fetched) == 4
    assert datasets.mnist(str(tmp_path), download=True).digest() == data.digest()
    assert len(fetched) == 4, "the second time all was there"


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(ValueError, match=rf"fetch CIFAR-10, .*copy its files to {tmp_path}/cifar-10-batches-py") as e:
        datasets.cifar10(str(tmp_path), download=True)
    assert "no route to host" in str(e.value.__cause__)


def test_damaged_files_are_refused(tmp_path, monkeypatch):
    write("mnist", tmp_path, monkeypatch)
    images = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(ValueError, match="holds it damaged"):
        datasets.mnist(str(tmp_path))
    write_idx(tmp_path, "MNIST", bytes_of((3, 28, 28)), LABELS)
    with pytest.raises(ValueError, match="holds it damaged"):
        datasets.mnist(str(tmp_path))


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil_was_here",)


def test_a_cifar_pickle_of_another_checksum_is_never_loaded(workdir, monkeypatch):
    write("cifar10", workdir, monkeypatch)
    (workdir / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="holds it damaged"):
        datasets.cifar10(str(workdir))
    assert not Path("evil_was_here").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"split": "valid"}, r"split must be one of train, test, got 'valid'"),
        ({"limit": 8}, r"limit must be in 1\.\.7, got 8"),
        ({"limit": 0}, r"limit must be in 1\.\.7, got 0"),
        ({"mean": [0.0]}, r"data.mean must give one number a channel, 3 in all, got \[0.0\]"),
        ({"std": [1.0, 0.0, 1.0]}, r"data.std must be above 0"),
    ],
)
def test_parameters_of_a_set_are_checked(changes, says, tmp_path, monkeypatch):
    write("cifar10", tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=says):
        datasets.cifar10(str(tmp_path), **changes)


@pytest.mark.parametrize("name", [*SETS, "image_folder"])
def test_the_published_mean_and_std_are_the_same_in_yaml_and_in_python(name):
    node = yaml.safe_load((conf_dir() / "data" / f"{name}.yaml").read_text())
    parameters = inspect.signature(getattr(datasets, name)).parameters
    for key, value in node.items():
        if key not in ("_target_", "root", "fitting"):
            assert parameters[key].default == value, key


def test_the_published_mean_and_std_are_those_of_the_pixels():
    def pixels(file, array):
        if not (SHARED / file).is_file():
            pytest.skip(f"{SHARED / file} is not here")
        return np.load(SHARED / file)[array].astype(np.float64) / 255

    clothes = pixels("fashion_mnist_10k.npz", "x_train")  # a sixth of the training images
    assert clothes.mean() == pytest.approx(torchvision_sets.FASHION_MNIST_MEAN[0], abs=2e-3)
    assert clothes.std() == pytest.approx(torchvision_sets.FASHION_MNIST_STD[0], abs=2e-3)
    pictures = pixels("cifar10_jpegq75_test5k.npz", "x")  # other pictures, smoothed a little
    np.testing.assert_allclose(pictures.mean((0, 1, 2)), torchvision_sets.CIFAR10_MEAN, atol=5e-3)
    np.testing.assert_allclose(pictures.std((0, 1, 2)), torchvision_sets.CIFAR10_STD, atol=5e-3)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_by_turns_is_balanced_stable_and_a_prefix(labels, data):
    rows = by_turns(labels, None)
    assert sorted(rows) == list(range(len(labels)))
    for c in set(labels):
        assert list(rows[np.array(labels)[rows] == c]) == [i for i, label in enumerate(labels) if label == c]
    limit = data.draw(st.integers(1, len(labels)))
    assert list(by_turns(labels, limit)) == list(rows[:limit])
    whole_turns = min(labels.count(c) for c in set(labels)) * len(set(labels))
    taken = [int(c) for c in np.array(labels)[rows[: min(limit, whole_turns)]]]
    counts = [taken.count(c) for c in set(labels)]
    assert max(counts) - min(counts) <= 1


def test_normalise_leaves_out_what_is_none():
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(normalise(x, None, None), x)
    torch.testing.assert_close(normalise(x, [0.5, 0.0, 0.0], [1.0, 2.0, 1.0])[:, 1], x[:, 1] / 2)


@pytest.fixture
def folder(tmp_path):
    """Two classes of pictures, 12 x 20 pixels, one of them grey."""
    cats = [bytes_of((12, 20, 3), seed) for seed in range(3)]
    write_folder(tmp_path / "pets", {"dog": [bytes_of((12, 20), 7)], "cat": cats})
    return tmp_path / "pets"


def test_an_image_folder_is_what_torchvision_makes_of_it(folder):
    data = image_folder(str(folder), resize=10, crop=8)
    ours = ["cat/0", "dog/0", "cat/1", "cat/2"]
    usual = transforms.Compose(
        [
            transforms.Resize(10),
            transforms.CenterCrop(8),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    expected = torch.stack([usual(Image.open(folder / f"{name}.png").convert("RGB")) for name in ours])
    torch.testing.assert_close(data.x, expected)
    assert data.y.tolist() == [0, 1, 0, 0]
    assert (data.name, data.n_classes) == ("pets", 2)
    assert image_folder(str(folder), resize=10, crop=8, name="my pets").name == "my pets"
    others = image_folder(str(folder), resize=10, crop=8, interpolation="bicubic")
    assert others.digest() != data.digest()


def test_an_image_folder_without_resize_and_crop_is_the_pixels_themselves(folder):
    data = image_folder(str(folder), resize=None, crop=None, mean=None, std=None, limit=2)
    cat, dog = bytes_of((12, 20, 3), 0), np.repeat(bytes_of((12, 20), 7)[..., None], 3, axis=2)
    expected = torch.from_numpy(np.stack([cat, dog])).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(data.x, expected)


def test_a_limit_reads_no_other_pictures(folder):
    (folder / "cat" / "1.png").write_text("no picture")
    assert len(image_folder(str(folder), resize=None, crop=None, limit=2)) == 2
    with pytest.raises(ValueError, match=r"pictures must be readable, but .*cat/1.png is not"):
        image_folder(str(folder), resize=None, crop=None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"crop": 0}, r"data.crop must be at least 1 pixel or null, got 0"),
        ({"resize": -3}, r"data.resize must be at least 1 pixel or null, got -3"),
        ({"resize": 8, "crop": 9}, r"data.crop must be at most data.resize, got 9 > 8"),
        ({"resize": None, "crop": 13}, r"data.crop must fit every picture, got 13 for 20 x 12 pixels in .*png"),
        ({"interpolation": "cubic"}, r"data.interpolation must be one of bilinear, bicubic, nearest, got 'cubic'"),
        ({"limit": 5}, r"limit must be in 1\.\.4, got 5"),
    ],
)
def test_parameters_of_a_folder_are_checked(changes, says, folder):
    with pytest.raises(ValueError, match=says):
        image_folder(str(folder), **{"resize": 10, "crop": 8, **changes})


def test_pictures_of_different_sizes_want_a_crop(folder):
    Image.fromarray(bytes_of((15, 20, 3))).save(folder / "dog" / "1.png")
    with pytest.raises(ValueError, match=r"one size, got 20 x 12 pixels in .* and 20 x 15 pixels in .*: set data.crop"):
        image_folder(str(folder), resize=None, crop=None)
    assert len(image_folder(str(folder), resize=None, crop=12)) == 5


def test_folders_without_classes_or_with_an_empty_one_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"data.root must be a folder with .*, got .*nowhere: check"):
        image_folder(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"data.root must be a folder with .*, but Couldn't find any class folder"):
        image_folder(str(folder / "cat"))
    (folder / "emu").mkdir()
    with pytest.raises(ValueError, match=r"but Found no valid file for the classes emu"):
        image_folder(str(folder))


class Samples(Dataset):
    """Map-style, over any list; counts what is read."""

    def __init__(self, samples):
        self.samples = samples
        self.read = 0

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        self.read += 1
        return self.samples[i]


class Stream(IterableDataset):
    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter(self.samples)


def test_a_dataset_is_its_samples_in_its_own_order():
    x, y = torch.rand(6, 1, 4, 4), torch.tensor([2, 2, 0, 1, 0, 2])
    data = from_dataset(TensorDataset(x, y))
    assert torch.equal(data.x, x)
    assert torch.equal(data.y, y)
    assert (data.name, data.n_classes) == ("TensorDataset", 3)
    named = from_dataset(TensorDataset(x, y), limit=4, n_classes=7, name="six")
    assert (len(named), named.n_classes, named.name) == (4, 7, "six")


@pytest.mark.parametrize("label", [2, np.int64(2), np.uint8(2), torch.tensor(2), torch.tensor(2, dtype=torch.int32)])
@pytest.mark.parametrize("kind", [Samples, Stream])
def test_arrays_and_numbers_become_tensors(label, kind):
    pixels = np.ones((1, 2, 2), dtype=np.float32)
    data = from_dataset(kind([(pixels, label), [pixels, label]]))
    assert data.x.dtype == torch.float32
    assert data.y.tolist() == [2, 2]
    assert data.y.dtype == torch.int64


def test_numbers_to_be_predicted_and_token_ids_pass_as_they_are():
    y = torch.tensor([[-1.5, 2.0], [0.5, 7.0]])
    numbers = from_dataset(TensorDataset(torch.rand(2, 3), y))
    assert numbers.n_classes is None
    assert torch.equal(numbers.y, y)
    tokens = from_dataset(TensorDataset(torch.tensor([[4, 0], [1, 1]]), torch.tensor([[0, 1], [1, 6]])))
    assert (tokens.x.dtype, tokens.n_classes) == (torch.int64, 7)


def test_a_limit_reads_no_other_samples_and_each_once():
    dataset = Samples([(torch.zeros(1, 2, 2), i) for i in range(9)])
    assert len(from_dataset(dataset, limit=4)) == 4
    assert dataset.read == 4


X = torch.zeros(1, 2, 2)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ([], r"at least one sample, got none from Samples"),
        (
            [(X, 0), (torch.zeros(1, 3, 3), 1)],
            r"one shape and type, got x \(1, 2, 2\) .* and \(1, 3, 3\) .* in sample 1",
        ),
        ([(X, 0), (X.double(), 1)], r"got x .*float32 in sample 0 and .*float64 in sample 1"),
        ([(X, 0), (X, 1.0)], r"got y \(\) torch.int64 in sample 0 and \(\) torch.float32 in sample 1"),
        ([(Image.new("L", (2, 2)), 0)], r"x of sample 0 is a Image: .*ToTensor"),
        ([(X, "cat")], r"y of sample 0 is a str"),
        ([(X, None)], r"y of sample 0 is a NoneType"),
        ([(X, True)], r"y of sample 0 is a bool"),
        ([(np.array(["a"]), 0)], r"x of sample 0 is a ndarray"),
        ([(X, 0, 1)], r"pair \(x, y\), got a tuple of 3 as sample 0"),
        ([X], r"pair \(x, y\), got a Tensor as sample 0"),
        (
            [{"x": X}],
            r"named arrays must hold labels, as y, labels or label, got x: name their array with data\.labels",
        ),
        ([(X.byte(), 0)], r"x must be floating point"),
        ([(X, -1), (X, 0)], r"labels must be in 0\.\.0, got -1\.\.0"),
    ],
)
@pytest.mark.parametrize("kind", [Samples, Stream])
def test_samples_that_are_no_labelled_tensors_are_refused(samples, says, kind):
    with pytest.raises(ValueError, match=says.replace("Samples", kind.__name__)):
        from_dataset(kind(samples))


def test_a_dataset_that_breaks_or_is_none_is_told_so():
    class Broken(Samples):
        def __getitem__(self, i):
            raise FileNotFoundError(f"{i}.png")

    class Endless(Dataset):
        def __getitem__(self, i):
            return X, 0

    with pytest.raises(ValueError, match=r"Broken raised FileNotFoundError\('0.png'\) after 0 of them"):
        from_dataset(Broken([0]))
    with pytest.raises(ValueError, match=r"Endless raised TypeError"):
        from_dataset(Endless())
    with pytest.raises(ValueError, match=r"must be a torch.utils.data.Dataset, got list"):
        from_dataset([(X, 0)])
    for limit in (0, -1, 3):
        with pytest.raises(ValueError, match=rf"limit must be in 1\.\.\d, got {limit}"):
            from_dataset(Samples([(X, 0), (X, 1)]), limit=limit)


LAB = """
import torch
from torch.utils.data import Dataset, TensorDataset
from rramsweep.datasets import Data

class Noisy(Dataset):
    def __init__(self, n=20):
        self.n = n
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        return torch.rand(1, 8, 8), i % 10

def tensors(n=20):
    return TensorDataset(torch.arange(n * 64.0).view(n, 1, 8, 8) / (n * 64), torch.arange(n) % 10)

def whole(n=20):
    dataset = tensors(n)
    return Data(*dataset.tensors, "whole", 10)
"""


@pytest.fixture
def lab(workdir, monkeypatch):
    (workdir / "loaderlab.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(workdir))
    monkeypatch.delitem(sys.modules, "loaderlab", raising=False)
    yield
    sys.modules.pop("loaderlab", None)


def load(*overrides):
    config = container(compose(["model=digits_mlp", "allow_targets=[loaderlab]", *overrides]))
    return Components(["loaderlab"]).data(config["data"])


def test_a_users_dataset_comes_by_class_by_factory_nested_or_as_data(lab):
    by_factory = load("data=custom", "data._target_=loaderlab.tensors", "+data.n=30")
    nested = load("data=dataset", "data.dataset._target_=loaderlab.tensors", "+data.dataset.n=30", "data.name=mine")
    whole = load("data=custom", "data._target_=loaderlab.whole", "+data.n=30")
    assert by_factory.digest() == nested.digest() == whole.digest()
    assert (by_factory.name, nested.name, len(nested)) == ("TensorDataset", "mine", 30)
    assert len(load("data=dataset", "data.dataset._target_=loaderlab.tensors", "data.limit=11")) == 11


def test_a_dataset_that_draws_at_random_is_the_same_in_every_process_and_leaves_torch_alone(lab):
    state = torch.random.get_rng_state()
    first = load("data=custom", "data._target_=loaderlab.Noisy")
    torch.rand(1)
    second = load("data=dataset", "data.dataset._target_=loaderlab.Noisy")
    assert first.digest() == second.digest()
    torch.random.set_rng_state(state)
    load("data=custom", "data._target_=loaderlab.Noisy")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_sweep_runs_on_a_users_dataset(lab):
    frame = rs.sweep(
        [
            "model=digits_mlp",
            "data=dataset",
            "data.dataset._target_=loaderlab.tensors",
            "allow_targets=[loaderlab]",
            "drift.relative_drift=0,0.1",
            "chips=2",
        ]
    )
    assert (frame["status"] == "ok").all()
    assert (frame["n_images"] == 20).all()
    assert len(frame) == 4


# -- the order of class folders

ELEVEN = [str(n) for n in range(12)]


def class_folders(root, names):
    """One picture of one colour a class: the place of its name in the list."""
    for value, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (2, 2), (value, value, value)).save(root / name / "a.png")
    return {"root": str(root), "resize": None, "crop": None, "mean": None, "std": None}


def label_of_colour(data):
    return dict(zip((255 * data.x[:, 0, 0, 0]).round().int().tolist(), data.y.tolist(), strict=True))


@pytest.mark.parametrize(
    ("names", "as_text", "by_number"),
    [
        (ELEVEN, "'10' as text and '2' by number", "label 2"),
        (["class_2", "class_10"], "'class_10' as text and 'class_2' by number", "label 0"),
        (["7_cat", "12_dog", "100_owl"], "'100_owl' as text and '7_cat'", "label 0"),
        (["fold1-9", "fold1-10"], "'fold1-10' as text", "label 0"),
    ],
)
def test_class_folders_in_two_possible_orders_are_refused_unless_one_is_chosen(tmp_path, names, as_text, by_number):
    given = class_folders(tmp_path / "sorted", names)
    with pytest.raises(
        ValueError, match=r"data.order must be given .*ImageFolder trained with\), data.order=num"
    ) as error:
        image_folder(**given)
    assert as_text in str(error.value)
    assert by_number in str(error.value)
    in_text = sorted(range(len(names)), key=lambda value: names[value])
    assert label_of_colour(image_folder(**given, order="text")) == {value: i for i, value in enumerate(in_text)}
    assert label_of_colour(image_folder(**given, order="number")) == {value: value for value in range(len(names))}
    backwards = image_folder(**given, order=names[::-1])
    assert label_of_colour(backwards) == {value: len(names) - 1 - value for value in range(len(names))}
    assert backwards.n_classes == len(names)
    # A limit takes the classes in the order of their labels.
    assert image_folder(**given, order="number", limit=2).y.tolist() == [0, 1]


@pytest.mark.parametrize(
    "names", [["cat", "dog"], ["n01440764", "n01443537"], ["0", "1", "2"], ["00", "01", "10"], ["a1", "b0"]]
)
def test_class_folders_in_one_order_need_no_choice(tmp_path, names):
    given = class_folders(tmp_path / "sorted", names)
    expected = {value: value for value in range(len(names))}
    assert label_of_colour(image_folder(**given)) == label_of_colour(image_folder(**given, order="number")) == expected


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("alphabetic", "data.order must be text or number, or a list of the class folders, got 'alphabetic': pick one"),
        (["cat"], r"data.order must list each of the 2 class folders once, but lacks \['dog'\] and has \[\]"),
        (["cat", "dgo"], r"lacks \['dog'\] and has \['dgo'\]"),
        (["cat", "dog", "dog"], "names one twice"),
    ],
)
def test_an_order_of_other_folders_is_refused(tmp_path, order, message):
    given = class_folders(tmp_path / "sorted", ["cat", "dog"])
    with pytest.raises(ValueError, match=message):
        image_folder(**given, order=order)


def test_the_order_is_set_from_the_command_line_as_text_or_list(tmp_path):
    class_folders(tmp_path / "sorted", ["2", "10"])
    for order, labels in (("number", [0, 1]), ("text", [1, 0]), ("['10','2']", [1, 0])):
        given = ["data=image_folder", f"data.root={tmp_path}/sorted", "data.resize=null", "data.crop=null"]
        node = container(compose([*given, "data.mean=null", "data.std=null", f"data.order={order}"]))["data"]
        assert list(label_of_colour(Components().data(node)).items()) == [
            (colour, label) for label, colour in sorted(zip(labels, (0, 1), strict=True))
        ]


# -- images that nothing has scaled


@pytest.mark.parametrize(
    ("dtype", "top", "full"),
    [
        ("uint8", 255, "255"),
        ("int64", 200, "255"),
        ("float32", 255, "255"),
        ("uint16", 60000, "65535"),
        ("uint8", 16, "16"),
    ],
)
def test_whole_numbers_above_1_used_as_they_are_are_noted(tmp_path, dtype, top, full):
    x = np.zeros((4, 1, 2, 2), dtype=dtype)
    x[0, 0, 0, 0] = top
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(4))
    given = {"path": str(tmp_path / "data.npz")}
    (note,) = datasets.npz(**given, mean=[0.5], std=[0.5]).notes
    assert note.startswith(f"images hold whole numbers in 0..{top} and are used as they are")
    assert note.endswith(f"set data.scale={full}")
    assert datasets.npz(**given, scale=float(full)).notes == ()
    assert datasets.npz(**given, layout="any").notes == ()
    pairs = TensorDataset(torch.from_numpy(x.astype(np.float32)), torch.arange(4))
    (note,) = from_dataset(pairs, limit=2).notes
    assert f"divide by {full} in the Dataset" in note
    assert from_dataset(TensorDataset(pairs.tensors[0] / top, pairs.tensors[1])).notes == ()


@pytest.mark.parametrize(
    ("low", "high", "full"), [(0, 254.5, "255"), (0.0, 25.5, "255"), (-128.3, 127.1, "255"), (0, 60000.5, "65535")]
)
def test_fractions_far_beyond_normalised_images_are_noted(tmp_path, low, high, full):
    x = np.full((4, 1, 2, 2), 0.25, dtype=np.float32)
    x[0, 0, 0, :] = low, high
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(4))
    given = {"path": str(tmp_path / "data.npz")}
    (note,) = datasets.npz(**given, mean=[0.5], std=[0.5]).notes
    begin = f"images hold values in {low:g}..{high:g} and are used as they are: if the network was trained on 0..1, "
    assert note == f"{begin}set data.scale={full}"
    assert datasets.npz(**given, scale=float(full)).notes == ()
    assert datasets.npz(**given, mean=[0.0], std=[high]).notes == ()  # normalised in the numbers of the file
    (note,) = from_dataset(TensorDataset(torch.from_numpy(x), torch.arange(4)), limit=2).notes
    assert note.startswith(f"{begin}divide by {full} in the Dataset")


@pytest.mark.parametrize("values", [[-2.5, 9.75], [-19.5, 3.1], [0, 1], [0.0, 0.5, 1.0], [-1.0, 2.5], [-3, 1]])
def test_scaled_images_have_no_note(tmp_path, values):
    x = np.resize(np.array(values), (4, 1, 2, 2))
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(4))
    assert datasets.npz(str(tmp_path / "data.npz")).notes == ()


def test_the_note_is_given_before_a_sweep(workdir):
    digits = datasets.digits(limit=20)
    np.savez("bytes.npz", x=(16 * digits.x).to(torch.uint8).numpy(), y=digits.y.numpy())
    given = ["model=digits_mlp", "data=npz", "data.path=bytes.npz", "chips=2"]
    with pytest.warns(
        UserWarning, match=r"images hold whole numbers in 0..16 and .*: if .* on 0..1, set data.scale=16"
    ):
        rs.sweep(given)
