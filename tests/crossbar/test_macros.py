"""Presets of published macros: what each sets and nothing else, and that it runs on any technology's cells."""

from __future__ import annotations

import re
from functools import cache

import pytest

import rramsweep as rs
from rramsweep.cli.catalog import CATALOG, conf_dir, read_yaml
from rramsweep.cli.composing import choices, compose, container
from rramsweep.cli.main import main
from rramsweep.cli.planning import plan_of
from rramsweep.construct import build
from rramsweep.crossbar import Crossbar, Ideal, Sliced, UniformDAC
from rramsweep.crossbar.programming import LayerSpec
from rramsweep.groups import CELL_GROUPS, SETTERS
from rramsweep.network.tiled_read import levels_of
from rramsweep.simulation.components import KINDS

MACROS = sorted(path.stem for path in (conf_dir() / "macro").glob("*.yaml"))
PRESETS = [name for name in MACROS if name != "none"]
TECHNOLOGIES = sorted(path.stem for path in (conf_dir() / "technology").glob("*.yaml"))
ARRAY = {"tile", "mapping", "wires", "dac", "adc", "read_noise"}
TINY = ["model=digits_mlp", "data=digits", "data.limit=50", "store=store"]


def comments(name):
    return " ".join(re.findall(r"#.*", (conf_dir() / "macro" / f"{name}.yaml").read_text()))


def spec(*words):
    config = container(compose(words))
    return LayerSpec(**{group: build(config[group], group, KINDS[group]) for group in CELL_GROUPS})


def declared(name):
    """Groups that a preset names: whose option it chooses, or of which it sets a parameter."""
    option = CATALOG.option("macro", name)
    return {one.partition("=")[0] for one in option.sets} | {p.name.partition(".")[0] for p in option.parameters}


def test_the_presets_are_these():
    assert set(MACROS) == {"none", "isaac", "prime", "neurram", "crosssim", "aihwkit"}
    assert CATALOG.defaults()["macro"] == "none"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_the_groups_that_it_names_and_no_other(name):
    before, after = compose(), compose([f"macro={name}"])
    plain, preset = (
        {k: v for k, v in container(cfg).items() if k not in ("choices", *SETTERS)} for cfg in (before, after)
    )
    assert set(plain) == set(preset)
    changed = {key for key in plain if plain[key] != preset[key]}
    same = {group for group in declared(name) if plain[group] == preset[group]}  # it chooses what is the default
    assert changed == declared(name) - same
    assert declared(name) <= ARRAY
    chosen = {f"{group}={option}" for group, option in choices(after).items() if choices(before)[group] != option}
    assert chosen <= {*CATALOG.option("macro", name).sets, f"macro={name}"}


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_names_a_group_that_a_technology_sets(name):
    of_technologies = {
        one.partition("=")[0] for other in TECHNOLOGIES for one in CATALOG.option("technology", other).sets
    }
    assert not declared(name) & of_technologies


@cache
def composed(override):
    return container(compose([override]))


@pytest.mark.parametrize("technology", TECHNOLOGIES)
@pytest.mark.parametrize("name", MACROS)
def test_a_preset_goes_with_every_technology(name, technology):
    both = container(compose([f"technology={technology}", f"macro={name}"]))
    cells, array = composed(f"technology={technology}"), composed(f"macro={name}")
    for group in CELL_GROUPS:
        assert both[group] == (array if group in declared(name) else cells)[group]
    spec(f"technology={technology}", f"macro={name}")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_each_number_is_from_and_what_is_missing(name):
    assert "Not modelled:" in comments(name)
    for parameter in CATALOG.option("macro", name).parameters:
        if parameter.name != "adc.range":  # a word, of the number behind it
            assert re.search(r"\[(R: [\w ./]+|R2|M|D)\]", parameter.comment), parameter.name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_no_part_of_a_point(name):
    option = CATALOG.option("macro", name)
    by_hand = [*option.sets, *(f"{p.name}={p.default}" for p in option.parameters)]
    (one,), (other,) = (plan_of([*words, *TINY], "test")[0].points for words in ([f"macro={name}"], by_hand))
    assert (one.point_id, one.text) == (other.point_id, other.text)
    assert (one.choices["macro"], other.choices["macro"]) == (name, "none")


