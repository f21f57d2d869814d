"""`rramsweep finetune` and `rs.finetune`: from overrides to weights that a sweep takes, resumed, and bad input."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import rramsweep as rs
from rramsweep.cli import fine_tuning
from rramsweep.cli.main import main
from rramsweep.training.chip_network import ChipNetwork

POINT = ["model=digits_mlp", "data=digits", "technology=pyrram", "drift.relative_drift=0.2"]
SMALL = [*POINT, "data.fitting={split: train, limit: 300}"]
SHORT = [*SMALL, "finetune.epochs=2", "finetune.chips=3"]


def run(words, capsys):
    main(["finetune", *words])
    return capsys.readouterr().out


def refused(words, capfd):
    with pytest.raises(SystemExit) as ended:
        main(words)
    (line,) = capfd.readouterr().err.splitlines()
    return line, ended.value.code


def test_weights_are_swept_by_the_command_that_is_printed(workdir, capsys):
    out = run([*SHORT, "name=mine", "seed=5"], capsys)
    assert "training digits_mlp by cross-entropy on 240 inputs of digits (train), noise=chips" in out
    assert "note: data.fitting" not in out
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("epoch")] == [
        f"epoch {number}/2" for number in range(3)
    ]
    (folder,) = Path("outputs/mine/finetune").iterdir()
    assert f"files: {folder}" in out
    names = {"settings.json", "checkpoint.pt", "weights.pt", "finetune.csv", "finetune.png"}
    assert {path.name for path in folder.iterdir()} == names
    table = pd.read_csv(folder / "finetune.csv")
    assert table["epoch"].tolist() == [0, 1, 2]
    assert table["steps"].tolist() == [0, 4, 8]
    assert (table["chip_low"] < table["chip_score"]).all()
    assert (table["chip_high"] <= 1).all(), "no share of right inputs is above 1"
    assert int(table["best"].sum()) == 1
    words = shlex.split(out.rpartition("sweep with it: ")[2])
    assert words[:2] == ["rramsweep", "-m"]
    assert words[-1] == f"model.checkpoint=embedded,{folder}/weights.pt"
    frame = rs.sweep([*words[2:], "chips=4", "threads=1"])
    assert frame["seed"].tolist() == [5, 6, 7, 8] * 2
    means = frame.groupby("model.checkpoint")["score"].mean()
    assert means[f"{folder}/weights.pt"] > means["embedded"] + 0.1


def test_several_checkpoints_are_an_axis(workdir):
    tables = [rs.finetune([*SHORT, f"finetune.seed={seed}", f"name=s{seed}"]) for seed in (0, 1, 2)]
    paths = [table.attrs["weights"] for table in tables]
    frame = rs.sweep([*POINT, "chips=3", f"model.checkpoint={','.join(paths)}"])
    assert frame["model.checkpoint"].drop_duplicates().tolist() == paths
    assert frame["point_id"].nunique() == 3
    assert frame["seed"].tolist() == [0, 1, 2] * 3
    assert frame["score"].min() > 0.9
    summary = rs.summarize(frame)
    assert summary["model.checkpoint"].tolist() == paths
    paired = rs.compare(frame, baseline={"model.checkpoint": paths[0]})
    assert paired["model.checkpoint"].tolist() == paths


def test_a_config_and_its_overrides_train_the_same(workdir):
    by_words = rs.finetune([*SHORT, "name=words"])
    by_config = rs.finetune(rs.compose([*SMALL, "name=config"]), rs.FineTuning(epochs=2, chips=3))
    pd.testing.assert_frame_equal(by_words.drop(columns="seconds"), by_config.drop(columns="seconds"))
    one, other = (torch.load(each.attrs["weights"], weights_only=True) for each in (by_words, by_config))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_calibration_is_said_to_take_no_part(workdir):
    with pytest.warns(UserWarning, match="calibration=moments takes no part in training, where chips are scored"):
        rs.finetune([*SHORT, "calibration=moments"])


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([], "chips"),
        (["calibration=dora"], "digital"),
        (["calibration=dora", "finetune.batch_norm=chips"], "chips"),
        (["finetune.batch_norm=digital"], "digital"),
    ],
)
def test_weights_keep_the_statistics_that_the_chips_of_the_point_need(workdir, words, kept):
    cnn = ["model=digits_cnn", "data=digits", "finetune.epochs=1", *words]
    run = fine_tuning._of_overrides(cnn, None)
    assert run.training.batch_norm == kept
    assert len([note for note in run.notes if "statistics of the digital network" in note]) == (kept == "digital")
    assert any("meets the same chip" in note for note in run.notes)
    assert not any(
        "meets the same chip" in note
        for note in fine_tuning._of_overrides([*cnn, "drift.relative_drift=0.2"], None).notes
    )


def test_settings_change_no_identity(workdir):
    point = fine_tuning._of_overrides([*SHORT, "finetune.lr=0.1"], None).point
    sweep = rs.sweep([*POINT, "chips=1"])
    assert point.point_id == sweep["point_id"].iloc[0]
    assert not [name for name in sweep if name.startswith("finetune")]


def killed(monkeypatch, words, step):
    """Start a run and interrupt it at a step."""
    chip, steps = ChipNetwork.chip, []

    def interrupted(self, seed, *given):
        steps.append(seed)
        if seed == rs.FineTuning().trained_chip(step):
            raise KeyboardInterrupt
        return chip(self, seed, *given)

    with monkeypatch.context() as patch:
        patch.setattr(ChipNetwork, "chip", interrupted)
        main(["finetune", *words])


def test_ended_run_goes_on_with_the_same_command(workdir, capfd, monkeypatch):
    with pytest.raises(SystemExit) as ended:
        killed(monkeypatch, [*SHORT, "name=ended"], 6)
    (folder,) = Path("outputs/ended/finetune").iterdir()
    line = f"rramsweep: interrupted, with 1 of 2 epochs kept in {folder}: run the same command to go on"
    assert (capfd.readouterr().err.strip(), ended.value.code) == (line, 130)
    assert not (folder / "weights.pt").exists()
    other = [*SHORT, "finetune.lr=0.01", "name=ended"]
    found, code = refused(["finetune", *other], capfd)
    assert code == 1
    assert found == (
        f"rramsweep: a run of name=ended must be finished before another begins, but {folder} was ended early and "
        f"differs (finetune.lr 0.001, now 0.01): repeat its settings to go on, give another name=NAME, or remove "
        f"{folder}"
    )
    out = run([*SHORT, "name=ended"], capfd)
    assert f"files: {folder}" in out
    whole = rs.finetune([*SHORT, "name=whole"])
    one, two = (torch.load(path, weights_only=True) for path in (folder / "weights.pt", whole.attrs["weights"]))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    # Finished: the same command shows it again, and other settings begin a run of their own.
    again = run([*SHORT, "name=ended"], capfd)
    assert again.partition("epoch 0")[2] == out.partition("epoch 0")[2]
    run(other, capfd)
    assert len(list(Path("outputs/ended/finetune").iterdir())) == 2


def test_run_that_kept_nothing_is_no_obstacle(workdir, capfd, monkeypatch):
    with pytest.raises(SystemExit):
        killed(monkeypatch, SHORT, 0)
    assert "0 of 2 epochs kept" in capfd.readouterr().err
    run([*SHORT, "drift.relative_drift=0.1"], capfd)


def test_what_a_run_was_is_kept(workdir, capsys):
    run([*SHORT, "finetune.distillation=0.5", "finetune.clip=percentile"], capsys)
    (path,) = Path("outputs/sweep/finetune").glob("*/settings.json")
    document = json.loads(path.read_text())
    assert document["finetune"]["distillation"] == 0.5
    assert document["finetune"]["clip"] == "percentile"
    assert document["params"]["drift.relative_drift"] == 0.2
    assert document["weights_for"] == SMALL


@pytest.mark.parametrize(
    "extra",
    [
        ["tile=crossbar", "wires=segments", "dac=uniform", "adc=uniform", "read_noise=white"],
        ["mapping=sliced", "device.levels=4", "device.step_uS=null", "faults=stuck"],
        ["model=digits_cnn", "analog.fold_batchnorm=true", "metric=agreement"],
    ],
    ids=["array", "slices", "folded"],
)
def test_point_with_every_part_is_trained(workdir, extra):
    words = [word for word in SMALL if word.split("=")[0] not in {each.split("=")[0] for each in extra}]
    table = rs.finetune([*words, *extra, "finetune.epochs=1", "finetune.chips=2"])
    assert table["chip_score"].notna().all()
    assert table["loss"].iloc[1] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["finetune.epochs=0"], "finetune.epochs must be at least 1, got 0: give a larger integer"),
        (
            ["finetune.clip_sigma=0.5"],
            "finetune.clip_sigma must be finite and at least 1, got 0.5: 2.5 to 4 are common",
        ),
        (["finetune.clip_percentile=101"], "finetune.clip_percentile must lie in 50..100, got 101.0"),
        (["finetune.lr=fast"], "finetune.lr must be float, got 'fast' (str): correct the value"),
        (["finetune.noise=off"], "finetune.noise must be one of chips, gaussian, none, got 'off': pick one"),
        (["finetune.lrr=1"], "finetune.lrr is not there to be set: did you mean finetune.lr?"),
        (["finetune=nope"], "finetune has no option 'nope': it has default"),
        (
            ["finetune.lr=0.1,0.2"],
            "a single point takes one value, got finetune.lr=0.1,0.2: finetune trains on one point",
        ),
        (["drift.relative_drift=0,0.2"], "a single point takes one value, got drift.relative_drift=0,0.2: finetune"),
        (["experiment=quickstart"], "a single point has no axes, but this experiment sweeps"),
        (["chip=3"], "chip is not there to be set: did you mean chips"),
        (["-m"], "rramsweep finetune takes NAME=VALUE as a sweep does, but got -m: leave it out"),
        (
            ["data.fitting=null"],
            "data.fitting must name labelled inputs to train on, none of which is scored, got null",
        ),
        (
            ["data.fitting=test"],
            "data.fitting must name inputs that are not scored, got test, whose 350 inputs all are",
        ),
        (
            ["data.fitting={split: train, limit: 2}"],
            "finetune.held_out must leave an input to train on and one to stop on",
        ),
        (["accelerator.precision=bfloat16"], "accelerator.precision must be float32 to train in, got 'bfloat16'"),
        (["preview=true"], "preview is of the command line alone, while finetune trains one network in this process"),
        (["name=../x"], "name must be a folder name under outputs/"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_before_any_chip(workdir, capfd, monkeypatch, words, says):
    monkeypatch.setattr(ChipNetwork, "chip", lambda self, seed, *given: pytest.fail("a chip was made"))
    kept = [word for word in POINT if word.split("=")[0] not in {each.split("=")[0] for each in words}]
    line, code = refused(["finetune", *kept, *words], capfd)
    assert line.startswith(f"rramsweep: {says}")
    assert code == 1
    assert not list(workdir.iterdir())


def test_inputs_without_labels_are_refused(workdir, capfd):
    import numpy as np

    rng = np.random.default_rng(0)
    for name, y in (("scored", np.arange(20) % 10), ("unlabelled", np.zeros(20, dtype=np.int64))):
        np.savez(f"{name}.npz", x=rng.normal(size=(20, 1, 8, 8)).astype(np.float32), y=y)
    words = ["model=digits_mlp", "data=npz", "data.path=scored.npz", "data.fitting=unlabelled.npz", "data.n_classes=10"]
    line, _ = refused(["finetune", *words], capfd)
    assert line == (
        "rramsweep: data.fitting must have labels to train on, of two classes at least, got 20 labels that are all 0: "
        "name inputs with their labels"
    )


@pytest.mark.parametrize("word", ["finetune.lr=0.1", "finetune=default", "+finetune=default", "+finetune.lr=0.1"])
@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"], ["plan"], ["inspect"]], ids=["run", "-m", "plan", "inspect"])
def test_settings_of_training_are_refused_where_nothing_is_trained(workdir, capfd, words, word):
    line, _ = refused([*words, *POINT, word], capfd)
    assert line == (
        f"rramsweep: settings of finetune are of `rramsweep finetune` and rs.finetune alone, got '{word}': leave it "
        "out, or train with it and sweep over model.checkpoint"
    )


@pytest.mark.parametrize("call", [rs.sweep, rs.compose, rs.inspect])
def test_settings_of_training_are_refused_from_python_too(workdir, call):
    with pytest.raises(ValueError, match="^settings of finetune are of `rramsweep finetune` and rs.finetune alone"):
        call([*POINT, "finetune.lr=0.1"])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rs.finetune("chips=3"), "finetune takes a list of overrides, got the string 'chips=3'"),
        (lambda: rs.finetune(SHORT, rs.FineTuning()), "settings must be given by overrides or as FineTuning, not both"),
        (lambda: rs.finetune(["-m", *POINT]), "finetune must be given overrides NAME=VALUE alone, not flags"),
        (lambda: rs.finetune(POINT, {"lr": 0.1}), "settings must be"),
    ],
)
def test_bad_calls_are_refused(workdir, call, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        call()


def test_yaml_has_the_settings_and_their_defaults():
    made = fine_tuning._of_overrides(POINT, None).training
    assert made == replace(rs.FineTuning(), batch_norm="chips")
