"""Networks by name: the CIFAR ResNets, torchvision's, timm's; and the refusal of compiled and exported ones."""

from __future__ import annotations

import copy
import os
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import fx, nn

import rramsweep as rs
from rramsweep import models
from rramsweep.datasets import npz
from rramsweep.models import load_checkpoint, timm_model, torchvision_model
from rramsweep.models.eager import eager
from rramsweep.models.resnet_cifar import BasicBlock, CifarResNet

SHARED = Path(os.environ.get("RRAMSWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
PICTURES = SHARED / "cifar10_jpegq75_test5k.npz"
WEIGHTS = {20: "resnet20-12fca82f.th", 56: "resnet56-4bfd9763.th"}


def shared(path):
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return str(path)


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_cifar_resnets_have_the_papers_layers_and_parameters(depth, millions):
    network = getattr(models, f"resnet{depth}")()
    # Table 6 of the paper gives the parameters in millions, without counting by kind.
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 1 == depth
    assert all(m.kernel_size == (3, 3) for m in convolutions), "no projection: option A"
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert getattr(models, f"resnet{depth}")(num_classes=7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_the_picture_shrinks_where_the_channels_double():
    network, x = CifarResNet(20), torch.zeros(2, 3, 32, 32)
    x = network.bn1(network.conv1(x))
    shapes = [tuple((x := stage(x)).shape[1:]) for stage in (network.layer1, network.layer2, network.layer3)]
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_the_shortcut_is_every_second_pixel_between_zero_channels():
    block = BasicBlock(16, 32, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)  # leaves the shortcut alone
    x = torch.rand(2, 16, 8, 8)
    y = block(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()
    same = BasicBlock(16, 16, stride=1).eval()
    nn.init.zeros_(same.conv2.weight)
    assert torch.equal(same(x), x)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((18,), r"depth must be 6 n \+ 2 .*, got 18"), ((2,), r"got 2: take 20"), ((20, 0), r"num_classes .* got 0")],
)
def test_other_depths_and_no_classes_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        CifarResNet(*arguments)


@pytest.mark.parametrize("depth", WEIGHTS)
def test_the_published_weights_load_and_score_as_expected_on_jpeg_pictures(depth):
    network = getattr(models, f"resnet{depth}")().eval()
    load_checkpoint(network, shared(SHARED / "resnet_cifar10" / WEIGHTS[depth]))
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    data = npz(shared(PICTURES), layout="NHWC", scale=255.0, limit=300, **imagenet)
    with torch.inference_mode():
        accuracy = float((network(data.x).argmax(1) == data.y).float().mean())
    # 0.813 and 0.834 over all 5,000; three standard errors of 300 pictures.
    assert accuracy == pytest.approx(0.82, abs=0.07)


def test_the_cifar10_experiment_runs_from_two_paths(workdir):
    frame = rs.sweep(
        [
            "experiment=resnet20_cifar10",
            f"model.checkpoint={shared(SHARED / 'resnet_cifar10' / WEIGHTS[20])}",
            f"data.path={shared(PICTURES)}",
            "data.limit=60",
            "chips=1",
            "mapping=differential",
            "drift.relative_drift=0,0.3",
            "mapping.scale=per_channel",
        ]
    )
    assert (frame["status"] == "ok").all()
    assert set(frame["model"]) == {"resnet20"}
    assert set(frame["data"]) == {"cifar10_jpeg"}
    assert (frame["digital_accuracy"] > 0.65).all()
    digital, drifted = frame.sort_values("drift.relative_drift")["accuracy"]
    assert digital > drifted


def test_the_cifar10_experiment_asks_for_weights(workdir):
    with pytest.raises(Exception, match="model.checkpoint"):
        rs.sweep(["experiment=resnet20_cifar10", "data.path=x.npz"])


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5"])
def test_torchvision_networks_come_by_name_and_load_their_own_weights(name, tmp_path):
    network = torchvision_model(name, num_classes=7)
    assert type(network).__module__.startswith("torchvision.models")
    torch.save(network.state_dict(), tmp_path / "w.pt")
    other = torchvision_model(name, num_classes=7)
    load_checkpoint(other, tmp_path / "w.pt")
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in network.state_dict().items())


def test_arguments_reach_the_network():
    assert torchvision_model("mobilenet_v2", width_mult=0.25).features[0][0].out_channels == 8
    assert torchvision_model("squeezenet1_1").classifier[1].out_channels == 1000


def small_vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=3)


def old_vit_names(state):
    layers = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}
    return {re.sub(r"mlp\.[03]\.", lambda match: layers[match[0]], key): value for key, value in state.items()}


def old_densenet_names(state):
    return {re.sub(r"(denselayer\d+\.(norm|conv))([12])\.", r"\1.\3.", key): value for key, value in state.items()}


@pytest.mark.parametrize(
    ("factory", "old_names", "renamed", "prefix"),
    [
        (lambda: torchvision_model("densenet121", num_classes=3), old_densenet_names, 58 * 12, "module."),
        (small_vit, old_vit_names, 4, ""),
        (small_vit, old_vit_names, 4, "module."),
    ],
)
def test_weights_under_the_names_of_their_time_load(factory, old_names, renamed, prefix, tmp_path):
    network, other = factory(), factory()
    state = network.state_dict()
    old = old_names(state)
    assert len(old.keys() - state.keys()) == renamed
    torch.save({prefix + key: value for key, value in old.items()}, tmp_path / "w.pt")
    load_checkpoint(other, tmp_path / "w.pt")
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in state.items())