def test_values_of_the_command_line_and_of_an_axis_come_after_a_preset():
    points = plan_of(["macro=prime,aihwkit", "adc.bits=5,7", "tile.rows=choice(32)", *TINY], "test")[0].points
    found = [(p.choices["macro"], p.params["adc.bits"], p.params["tile.rows"], p.params["dac.bits"]) for p in points]
    assert found == [("prime", 5, 32, 6), ("prime", 7, 32, 6), ("aihwkit", 5, 32, 7), ("aihwkit", 7, 32, 7)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["macro=isaac", "adc=ideal"],
            "macro=isaac sets adc.bits, which adc=ideal does not have: leave out adc=ideal, or write '~adc.bits' "
            "'~adc.range' '~adc.z_max' beside it",
        ),
        (
            ["macro=isaac", "mapping=offset"],
            "macro=isaac sets mapping.base, which mapping=offset does not have: leave out mapping=offset, or write "
            "'~mapping.base' '~mapping.bits_per_cell' '~mapping.slices' beside it",
        ),
        (
            ["technology=mnsim_default", "programming=ideal"],
            "technology=mnsim_default sets programming.alpha_ind, which programming=ideal does not have: leave out "
            "programming=ideal, or write '~programming.alpha_ind' '~programming.alpha_prop' beside it",
        ),
    ],
)
def test_another_option_than_a_presets_says_how_to_take_its_parameters_away(words, says):
    for composed in (compose, lambda words: plan_of([*words, *TINY], "test")):
        with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
            composed(words)
    away = [word.strip("'") for word in says.split() if word.startswith("'~")]
    (point,) = plan_of([*words, *away, *TINY], "test")[0].points
    group, _, option = words[1].partition("=")
    assert point.choices[group] == option


def test_an_option_with_the_same_parameters_keeps_those_of_a_preset():
    config = container(compose(["technology=mnsim_default", "faults=stuck_outside"]))
    assert (config["faults"]["p_stuck_lrs"], config["faults"]["p_stuck_hrs"]) == (0.001, 0.001)


@pytest.mark.parametrize("setter", SETTERS)
def test_a_group_that_only_sets_others_has_no_parameters(setter):
    assert CATALOG.parameters(setter) == {}


def test_presets_have_the_numbers_of_their_sources():
    isaac, prime, neurram, crosssim, aihwkit = (
        spec(f"macro={name}") for name in ("isaac", "prime", "neurram", "crosssim", "aihwkit")
    )
    sizes = [(s.tile.rows, s.tile.columns) for s in (isaac, prime, neurram, crosssim, aihwkit)]
    assert sizes == [(128, 128), (256, 256), (256, 256), (1024, 1024), (512, 512)]
    assert isaac.mapping == Sliced(base="offset", bits_per_cell=2, slices=8)
    assert isaac.dac == UniformDAC(bits=16, accumulation="digital")
    assert prime.mapping == Sliced(base="differential", bits_per_cell=4, slices=2)
    assert (prime.dac.bits, prime.adc.bits, prime.adc.subtraction) == (6, 6, "digital")
    assert neurram.tile == Crossbar(256, 256, arrangement="interleaved")
    assert (neurram.tile.inputs, neurram.dac.accumulation, neurram.adc.bits) == (128, "analog", 8)
    assert isinstance(crosssim.dac, Ideal)
    assert isinstance(crosssim.adc, Ideal)
    # AIHWKit: inp_res = 1/(2^7 - 2) of the range -1..1, out_res = 1/(2^9 - 2) of -12..12, out_noise = 0.06.
    assert levels_of(aihwkit.dac.bits, signed=True) - 1 == 2**7 - 2
    lsb = 2 * aihwkit.adc.z_max / (levels_of(aihwkit.adc.bits, signed=True) - 1)
    assert lsb == pytest.approx(24 / (2**9 - 2))
    assert aihwkit.adc.output_noise_lsb * lsb == pytest.approx(0.06)


def test_an_lsb_of_isaac_is_one_digit():
    isaac = spec("macro=isaac")
    lsb = 2 * isaac.adc.z_max / (levels_of(isaac.adc.bits, signed=True) - 1)
    assert lsb == pytest.approx(1 / isaac.mapping.top, rel=1e-15)


@pytest.mark.parametrize("name", MACROS)
def test_a_preset_runs(name, workdir):
    frame = rs.sweep([f"macro={name}", *TINY, "chips=2"])
    assert (frame["status"] == "ok").all()
    assert (frame["macro"] == name).all()
    assert (frame["accuracy"] > frame["ideal_accuracy"] - 0.1).all()
    assert frame["adc_clip_rate"].isna().all() == (name in ("none", "crosssim"))


def test_isaac_loses_nothing_on_cells_of_its_levels(workdir):
    frame = rs.sweep(["macro=isaac", "device=isaac", "metric=agreement", *TINY, "chips=1"])
    assert frame["score"].item() == 1.0


def test_an_experiment_takes_presets(workdir):
    frame = rs.sweep(["experiment=quickstart", "macro=none,prime", *TINY, "chips=1", "drift.relative_drift=0.1"])
    assert (frame["status"] == "ok").all()
    assert set(frame["macro"]) == {"none", "prime"}


@pytest.mark.parametrize("setter", SETTERS)
def test_the_default_of_a_group_that_sets_others_sets_nothing(setter):
    default = CATALOG.defaults()[setter]
    assert read_yaml(conf_dir() / setter / f"{default}.yaml") == {}


@pytest.mark.parametrize("words", [["macro=isaac", "adc=ideal"], ["-m", "macro=isaac", "adc=ideal,uniform"]])
def test_the_command_line_says_it_too(words, workdir, capsys):
    with pytest.raises(SystemExit, match="^1$"):
        main(words)
    assert "macro=isaac sets adc.bits, which adc=ideal does not have: leave out" in capsys.readouterr().err
