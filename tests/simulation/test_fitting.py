"""`data.fitting` names inputs to fit on: loaded when asked for, none of them scored, and of no identity by itself."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import rramsweep as rs
from rramsweep import datasets
from rramsweep.cli.composing import allowed, choices, compose, container
from rramsweep.cli.main import main
from rramsweep.cli.planning import plan_of
from rramsweep.datasets import Data
from rramsweep.errors import ValidationError
from rramsweep.simulation.components import Components
from rramsweep.simulation.workbench import Workbench
from rramsweep.study.plan import Plan
from tests.pictures import bytes_of, write_cifar, write_folder, write_mnist

DIGITS = ["model=digits_mlp", "data=digits", "chips=1"]
ALLOW = "allow_targets=[tests]"
HERE = "tests.simulation.test_fitting"
TORCHVISION = {
    "mnist": ("MNIST", (28, 28)),
    "fashion_mnist_full": ("FashionMNIST", (28, 28)),
    "cifar10": ("CIFAR10", (32, 32, 3)),
    "cifar100": ("CIFAR100", (32, 32, 3)),
}


def numbers(low: int, high: int) -> torch.Tensor:
    """Pictures of digits' shape that each hold their number."""
    return torch.arange(low, high).float().view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone()


class Numbers(Dataset):
    """Samples of a user's own: numbers below 10, or from 8 on where they are to train on."""

    def __init__(self, train: bool = False, many: int = 6):
        self.x = numbers(8, 8 + many) if train else numbers(0, 10)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], i % 10


def by_split(split: str = "test") -> Dataset:
    """A factory with a split."""
    return Numbers(split == "train")


def by_keywords(**given: bool) -> Dataset:
    """A factory whose arguments its signature does not name."""
    return Numbers(**given)


def own_argument(fitting: str = "none") -> Dataset:
    """A factory that has a `fitting` itself."""
    return Numbers(fitting == "all")


def unloadable(split: str = "test") -> Dataset:
    """A factory that fails for all but the scored split."""
    if split != "test":
        raise AssertionError("was loaded")
    return Numbers()


def drawn(split: str = "test") -> Dataset:
    """A factory that draws at random."""
    return TensorDataset(torch.rand(5 if split == "test" else 8, 1, 8, 8), torch.arange(5 if split == "test" else 8))


def save(path, x, **arrays):
    np.savez(path, x=np.asarray(x), y=np.arange(len(x)) % 10, **arrays)


def node_of(*overrides, option="digits"):
    config = container(compose([f"data={option}", *overrides]))
    return config["data"], Components(allowed(config, overrides))


def fitted(*overrides, option="digits") -> Data | None:
    node, parts = node_of(*overrides, option=option)
    return parts.fitting(node)


def values(data: Data | None) -> list[int]:
    assert data is not None
    return data.x.flatten(1)[:, 0].int().tolist()


@pytest.mark.parametrize(
    ("option", "overrides", "expected"),
    [
        ("digits", [], lambda: datasets.digits("train").x),
        ("digits", ["data.split=train", "data.fitting=test"], lambda: datasets.digits("test").x),
        ("digits", ["data.limit=5"], lambda: datasets.digits("train").x),
        ("digits", ["data.limit=5", "data.fitting=test"], lambda: datasets.digits("test").x[5:]),
        ("digits", ["data.limit=5", "data.fitting={}"], lambda: datasets.digits("test").x[5:]),
        ("digits", ["data.limit=5", "data.fitting={limit: 12}"], lambda: datasets.digits("test").x[5:12]),
        ("digits", ["data.fitting=all"], lambda: datasets.digits("train").x),
        ("digits", ["data.fitting={split: train, limit: 20}"], lambda: datasets.digits("train").x[:20]),
        ("digits", ["data.fitting={split: train, limit: 20.0}"], lambda: datasets.digits("train").x[:20]),
        ("fashion_mnist", [], lambda: datasets.fashion_mnist("train").x),
        ("fashion_mnist", ["data.fitting={split: train, limit: 20}"], lambda: datasets.fashion_mnist("train").x[:20]),
        ("fashion_mnist", ["data.split=train", "data.fitting=test"], lambda: datasets.fashion_mnist("test").x),
        (
            "digits",
            ["data.fitting={_target_: rramsweep.datasets.digits, split: train, limit: 3}"],
            lambda: datasets.digits("train").x[:3],
        ),
    ],
)
def test_packaged_sets(option, overrides, expected):
    data = fitted(*overrides, option=option)
    assert data is not None
    assert torch.equal(data.x, expected())
    assert len(data.y) == len(data.x)


