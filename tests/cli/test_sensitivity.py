"""`rramsweep sensitivity` and `rs.sensitivity`: each layer alone on the array, all but each, the layers to leave."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.analysis.sensitivity import fewest_digital
from rramsweep.cli import sensitivity
from rramsweep.cli.main import main
from rramsweep.cli.one_point import new_folder
from rramsweep.cli.planning import plan_of
from rramsweep.cli.sensitivity import FIGURE_FILE, STEPS_FILE, TABLE_FILE, Variants
from rramsweep.errors import ValidationError
from rramsweep.intervals import share_bound
from rramsweep.scale import percent
from rramsweep.simulation import shard

MLP = ["model=digits_mlp", "data=digits", "data.limit=100", "chips=3"]
NOISY = [*MLP, "drift.relative_drift=0.3", "programming=gaussian", "programming.alpha_ind=0.1"]
CNN = ["model=digits_cnn", "data=digits", "data.limit=100", "drift.relative_drift=0.3", "chips=4"]
CUSTOM = ["model=custom", "data=digits", "data.limit=50", "chips=2", "allow_targets=[tests]"]


def tied():
    """A network whose first two of three layers share a weight."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), *(nn.Linear(64, 64, bias=False) for _ in range(2)), nn.Linear(64, 10))
    model[2].weight = model[1].weight
    return model


