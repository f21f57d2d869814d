"""Whole sweeps that score something else than top-1 accuracy: a regression network, a language model, own metrics."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import rramsweep as rs
from rramsweep.analysis import schema
from rramsweep.cli.main import main
from tests.forked import Command

PACKAGE = '''
from dataclasses import dataclass
from typing import ClassVar

from torch import nn


def linear():
    return nn.Linear(8, 3)


def regressor():
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


def language_model(tokens=27, width=12):
    return nn.Sequential(nn.Embedding(tokens, width), nn.Linear(width, tokens))


@dataclass(frozen=True)
class MeanAbsoluteError:
    """Mean absolute error."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "mean absolute error"
    unit: ClassVar[str] = "mm"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, outputs, targets):
        return float((outputs - targets).abs().mean())


@dataclass(frozen=True)
class Within:
    """Share of inputs of which every component is predicted to a tolerance."""

    tolerance: float
    version: ClassVar[int] = 1
    name: ClassVar[str] = "within tolerance"
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def correct(self, outputs, targets):
        return ((outputs - targets).abs() <= self.tolerance).all(dim=1)
'''
CUSTOM = ["model=custom", "allow_targets=[metriclab]", "data=npz"]
NOISE = 0.05


@pytest.fixture
def lab(workdir, monkeypatch):
    """A user's package, trained weights, numbers to predict and text, in the current folder."""
    (workdir / "metriclab").mkdir()
    (workdir / "metriclab" / "__init__.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(workdir))
    sys.modules.pop("metriclab", None)
    import metriclab

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for name in ("linear", "regressor"):
            net = getattr(metriclab, name)()
            x = torch.randn(64, 8)
            noise = NOISE * torch.randn(64, 3)
            torch.save(net.state_dict(), f"{name}.pt")
            np.savez(f"{name}.npz", x=x.numpy(), y=(net(x) + noise).detach().numpy(), noise=noise.numpy())
        text = np.frombuffer(Path(__file__).read_text().lower().encode(), dtype=np.uint8).astype(int) - 96
        tokens = text[(text > 0) & (text < 27)][: 40 * 17].reshape(40, 17)
        net = metriclab.language_model()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        inputs, targets = torch.tensor(tokens[:, :-1]), torch.tensor(tokens[:, 1:])
        for _ in range(60):
            loss = nn.functional.cross_entropy(net(inputs).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        torch.save(net.state_dict(), "text.pt")
        np.savez("text.npz", x=tokens[:, :-1], y=tokens[:, 1:])
    return workdir


def numbers(net, *more):
    named = [f"model._target_=metriclab.{net}", f"model.checkpoint={net}.pt", f"data.path={net}.npz", "data.layout=any"]
    return [*CUSTOM, *named, "metric=mse", *more]


def text(*more):
    named = ["model._target_=metriclab.language_model", "model.checkpoint=text.pt", "data.path=text.npz"]
    return [*CUSTOM, *named, "data.layout=tokens", "metric=perplexity", *more]


def folder() -> Path:
    (found,) = Path("outputs/sweep").iterdir()
    return found


# -- regression


def test_a_regression_network_from_the_command_line(lab):
    words = [*numbers("regressor", "metric.target_unit=mm"), "yield_drop=0.01", "drift.relative_drift=0,0.1,0.3"]
    command = Command(["-m", *words, "chips=12"], lab)
    out, err = command.communicate(120)
    assert command.returncode == 0, err
    printed = " ".join(out.split())
    assert "mean squared error (mm²): mean with 95 % interval over chips of this network on these 64 inputs" in printed
    assert "a mean squared error at most 0.01 mm² above digital" in printed
    assert "worst chip" in out
    assert "q05" not in out
    frame = rs.load(folder())
    assert (frame["status"] == "ok").all()
    assert frame[[*schema.COUNTED, *schema.OF_LOGITS]].isna().all().all()
    with np.load("regressor.npz") as arrays:
        assert frame["digital_score"].to_numpy() == pytest.approx((arrays["noise"].astype(float) ** 2).mean(), rel=1e-4)
    summary = rs.summarize(frame)
    assert summary["score_mean"].is_monotonic_increasing
    assert summary["yield_share"].tolist()[0] == 1
    assert summary["yield_share"].is_monotonic_decreasing
    assert pd.read_csv(folder() / "summary.csv")["metric.unit"].tolist() == ["mm^2"] * 3
    assert (folder() / "robustness.svg").stat().st_size > 10_000
    worse = rs.compare(frame, {"drift.relative_drift": 0.0})["worse_share"]
    assert worse.tolist()[2] > 0.9


def test_the_error_of_a_linear_network_in_closed_form(lab):
    """Drift r of the target: a weight's error has variance (W_max r / D)^2 (Gp^2 + Gn^2), independent a cell.

    So the squared error grows by sum_j x_j^2 var_kj, its mean over inputs and components. 400 chips of 24 weights: the
    mean's standard error is some 2 %, hence 7.
    """
    drift = 0.2
    cell = ["device.step_uS=null", "device.edge=none", f"drift.relative_drift={drift}"]
    frame = rs.run(rs.compose(numbers("linear", *cell, "chips=400")))
    with np.load("linear.npz") as arrays:
        x, noise = arrays["x"].astype(float), arrays["noise"].astype(float)
    weight = torch.load("linear.pt")["weight"].numpy().astype(float)
    span, w_max = 99.0, np.abs(weight).max()
    high, low = 1 + np.abs(weight) / w_max * span, 1.0
    variance = (w_max * drift / span) ** 2 * (high**2 + low**2)
    expected = (x**2).mean(axis=0) @ variance.mean(axis=0)
    digital = (noise**2).mean()
    assert frame["digital_score"].iloc[0] == pytest.approx(digital, rel=1e-4)
    assert frame["ideal_score"].iloc[0] == pytest.approx(digital, rel=1e-4)
    grown = frame["score"] - frame["digital_score"]
    assert grown.sem() < 0.03 * expected
    assert grown.mean() == pytest.approx(expected, rel=0.07)


def test_enough_chips_in_the_metrics_unit(lab):
    stop = ["stopping=interval", "stopping.min_chips=5", "stopping.batch=5", "stopping.max_chips=60"]
    common = [*numbers("linear", *stop), "drift.relative_drift=0.05,0.2"]
    frame = rs.sweep([*common, "stopping.half_width=0.0005"])
    chips = frame.groupby("drift.relative_drift").size()
    assert chips[0.05] < chips[0.2]
    summary = rs.summarize(frame)
    half = (summary["score_high"] - summary["score_low"]) / 2
    ended = frame.groupby("drift.relative_drift")["stopping.ended"].first()
    assert (half <= 0.0005).tolist() == (ended == "interval").tolist()
    assert rs_store().facts().num_rows == len(frame), "no chip was run that does not count"


def test_metric_and_unit_are_part_of_the_point(lab):
    plain = rs.run(rs.compose(numbers("linear", "chips=1")))
    named = rs.run(rs.compose(numbers("linear", "chips=1", "metric.target_unit=mm")))
    assert plain["point_id"].iloc[0] != named["point_id"].iloc[0]
    assert plain["score"].equals(named["score"])
    assert (plain["metric.unit"].iloc[0], named["metric.unit"].iloc[0]) == ("target^2", "mm^2")
    both = pd.concat([plain, named], ignore_index=True)
    with pytest.raises(ValueError, match="holds 2, which differ in metric.unit: add it"):
        rs.summarize(both, ["model"])


# -- sequences


def test_a_language_model_from_the_command_line(lab, capsys):
    main(["-m", *text("drift.relative_drift=0,0.3", "chips=8", "yield_drop=0.5")])
    printed = " ".join(capsys.readouterr().out.split())
    assert "perplexity: mean with 95 % interval" in printed
    assert "a perplexity at most 0.5 above digital" in printed
    frame = rs.load(folder())
    import metriclab

    net = metriclab.language_model()
    net.load_state_dict(torch.load("text.pt"))
    with np.load("text.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    log_p = net(torch.tensor(x)).log_softmax(-1).detach().numpy()
    digital = np.exp(-np.take_along_axis(log_p, y[..., None], -1).mean())
    assert 2 < digital < 20, "it has learnt something, and not everything"
    assert frame["digital_score"].to_numpy() == pytest.approx(digital, rel=1e-4)
    assert frame["score"].to_numpy() == pytest.approx(np.exp(frame["loss"]), rel=1e-6)
    assert frame["n_images"].unique().tolist() == [40]
    still = frame[frame["drift.relative_drift"] == 0]
    assert (still["agreement"] > 0.98).all()
    assert (frame.loc[frame["drift.relative_drift"] == 0.3, "agreement"] < 0.98).all()
    assert frame[list(schema.COUNTED)].isna().all().all()
    assert (rs.compare(frame, {"drift.relative_drift": 0.0})["worse_share"].tolist()) == [0, 1]


def test_perplexity_is_exp_of_the_cross_entropy_chip_by_chip(lab):
    frame = rs.sweep(text("metric=perplexity,cross_entropy", "drift.relative_drift=0.2", "chips=3"))
    one, other = (frame[frame["metric"] == name]["score"].to_numpy() for name in ("perplexity", "cross_entropy"))
    assert one == pytest.approx(np.exp(other), rel=1e-9)


# -- own metrics, several metrics


def test_a_users_own_metric(lab):
    own = ["metric=custom", "metric._target_=metriclab.MeanAbsoluteError", "drift.relative_drift=0.1", "chips=4"]
    frame = rs.run(rs.compose([*numbers("linear"), *own]))
    assert frame["metric"].unique().tolist() == ["custom"]
    with np.load("linear.npz") as arrays:
        assert frame["digital_score"].iloc[0] == pytest.approx(np.abs(arrays["noise"]).mean(), rel=1e-4)
    row = rs.summarize(frame).iloc[0]
    assert row[["metric.name", "metric.unit"]].tolist() == ["mean absolute error", "mm"]
    assert not row["metric.higher_is_better"]


def test_a_users_own_metric_that_counts_gets_the_columns_of_counts(lab):
    own = ["metric=custom", "metric._target_=metriclab.Within", "+metric.tolerance=0.15,0.25"]
    frame = rs.sweep([*numbers("linear"), *own, "drift.relative_drift=0.1", "chips=6"])
    assert (frame["score"] == frame["accuracy"]).all()
    assert (frame["accuracy"] == frame["n_correct"] / 64).all()
    assert frame[list(schema.OF_LOGITS)].isna().all().all()
    summary = rs.summarize(frame)
    assert summary.attrs["by"] == ["metric.tolerance"]
    assert summary["se_images"].notna().all()
    assert summary["yield_share"].notna().all()
    assert summary["accuracy_mean"].is_monotonic_increasing
    assert summary["accuracy_mean"].equals(summary["score_mean"])


def test_a_sweep_over_metrics_reports_each_in_its_own_unit(workdir, capsys):
    main(["-m", "model=digits_mlp", "data=digits", "data.limit=100", "metric=top1,top5,cross_entropy", "chips=3"])
    printed = capsys.readouterr().out
    assert "98.00 %" in printed
    assert " nat" in printed
    assert "yield of cross-entropy (nat): sweep it alone and give yield_drop=VALUE" in " ".join(printed.split())
    frame = rs.load(folder())
    loss = frame[frame["metric"] == "cross_entropy"]
    assert loss["score"].equals(loss["loss"])
    assert loss["agreement"].notna().all()
    assert frame.groupby("metric")[["digital_score", "ideal_score"]].nunique().eq(1).all().all()
    assert loss["digital_score"].iloc[0] < loss["score"].min() + 1e-3 < 1
    for name in ("digital_score", "ideal_score"):
        assert frame.groupby("metric")[name].first().nunique() == 3, "each metric has baselines of its own"
    summary = rs.summarize(frame)
    assert summary["yield_share"].notna().tolist() == [True, True, False]
    assert summary["accuracy_mean"].notna().tolist() == [True, True, False]
    drawn = {path.stem.partition("-")[2] for path in folder().glob("ecdf-*.svg")}
    assert drawn == {"top-1-accuracy", "top-5-accuracy", "cross-entropy"}
    html = (folder() / "report.html").read_text()
    words = " ".join(re.sub(r"<[^>]+>", "", html).split())
    assert "at most 2 points below digital in top-5 accuracy" in words
    assert "mean cross-entropy: at most" in html
    assert "0.02 (top-1 accuracy), 0.02 (top-5 accuracy), none (cross-entropy)" in html
    top1, top5 = (frame[frame["metric"] == name].set_index("seed") for name in ("top1", "top5"))
    assert (top5["n_correct"] >= top1["n_correct"]).all()
    assert top5["agreement"].equals(top1["agreement"])


def test_the_default_is_called_what_it_was_before(workdir):
    frame = rs.run(rs.compose(["model=digits_mlp", "data=digits", "data.limit=20", "chips=1"]))
    texts = rs_store().points()
    assert "\nmetric top-1 accuracy v1\n" in texts[frame["point_id"].iloc[0]]
    other = rs.run(rs.compose(["model=digits_mlp", "data=digits", "data.limit=20", "chips=1", "metric=top5"]))
    assert "\nmetric top-5 accuracy v1\n" in rs_store().points()[other["point_id"].iloc[0]]


def rs_store():
    from rramsweep.study.store import Store

    return Store(Path("outputs/store"))


def test_chips_of_a_store_from_before_metrics_still_count(workdir, capsys, monkeypatch):
    """Scheme 1 had no scores: every row was a top-1 accuracy. Its chips are read, and the store moves on."""
    from rramsweep.simulation import passes
    from rramsweep.study.facts import FACTS
    from rramsweep.study.store import SCHEME, Store

    command = ["model=digits_mlp", "data=digits", "data.limit=50", "drift.relative_drift=0.2", "chips=3"]
    frame = rs.run(rs.compose(command))
    root = Path("outputs/store")
    store = Store(root)
    old = store.facts().drop_columns(["score", "digital_score", "ideal_score"])
    (fragment,) = root.glob("facts-*.parquet")
    fragment.unlink()
    store._fragments["facts"].add(old)
    (root / "store.json").write_text(json.dumps({"scheme": 1, "what": "rramsweep facts"}))
    assert store.facts().schema == FACTS
    trial = passes.run_trial
    monkeypatch.setattr(passes, "run_trial", None)
    pd.testing.assert_frame_equal(rs.run(rs.compose(command)), frame)
    assert json.loads((root / "store.json").read_text())["scheme"] == 1, "nothing was written"
    monkeypatch.setattr(passes, "run_trial", trial)
    more = rs.run(rs.compose([*command[:-1], "chips=5"]))
    assert json.loads((root / "store.json").read_text())["scheme"] == SCHEME
    assert more["score"].equals(more["accuracy"])