def test_weights_of_another_network_are_told_by_name_where_modules_ask_for_their_version(tmp_path):
    network = torchvision_model("mnasnet0_5", num_classes=3)
    state = network.state_dict()
    state["another.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"got 0 missing and 1 unexpected \(another.weight\)"):
        load_checkpoint(network, tmp_path / "w.pt")


def test_a_zip_with_a_damaged_directory_is_one_line(tmp_path):
    torch.save(models.digits_mlp().state_dict(), tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(whole.replace(b"PK\x01\x02", b"PK\x01\x00"))
    with pytest.raises(ValueError, match="complete file from torch.save, got .*w.pt, which cannot be read"):
        load_checkpoint(models.digits_mlp(), tmp_path / "w.pt")


@pytest.mark.parametrize("spoil", ["lack", "shape", "infinite"])
def test_old_names_are_checked_like_new_ones(spoil, tmp_path):
    network = small_vit()
    old = old_vit_names(network.state_dict())
    key = "encoder.layers.encoder_layer_0.mlp.linear_1.weight"
    if spoil == "lack":
        del old[key]
    else:
        old[key] = torch.ones(5) if spoil == "shape" else old[key] / 0
    torch.save(old, tmp_path / "w.pt")
    before = copy.deepcopy(network.state_dict())
    says = "finite weights" if spoil == "infinite" else "must name exactly the model's weights"
    with pytest.raises(ValueError, match=says):
        load_checkpoint(network, tmp_path / "w.pt")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_network_by_name_can_be_copied_and_pickled():
    network = torchvision_model("densenet121", num_classes=3)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    assert torch.equal(copied.classifier.weight, network.classifier.weight)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "resnet19"}, r"network of torchvision, got 'resnet19': did you mean resnet18"),
        ({"name": "fasterrcnn_resnet50_fpn"}, r"classification network of torchvision"),
        (
            {"name": "resnet18", "weights": "DEFAULT"},
            r"weights must come from a local file, got model.weights='DEFAULT'",
        ),
        ({"name": "resnet18", "pretrained": True}, r"got model.pretrained=True: .*model.checkpoint=PATH"),
    ],
)
def test_unknown_names_and_weights_to_be_fetched_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        torchvision_model(**arguments)


def test_without_timm_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"timm, which is not installed: pip install .*\[timm\]'"):
        timm_model("resnet18")


def test_without_safetensors_one_line_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "w.safetensors").write_text("")
    with pytest.raises(ValueError, match=r"needs safetensors .*: pip install .*\[timm\]'"):
        load_checkpoint(models.digits_mlp(), tmp_path / "w.safetensors")


def test_timm_networks_come_by_name():
    pytest.importorskip("timm", reason="needs the extra timm")
    assert sum(p.numel() for p in timm_model("resnet18.a1_in1k").parameters()) == 11_689_512
    assert timm_model("resnet18", num_classes=3, in_chans=1)(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
    for name, says in (("resnet19", "did you mean resnet18"), ("hf-hub:timm/resnet18", "must be a network of timm")):
        with pytest.raises(ValueError, match=says):
            timm_model(name)
    with pytest.raises(ValueError, match="weights must come from a local file"):
        timm_model("resnet18", pretrained=True)


def test_safetensors_load(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="needs the extra timm")
    network, other = models.digits_mlp(), models.digits_mlp()
    safetensors.save_file(network.state_dict(), tmp_path / "w.safetensors")
    load_checkpoint(other, tmp_path / "w.safetensors")
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in network.state_dict().items())
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"complete safetensors file, got .*cut.safetensors"):
        load_checkpoint(other, tmp_path / "cut.safetensors")


def exported():
    return torch.export.export(models.digits_mlp().eval(), (torch.zeros(2, 1, 8, 8),))


PROGRAMS = {
    "scripted": lambda: torch.jit.script(models.digits_mlp()),
    "traced": lambda: torch.jit.trace(models.digits_mlp(), torch.zeros(2, 1, 8, 8)),
    "exported": exported,
    "module of an exported": lambda: exported().module(),
}


@pytest.mark.filterwarnings("ignore")  # torch deprecates TorchScript; files of it stay around
@pytest.mark.parametrize("kind", PROGRAMS)
def test_compiled_and_exported_networks_are_refused_with_the_reason_and_the_remedy(kind):
    what = "a TorchScript module" if kind in ("scripted", "traced") else "an exported program"
    with pytest.raises(ValueError, match=rf"network of Python layers, got {what}.*: give the network in Python"):
        eager(PROGRAMS[kind](), "it")
    with pytest.raises(ValueError, match=rf"pretrained_model must be a network of Python layers, got {what}"):
        rs.FastPyTorchRRAM(PROGRAMS[kind](), 1e-6, 100e-6)


def test_networks_in_python_pass_a_traced_graph_of_layers_too():
    network = models.digits_mlp()
    assert eager(network, "it") is network
    graph = fx.symbolic_trace(network)
    assert eager(graph, "it") is graph
    with pytest.raises(ValueError, match="it must be a torch.nn.Module, got int"):
        eager(3, "it")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["scripted", "exported"])
def test_files_of_programs_are_refused_and_the_remedy_works(kind, tmp_path):
    path = tmp_path / "program.pt2"
    if kind == "scripted":
        PROGRAMS[kind]().save(path)
    else:
        torch.export.save(exported(), path)
    network = models.digits_mlp()
    with pytest.raises(ValueError, match=r"must hold weights alone, got a.* torch.save\((.*), new_path\)") as caught:
        load_checkpoint(network, path)
    assert "\n" not in str(caught.value)
    remedy = re.search(r"torch.save\((.*), new_path\)", str(caught.value))[1]
    state = eval(remedy, {"torch": torch, "path": path})
    torch.save(state, tmp_path / "weights.pt")
    load_checkpoint(network, tmp_path / "weights.pt")
    assert torch.equal(network.fc1.weight, state["fc1.weight"])
