"""Every command and Python block of README.md and of those beside what they describe.

Commands run in this process in a fast form: the same words, then fewer chips, inputs and images, and the smallest
network where an experiment is run as it is. Composed only, without running, are those with a launcher: Slurm and a Ray
cluster are not to be had in CI, and tests/cli/test_launchers.py runs the launchers of one machine. Targets of `make`
are looked up, as CI itself is `make test`. `pip install` is not tried here; tests/test_wheel.py installs the package.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

import rramsweep as rs
from rramsweep.cli.catalog import conf_dir
from rramsweep.cli.main import main
from rramsweep.cli.planning import plan_of
from rramsweep.models import resnet20

ROOT = Path(__file__).parents[1]
# The first page, then those of the folders.
PAGES = {
    path.parent: path.read_text(encoding="utf-8")
    for pattern in ("README.md", "conf/README.md", "rramsweep/*/README.md", "notebooks/README.md", "tests/README.md")
    for path in sorted(ROOT.glob(pattern))
}
README = "\n".join(PAGES.values())
FENCES = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in FENCES if language == "python"]
FEWER = ["chips=2"]
SMALLEST = ["model=digits_mlp", "data=digits"]
NETWORK = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, {outputs}))\n"
PICTURES = """import torch
from torch.utils.data import TensorDataset


def Pictures(root):
    return TensorDataset(torch.rand(20, 1, 8, 8), torch.arange(20) % 10)
"""


def _commands():
    """Commands in blocks (indented, or fenced as a shell's) and in code spans, without comments, each once."""
    blocks = re.findall(r"(?:^ {4}\S.*\n(?: {4,}\S.*\n)*)", PROSE, re.MULTILINE)
    blocks += [text for language, text in FENCES if language in ("", "bash", "sh", "console", "text")]
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"(?<!`)`((?:python -m )?rramsweep -?\w[^`]*)`(?!`)", PROSE)
    words = [shlex.split(line, comments=True) for line in [*lines, *spans] if _is_command(line)]
    return list(dict.fromkeys(tuple(one) for one in words))


def _is_command(line):
    return bool(re.match(r"(\w+=\S+ )*make [\w-]+|(python -m )?rramsweep +[-\w]", line)) and "..." not in line.replace(
        "<...>", ""
    )


COMMANDS = [words for words in _commands() if "rramsweep" in words]
MADE = [words for words in _commands() if "make" in words]
LAUNCHED = [words for words in COMMANDS if any(word.startswith("hydra/launcher=") for word in words)]
RUN = [words for words in COMMANDS if words not in LAUNCHED]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with every file that the README takes as given, and one sweep already run."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("readme")
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        rng = np.random.default_rng(0)
        labels = np.arange(20) % 10
        Path("mylab").mkdir()
        Path("mylab/sets.py").write_text(PICTURES)
        np.savez("my.npz", x=rng.random((20, 1, 8, 8), dtype=np.float32), y=labels)
        np.savez("measured.npz", x=rng.random((20, 64), dtype=np.float32), y=rng.random((20, 1)))
        pictures = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        np.savez("cifar10_jpegq75_test5k.npz", x=pictures, y=labels)
        _text(rng)
        torch.save(resnet20().state_dict(), "resnet20-12fca82f.th")
        torch.save(torchvision.models.resnet18().state_dict(), "resnet18-f37072fd.pth")
        for name in "ab":
            Path(f"imagenet/val/{name}").mkdir(parents=True)
            Image.fromarray(pictures[0]).resize((64, 64)).save(f"imagenet/val/{name}/{name}.png")
        yield folder
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "mylab":
            del sys.modules[name]


def _text(rng):
    """Two small networks of transformers, where it is installed, and token ids with their labels."""
    ids, mask = rng.integers(1, 30, (20, 6)), np.ones((20, 6), dtype=np.int64)
    following = np.concatenate([ids[:, 1:], np.full((20, 1), -100)], axis=1)
    np.savez("text.npz", input_ids=ids, attention_mask=mask, y=np.arange(20) % 2)
    np.savez("tokens.npz", input_ids=ids, attention_mask=mask, labels=following)
    if importlib.util.find_spec("transformers") is None:
        return
    from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

    bert = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertForSequenceClassification(BertConfig(vocab_size=30, **bert)).save_pretrained("my-bert")
    GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2)).save_pretrained("my-gpt2")


def _network(outputs):
    """`mylab.nets` and its weights, with so many outputs."""
    Path("mylab/nets.py").write_text(NETWORK.format(outputs=outputs))
    sys.modules.pop("mylab.nets", None)
    importlib.invalidate_caches()
    torch.save({"1.weight": torch.randn(outputs, 64), "1.bias": torch.zeros(outputs)}, "net.pt")


def _folder(experiment):
    """A folder of a fast run of an experiment, made if there is none."""
    made = Path("outputs", experiment)
    if not made.is_dir():
        main(["-m", f"experiment={experiment}", *SMALLEST, "data.limit=20", *FEWER])
    return str(max(made.iterdir()))


