"""The record of a search: the front by brute force, and the file."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rramsweep.errors import ValidationError
from rramsweep.reporting.search_plot import search_figures
from rramsweep.reporting.search_table import search_table, search_words
from rramsweep.study.search import Search, SearchTrial


def search_of(values, directions, failed=(), fresh=()):
    trials = [
        SearchTrial(i, "failed", {"adc.bits": i})
        if i in failed
        else SearchTrial(i, "complete", {"adc.bits": i}, list(each), list(each) if i in fresh else [])
        for i, each in enumerate(values)
    ]
    names = ["accuracy_mean", "cost.energy_pJ", "cost.area_um2"][: len(directions)]
    return Search(names, directions, "0..4", "5..9" if fresh else "", trials, {names[0]: {"adc.bits": 1.0}})


@pytest.mark.parametrize("directions", list(itertools.product(["minimize", "maximize"], repeat=2)))
def test_the_front_is_that_of_brute_force(directions):
    values = np.random.default_rng(1).integers(0, 6, (40, 2)).astype(float)
    front = search_of(values, directions).front()
    losses = values * [1 if d == "minimize" else -1 for d in directions]
    best = [i for i, a in enumerate(losses) if not any((b <= a).all() and (b < a).any() for b in losses)]
    assert {tuple(trial.values) for trial in front} == {tuple(values[i]) for i in best}
    assert len(front) == len({tuple(values[i]) for i in best}), "of equal trials the first"
    ordered = [trial.values[0] for trial in front]
    assert ordered == sorted(ordered, reverse=directions[0] == "maximize")


def test_one_objective_has_one_best():
    assert [t.number for t in search_of([[0.5], [0.9], [0.9], [0.1]], ["maximize"], failed=[1]).front()] == [2]


def test_a_record_is_read_as_it_was_written(tmp_path):
    search = search_of([[0.5, 2.0], [0.25, 1.0]], ["maximize", "minimize"], fresh=[1])
    search.save(tmp_path / "study")
    assert Search.load(tmp_path / "study") == search
    assert Search.load(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"trials": [1]}', '{"trials": [], "extra": 1}'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(ValidationError, match=r"must be the record of a search, but .*study\.json is not"):
        Search.load(tmp_path)


def test_the_table_shows_both_numbers_of_each_design_of_the_front():
    search = search_of([[0.5, 2.0], [0.25, 1.0], [0.1, 3.0]], ["maximize", "minimize"], failed=[], fresh=[0])
    head, rows = search_table(search)
    numbers = ["accuracy_mean", "accuracy_mean, fresh seeds", "cost.energy_pJ", "cost.energy_pJ, fresh seeds"]
    assert head == ["trial", "adc.bits", *numbers]
    assert rows == [["0", "0", "0.5", "0.5", "2", "2"], ["1", "1", "0.25", "-", "1", "-"]]
    assert "fresh seeds 5..9" in " ".join(search_words(search))
    assert "no design was run on fresh seeds yet" in " ".join(search_words(search_of([[1.0]], ["minimize"])))


@pytest.mark.parametrize(
    ("directions", "drawn"),
    [
        (["maximize"], {"history": 1, "importances": 1}),
        (["maximize", "minimize"], {"history": 2, "importances": 1, "front": 1}),
        (["maximize", "minimize", "minimize"], {"history": 3, "importances": 1, "front": 3}),
    ],
)
def test_figures_of_a_search(directions, drawn):
    values = np.random.default_rng(2).random((6, len(directions)))
    figures = search_figures(search_of(values, directions, failed=[2], fresh=[1]))
    assert {name: len(figure.axes) for name, figure in figures.items()} == drawn
    ax = figures["history"].axes[0]
    lines = {line.get_gid(): line.get_xydata() for line in ax.get_lines()}
    kept = [0, 1, 3, 4, 5]
    assert lines["trials"].tolist() == [[i, values[i, 0]] for i in kept]
    assert lines["best"][:, 1].tolist() == np.maximum.accumulate(values[kept, 0]).tolist()
    assert lines["fresh"].tolist() == [[1, values[1, 0]]]
    if "front" in figures:
        shown = {line.get_gid(): line.get_xydata() for line in figures["front"].axes[0].get_lines()}
        assert sorted(map(tuple, shown["trials"])) == sorted((values[i, 1], values[i, 0]) for i in kept)


def test_a_search_without_a_complete_trial_draws_nothing():
    assert search_figures(search_of([[1.0]], ["minimize"], failed=[0])) == {}
    assert search_words(search_of([[1.0]], ["minimize"], failed=[0])) == ["No trial of 1 has finished"]