def single():
    """A network of one layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


@pytest.fixture
def runs(monkeypatch):
    """The seeds of every batch of chips that is run, in order."""
    found = []
    trials = shard.run_trials

    def counted(bench, seeds):
        found.append((bench.point_id, list(seeds)))
        yield from trials(bench, seeds)

    monkeypatch.setattr(shard, "run_trials", counted)
    return found


def losses(frame):
    return frame["digital_score"] - frame["score"]


def test_rows_are_the_sweeps_of_the_same_layers(workdir, runs):
    table = rs.sensitivity(NOISY).set_index("layer")
    assert len(runs) == 3, "two layers: both, each alone; all but one is the other alone"
    every, *single = (rs.sweep([*NOISY, *more]) for more in ([], ["analog.include=[fc1]"], ["analog.exclude=[fc1]"]))
    for layer, alone, without in (("fc1", *single), ("fc2", *reversed(single))):
        row = table.loc[layer]
        assert row["alone_mean"] == pytest.approx(losses(alone).mean(), abs=1e-12)
        assert row["gain_mean"] == pytest.approx((without["score"] - every["score"]).mean(), abs=1e-12)
        sem = (without["score"] - every["score"]).std() / np.sqrt(3)
        assert row["gain_high"] - row["gain_mean"] == pytest.approx(4.302652729911275 * sem)
    assert table["all_mean"].iloc[0] == pytest.approx(losses(every).mean(), abs=1e-12)
    assert len(runs) == 3, "every one of these sweeps found its chips in the store"


def test_the_whole_is_the_sum_of_its_parts(workdir):
    words = [*CNN, "metric=cross_entropy"]  # lower is better: a loss is a larger score
    table = rs.sensitivity(words)
    assert table["all_mean"].iloc[0] == pytest.approx(-losses(rs.sweep(words)).mean(), abs=1e-12)
    assert table["all_mean"].iloc[0] > table["alone_mean"].max() > 0
    assert table[["cells_share", "macs_share"]].sum().tolist() == pytest.approx([1, 1])
    assert dict(zip(table["layer"], table["macs"], strict=True)) == {"conv1": 9216, "conv2": 73728, "fc": 1280}
    assert dict(zip(table["layer"], table["cells"], strict=True)) == {"conv1": 288, "conv2": 9216, "fc": 2560}
    assert table["sensitivity"].is_monotonic_decreasing
    for kind in ("alone", "gain", "all"):
        low, mean, high = (table[f"{kind}_{end}"] for end in ("low", "mean", "high"))
        assert ((low < mean) & (mean < high)).all()


@pytest.mark.parametrize("noisy", ["conv1", "conv2", "fc"])
def test_the_one_layer_with_errors_is_found(workdir, noisy):
    """Also the property that losses add up: with errors in one layer alone, its loss is all of the loss."""
    rule = f"+analog.layers.noisy={{match: {noisy}, drift: {{relative_drift: 0.6}}}}"
    table = rs.sensitivity([*CNN, "drift.relative_drift=0", "device.step_uS=null", rule])
    first, others = table.iloc[0], table.iloc[1:]
    assert first["layer"] == noisy
    assert first["alone_mean"] == first["gain_mean"] == first["all_mean"] > 0.01
    assert others[["alone_mean", "gain_mean"]].abs().to_numpy().max() <= 1e-12


def test_the_largest_mvm_error_is_not_the_largest_loss(workdir):
    overrides = [*CNN, "drift.relative_drift=0.4"]
    errors = rs.inspect(overrides).set_index("layer")["mvm_error"]
    first = rs.sensitivity(overrides).iloc[0]
    assert (errors.idxmax(), first["layer"]) == ("conv2", "conv1")


def test_a_layers_conductances_are_those_it_has_among_others(workdir):
    """Paired draws: seed and layer decide them, not which others are on the array."""
    variants = Variants([*NOISY, "variation=chip_to_chip", "variation.sigma=0.1", "faults=stuck"])
    weights = {}
    for digital in ((), ("fc1",), ("fc2",)):
        network = variants.workbench.bench(variants.point_of(digital)).network.chip(5)
        weights[digital] = {name: p.clone() for name, p in network.named_parameters() if name.endswith("weight")}
    exact = variants.workbench.network(variants.point).state_dict()
    for layer, digital in (("fc1", "fc2"), ("fc2", "fc1")):
        assert torch.equal(weights[digital,][f"{layer}.weight"], weights[()][f"{layer}.weight"])
        assert torch.equal(weights[digital,][f"{digital}.weight"], exact[f"{digital}.weight"])
        assert not torch.equal(weights[()][f"{layer}.weight"], exact[f"{layer}.weight"])


def test_tied_layers_leave_together(workdir):
    overrides = [*CUSTOM, f"model._target_={__name__}.tied"]
    with pytest.warns(UserWarning, match="untrained"):
        table = rs.sensitivity(overrides).set_index("layer")
    assert sorted(table.index) == ["1+2", "3"]
    assert table.loc["1+2", ["cells", "macs"]].tolist() == [2 * 64 * 64, 2 * 64 * 64]
    variants = Variants(overrides)
    assert variants.override(["1+2"]) == "analog.exclude=['1','2']", "names of digits are no numbers"
    assert rs.sweep([*overrides, variants.override(["1+2"])])["point_id"].iloc[0] == (
        variants.point_of(["1+2"]).point_id
    )


@pytest.mark.parametrize(
    ("given", "override"),
    [
        (["analog.exclude=[conv1]"], "analog.exclude=[conv1,fc]"),
        (
            ["+analog.layers.digital={match: fc, drift: {relative_drift: 0.1}}"],
            "+analog.layers.digital1={match:[fc],exclude:true}",
        ),
    ],
    ids=["excluded", "a rule of that name"],
)
def test_the_command_runs_the_point_that_was_measured(workdir, given, override):
    variants = Variants([*CNN, *given])
    assert variants.override(["fc"]) == override
    _, *words = shlex.split(variants.command(["fc"], 4))
    assert [point.point_id for point in plan_of(words, "test")[0].points] == [variants.point_of(["fc"]).point_id]


@pytest.mark.parametrize("seed", [[], ["seed=10"], ["++seed=10"]], ids=["default", "given", "forced"])
@pytest.mark.parametrize("digital", [[], ["fc"]], ids=["none digital", "one digital"])
def test_the_command_runs_the_chips_it_names(workdir, seed, digital):
    _, *words = shlex.split(Variants([*CNN, *seed]).command(digital, 14))
    assert list(plan_of(words, "test")[0].seeds[0]) == [14, 15, 16, 17]


def test_fresh_chips_verify_what_others_chose(workdir, runs):
    target = "target.drop=0.05"
    table = rs.sensitivity([*CNN, "technology=pyrram", "drift.relative_drift=0.3", "seed=10", target])
    chosen, steps = table.attrs["digital_layers"], table.attrs["steps"]
    assert (chosen["seed_first"], chosen["seed_last"], chosen["fresh"]) == (14, 17, True)
    assert 0 < len(chosen["digital"]) < 3
    assert [step["fresh"] for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[0]["digital"] == []
    assert not steps[0]["met"]
    measured = {tuple(step["digital"]): step["met"] for step in steps[:-1]}
    assert measured[tuple(chosen["digital"])]
    shares = table.set_index("layer")["macs_share"]
    assert chosen["macs_share"] == pytest.approx(shares[chosen["digital"]].sum())
    chips = rs.sweep([*CNN, "technology=pyrram", "drift.relative_drift=0.3", "seed=14", chosen["override"]])
    assert losses(chips).mean() == pytest.approx(chosen["loss_mean"], abs=1e-12)
    seeds = {seed for _, batch in runs for seed in batch}
    assert seeds == set(range(10, 18))


def test_a_target_that_all_layers_meet_leaves_none_digital(workdir):
    words = [*MLP, "drift.relative_drift=0.05", "chips=29", "target.yield=0.9", "target.drop=0.5"]
    chosen = rs.sensitivity(words).attrs["digital_layers"]
    assert (chosen["digital"], chosen["override"], chosen["met"]) == ([], "", True)
    assert (chosen["good_share"], chosen["yield_bound"]) == (1.0, pytest.approx(0.05 ** (1 / 29)))


def test_a_killed_run_goes_on(workdir, runs, monkeypatch):
    trials = shard.run_trials

    def killed(bench, seeds):
        for i, one in enumerate(trials(bench, seeds)):
            if i == 2:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(shard, "run_trials", killed)
    with pytest.raises(SystemExit) as ended:
        main(["sensitivity", *MLP])
    assert ended.value.code == 130
    assert not list(Path("outputs").glob("*/sensitivity/*")), "no table of a part"
    monkeypatch.setattr(shard, "run_trials", trials)
    runs.clear()
    again = rs.sensitivity(MLP)
    assert sum(len(seeds) for _, seeds in runs) == 3 * 3 - 2
    runs.clear()
    pd.testing.assert_frame_equal(rs.sensitivity(MLP), again)
    assert runs == []


def test_the_command_says_and_writes_what_was_found(workdir, capsys):
    overrides = [*CNN, "technology=pyrram", "drift.relative_drift=0.3", "target.drop=0.05", "name=mine"]
    main(["sensitivity", *overrides])
    out = capsys.readouterr().out
    (folder,) = Path("outputs/mine/sensitivity").iterdir()
    assert {path.name for path in folder.iterdir()} == {TABLE_FILE, STEPS_FILE, FIGURE_FILE}
    table = pd.read_csv(folder / TABLE_FILE)
    assert list(table["layer"]) == list(rs.sensitivity(overrides)["layer"])
    assert "multiplications with weights" in out
    assert "the choice was made on chips 0..3; as many fresh ones, 4..7," in out
    assert "'analog.exclude=[" in out.splitlines()[-2]
    assert out.splitlines()[-2].startswith("run it on these: rramsweep ")
    assert out.splitlines()[-2].endswith(" seed=4")
    assert out.splitlines()[-1] == f"files: {folder}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["target.foo=1"], "target.foo is not a setting of a target, .*: did you mean target.drop or target.yield"),
        (["target=0.1"], "target is not a setting of a target, .*: did you mean target.drop or target.yield"),
        (["target.drop=two"], "target.drop must be one number, got 'two': give target.drop=0.02"),
        (["target.drop=0,0.1"], "target.drop must be one number, got '0,0.1'"),
        (["target.yield"], "target.yield must be one number, got no value: give target.yield=0.9"),
        (["target.drop=-1"], "target.drop must be a finite number >= 0, .* got -1.0"),
        (["target.drop=nan"], "target.drop must be a finite number >= 0, .* got nan"),
        (["target.drop=2"], r"target.drop must be at most 1 for top-1 accuracy \(%\), .* got 2.0: 0.02 is two points"),
        (["target.yield=90"], "target.yield must lie between 0 and 1, .* got 90.0"),
        (["target.yield=0.9"], "chips must be at least 29 to show a yield of 0.9 at 95 %, got 3: give chips=29"),
        (["chips=1", "target.drop=0.1"], "chips must be at least 2 to show an interval of the mean loss, got 1"),
        (["metric=cross_entropy", "target.yield=0.3"], r"target.drop must be given for cross-entropy \(nat\)"),
        (["analog.exclude=[fc1]"], r"at least two weights on the array .* got fc2: use a network with more layers"),
        (["drift.relative_drift=0,0.1"], "a single point takes one value, .*: sensitivity is of one point"),
        (["interval=anytime"], "interval must be left at t, since sensitivity has paired t intervals alone, got 'any"),
        (["driftt=1"], "driftt is not there to be set: did you mean drift"),
        (["shards=2"], "shards is of the command line alone, while sensitivity computes every trial in this process"),
        (["preview=true"], "preview is of the command line alone"),
        (["-m"], "leave it out"),
        (["experiment=quickstart"], "a single point has no axes"),
        (["seed=9223372036854775803", "target.drop=0.1"], r"seed \+ chips must stay below 2\*\*63"),
        (
            ["drift.relative_drift=0.8", "target.drop=0.0001"],
            "short of all meets, but even fc. alone on the array loses",
        ),
    ],
)
def test_bad_input_in_one_line(workdir, given, message):
    with pytest.raises(ValueError, match=message) as refused:
        rs.sensitivity([*MLP, *given])
    assert "\n" not in str(refused.value)


def test_the_command_refuses_in_one_line_too(workdir, capsys):
    for given, message in (
        ("target.drop=two", "target.drop must be one number, got 'two'"),
        ("analog.exclude=[fc1]", "a sensitivity by layer needs at least two weights"),
        ("--folder=x", "rramsweep sensitivity takes NAME=VALUE as a sweep does, but got --folder=x"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["sensitivity", *MLP, given])
        assert ended.value.code == 1
        assert capsys.readouterr().err.startswith(f"rramsweep: {message}")
    assert not Path("outputs").exists()


def test_the_file_has_its_caption_and_a_users_axes_none(workdir, monkeypatch):
    saved = {}
    monkeypatch.setattr(sensitivity, "save_figure", lambda figure, path: saved.update({path.name: figure}))
    table = rs.sensitivity(MLP)
    sensitivity.write(table, Path("folder"))
    (ax,) = saved[FIGURE_FILE].axes
    (shown,) = [artist for artist in ax.get_children() if artist.get_gid() == "caption"]
    assert shown.get_visible()
    assert "in brackets: share of the multiplications" in " ".join(shown.get_text().split())
    (hidden,) = [a for a in rs.plot_sensitivity(table).get_children() if a.get_gid() == "caption"]
    assert not hidden.get_visible()


def test_other_bad_input(workdir):
    with pytest.raises(ValueError, match="stopping must be fixed, .*: leave it out and give chips=N"):
        rs.sensitivity([*MLP[:-1], "stopping=interval"])
    with pytest.raises(ValueError, match="at least two weights on the array .* got 1: use"):
        rs.sensitivity([*CUSTOM, f"model._target_={__name__}.single"])
    with pytest.raises(ValueError, match="takes a list of overrides, got the string 'drift=ideal': put it in brackets"):
        rs.sensitivity("drift=ideal")
    with pytest.raises(ValueError, match="plot_sensitivity takes the table of rramsweep.sensitivity"):
        rs.plot_sensitivity(pd.DataFrame({"layer": ["a"]}))


def test_failed_chips_are_named(workdir, monkeypatch, capsys):
    monkeypatch.setattr(shard, "run_trials", _failing(lambda seed: seed == 1))
    with pytest.raises(SystemExit):
        main(["sensitivity", *MLP])
    assert "3 trials failed, the first with 'RuntimeError: a broken cell', and are left out" in capsys.readouterr().err
    monkeypatch.setattr(shard, "run_trials", _failing(lambda seed: True))
    with pytest.raises(ValueError, match="must have a finished chip, but with all on the array all failed"):
        rs.sensitivity([*MLP, "store=other"])


@pytest.mark.parametrize(
    ("target", "fails"),
    [(["target.yield=0.9", "target.drop=0.5"], 7), (["target.drop=0.5"], 7), (["target.drop=0.5"], 40)],
    ids=["yield", "mean", "a fresh chip"],
)
def test_a_failed_chip_shows_no_target(workdir, monkeypatch, target, fails):
    monkeypatch.setattr(shard, "run_trials", _failing(lambda seed: seed == fails))
    message = "held to a target must finish, but 1 of 35 failed, most often with 'RuntimeError: a broken cell': correct"
    with pytest.raises(ValueError, match=message):
        rs.sensitivity([*MLP, "chips=35", "drift.relative_drift=0.05", *target])


@pytest.mark.parametrize(
    ("target", "decides", "remedy"),
    [
        (["target.yield=0.9", "target.drop=0.01"], r"has a yield of {share} % \(at least {bound} %\)", "target.yield"),
        (["target.yield=0.9", "target.drop=0.001"], r"has a yield of {share} % \(at least {bound} %\)", "target.yield"),
        (["target.drop=0.001"], r"loses {mean} \(.*\) percentage points", "lower the errors"),
    ],
)
def test_a_target_that_is_missed_is_refused_by_what_decides(workdir, target, decides, remedy):
    words = [*MLP, "drift.relative_drift=0.4", "chips=30"]
    with pytest.raises(ValueError, match="short of all meets") as refused:
        rs.sensitivity([*words, *target])
    limit = float(target[-1].partition("=")[2])
    chips = {layer: losses(rs.sweep([*words, f"analog.include=[{layer}]"])) for layer in ("fc1", "fc2")}
    good = {layer: int((lost <= limit + 1e-9).sum()) for layer, lost in chips.items()}
    best = max(good, key=lambda layer: (good[layer], -chips[layer].mean()))
    if len(target) == 1:
        best = min(chips, key=lambda layer: chips[layer].mean() + 2.045 * chips[layer].std() / np.sqrt(30))
    bound = float(share_bound(np.array([good[best]]), np.array([30]))[0])
    decides = decides.format(
        share=percent(good[best] / 30), bound=percent(bound, 1, "low"), mean=f"{100 * chips[best].mean():.2f}"
    )
    assert re.search(
        rf"even {best} alone on the array {decides} over chips 0\.\.29, .*: give .*{remedy}", str(refused.value)
    )


def test_two_runs_in_one_second_have_folders_of_their_own(workdir):
    first = new_folder("mine", "sensitivity")
    first.mkdir(parents=True)
    assert new_folder("mine", "sensitivity") != first
    Path("outputs/other").write_text("")
    with pytest.raises(ValidationError, match="the folder of name=other must lie in a folder"):
        new_folder("other", "spread")


def _failing(fails):
    trials = shard.run_trials

    def run(bench, seeds):
        for row, correct in trials(bench, seeds):
            bad = fails(row["seed"])
            failed = {"point_id": row["point_id"], "seed": row["seed"], **shard.failure(RuntimeError("a broken cell"))}
            yield (failed, None) if bad else (row, correct)

    return run


@pytest.mark.parametrize(
    ("costs", "limit", "chosen"),
    [
        ({"a": 5, "b": 3, "c": 1}, 9, []),
        ({"a": 5, "b": 3, "c": 1}, 4, ["a"]),
        ({"a": 5, "b": 3, "c": 1}, 1, ["a", "b"]),
        ({"a": 5, "b": 3, "c": 1}, 0.5, None),
        ({"a": 0.4, "b": 3, "c": 1}, 1.5, ["b"]),  # not the first of the order: it goes back
        ({"a": 1, "b": 3, "c": 4}, 1, ["b", "c"]),  # only the one that is last to leave may stay
    ],
)
def test_the_choice_on_losses_that_add_up(costs, limit, chosen):
    alone = [layer for layer, cost in costs.items() if cost <= limit]
    assert fewest_digital(
        "abc", alone, lambda digital: sum(costs.values()) - sum(costs[d] for d in digital) <= limit
    ) == (chosen)


def test_forty_layers_can_be_read(workdir):
    table = rs.sensitivity(MLP)
    many = pd.concat([table] * 25, ignore_index=True)
    many["layer"] = [f"layer{i}.conv1" for i in range(len(many))]
    many.attrs = table.attrs
    ax = rs.plot_sensitivity(many)
    renderer = ax.figure.canvas.get_renderer()
    boxes = [label.get_window_extent(renderer) for label in ax.get_yticklabels()]
    assert len(boxes) == 40
    assert all(low.y1 <= high.y0 + 1 for high, low in pairwise(boxes))
    assert "10 layers of less loss are left out" in " ".join(text.get_text() for text in ax.texts).replace("\n", " ")
    gids = {artist.get_gid() for artist in ax.get_children()}
    assert {"alone", "gain", "interval:alone", "interval:gain", "all", "caption"} <= gids
