"""What calibrations recover, as terminal, page and plot show it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure
from rich.console import Console

import rramsweep as rs
from rramsweep.analysis.summary import summarize
from rramsweep.reporting import page, report
from rramsweep.reporting.figures import figures_for
from rramsweep.reporting.findings import findings
from rramsweep.reporting.recovery_table import RECOVERED, recovery_table
from tests.analysis.test_recovery import frame_of, grid, two
from tests.reporting.test_plots import caption, legend

LOST = two([20, 24, 40], [5, 6, 9])


def test_the_table_says_lost_recovered_and_cost():
    """Shares of 75 to 77.5 %, rounded toward caution."""
    by, rows = recovery_table(LOST)
    assert by == ["calibration"]
    (row,) = rows
    share = 1 - 20 / 84
    assert dict(zip([*by, *RECOVERED.numbers], row, strict=True)) == {
        "calibration": "moments",
        "n": "3",
        "lost": "28.00",
        "recovered %": f"{100 * share:.0f}",
        "interval": "75..78",
        "worst before": "50.00",
        "worst chip": "81.00",
        "parameters": "12",
        "MACs": "100",
        "images": "50",
    }


def test_the_terminal_prints_it_where_there_is_a_baseline(tmp_path, capsys):
    report.show(LOST, summarize(LOST), tmp_path, Console(width=200))
    out = capsys.readouterr().out
    assert "what calibration recovers" in out
    assert "worst before" in out
    alone = frame_of([(("moments", {"calibration.images": 9}), [1, 2])])
    report.show(alone, summarize(alone), tmp_path, Console(width=200))
    assert "what calibration recovers" not in capsys.readouterr().out


def test_the_page_has_it_where_there_is_a_baseline():
    for frame, there in ((LOST, True), (LOST[LOST["calibration"] == "none"], False)):
        summary = summarize(frame, ["calibration"])
        html = page.render(frame, summary, findings(frame, summary, ["calibration"]), None, [], {})
        assert ('id="recovered"' in html) == there
        assert ("ratio of means" in html.lower()) == there


def test_a_loss_within_its_interval_has_its_reason_in_the_place_of_the_interval():
    ((_, *cells),) = recovery_table(two([0, 1, -1, 0], [0, 0, 0, 0]))[1]
    assert cells[2:4] == ["-", "loss within its interval"]


def means(ax):
    lines = [line for line in ax.get_lines() if str(line.get_gid()).startswith("mean:")]
    return {line.get_gid().partition(":")[2]: line.get_ydata().tolist() for line in lines}


def test_the_plot_over_a_choice_shows_the_share_and_what_it_costs():
    ax = Figure(layout="constrained").subplots()
    rs.plot_recovered(LOST, ax=ax)
    assert means(ax)["mean"] == pytest.approx([100 * (1 - 20 / 84)])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["moments"]
    assert "moments adds 12 parameters and 100 MACs" in " ".join(caption(ax).split())
    assert "all that was lost" in legend(ax)


def test_the_plot_over_a_number_has_a_curve_for_each_method():
    ax = Figure(layout="constrained").subplots()
    frame = grid()
    rs.plot_recovered(frame[frame["drift.relative_drift"] == 0.3], "calibration.images", "calibration", ax)
    assert means(ax) == {"moments": pytest.approx([50, 75])}


def test_a_sweep_of_both_has_the_figure_and_others_do_not():
    assert "recovered" in figures_for(LOST)
    assert "recovered" in figures_for(grid())  # whose group joins two columns
    assert "recovered" not in figures_for(two([0, 1, -1, 0], [0, 0, 0, 0]))
    assert "recovered" not in figures_for(LOST[LOST["calibration"] != "none"])


def test_a_plot_without_a_share_is_refused():
    with pytest.raises(ValueError, match=r"needs a point that recovers .* got none \(loss within its interval\)"):
        rs.plot_recovered(two([0, 1, -1, 0], [0, 0, 0, 0]))
    plt.close("all")
