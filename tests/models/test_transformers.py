"""Networks of transformers with random weights: from their folder to chips, and what is refused on the way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep import FastPyTorchRRAM
from rramsweep.cli.planning import plan_of
from rramsweep.crossbar.mapping import Differential
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.datasets import Inputs, npz
from rramsweep.datasets.inputs import call
from rramsweep.devices.device import Device
from rramsweep.effects import RelativeDrift
from rramsweep.errors import ValidationError
from rramsweep.models import transformers_model
from rramsweep.network.analog import AnalogNetwork, analog_layers
from rramsweep.network.validation import validate
from rramsweep.simulation.components import Components

transformers = pytest.importorskip("transformers")

DRIFTED = LayerSpec(Device(1.0, 100.0), Differential(), drift=RelativeDrift(0.1))
WORDS, LENGTH, INPUTS = 40, 8, 12

# Of the largest output: a weight goes to conductances and back in single precision.
TOLERANCE = 1e-4

SMALL = {"vocab_size": WORDS, "initializer_range": 0.4}
BERT = {
    **SMALL,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
}


def bert(labels=3):
    config = transformers.BertConfig(**BERT, num_labels=labels)
    return transformers.BertForSequenceClassification(config)


def gpt2():
    config = transformers.GPT2Config(**SMALL, n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=0)
    return transformers.GPT2LMHeadModel(config)


def llama(tied=True):
    config = transformers.LlamaConfig(**BERT, num_key_value_heads=1, tie_word_embeddings=tied)
    return transformers.LlamaForCausalLM(config)


# Layers on the array: each linear layer of a block times the two blocks, and what stands around them.
NETWORKS = {
    "bert": (bert, "AutoModelForSequenceClassification", 2 * 6 + 2),
    "gpt2": (gpt2, "AutoModelForCausalLM", 2 * 4 + 1),
    "llama": (llama, "AutoModelForCausalLM", 2 * 7 + 1),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each network, and arrays: padded ids with masks and labels of an input or of each token."""
    root = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    for name, (make, _, _) in NETWORKS.items():
        make().save_pretrained(root / name)
    rng = np.random.default_rng(0)
    mask = (np.arange(LENGTH) < rng.integers(3, LENGTH + 1, INPUTS)[:, None]).astype(np.int64)
    ids = rng.integers(1, WORDS, (INPUTS, LENGTH)) * mask
    following = np.where(np.roll(mask, -1, 1) * mask == 1, np.roll(ids, -1, 1), -100)
    following[:, -1] = -100
    np.savez(root / "classes.npz", input_ids=ids, attention_mask=mask, y=np.arange(INPUTS) % 3)
    np.savez(root / "tokens.npz", input_ids=ids, attention_mask=mask, labels=following)
    return root


