"""The plan of a sweep: the same points as Hydra's own composition, in the same order, with the same identity."""

from __future__ import annotations

import itertools
import re

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode

import rramsweep as rs
from rramsweep.cli import hydra_adapter, planning
from rramsweep.cli.catalog import CONFIG_NAME
from rramsweep.cli.composing import choices, compose, container, loader, parse
from rramsweep.cli.planning import compose_plan
from rramsweep.cli.sweeper import quoted
from rramsweep.simulation.workbench import Workbench

DIGITS = ["model=digits_mlp", "data=digits"]


def plan_of(*overrides, params=None):
    config_loader = loader()
    master = config_loader.load_configuration(CONFIG_NAME, list(overrides), RunMode.MULTIRUN, from_shell=False)
    params = params or {str(k): str(v) for k, v in (master.hydra.sweeper.params or {}).items()}
    return compose_plan(config_loader, master, params, list(overrides), "test")[0]


AXES = [
    ["technology=drift_alone,pyrram", "drift.relative_drift=0,0.1,0.25"],
    ["programming=ideal,gaussian", "device.levels=16,32", "device.step_uS=null", "t_s=0,3600"],
    [
        "drift.relative_drift=0.1,0.2",
        "technology=pyrram",
        "programming.alpha_ind=range(0,2)",
        "device.edge=clip,none",
    ],
    ["+data.limit=50,100", "technology=pyrram", "relaxation.alpha_prop=0.1,0.2"],
    [
        "drift={_target_:rramsweep.effects.RelativeDrift,relative_drift:0.3}",
        "mapping=differential",
        "t_s=1,2",
    ],
    ["device.g_max_uS=${device.g_min_uS},50", "device.g_min_uS=10,20", "device.step_uS=null"],
    ["technology=drift_alone,pyrram", "drift.relative_drift=0,0.1", "drift.z_max=1,2", "t_s=0,1h", "device.edge=clip"],
]
IMPOSSIBLE = {5}  # an interpolation that gives an empty window: used to compare configs only


@pytest.mark.parametrize("number", range(len(AXES)))
def test_configs_are_those_of_hydra(number):
    from rramsweep.cli.planning import _axes, resolve_all

    overrides = [*DIGITS, *AXES[number]]
    if number == 3:
        overrides[2] = "data.limit=50,100"
    config_loader = loader()
    master = config_loader.load_configuration(CONFIG_NAME, overrides, RunMode.MULTIRUN, from_shell=False)
    axes = _axes(OverridesParser.create(config_loader).parse_overrides(overrides))
    ours = list(resolve_all(config_loader, master, axes))
    combinations = list(itertools.product(*(axis.values for axis in axes.values())))
    assert len(ours) == len(combinations)
    for (config, chosen), combination in zip(ours, combinations, strict=True):
        hydras = config_loader.load_sweep_config(master, [override.input_line for override in combination])
        assert config == container(hydras)
        assert chosen == choices(hydras)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_points_are_those_of_single_composition(number):
    overrides = [*DIGITS, *AXES[number]]
    plan = plan_of(*overrides)
    bench = Workbench()
    parser = OverridesParser.create(loader())
    lists = [
        [f"{o.get_key_element()}={v}" for v in o.sweep_string_iterator()] if o.is_sweep_override() else [o.input_line]
        for o in parser.parse_overrides(overrides)
    ]
    singles = [compose(list(c)) for c in itertools.product(*lists)]
    assert [p.point_id for p in plan.points] == [bench.point(container(c), choices(c)).point_id for c in singles]


