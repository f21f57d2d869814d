"""Axes whose levels cannot differ, and parameters at their defaults that act unseen: told before the sweep."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest

import rramsweep as rs
from rramsweep.cli.catalog import conf_dir
from rramsweep.cli.main import main
from rramsweep.cli.planning import plan_of
from rramsweep.study.plan import Plan

DIGITS = ["model=digits_mlp", "data=digits", "data.limit=50", "chips=2"]
WAY = ["batch_size=50", "memory_format=contiguous", "threads=1"]
EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))


def settings(text):
    return plan_of([*DIGITS, *text.split()], "test")[0].settings


def about(axis, notes):
    return [note for note in notes if note.startswith(f"{axis} is swept")]


@dataclass(frozen=True)
class RareJump:
    """A user's own law, whose rate is as low as no few cells show it."""

    version: ClassVar[int] = 1

    p_jump: float = 0.0
    size_uS: float = 5.0

    def __call__(self, cells, rng):
        return cells.g_uS + self.size_uS * (rng.uniform(cells.g_uS.shape) < self.p_jump)


@pytest.mark.parametrize(
    ("axis", "overrides", "reason", "remedy"),
    [
        ("t_s", "t_s=1h,1d,1y", "nothing depends on it (no law of time in", "drift=power_law"),
        ("t_s", "t_s=1h,1d drift.relative_drift=0.1 read_noise=white", "nothing depends on it", "drift=power_law"),
        ("t_s", "t_s=1h,1d drift.relative_drift=0,0.1", "nothing depends on it at every combination tried", "drift="),
        ("t_s", "t_s=1s,5s,10s drift=power_law", "no law of time acts between them", "sweep times after"),
        ("device", "device=generic,neurram", "no error depends on the device", "add an error"),
        ("device", "device=generic,neurram faults=stuck", "no error depends on the device", "add an error"),
        ("device.g_max_uS", "device.g_max_uS=50,100", "no error depends on the device", "add an error"),
        ("device.edge", "device.edge=clip,positive", "each gives the same cells", "add an error"),
        ("mapping", "mapping=differential,offset", "no error depends on the mapping", "add an error"),
        ("mapping.percentile", "mapping.percentile=99,99.9", "the same cells", "mapping.w_max=percentile alone"),
        ("drift.z_max", "drift.z_max=1,2", "the same cells", "acts where drift.relative_drift is not 0"),
        ("drift.reference", "drift.reference=target,current", "the same cells", "leave the axis out"),
        ("drift", "drift=ideal,relative", "the same cells", "give drift a strength"),
        ("technology", "technology=custom,drift_alone", "the same cells", "choose options that differ"),
        (
            "faults.g_lrs_uS",
            "faults=stuck faults.p_stuck_lrs=0 faults.g_lrs_uS=50,100",
            "the same cells",
            "acts where faults.p_stuck_lrs is not 0",
        ),
        (
            "faults.cv_hrs",
            "faults=clusters faults.p_stuck_hrs=0 faults.cv_hrs=0,0.1",
            "the same cells",
            "acts where faults.p_stuck_hrs is not 0",
        ),
        (
            "faults",
            "faults=ideal,stuck faults.p_stuck_lrs=choice(0) faults.p_stuck_hrs=choice(0)",
            "the same cells",
            "give faults a strength",
        ),
        (
            "variation.share_chip",
            "variation=mixed variation.sigma=0 variation.share_chip=0,0.1",
            "the same cells",
            "acts where variation.sigma is not 0",
        ),
        (
            "analog.layers.late.drift.z_max",
            "+analog.layers.late.match=fc1 +analog.layers.late.drift.z_max=1,2",
            "the same cells",
            "relative_drift is not 0",
        ),
    ],
)
def test_levels_that_cannot_differ_are_told_with_the_remedy(axis, overrides, reason, remedy):
    (note,) = about(axis, settings(overrides).notes)
    assert reason in note
    assert remedy in note