@pytest.mark.parametrize("name", TORCHVISION)
def test_sets_of_torchvision(name, workdir, monkeypatch):
    kind, shape = TORCHVISION[name]
    images, labels = bytes_of((8, *shape)), [3, 1, 2, 0, 4, 1, 2, 2]
    if kind.startswith("CIFAR"):
        write_cifar(workdir, kind, images, labels, monkeypatch)
    else:
        write_mnist(workdir, kind, images, labels)
    whole = getattr(datasets, name)(".")
    scored = getattr(datasets, name)(".", "train")  # the first two of the test images
    apart = [not any(torch.equal(x, other) for other in scored.x) for x in whole.x]
    assert sum(apart) == 6
    node, parts = node_of("data.root=.", "data.split=train", "data.fitting=test", option=name)
    assert torch.equal(parts.fitting(node).x, whole.x[apart])
    given = ["data.root=.", "data.split=train", "data.limit=1", "data.fitting={split: test, limit: 3}"]
    assert len(fitted(*given, option=name)) in (2, 3)
    with pytest.raises(ValueError, match=r"data\.fitting must name inputs that are not scored, got train, whose"):
        fitted("data.root=.", option=name)  # whose default is the training split


@pytest.mark.parametrize("option", ["npz", "cifar10_jpeg"])
@pytest.mark.parametrize("text", ["other.npz", "{path: other.npz}"])
def test_files_lose_exactly_what_is_scored(option, text, workdir):
    images = bytes_of((20, 8, 8, 3))
    save("mine.npz", images[:10])
    # Three that are scored, one of them twice, between others of which one is there twice too.
    rows = [15, 3, 11, 9, 11, 3, 19, 0, 12]
    save("other.npz", images[rows])
    node, parts = node_of("data.path=mine.npz", "data.layout=NHWC", f"data.fitting={text}", option=option)
    x = parts.fitting(node).x
    loaded = parts.data({**node, "path": "other.npz"})
    assert torch.equal(x, loaded.x[[0, 2, 4, 6, 8]])
    assert parts.fitting(node).y.tolist() == loaded.y[[0, 2, 4, 6, 8]].tolist()
    assert f"data.fitting={text}: of 9 inputs 4 are scored and left out" in parts.notes
    assert parts.fitting_digest(node) == Data(x, torch.zeros(5).long(), "labels do not count", 10).inputs_digest()


def test_one_input_left_out_is_noted_so(workdir):
    save("mine.npz", numbers(0, 5))
    save("other.npz", numbers(4, 9))
    node, parts = node_of("data.path=mine.npz", "data.fitting=other.npz", option="npz")
    assert values(parts.fitting(node)) == [5, 6, 7, 8]
    assert "data.fitting=other.npz: of 5 inputs 1 is scored and left out" in parts.notes


def test_none_left_out_is_not_noted():
    node, parts = node_of("data.fitting=train")
    parts.fitting(node)
    assert not parts.notes