@pytest.fixture
def here(folders, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for path in folders.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def words(name, *more):
    data = "classes" if name == "bert" else "tokens"
    metric = [] if name == "bert" else ["metric=perplexity"]
    model = ["model=transformers", f"model.path={name}", f"model.class_name={NETWORKS[name][1]}"]
    return [*model, "data=npz", f"data.path={data}.npz", *metric, "chips=2", "batch_size=5", *more]


def built(name):
    """A network as a sweep has it, and its inputs."""
    config = plan_of(words(name), "test")[0].points[0].config
    parts = Components()
    return parts.network(config["model"])[0], parts.data(config["data"]).x


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_ideal_chip_is_the_network_and_drift_is_not(name, here):
    model, x = built(name)
    assert isinstance(x, Inputs)
    logits = call(model, x)
    names = analog_layers(model)
    network = AnalogNetwork(model, dict.fromkeys(names, DRIFTED))
    largest = float(logits.abs().max())
    torch.testing.assert_close(call(network.ideal(), x), logits, rtol=0, atol=TOLERANCE * largest)
    chips = [call(network.chip(seed), x) for seed in (1, 2, 1)]
    torch.testing.assert_close(chips[0], chips[2], rtol=0, atol=1e-5 * largest)
    for other in (chips[1], logits):
        assert (chips[0] - other).abs().max() > 10 * TOLERANCE * largest


@pytest.mark.parametrize("name", NETWORKS)
def test_every_projection_is_on_the_array_and_embeddings_are_not(name, here):
    model, _ = built(name)
    names = analog_layers(model)
    linear = (nn.Linear, transformers.pytorch_utils.Conv1D)
    assert names == [each for each, module in model.named_modules() if isinstance(module, linear)]
    assert len(names) == NETWORKS[name][2]
    chip = AnalogNetwork(model, dict.fromkeys(names, DRIFTED)).chip(3)
    exact, drifted = dict(model.named_modules()), dict(chip.named_modules())
    for each, module in exact.items():
        if isinstance(module, (*linear, nn.Embedding)):
            same = torch.equal(module.weight, drifted[each].weight)
            assert same == isinstance(module, nn.Embedding), each


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_tied_head_has_cells_and_the_embedding_keeps_its_numbers(name, here):
    model, _ = built(name)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert head.weight is embedding.weight
    chip = AnalogNetwork(model, dict.fromkeys(analog_layers(model), DRIFTED)).chip(3)
    assert torch.equal(chip.get_input_embeddings().weight, embedding.weight)
    assert not torch.equal(chip.get_output_embeddings().weight, embedding.weight)


@torch.no_grad()
def test_a_transposed_linear_layer_has_the_cells_of_the_plain_one(here):
    """GPT-2 holds its weights (in, out); on the array outputs come first, each with a scale of its own."""
    transposed = transformers.pytorch_utils.Conv1D(5, 3)
    transposed.bias.copy_(torch.arange(5.0))
    plain = nn.Linear(3, 5)
    plain.weight.copy_(transposed.weight.T)
    plain.bias.copy_(transposed.bias)
    spec = LayerSpec(Device(1.0, 100.0), Differential(scale="per_channel"), drift=RelativeDrift(0.1))
    x = torch.randn(4, 3)
    networks = [AnalogNetwork(nn.Sequential(each), {"0": spec}) for each in (transposed, plain)]
    torch.testing.assert_close(networks[0].chip(7)(x), networks[1].chip(7)(x))
    assert not torch.allclose(networks[0].chip(7)(x), plain(x), atol=1e-3)
    chips = [FastPyTorchRRAM(nn.Sequential(each), 1e-6, 100e-6, seed=7) for each in (transposed, plain)]
    assert torch.equal(chips[0].conductances["0"]["p"], chips[1].conductances["0"]["p"])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sweep_of_a_folder(name, here):
    frame = rs.sweep(words(name, "drift.relative_drift=0,0.2"))
    assert (frame["status"] == "ok").all()
    ideal = frame[frame["drift.relative_drift"] == 0]
    np.testing.assert_allclose(ideal["score"], ideal["ideal_score"], rtol=1e-5)
    np.testing.assert_allclose(frame["ideal_score"], frame["digital_score"], rtol=2e-3)
    assert (ideal["agreement"] == 1).all()
    assert (frame.loc[frame["drift.relative_drift"] == 0.2, "agreement"] < 1).all()
    assert frame["loss"].notna().all()


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_other_ways_to_run_give_the_same_chips(name, here):
    exact = rs.sweep(words(name, "drift.relative_drift=0.2", "name=one"))
    for way in ("chips_per_pass=2", "chips_in_flight=2", "batch_size=1", "analog.fold_batchnorm=true"):
        other = rs.sweep(words(name, "drift.relative_drift=0.2", "store=other", "name=other", way))
        for column in ("score", "loss", "agreement", "digital_score"):
            np.testing.assert_allclose(other[column], exact[column], rtol=1e-5, err_msg=f"{way} {column}")
        shutil.rmtree("other")


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_read_noise_and_inspection_reach_every_projection(name, here):
    noisy = rs.sweep(words(name, "drift=ideal", "read_noise=white", "read_noise.alpha_ind=0.02"))
    assert (noisy["status"] == "ok").all()
    assert noisy["loss"].nunique() == 2
    table = rs.inspect(words(name, "drift.relative_drift=0.2"))
    assert len(table) == NETWORKS[name][2]
    assert table["mvm_error"].between(0.05, 0.6).all()


def test_metrics_against_the_digital_network(here):
    frame = rs.sweep(words("bert", "metric=agreement", "drift.relative_drift=0,0.3", "name=classes"))
    assert (frame["digital_score"] == 1).all()
    np.testing.assert_allclose(frame["score"], frame["agreement"])
    embedding = words("bert", "model.class_name=AutoModel", "model.output=pooler_output", "metric=cosine")
    frame = rs.sweep([*embedding, "drift.relative_drift=0,0.3", "name=embedding"]).set_index("drift.relative_drift")
    np.testing.assert_allclose(frame["digital_score"], 1)
    np.testing.assert_allclose(frame.loc[0.0, "score"], 1, atol=1e-3)
    assert (frame.loc[0.3, "score"] < 0.99).all()


def test_another_output_by_a_constant_argument(here):
    more = ["+model.forward.output_hidden_states=true", "model.output=hidden_states.-1", "metric=cosine"]
    frame = rs.sweep(words("bert", *more, "drift.relative_drift=0.2"))
    assert (frame["score"] < 0.999).all()
    assert frame["model.forward.output_hidden_states"].all()
    assert frame["agreement"].isna().all()


def test_padding_changes_no_answer(here, tmp_path):
    arrays = dict(np.load("classes.npz"))
    longer = {k: np.pad(v, ((0, 0), (0, 4))) if v.ndim == 2 else v for k, v in arrays.items()}
    np.savez("longer.npz", **longer)
    losses = [
        rs.sweep(words("bert", "drift.relative_drift=0.2", f"data.path={name}.npz"))["loss"]
        for name in ("classes", "longer")
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)


# -- adapters


class LoRA(nn.Module):
    """Low-rank adapter beside a linear layer, `W x + B A x`, as adapter-tuned networks hold it."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base
        self.lora_A = nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.lora_B(self.lora_A(x))


def adapted():
    torch.manual_seed(1)
    model = bert().eval()
    for layer in model.bert.encoder.layer:
        attention = layer.attention.self
        attention.query, attention.value = LoRA(attention.query), LoRA(attention.value)
    return model


@torch.no_grad()
def test_adapters_are_on_the_array_unless_they_are_left_out(here):
    model, (_, x) = adapted(), built("bert")
    names = analog_layers(model)
    assert len([name for name in names if ".lora_" in name]) == 8
    logits = call(model, x).logits
    torch.testing.assert_close(
        call(AnalogNetwork(model, dict.fromkeys(names, DRIFTED)).ideal(), x).logits, logits, rtol=0, atol=1e-4
    )
    digital = analog_layers(model, exclude=["*.lora_*"])
    assert len(digital) == NETWORKS["bert"][2]
    chip = AnalogNetwork(model, dict.fromkeys(digital, DRIFTED)).chip(1)
    weights = dict(chip.named_parameters())
    for name, weight in model.named_parameters():
        if ".lora_" in name:
            assert torch.equal(weights[name], weight)
    assert (call(chip, x).logits - logits).abs().max() > 1e-2


LAB = """
import torch
from tests.models.test_transformers import adapted

def build():
    return adapted()
"""


def test_a_sweep_of_an_adapted_network(here, monkeypatch):
    Path("lorapackage.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(here))
    model = ["model=custom", "model._target_=lorapackage.build", "model.output=logits", "allow_targets=[lorapackage]"]
    more = ["data=npz", "data.path=classes.npz", "drift.relative_drift=0.2", "chips=2"]
    whole = rs.sweep([*model, *more, "name=whole"])
    base = rs.sweep([*model, *more, "analog.exclude=['*.lora_*']", "name=base"])
    assert (whole["status"] == "ok").all()
    assert (whole["loss"] != base["loss"]).all()
    assert (whole["digital_score"] == base["digital_score"]).all()
    sys.modules.pop("lorapackage")


# -- PyRRAM-Sim's interface


def test_the_class_of_pyrram_sim_and_its_validation(here):
    _, x = built("bert")
    y = npz("classes.npz").y
    plain = transformers.AutoModelForSequenceClassification.from_pretrained("bert")
    chip = FastPyTorchRRAM(plain, 1e-6, 100e-6, seed=1)
    chip.apply_relative_drift(0.1)
    noisy = chip.get_noisy_model_for_inference()
    pairs = [({name: t[i : i + 5] for name, t in x.kwargs.items()}, y[i : i + 5]) for i in range(0, INPUTS, 5)]
    dicts = [{**inputs, "labels": labels} for inputs, labels in pairs]
    with torch.no_grad():
        expected = 100 * float((noisy(**x.kwargs).logits.argmax(1) == y).double().mean())
    for batches in (pairs, dicts):
        assert validate(noisy, batches, output="logits") == pytest.approx(expected)
    with pytest.raises(ValueError, match="this one returns SequenceClassifierOutput with logits: choose one with"):
        validate(noisy, pairs)


def test_validation_counts_labels_that_are_scored(here):
    _, x = built("gpt2")
    y = npz("tokens.npz").y
    plain = transformers.AutoModelForCausalLM.from_pretrained("gpt2")
    batches = []
    for i in range(0, INPUTS, 5):
        longest = int(x.kwargs["attention_mask"][i : i + 5].sum(1).max())  # each batch as long as its longest sequence
        batches.append(({name: t[i : i + 5, :longest] for name, t in x.kwargs.items()}, y[i : i + 5, :longest]))
    assert len({labels.shape[1] for _, labels in batches}) > 0
    with torch.no_grad():
        right = plain(**x.kwargs).logits.argmax(-1) == y
    assert validate(plain, batches, output="logits") == pytest.approx(100 * float(right[y != -100].double().mean()))


# -- identity


def identity_of(*overrides):
    point = plan_of(list(overrides), "test")[0].points[0]
    return point.point_id


def test_a_network_is_its_weights_and_configuration_wherever_its_folder_lies(here):
    shutil.copytree("bert", "elsewhere")
    one = identity_of(*words("bert"))
    assert identity_of(*words("bert", "model.path=elsewhere")) == one
    assert identity_of(*words("bert", "model.local_files_only=false")) == one
    assert identity_of(*words("bert", "model.output=0")) != one
    assert identity_of(*words("bert", "+model.forward.return_dict=true")) != one
    assert identity_of(*words("bert", "data.inputs=[input_ids]")) != one
    config = json.loads(Path("elsewhere/config.json").read_text())
    Path("elsewhere/config.json").write_text(json.dumps({**config, "num_attention_heads": 4}))
    assert identity_of(*words("bert", "model.path=elsewhere")) != one


# -- what is refused


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            ["model.path=nowhere"],
            r"model\.path must be a folder with config\.json .*, got 'nowhere': correct it, or give",
        ),
        (
            ["model.class_name=AutoModelForCausalLMs"],
            r"must be an AutoModel class .*: did you mean AutoModelForCausalLM",
        ),
        (["model.class_name=BertModel"], r"model\.class_name must be an AutoModel class"),
        (
            ["model.class_name=AutoModelForMaskedLM"],
            r"must hold all weights of AutoModelForMaskedLM, but lacks cls\..*saved as BertForSequenceClassification",
        ),
        (
            ["+model.num_labels=7"],
            r"model\.path must hold all weights of .*, but has in another shape classifier\.bias",
        ),
        (["+model.trust_remote_code=true"], r"model\.trust_remote_code is not taken, got True"),
        (["+model.device_map=auto"], r"model\.device_map is not taken, .*: set accelerator=cuda"),
        (["model.output=null"], r"returns SequenceClassifierOutput with logits: choose one with model\.output=logits"),
        (
            ["model.output=logit"],
            r"got 'logit': it returns SequenceClassifierOutput with logits: choose one with model.output=logits",
        ),
        (["+model.forward.attention_masks=1"], r"forward\.attention_masks must .*: did you mean attention_mask"),
        (["+model.forward.attention_mask=1"], r"forward\.attention_mask must not be an array of the data too"),
        (["data.inputs=[attention_mask]"], r"on inputs of shapes attention_mask \(8,\) says 'You must specify exactly"),
        (["memory_format=channels_last"], r"memory_format=channels_last is of images"),
        (["metric=mse"], r"mean squared error must have numbers as targets"),
        (["data.path=tokens.npz"], r"top-1 accuracy must have one label an input, got y of shape \(12, 8\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, says, here):
    with pytest.raises(ValueError, match=says) as caught:
        rs.sweep(words("bert", *changes))
    assert "\n" not in str(caught.value)


def test_a_misspelt_array_that_a_forward_takes_all_the_same_is_noted(here):
    arrays = dict(np.load("classes.npz"))
    arrays["attn_mask"] = arrays.pop("attention_mask")
    np.savez("misspelt.npz", **arrays)
    with pytest.warns(UserWarning, match=r"do not change with the input attn_mask: check the names of its forward's"):
        rs.sweep(words("bert", "data.path=misspelt.npz"))


def test_a_folder_with_code_of_its_own_is_refused(here):
    shutil.copytree("bert", "evil")
    config = json.loads(Path("evil/config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    Path("evil/config.json").write_text(json.dumps(config))
    Path("evil/code.py").write_text("open('was_here', 'w')")
    with pytest.raises(ValidationError, match=r"path must be a folder .* but transformers says"):
        transformers_model("evil", "AutoModel")
    assert not Path("was_here").exists()


def test_an_untrained_network_takes_a_checkpoint(here):
    torch.manual_seed(9)
    made = transformers_model("bert", "AutoModelForSequenceClassification", pretrained=False)
    torch.save(bert().state_dict(), "trained.pt")
    frame = rs.sweep(words("bert", "model.pretrained=false", "model.checkpoint=trained.pt", "name=one"))
    assert (frame["status"] == "ok").all()
    assert type(made).__name__ == "BertForSequenceClassification"
    with pytest.warns(UserWarning, match=r"model.checkpoint=null: the network's weights are untrained"):
        rs.sweep(words("bert", "model.pretrained=false", "name=two"))


def test_weights_of_half_precision_are_read_as_float32(here):
    torch.manual_seed(2)
    bert().bfloat16().save_pretrained("half")
    made = transformers_model("half", "AutoModelForSequenceClassification")
    assert {p.dtype for p in made.parameters()} == {torch.float32}
    assert made.config.use_cache is False


def test_nothing_else_imports_transformers():
    code = "import sys, rramsweep, rramsweep.models, rramsweep.cli.main; print('transformers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs transformers, which is not installed: pip install .*\[transf"):
        transformers_model("bert", "AutoModel")