@pytest.mark.parametrize(
    "overrides",
    [
        "t_s=1h,1d drift=power_law",
        "t_s=1s,1h read_noise=one_over_f",
        "t_s=0,1h relaxation=hfox device=neurram",
        "t_s=1h,1d drift=log_time drift.mean_uS_per_decade=0 drift.variance_uS2_per_decade=1e-6",
        "device=generic,neurram drift.relative_drift=0.1",
        "device=generic,neurram drift.relative_drift=0,0.1",
        "device=generic,neurram programming=gaussian",
        "device=generic,ihp_hfo2",
        "device.levels=64,128,256 device.step_uS=null",
        "device.step_uS=0.1,0.2",
        "mapping=differential,offset drift.relative_drift=0.1",
        "mapping=differential,offset device=ihp_hfo2",
        "mapping.w_max=max,percentile mapping.percentile=99.99",
        "drift.z_max=1,2 drift.relative_drift=0,0.1",
        "drift.z_max=1,2 drift.relative_drift=0.1,0",
        "drift.z_max=8,9 drift.relative_drift=0.1",
        "faults=stuck faults.p_stuck_lrs=0,1e-7 faults.p_stuck_hrs=0",
        "faults=clusters faults.p_stuck_lrs=1e-6,2e-6 faults.p_stuck_hrs=0",
        "faults=lines faults.p_stuck_lrs=0 faults.p_stuck_hrs=1e-5,2e-5",
        "faults=stuck faults.p_stuck_lrs=1e-7 faults.g_lrs_uS=50,100",
        "faults=ideal,stuck faults.p_stuck_lrs=choice(1e-7) faults.p_stuck_hrs=choice(0)",
        "read_noise.alpha_ind=0,0.01 read_noise=white",
        "model=digits_mlp,digits_cnn metric=top1,cross_entropy",
        "analog.include=[fc1],[fc2]",
        "+analog.layers.late.match=fc1,fc2",
        "+analog.layers.late.match=fc1 +analog.layers.late.drift.relative_drift=0,0.1",
    ],
)
def test_levels_that_differ_or_may_are_not_called_the_same(overrides):
    axes = [part.partition("=")[0].lstrip("+") for part in overrides.split()]
    assert [note for axis in axes for note in about(axis, settings(overrides).notes) if "swept over" in note] == []


@pytest.mark.parametrize("axis", ["p_jump=1e-8,1e-7", "size_uS=5,6"])
@pytest.mark.parametrize("p", ["1e-7", "0"])
def test_a_law_of_the_users_own_is_judged_by_what_it_does(axis, p):
    law = f"drift._target_={__name__}.RareJump"
    fixed = [] if axis.startswith("p_jump") else [f"+drift.p_jump={p}"]
    overrides = [f"allow_targets=[{__name__.split('.')[0]}]", "drift=ideal", law, f"+drift.{axis}", *fixed]
    notes = settings(" ".join(overrides)).notes
    assert len(about(f"drift.{axis.partition('=')[0]}", notes)) == (fixed == ["+drift.p_jump=0"])


@pytest.mark.parametrize(
    ("overrides", "held"),
    [
        ("faults=stuck faults.p_stuck_lrs=0,0.01", ["faults.p_stuck_hrs=0.0904 [R2]"]),
        ("faults=lines faults.p_stuck_hrs=0.01", ["faults.p_stuck_lrs=0.0175 [R2]"]),
        ("faults=stuck faults.p_stuck_lrs=0,0.01 faults.p_stuck_hrs=0.0904", []),
        ("faults=stuck +faults={p_stuck_hrs:0,p_stuck_lrs:0.1}", []),
        (
            "drift=power_law t_s=1h drift.nu_mean=0,0.1",
            ["drift.nu_std=0.05 [R]", "drift.clip_nu=true [R]", "drift.t0_s=20 s [R]"],
        ),
        ("drift=power_law t_s=0 drift.nu_mean=0.1", []),
        ("relaxation=gaussian_tail relaxation.alpha_ind=0 relaxation.tail_ratio=3", []),
        ("programming=gaussian", ["programming.alpha_ind=0.03 [placeholder]"]),
        ("technology=neurram_relaxing t_s=1h", ["programming.window_uS=1 µS [M]", "relaxation.strength=1 [X]"]),
        ("read_noise=white", ["read_noise.alpha_ind=0.01 [R, R2]"]),
        (
            "experiment=quickstart",
            [f"{name} [placeholder]" for name in ("programming.alpha_ind=0.03", "relaxation.alpha_ind=0.07")],
        ),
        ("experiment=stuck_faults", []),
        ("experiment=drift_levels", []),
        ("drift.relative_drift=0,0.1", []),
    ],
)
def test_what_acts_and_nobody_gave_is_held_fixed(overrides, held):
    assert list(settings(overrides).held_fixed) == held


@pytest.mark.parametrize(
    ("overrides", "swept", "beside"),
    [
        ("faults=stuck faults.p_stuck_lrs=0,0.01,0.05", "faults.p_stuck_lrs", "faults.p_stuck_hrs=0.0904"),
        ("faults=lines faults.p_stuck_hrs=0,0.01", "faults.p_stuck_hrs", "faults.p_stuck_lrs=0.0175"),
        ("faults=clusters faults.p_stuck_lrs=0.01,0.02", "faults.p_stuck_lrs", "faults.p_stuck_hrs=0.0904"),
        ("drift=power_law t_s=1h drift.nu_mean=0,0.1", "drift.nu_mean", "drift.nu_std=0.05"),
        (
            "drift=log_time t_s=0,1h drift.mean_uS_per_decade=0,-1",
            "drift.mean_uS_per_decade",
            "drift.variance_uS2_per_decade=2.13",
        ),
        ("read_noise=rtn read_noise.a_uS=0,0.1", "read_noise.a_uS", "read_noise.b=0.0015"),
    ],
)
def test_a_swept_rate_beside_a_default_that_acts_is_a_note_of_its_own(overrides, swept, beside):
    name = beside.partition("=")[0]
    note = f"{swept} is swept, but {beside} acts at every level: set {name}=0 to see {swept} alone"
    assert about(swept, settings(overrides).notes) == [note]