def test_folders(workdir):
    cat, dog = bytes_of((12, 8, 8, 3), 1), bytes_of((12, 8, 8, 3), 2)
    write_folder(workdir / "val", {"cat": list(cat[:3]), "dog": list(dog[:3])})
    write_folder(workdir / "train", {"cat": list(cat[2:8]), "dog": list(dog[3:9])})
    base = ["data.root=val", "data.resize=null", "data.crop=null"]
    whole = datasets.image_folder("train", None, None)
    scored = datasets.image_folder("val", None, None)
    apart = [not any(torch.equal(x, other) for other in scored.x) for x in whole.x]
    assert sum(apart) == 11
    assert torch.equal(fitted(*base, "data.fitting=train", option="image_folder").x, whole.x[apart])
    few = fitted(*base, "data.limit=2", "data.fitting={root: train, limit: 4}", option="image_folder")
    assert torch.equal(few.x, datasets.image_folder("train", None, None, limit=4).x)


@pytest.mark.parametrize(
    ("option", "overrides", "expected"),
    [
        (
            "dataset",
            [f"data.dataset._target_={HERE}.Numbers", "data.fitting={dataset: {train: true}}"],
            [10, 11, 12, 13],
        ),
        (
            "dataset",
            [f"data.dataset._target_={HERE}.Numbers", "+data.dataset.many=9", "data.fitting={dataset: {train: true}}"],
            list(range(10, 17)),
        ),
        (
            "dataset",
            [f"data.dataset._target_={HERE}.Numbers", "data.limit=9", "data.fitting={dataset: {train: true}}"],
            [9, 10, 11, 12, 13],
        ),
        (
            "dataset",
            [f"data.dataset._target_={HERE}.Numbers", "data.fitting={dataset: {train: true}, limit: 4}"],
            [10, 11],
        ),
        (
            "dataset",
            [
                f"data.dataset._target_={HERE}.Numbers",
                "+data.dataset.many=9",
                f"data.fitting={{dataset: {{_target_: {HERE}.by_split, split: train}}}}",
            ],
            [10, 11, 12, 13],
        ),
        ("custom", [f"data._target_={HERE}.Numbers", "data.fitting={train: true}"], [10, 11, 12, 13]),
        ("custom", [f"data._target_={HERE}.by_split", "data.fitting=train"], [10, 11, 12, 13]),
        ("custom", [f"data._target_={HERE}.by_keywords", "data.fitting={train: true}"], [10, 11, 12, 13]),
        (
            "custom",
            [f"data._target_={HERE}.by_keywords", f"data.fitting={{_target_: {HERE}.by_split, split: train}}"],
            [10, 11, 12, 13],
        ),
    ],
)
def test_a_dataset_of_a_users_own(option, overrides, expected):
    assert values(fitted(*overrides, ALLOW, option=option)) == expected


def test_several_tensors_are_one_input(workdir):
    a, b = np.arange(8, dtype=np.float32).reshape(8, 1), np.arange(8) % 2
    np.savez("mine.npz", a=a[:4], b=b[:4], y=np.zeros(4, dtype=int))
    # The first has another b, the second is scored, the third has another a; the order of arrays does not count.
    np.savez("other.npz", b=[1, 1, 0], a=a[[0, 3, 6]], y=np.zeros(3, dtype=int))
    data = fitted("data.path=mine.npz", "data.fitting=other.npz", option="npz")
    assert data.x.kwargs["a"].flatten().tolist() == [0, 6]
    assert data.x.kwargs["b"].tolist() == [1, 0]


def test_a_loader_that_draws_leaves_the_callers_generator():
    state = torch.random.get_rng_state()
    first = fitted(f"data._target_={HERE}.drawn", "data.fitting=train", ALLOW, option="custom")
    assert torch.equal(torch.random.get_rng_state(), state)
    again = fitted(f"data._target_={HERE}.drawn", "data.fitting=train", ALLOW, option="custom")
    assert torch.equal(first.x, again.x)


