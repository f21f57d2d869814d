"""The embedded networks are as documented, can be trained again, and a bad checkpoint says what is wrong with it."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys

import pytest
import torch

from rramsweep import models
from rramsweep.datasets import digits
from rramsweep.models import digits_cnn, digits_mlp, embedded_path, lenet5, load_checkpoint, train

FACTORIES = {"lenet5": lenet5, "digits_cnn": digits_cnn, "digits_mlp": digits_mlp}


def weights():
    return digits_cnn().state_dict()


def documented_accuracy(name):
    found = re.search(rf"^ +{name} +([\d.]+) %", train.__doc__, re.MULTILINE)
    return float(found[1])


def test_the_recipes_cover_every_network_that_ships():
    assert set(train.RECIPES) == set(FACTORIES)
    trained_on = {"lenet5_clipped", "lenet5_noise_aware"}
    assert {path.stem for path in embedded_path("lenet5").parent.glob("*.pt")} == {*FACTORIES, *trained_on}
    assert all(getattr(models, name) is recipe.network for name, recipe in train.RECIPES.items())


@pytest.mark.parametrize(
    ("name", "n", "layers"),
    [
        ("lenet5", 61_706, "conv1 conv2 fc1 fc2 fc3"),
        ("digits_cnn", 6_138, "conv1 bn1 conv2 bn2 fc"),
        ("digits_mlp", 9_610, "fc1 fc2"),
    ],
)
def test_networks_have_the_documented_size_and_layer_names(name, n, layers):
    model = FACTORIES[name]()
    assert sum(p.numel() for p in model.parameters()) == n
    assert [child for child, _ in model.named_children()] == layers.split()
    logits = model(train.RECIPES[name].data("test").x[:4])
    assert logits.shape == (4, 10)


def test_the_mlp_takes_images_and_rows_alike():
    model, x = digits_mlp(), digits(limit=10).x
    assert torch.equal(model(x), model(x.flatten(1)))


@pytest.mark.parametrize("name", FACTORIES)
def test_embedded_weights_reach_the_documented_accuracy(name):
    model = FACTORIES[name]().eval()
    load_checkpoint(model, embedded_path(name))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    accuracy = train.accuracy(model, train.RECIPES[name].data("test"))
    assert accuracy == pytest.approx(documented_accuracy(name), abs=0.2)


@pytest.mark.parametrize(("checkpoint", "accuracy"), [("embedded_clipped", 88.6), ("embedded_noise_aware", 88.1)])
def test_weights_that_were_trained_on_reach_the_documented_accuracy(checkpoint, accuracy):
    """Of the table in rramsweep/training/README.md; on the array their weights are clipped at 2.5 sigma."""
    model = lenet5().eval()
    load_checkpoint(model, embedded_path("lenet5", checkpoint))
    assert train.accuracy(model, train.RECIPES["lenet5"].data("test")) == pytest.approx(accuracy, abs=0.2)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            assert float(weight.detach().abs().max() / weight.detach().std()) < 2.6, name


@pytest.mark.parametrize("name", ["embeded_clipped", "embedded-clipped", "imbedded_clipped"])
def test_a_misspelt_name_of_weights_that_ship_is_told_the_right_one(name):
    with pytest.raises(ValueError, match=f"existing file, got {name}: did you mean embedded_clipped"):
        load_checkpoint(lenet5(), name)


def test_unknown_embedded_weights_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="ship for lenet5, got 'embedded_clip': did you mean embedded_clipped"):
        embedded_path("lenet5", "embedded_clip")
    with pytest.raises(ValueError, match="ship for digits_mlp, got 'embedded_noise_aware': did you mean embedded"):
        embedded_path("digits_mlp", "embedded_noise_aware")
    with pytest.raises(ValueError, match="exist for digits_cnn, digits_mlp, lenet5, got 'resnet18': "):
        embedded_path("resnet18")


@pytest.mark.slow
def test_training_the_mlp_again_reaches_the_documented_accuracy_and_leaves_torch_alone():
    state = torch.random.get_rng_state()
    model = train.train(train.RECIPES["digits_mlp"])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not model.training
    assert train.accuracy(model, digits()) == pytest.approx(documented_accuracy("digits_mlp"), abs=1)


def test_the_command_line_writes_weights_that_load_and_repeat(tmp_path):
    command = [sys.executable, "-m", "rramsweep.models.train", "digits_mlp", "--epochs", "1", "--out"]
    files = [tmp_path / "new" / f"{i}.pt" for i in range(2)]
    for file in files:
        run = subprocess.run([*command, str(file)], capture_output=True, text=True, check=True)
        assert re.match(r"digits_mlp: \d+\.\d\d % on digits \(test\), 350 images\n", run.stdout)
    first, second = digits_mlp(), digits_mlp()
    load_checkpoint(first, files[0])
    load_checkpoint(second, files[1])
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_no_epochs_are_refused(capsys):
    with pytest.raises(SystemExit):
        train.main(["digits_mlp", "--epochs", "0"])
    assert "epochs must be at least 1, got 0: " in capsys.readouterr().err


def test_augmentation_moves_pixels_by_at_most_the_shift_and_fills_with_background():
    x = torch.zeros(64, 1, 8, 8)
    x[:, :, 3, 3] = 1
    moved = train.augment(x, 1, False, torch.Generator().manual_seed(0))
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(64))
    where = moved.amax((0, 1)).nonzero()
    assert where.amin() == 2
    assert where.amax() == 4
    assert len(where) == 9
    mirrored = train.augment(x, 0, True, torch.Generator().manual_seed(0)).amax((0, 1))
    assert mirrored.nonzero().tolist() == [[3, 3], [3, 4]]
    assert torch.equal(train.augment(x, 0, False, torch.Generator()), x)


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict", "net", "ema", "generator"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module.module.", "net._orig_mod."])
@pytest.mark.parametrize("zipped", [True, False])
def test_usual_forms_of_a_checkpoint_load(tmp_path, key, prefix, zipped):
    want = weights()
    state = {prefix + name: value for name, value in want.items()}
    saved = state if key is None else {key: state, "epoch": 7}
    torch.save(saved, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    model = digits_cnn()
    notes = load_checkpoint(model, str(tmp_path / "w.pt"))
    assert all(torch.equal(value, want[name]) for name, value in model.state_dict().items())
    assert [note for note in notes if "prefix" in note] == (
        [f"model.checkpoint: the prefix {prefix!r} was removed from every name in {tmp_path / 'w.pt'}"]
        if prefix
        else []
    )


def test_of_several_state_dicts_the_plain_one_is_taken_and_named(tmp_path):
    other = {name: torch.zeros_like(value) for name, value in weights().items()}
    plain = weights()
    torch.save({"model_ema": other, "model": plain, "optimizer": {"state": {}}}, tmp_path / "w.pt")
    model = digits_cnn()
    (note,) = load_checkpoint(model, tmp_path / "w.pt")
    assert "the weights under 'model' in" in note
    assert note.endswith("were taken, not those under 'model_ema'")
    assert torch.equal(model.fc.weight, plain["fc.weight"])
    torch.save({"first": other, "second": weights()}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="must hold one state dict .*, got one under each of 'first', 'second' in"):
        load_checkpoint(model, tmp_path / "w.pt")


@pytest.mark.parametrize(
    "counter",
    [torch.tensor(7, dtype=torch.int32), torch.tensor(7.0), torch.tensor([7], dtype=torch.uint8), 7, 7.0],
)
def test_batch_counters_may_be_of_any_type(tmp_path, counter):
    state = {n: counter if n.endswith("num_batches_tracked") else v for n, v in weights().items()}
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "w.pt")
    model = digits_cnn()
    load_checkpoint(model, tmp_path / "w.pt")
    assert int(model.bn1.num_batches_tracked) == 7
    assert model.bn1.num_batches_tracked.dtype == torch.int64


def test_half_precision_loads_and_batch_counters_may_be_absent(tmp_path):
    want = weights()
    state = {name: value.half() for name, value in want.items() if "num_batches" not in name}
    torch.save(state, tmp_path / "w.pt")
    model = digits_cnn()
    load_checkpoint(model, tmp_path / "w.pt")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    torch.testing.assert_close(model.get_parameter("fc.weight"), want["fc.weight"], rtol=1e-3, atol=1e-4)


def test_a_child_that_is_named_module_keeps_its_name(tmp_path):
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = torch.nn.Linear(2, 2)

    torch.save(Wrapped().state_dict(), tmp_path / "w.pt")
    load_checkpoint(Wrapped(), tmp_path / "w.pt")


class Code:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def saved(content):
    return lambda path: torch.save(content(), path)


def cut(keep):
    def write(path):
        torch.save(weights(), path)
        path.write_bytes(path.read_bytes()[:keep])

    return write


def changed(**changes):
    return saved(lambda: {**weights(), **{name.replace("_", ".", 1): value for name, value in changes.items()}})


def renamed(state):
    return {f"{'net' if name.startswith('fc') else 'body'}.{name}": value for name, value in state.items()}


BAD = {
    "missing file": (lambda path: None, "must be an existing file, got"),
    "folder": (lambda path: path.mkdir(), "must be an existing file, got"),
    "empty file": (lambda path: path.write_bytes(b""), r"cannot be read \(EOFError\): copy it again"),
    "truncated": (cut(-10), r"must be a complete file from torch.save, got .*cannot be read"),
    "half": (cut(10_000), r"must be a complete file from torch.save, got .*cannot be read"),
    "git lfs pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "must be a complete file from torch.save, got .*cannot be read",
    ),
    "code, zipped": (lambda path: torch.save(Code(path.parent / "ran"), path), "pickle of code .* never run"),
    "code, pickled": (
        lambda path: path.write_bytes(pickle.dumps({"fc.weight": Code(path.parent / "ran")})),
        "pickle of code .* never run",
    ),
    "whole model": (saved(digits_cnn), "whole objects .* never run: save it again"),
    "list": (saved(lambda: [1, 2]), r"must hold a state dict \(name -> tensor\), got a list"),
    "tensor": (saved(lambda: torch.zeros(2)), r"must hold a state dict \(name -> tensor\), got a Tensor"),
    "empty dict": (saved(dict), "must hold a state dict .*, got an empty dict"),
    "no state dict": (saved(lambda: {"epoch": 3, "lr": 0.1}), "got int under 'epoch' .* key 'state_dict'"),
    "profiler": (
        saved(lambda: {**weights(), "total_ops": torch.zeros(1), "conv1.total_params": torch.zeros(1)}),
        r"got 2 counts that the profiler thop left behind \(total_ops, conv1.total_params\) in .*: take them out",
    ),
    "missing names": (
        saved(lambda: {n: v for n, v in weights().items() if not n.startswith("bn1")}),
        r"got 4 missing \(bn1.weight, bn1.bias, bn1.running_mean, ..\) and 0 unexpected in",
    ),
    "unexpected name": (
        saved(lambda: {**weights(), "fc2.bias": torch.zeros(1)}),
        r"got 0 missing and 1 unexpected \(fc2.bias\) in .*: choose the model",
    ),
    "other names": (
        saved(lambda: renamed(weights())),
        r"got 12 missing \(conv1.weight, .*, ..\) and 14 unexpected \(body.conv1.weight, .*, ..\) in",
    ),
    "shapes": (
        changed(fc_weight=torch.zeros(100, 128), fc_bias=torch.zeros(100)),
        r"2 that do not fit \(fc.weight \(100, 128\) for \(10, 128\), fc.bias \(100,\) for \(10,\)\)",
    ),
    "profiler beside a prefix": (
        saved(lambda: {**{f"module.{n}": v for n, v in weights().items()}, "total_ops": torch.zeros(1)}),
        r"got 1 counts that the profiler thop left behind \(total_ops\) in .*: take them out",
    ),
    "profiler under a prefix": (
        saved(
            lambda: {
                "total_params": torch.zeros(1),
                **{f"module.{n}": v for n, v in weights().items()},
                "module.fc.total_ops": torch.zeros(1),
            }
        ),
        r"got 2 counts that the profiler thop left behind \(total_params, module.fc.total_ops\) in",
    ),
    "integers": (
        changed(fc_weight=torch.zeros(10, 128, dtype=torch.int8)),
        "got torch.int8 for torch.float32 in fc.weight in .*: multiply by the scale",
    ),
    "quantised": (
        changed(fc_weight=torch.quantize_per_tensor(torch.zeros(10, 128), 0.1, 0, torch.qint8)),
        r"got torch.qint8 for torch.float32 in fc.weight in .*: convert it with dequantize\(\)",
    ),
    "complex": (
        changed(fc_weight=torch.zeros(10, 128, dtype=torch.complex64)),
        r"got torch.complex64 for torch.float32 in fc.weight in .*: take its .real before",
    ),
    "sparse": (
        changed(fc_weight=torch.zeros(10, 128).to_sparse()),
        r"must hold dense tensors, got torch.sparse_coo in fc.weight in .*: convert it with to_dense\(\)",
    ),
    "no values": (
        changed(fc_weight=torch.zeros(10, 128, device="meta")),
        "values of its tensors, got one on the meta device.* in fc.weight in .*: save the state dict of a network that",
    ),
    "no values, sparse": (
        changed(fc_weight=torch.zeros(10, 128).to_sparse().to("meta")),
        "values of its tensors, got one on the meta device",
    ),
    "nan": (changed(fc_bias=torch.full((10,), float("nan"))), "finite weights, got NaN or infinity in fc.bias"),
    "infinite": (changed(bn1_running_var=torch.full((16,), float("inf"))), "got NaN or infinity in bn1.running_var"),
    "too large": (
        changed(fc_bias=torch.full((10,), 1e300, dtype=torch.float64)),
        "finite weights, got NaN or infinity in fc.bias",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@pytest.mark.parametrize("case", BAD)
def test_a_bad_checkpoint_is_one_line_and_changes_nothing(tmp_path, case):
    write, message = BAD[case]
    path = tmp_path / "w.pt"
    write(path)
    model = digits_cnn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(model, path)
    text = str(caught.value)
    assert text.startswith("checkpoint must ")
    assert str(path) in text
    assert "\n" not in text
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "counter",
    [torch.tensor([7]), torch.tensor([7.0]), torch.tensor([[7]], dtype=torch.int32), torch.tensor(7.0), 7],
    ids=str,
)
def test_a_batch_counter_of_any_type_and_form_loads(tmp_path, counter):
    torch.save({**weights(), "bn1.num_batches_tracked": counter}, tmp_path / "w.pt")
    model = digits_cnn()
    load_checkpoint(model, tmp_path / "w.pt")
    assert model.bn1.num_batches_tracked.shape == ()
    assert int(model.bn1.num_batches_tracked) == 7