@pytest.mark.parametrize(
    "overrides",
    [
        "faults=stuck faults.p_stuck_lrs=0,0.01 faults.p_stuck_hrs=0",
        "faults=stuck faults.p_stuck_lrs=0,0.01 faults.p_stuck_hrs=0.0904",
        "faults=stuck faults.p_stuck_lrs=0,0.01 faults.p_stuck_hrs=0,0.01",
        "faults=stuck faults.p_stuck_lrs=0.01",
        "relaxation=gaussian_tail relaxation.alpha_ind=0,0.07",
        "variation=chip_to_chip variation.share_chip=0.5,1",
        "programming=gaussian relaxation=gaussian relaxation.alpha_ind=0,0.07",
    ],
)
def test_what_was_given_or_acts_through_the_swept_one_is_no_note(overrides):
    assert not [note for note in settings(overrides).notes if "acts at every level" in note]


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in ("resnet20_cifar10", "design_search")])
def test_no_shipped_experiment_has_an_axis_for_nothing(name):
    own = " model=lenet5 data=fashion_mnist" if name == "noise_aware_training" else ""  # whose weights it compares
    assert settings(f"experiment={name}{own}").notes == ()


def test_terminal_plan_and_page_say_the_same(workdir, capsys):
    main(["-m", *DIGITS, *WAY, "faults=stuck", "faults.p_stuck_lrs=0,0.05", "t_s=1h,1d"])
    printed = capsys.readouterr().out.splitlines()
    (folder,) = workdir.glob("outputs/sweep/*")
    kept = Plan.load(folder / "plan.json").settings
    assert kept.held_fixed == ("faults.p_stuck_hrs=0.0904 [R2]",)
    assert printed.count("held fixed: faults.p_stuck_hrs=0.0904 [R2]") == 1
    page = (folder / "report.html").read_text()
    assert re.search(r">held fixed</th><td[^>]*>faults.p_stuck_hrs=0.0904 \[R2\]</td>", page)
    assert [note.partition(" is swept")[0] for note in kept.notes] == ["t_s", "faults.p_stuck_lrs"]
    for note in kept.notes:
        assert printed.count(f"note: {note}") == 1
        assert page.count(f"<li>{note}</li>") == 1


def test_a_single_point_and_a_preview_say_it_too(workdir, capsys):
    main([*DIGITS, *WAY, "faults=stuck", "faults.p_stuck_lrs=0.05"])
    out = capsys.readouterr().out
    assert "held fixed: faults.p_stuck_hrs=0.0904 [R2]\n" in out
    assert "is swept" not in out
    main(["-m", *DIGITS, *WAY, "t_s=1h,1d", "preview=true"])
    assert "note: t_s is swept over 2 values (1 h, 1 d), but nothing depends on it" in capsys.readouterr().out


def test_levels_for_nothing_are_a_warning_in_python(workdir):
    with pytest.warns(UserWarning, match="t_s is swept over 2 values"):
        rs.sweep([*DIGITS, *WAY, "t_s=1h,1d"])


def test_a_plan_of_before_there_were_held_values_is_read(workdir):
    rs.sweep([*DIGITS, *WAY])
    path = plan_of([*DIGITS, *WAY], "test")[0].save(workdir / "folder")
    document = json.loads(path.read_text())
    del document["settings"]["held_fixed"]
    path.write_text(json.dumps(document))
    assert Plan.load(path).settings.held_fixed == ()


WIRED = ["tile=crossbar", "tile.rows=32", "wires=segments", "wires.word_line_ohm=0,5"]


def test_a_resistance_that_nobody_gave_is_held_fixed_and_named_beside_a_swept_one():
    plan, _ = plan_of([*DIGITS[:3], *WIRED, "chips=1"], "test")
    assert "wires.bit_line_ohm=1 Ω [placeholder]" in plan.settings.held_fixed
    (note,) = [note for note in plan.settings.notes if "acts at every level" in note]
    assert note.startswith("wires.word_line_ohm is swept, but wires.bit_line_ohm=1 acts at every level")
    given, _ = plan_of([*DIGITS[:3], *WIRED, "wires.bit_line_ohm=0", "chips=1"], "test")
    assert not any("wires" in held for held in given.settings.held_fixed)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["chips=3", *WIRED],
            "nothing is drawn at random, so every chip of a point is the same one",
        ),
        (["chips=3", "drift.relative_drift=0,0.1"], None),
        (["chips=1", *WIRED], None),
        (["chips=3", "read_noise=white"], None),
        (["chips=3", "faults=stuck"], None),
    ],
)
def test_chips_of_points_without_a_draw_are_said_to_be_the_same(overrides, says):
    notes = [note for note in plan_of([*DIGITS[:3], *overrides], "test")[0].settings.notes if "drawn at random" in note]
    assert [note[: len(says)] for note in notes] == [says] if says else not notes