@pytest.mark.parametrize(
    ("overrides", "shown"),
    [
        (["data.split=train"], "train, whose 1,447 inputs all are"),
        (["data.split=all"], "train, whose 1,447 inputs all are"),
        (["data.fitting=test"], "test, whose 350 inputs all are"),
        (["data.limit=50", "data.fitting={limit: 20}"], "{limit: 20}, whose 20 inputs all are"),
    ],
)
def test_none_left_is_refused_once_it_is_asked_for(overrides, shown):
    cfg = compose([*DIGITS, *overrides])
    workbench = Workbench()
    point = workbench.point(container(cfg), choices(cfg))  # nothing asks
    with pytest.raises(ValidationError) as refused:
        workbench.fitting(point)
    assert str(refused.value) == (
        f"data.fitting must name inputs that are not scored, got {shown}: name another split, path or Dataset"
    )


def test_another_kind_of_inputs_is_refused(workdir):
    save("mine.npz", numbers(0, 5))
    target = "{_target_: rramsweep.datasets.npz, path: mine.npz, layout: tokens}"
    np.savez("mine.npz", x=np.arange(20).reshape(5, 4), y=np.arange(5))
    with pytest.raises(ValueError, match=r"data\.fitting must name inputs of the tensors, types and axes .* got x of "):
        fitted(f"data.fitting={target}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.fitting=3"], "data.fitting must be null, a text or a mapping of the loader's arguments, got 3 (int): "),
        (["data.fitting=true"], "data.fitting must be null, a text or a mapping"),
        (["data.fitting=[train]"], "data.fitting must be null, a text or a mapping"),
        (["data.fitting=''"], "data.fitting must be null, a text or a mapping"),
        (["data.fitting={splt: train}"], "data.fitting.splt is not a parameter of data.fitting: did you mean split?"),
        (["data.fitting={limit: many}"], "data.fitting.limit must be int or null, got 'many' (str)"),
        (["data.fitting={split: 3}"], "data.fitting.split must be str, got 3 (int)"),
        (["data.fitting={fitting: train}"], "data.fitting.fitting is not a parameter of data.fitting"),
        (["data.fitting={_target_: posix.mkdir, path: made}"], "data.fitting._target_ must be a target of rramsweep.d"),
        (["data.fitting={_target_: rramsweep.sweep}"], "data.fitting._target_ must be a target of rramsweep.datasets"),
        (["data.fitting={_target_: rramsweep.datasets.npz}"], "data.fitting needs path: give data.fitting.path=VALUE"),
        (
            ["data.fitting={_target_: rramsweep.datasets.from_dataset, dataset: {_target_: posix.mkdir, path: made}}"],
            "data.fitting.dataset._target_ must be of a package of your own, got 'posix.mkdir'",
        ),
        (
            ["data=dataset", f"data.dataset._target_={HERE}.Numbers", "data.fitting=train", ALLOW],
            "data.fitting must be a mapping of arguments, since rramsweep.datasets.from_dataset has no split, path or",
        ),
        (
            ["data=dataset", f"data.dataset._target_={HERE}.Numbers", "data.fitting={dataset: {tran: true}}", ALLOW],
            "data.fitting.dataset.tran is not a parameter of data.fitting.dataset: did you mean train?",
        ),
        (
            ["data=custom", f"data._target_={HERE}.own_argument", "data.fitting=all", ALLOW],
            f"data.fitting is not passed to a loader, but {HERE}.own_argument takes it: rename its argument",
        ),
        (
            ["data=custom", f"data._target_={HERE}.by_split", "data.fitting={_target_: antigravity.fly}", ALLOW],
            "data.fitting._target_ must be a target of rramsweep.datasets or of 'tests', got 'antigravity.fly'",
        ),
    ],
)
@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["single", "multirun"])
def test_what_is_no_fitting_is_refused_in_one_line_while_nothing_asks(workdir, capsys, overrides, message, flags):
    with pytest.raises(SystemExit) as ended:
        main([*flags, *DIGITS, *overrides])
    error = capsys.readouterr().err
    assert ended.value.code == 1, error
    assert error.startswith(f"rramsweep: {message}"), error
    assert error.count("\n") == 1
    assert not list(workdir.rglob("made"))
    with pytest.raises(ValueError, match=re.escape(message)):
        rs.sweep([*DIGITS, *overrides])