def _fast(words):
    """The arguments of a command with placeholders filled in and fewer of everything."""
    words = [re.sub(r"outputs/(\w+)/<\.\.\.>", lambda m: _folder(m[1]), word) for word in words]
    words = [rs.load(_folder("quickstart"))["point_id"].iloc[0] if word == "POINT_ID" else word for word in words]
    words = [word for word in words[words.index("rramsweep") + 1 :] if not word.startswith("[")]
    if not any("=" in word for word in words) and words[0] != "finetune":
        return words
    fewer = list(FEWER)
    if any(word.startswith("seed=") for word in words):
        fewer = ["seed=range(0,2)"]
    if "stopping=interval" in words:
        fewer = ["stopping.min_chips=2", "stopping.batch=2", "stopping.max_chips=4"]
    if words[0] == "inspect":
        return [*words, *fewer]
    if words[0] == "budget":
        return [
            *(word for word in words if not word.startswith("target.")),
            "target.yield=0.5",
            "chips=5",
            "data.limit=20",
        ]
    words = [word for word in words if not word.startswith("target.")]  # which so few chips do not meet
    if words[0] == "finetune":
        return [*words, *fewer, "finetune.epochs=1", "finetune.chips=2", "data.fitting={split: train, limit: 200}"]
    if len(words) == 2 and words[1].startswith("experiment=") and words[1] != "experiment=noise_aware_training":
        fewer += SMALLEST  # but where weights of one network are compared
    return [*words, "data.limit=2" if "data=image_folder" in words else "data.limit=20", *fewer]


def test_what_was_found_is_what_a_reader_sees():
    """The parser sees each kind: a command it silently missed would be one that nobody runs."""
    assert len(PYTHON) == README.count("```python")
    assert len(MADE) >= 3
    assert len(LAUNCHED) >= 5
    heads = {words[words.index("rramsweep") + 1] for words in COMMANDS}
    assert {"-m", "inspect", "budget", "finetune", "list", "report", "plan", "store", "explain"} <= heads
    shown = re.findall(r"^ {4}rramsweep .*", README, re.MULTILINE)
    assert len(RUN) >= len(set(shown))


@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_a_command_runs(words, here):
    if "model=transformers" in words:
        pytest.importorskip("transformers")
    if {"hydra/sweeper=optuna", "experiment=design_search"} & set(words):
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra optuna")
    _network(1 if "metric=mse" in words else 10)
    if words[words.index("rramsweep") + 1] in ("store", "explain"):
        _folder("quickstart")
    main(_fast(words))


@pytest.mark.parametrize("words", LAUNCHED, ids=" ".join)
def test_a_command_with_a_launcher_composes(words, here):
    arguments = [word for word in words[words.index("rramsweep") + 1 :] if word != "-m"]
    plan, _ = plan_of(arguments, "test")
    assert plan.settings.shards > 1
    assert plan.n_trials >= plan.settings.shards


@pytest.mark.parametrize("words", MADE, ids=" ".join)
def test_a_target_of_make_is_there(words):
    target = words[words.index("make") + 1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("block", PYTHON, ids=lambda text: next(line for line in reversed(text.splitlines()) if line))
def test_a_python_block_runs(block, here, monkeypatch):
    sweep, compose = rs.sweep, rs.compose
    monkeypatch.setattr(rs, "sweep", lambda given: sweep([*given, *FEWER, "data.limit=20"]), raising=False)
    monkeypatch.setattr(rs, "compose", lambda given: compose([*given, *FEWER, "data.limit=20"]), raising=False)
    text = re.sub(r"outputs/(\w+)/<\.\.\.>", lambda m: _folder(m[1]), block)
    module = {"__name__": "readme", "rs": rs}  # blocks after the first go on with its import
    sys.modules["readme"] = type(sys)("readme")  # where a dataclass looks for its annotations
    try:
        exec(compile(text, "README.md", "exec"), module)
    finally:
        del sys.modules["readme"]


def test_the_first_python_block_prints_what_stands_below_it(here, capsys):
    """Within an image or two of 350: others than our processors may turn a logit's tie."""
    exec(compile(PYTHON[0], "README.md", "exec"), {"__name__": "readme"})
    shown = next(text for language, text in FENCES if language == "text").split()
    printed = capsys.readouterr().out.split()
    assert len(printed) == len(shown)
    for said, was in zip(shown, printed, strict=True):
        assert said == was or float(said) == pytest.approx(float(was), abs=0.02)
    assert len(PYTHON[0].splitlines()) <= 12


def test_every_experiment_is_named():
    names = {path.stem for path in (conf_dir() / "experiment").glob("*.yaml")}
    assert all(f"`{name}`" in README for name in names)
    assert set(re.findall(r"experiment=(\w+)", README)) <= names


@pytest.mark.parametrize("folder", PAGES, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_every_file_and_heading_that_is_pointed_at_is_there(folder):
    linked = [(folder, *link.partition("#")[::2]) for link in re.findall(r"\]\(([^):]+)\)", PAGES[folder])]
    linked += [
        (ROOT, name, "")
        for name in re.findall(r"`((?:notebooks|tests|conf|rramsweep)/[^`* ]*)`", PAGES[folder])
        if "<" not in name
    ]
    missing = [name for where, name, _ in linked if not (where / name).exists()]
    assert not missing
    for where, name, heading in linked:
        if heading:
            page = where / name if name else where / "README.md"
            assert heading in _anchors(page.read_text(encoding="utf-8")), (name, heading)


def _anchors(text):
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_first_page_is_short():
    assert len(PAGES[ROOT].splitlines()) <= 250


def test_papers_beside_the_readme_name_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"] == rs.__version__
    assert (citation["title"], citation["license"]) == (project["name"], project["license"])
    assert re.search(rf"^## .*\b{re.escape(rs.__version__)}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