@pytest.mark.parametrize(
    "overrides",
    [
        ["drift.relative_drift=0.1,0.2,7", "t_s=0,1"],
        ["device.g_max_uS=40,100", "relaxation=ideal,hfox"],
        ["device.g_max_uS=39.2", "programming=ideal,wan2022", "relaxation=ideal,gaussian"],
        ["device.g_min_uS=1,10,200", "programming=gaussian", "programming.alpha_ind=choice(0.01,0.02)"],
        ["+analog.layers.a.match=fc1,nowhere", "+analog.layers.a.drift.relative_drift=0.1,0.2"],
    ],
)
def test_what_a_sweep_refuses_is_what_its_first_refused_point_refuses(overrides):
    parsed = OverridesParser.create().parse_overrides(overrides)
    lists = [[o.input_line for o in axis.values] for axis in planning._axes(parsed).values()]
    accepted = 0
    for combination in itertools.product(*lists):
        cfg = compose([*DIGITS, *combination])
        try:
            Workbench().point(container(cfg), choices(cfg))
        except ValueError as error:
            expected = error
            break
        accepted += 1
    assert accepted, "the first point is fine"
    with pytest.raises(ValueError, match=f"^{re.escape(str(expected))}$"):
        plan_of(*DIGITS, *overrides)


def test_points_share_what_they_have_in_common():
    plan = plan_of(*DIGITS, "technology=pyrram", "drift.relative_drift=0,0.1,0.2", "programming.alpha_ind=0.01,0.02")
    assert len(plan.points) == 6
    for key in plan.points[0].config:
        nodes = [point.config[key] for point in plan.points]
        assert len({id(node) for node in nodes}) == len({repr(node) for node in nodes}), key


@pytest.mark.parametrize(
    "values",
    [
        *(
            "0.1,1e-3,-0.0",
            "1,1.0,true,null",
            "range(0,1,0.25)",
            "range(3)",
            "1e400,nan",
            "0.1,'0.1',a",
            "choice(1,2.5)",
        ),
        *("[1],[2]", "{a:1},{a:2}", "sort(3,1,2)", "tag(x,choice(1,2.0))", "007,1_000,0x10"),
    ],
)
def test_values_of_an_axis_are_those_of_hydras_parser(values):
    swept = OverridesParser.create().parse_override(f"+drift.relative_drift={values}")
    lines = [f"{swept.get_key_element()}={text}" for text in swept.sweep_string_iterator()]
    for ours, hydras in zip(planning.axis_values(swept), parse(lines), strict=True):
        assert repr(ours.value()) == repr(hydras.value())
        assert ours.input_line == hydras.input_line
        assert (ours.type, ours.get_key_element()) == (hydras.type, hydras.get_key_element())
        assert not ours.is_sweep_override()


def test_quickstart_is_twelve_points_of_fifty_chips():
    plan = plan_of("experiment=quickstart")
    assert len(plan.points) == 12
    assert {tuple(s) for s in plan.seeds} == {tuple(range(50))}
    assert list(plan.swept) == ["technology", "drift.relative_drift"]


def test_the_command_line_replaces_an_experiments_axis():
    plan = plan_of("experiment=quickstart", "drift.relative_drift=0.05", "chips=3")
    assert [p.params["drift.relative_drift"] for p in plan.points] == [0.05, 0.05]
    assert list(plan.swept) == ["technology"]
    assert plan.n_trials == 6


def test_a_swept_seed_is_one_chip_a_value():
    plan = plan_of(*DIGITS, "seed=range(3,10)", "drift.relative_drift=0.1")
    assert len(plan.points) == 1
    assert list(plan.seeds[0]) == list(range(3, 10))
    assert list(plan.swept) == []


def test_a_technology_under_its_parts_is_one_point():
    parts = ["device=generic", "programming=gaussian", "relaxation=gaussian", "drift=relative"]
    one, other = plan_of(*DIGITS, "technology=pyrram"), plan_of(*DIGITS, *parts)
    assert one.points[0].point_id == other.points[0].point_id
    assert one.points[0].choices["technology"] == "pyrram"