def test_a_plain_sweep_loads_nothing_to_fit_on(workdir):
    overrides = ["model=digits_mlp", "data=custom", f"data._target_={HERE}.unloadable", "data.fitting=train", ALLOW]
    frame = rs.sweep([*overrides, "chips=2"])
    assert frame["data.fitting"].unique().tolist() == ["train"]
    cfg = compose(overrides)
    workbench = Workbench(["tests"])
    with pytest.raises(ValueError, match=r"data\.fitting: .*AssertionError\('was loaded'\)"):
        workbench.fitting(workbench.point(container(cfg), choices(cfg)))


def test_it_is_loaded_once(monkeypatch):
    node, parts = node_of()
    first = parts.fitting(node)
    monkeypatch.setattr(Components, "_load_data", lambda *_: pytest.fail("was loaded again"))
    assert parts.fitting(dict(node)) is first
    assert parts.fitting_digest(dict(node)) == first.inputs_digest()


def test_a_part_of_the_scored_inputs_lets_no_other_in():
    cfg = container(compose(["data=digits", "data.fitting=all"]))
    few, all_ = Components(inputs=7), Components()
    assert len(few.data(cfg["data"])) == 7
    assert few.fitting_digest(cfg["data"]) == all_.fitting_digest(cfg["data"])


def test_null_and_a_node_without_the_key_name_nothing():
    node, parts = node_of("data.fitting=null")
    without = {key: value for key, value in node.items() if key != "fitting"}
    for each in (node, without):
        assert parts.fitting_node(each) is None
        assert parts.fitting(each) is None
        assert parts.fitting_digest(each) is None
    assert parts.data(node) is parts.data(without)


def test_no_identity_has_it_by_itself():
    plans = [plan_of([*DIGITS, f"data.fitting={value}"], "test")[0] for value in ("null", "train", "{limit: 3}")]
    assert len({plan.points[0].text for plan in plans}) == 1
    assert [plan.points[0].params.get("data.fitting") for plan in plans] == [None, "train", None]
    assert plans[2].points[0].params["data.fitting.limit"] == 3


def test_a_plan_from_before_there_was_a_fitting(workdir):
    plan, _ = plan_of(DIGITS, "test")
    path = plan.save(workdir / "plan")
    document = json.loads(path.read_text())
    for part in document["parts"].values():
        part.pop("fitting", None) if isinstance(part, dict) else None
    document["points"][0]["params"].pop("data.fitting")
    path.write_text(json.dumps(document))
    (old,) = Plan.load(path).points
    assert "fitting" not in old.config["data"]
    workbench = Workbench()
    assert workbench.bench(old).point_id == plan.points[0].point_id
    assert workbench.fitting(old) is None


@pytest.mark.parametrize(
    ("axis", "named", "columns"),
    [
        ("data.fitting=train,test", "2 values (train, test)", ["data.fitting"]),
        ("data.fitting=null,train", "2 values (null, train)", ["data.fitting"]),
        (
            "data.fitting={split: train},{split: test, limit: 50}",
            "2 values ({split: train}, {split: test, limit: 50})",
            ["data.fitting.split", "data.fitting.limit"],
        ),
    ],
)
def test_an_axis_that_nothing_reads_is_noted(axis, named, columns):
    plan, _ = plan_of([*DIGITS, axis, "drift.relative_drift=0.1,0.2"], "test")
    note = f"data.fitting is swept over {named}, but each gives the same chips (none is fitted to inputs, or all to the"
    assert len([each for each in plan.settings.notes if each.startswith(note)]) == 1
    assert plan.swept == [*columns, "drift.relative_drift"]
    assert len({point.point_id for point in plan.points}) == 2


@pytest.mark.parametrize("axis", ["data.fitting=train", "data.split=test,train", "drift.relative_drift=0,0.1"])
def test_a_constant_one_is_no_nuisance(axis):
    plan, _ = plan_of([*DIGITS, axis], "test")
    assert "data.fitting" not in " ".join([*plan.settings.notes, *plan.settings.held_fixed])