@pytest.mark.parametrize(
    ("overrides", "levels"),
    [
        (["drift=relative,power_law", "drift.relative_drift=0.1"], [("relative", 0.1), ("power_law", None)]),
        (["drift=relative,power_law", "drift.relative_drift=choice(0.1)"], [("relative", 0.1), ("power_law", None)]),
        (
            ["drift=power_law,relative", "drift.relative_drift=0.1,0.2"],
            [("power_law", None), ("relative", 0.1), ("relative", 0.2)],
        ),
        (
            ["drift.relative_drift=0.1,0.2", "drift=power_law,relative"],
            [("power_law", None), ("relative", 0.1), ("relative", 0.2)],
        ),
    ],
)
def test_a_parameter_applies_to_the_options_that_have_it_and_the_others_come_once(overrides, levels):
    plan = plan_of(*DIGITS, *overrides, "chips=3")
    found = [(p.choices["drift"], p.params.get("drift.relative_drift")) for p in plan.points]
    assert found == levels
    assert plan.n_trials == 3 * len(levels)
    alone = [["drift=relative", f"drift.relative_drift={v}"] if v else [f"drift={option}"] for option, v in levels]
    points = [plan_of(*DIGITS, *one).points[0] for one in alone]
    assert [p.point_id for p in plan.points] == [p.point_id for p in points]


def test_each_of_two_options_takes_its_own_parameter():
    own = ["drift.relative_drift=0.1,0.2", "drift.nu_mean=choice(0.05,0.1)"]
    plan = plan_of(*DIGITS, "drift=relative,power_law", *own)
    names = ("drift.relative_drift", "drift.nu_mean")
    found = [tuple(p.params.get(name) for name in names) for p in plan.points]
    assert found == [(0.1, None), (0.2, None), (None, 0.05), (None, 0.1)]


def test_a_parameter_of_an_effect_that_only_one_technology_has():
    plan = plan_of(*DIGITS, "technology=drift_alone,pyrram", "programming.alpha_ind=choice(0.01,0.02)")
    found = [(p.choices["technology"], p.params.get("programming.alpha_ind")) for p in plan.points]
    assert found == [("drift_alone", None), ("pyrram", 0.01), ("pyrram", 0.02)]


def test_a_parameter_that_no_option_of_the_sweep_has_is_refused():
    with pytest.raises(HydraException, match=r"Could not override 'drift.relative_drift'"):
        plan_of(*DIGITS, "drift=power_law,log_time", "drift.relative_drift=choice(0.1)")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["seed=0,1", "chips=5"], "a swept seed has one chip a value"),
        (["seed=-1,1"], "seed must be an integer"),
        (["seed=a,b"], "seed must be an integer"),
        (["seed=1,99999999999999999999"], "seed must be an integer"),
        (["drft.relative_drift=0,0.1"], "drft.relative_drift is not there to be swept: did you mean drift"),
        (["tecnology=pyrram,custom"], "did you mean technology"),
        (["chips=5,10"], "an axis must be a config group"),
        (["threads=1,2"], "an axis must be a config group"),
        (["experiment=quickstart,quickstart"], "an axis must be a config group"),
        (["drift.relative_drift=0.1,0.2,7"], "must lie in 0..1"),
        (["drift.relative_drift=0.1,x"], "drift.relative_drift must be float"),
        (["drift.relative_drift=interval(0,1)"], "must be swept over listed values"),
        (["device.g_min_uS=1,200"], "g_min_uS < g_max_uS"),
    ],
)
def test_refuses_before_any_chip(overrides, says):
    with pytest.raises(ValueError, match=says):
        plan_of(*DIGITS, *overrides)


def test_the_same_value_written_twice_is_one_point():
    plan = plan_of(*DIGITS, "drift.relative_drift=0.1,0.10,1e-1,0.1000000000000000001")
    assert len(plan.points) == 1


@pytest.mark.parametrize("text", ["/a b/c", "it's", "a,b=c"])
def test_quoting_survives_hydras_grammar(text):
    assert OverridesParser.create().parse_override(f"plan={quoted(text)}").value() == text


def test_an_argument_that_changes_no_weight_is_another_point(tmp_path, monkeypatch):
    (tmp_path / "actlab.py").write_text(
        "from torch import nn\n"
        "def build(act='relu'):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU() if act == 'relu' else nn.Tanh())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    custom = ["model=custom", "model._target_=actlab.build", "data=digits", "allow_targets=[actlab]"]
    plan = plan_of(*custom, "+model.act=relu,tanh")
    assert len({p.point_id for p in plan.points}) == 2
    assert [p.params["model.act"] for p in plan.points] == ["relu", "tanh"]


def test_allowed_packages_are_a_list_of_names():
    with pytest.raises(ValueError, match="allow_targets must be"):
        plan_of(*DIGITS, "allow_targets=mylab")


@pytest.mark.parametrize(
    ("axes", "columns"),
    [
        (["+drift={relative_drift:0},{relative_drift:0.1}"], ["drift.relative_drift"]),
        (
            ["+drift={relative_drift:0,z_max:2},{relative_drift:0.1,z_max:3}", "t_s=0,1"],
            ["drift.relative_drift", "drift.z_max", "t_s"],
        ),
        (["+device={g_max_uS:50},{g_max_uS:60}"], ["device.g_max_uS"]),
        (
            ["+analog.layers.a.match=fc1", "+analog.layers.a.drift={relative_drift:0.1},{relative_drift:0.2}"],
            ["analog.layers.a.drift.relative_drift"],
        ),
        (
            ["+analog.layers={},{a:{match:fc1,drift:{relative_drift:0.1}}}"],
            ["analog.layers.a.match", "analog.layers.a.drift.relative_drift"],
        ),
        (["+analog={include:[fc1]},{include:[fc2]}"], ["analog.include"]),
        (["analog.include=[fc1],[fc2]"], ["analog.include"]),
        (["+data={limit:40},{limit:50}"], ["data.limit"]),
        (["accelerator=cpu,cpu"], []),
    ],
)
def test_an_axis_over_maps_is_each_parameter_that_differs(axes, columns, workdir):
    frame = rs.sweep([*DIGITS, "chips=2", *axes])
    assert frame.attrs["swept"] == columns
    assert len(rs.summarize(frame)) == frame["point_id"].nunique()
    for name in columns:
        assert frame[name].nunique(dropna=False) > 1


@pytest.mark.parametrize(
    ("overrides", "composed"),
    [
        (["drift.relative_drift=0,0.1", "t_s=1s"], 1),
        (["drift.relative_drift=0.1", "chips=2"], 1),
        (["drift.relative_drift=0,0.1", "seed=range(0,2)"], 2),
        (["drift.relative_drift=0.1", "drift.relative_drift=0.2"], 2),
        (["tile=crossbar", "tile.rows=32,64", "tile.columns=${tile.rows}"], 2),
        (["mapping=differential,offset"], 3),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else None,
)
def test_what_the_multirun_itself_composes_is_the_first_point_where_it_may_be(monkeypatch, overrides, composed):
    name, calls = "_load_configuration_impl", []
    load = getattr(ConfigLoaderImpl, name)
    monkeypatch.setattr(ConfigLoaderImpl, name, lambda *given, **more: (calls.append(1), load(*given, **more))[1])
    plan_of(*DIGITS, *overrides)
    assert len(calls) == composed


def test_a_file_is_read_again_once_it_has_changed(tmp_path):
    def value():
        config = hydra_adapter.loader(tmp_path).load_configuration("own", [], RunMode.RUN, from_shell=False)
        found = dict(config.map)
        config.map.a = "changed by who got it"
        return found

    for text in ("map: {a: 1}", "map: {a: 2}"):
        (tmp_path / "own.yaml").write_text(text)
        assert value() == value() == {"a": int(text[-2])}
