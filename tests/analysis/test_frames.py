"""The results table and its statistics, against frames made by hand and numbers worked out on paper."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rramsweep.analysis.frames import check, csv, join, read, write
from rramsweep.analysis.schema import CHOICES, FACTS, METRIC
from rramsweep.analysis.summary import summarize

OPTIONS = {
    "technology": "pyrram",
    "device": "pyrram",
    "mapping": "differential",
    "programming": "ideal",
    "relaxation": "ideal",
    "drift": "relative",
    "faults": "ideal",
    "read_noise": "ideal",
    "model": "lenet5",
    "data": "fashion_mnist",
    "metric": "top1",
}
TOP1 = {"metric.name": "top-1 accuracy", "metric.unit": "fraction", "metric.higher_is_better": True}


def point(point_id, params=None, **choices):
    return {"point_id": point_id, "choices": OPTIONS | choices, "params": TOP1 | (params or {})}


def ok(point_id, seed, correct, images=10, digital=8, gained=0):
    """Row of a chip that finished: `correct` of `images` right, `digital` for the float network."""
    row = dict.fromkeys(FACTS) | {"point_id": point_id, "seed": seed, "status": "ok"}
    gained = max(gained, correct - digital)
    row |= {"n_images": images, "n_correct": correct, "n_gained": gained, "n_lost": digital + gained - correct}
    row |= {"accuracy": correct / images, "digital_accuracy": digital / images, "ideal_accuracy": digital / images}
    row |= {"score": correct / images, "digital_score": digital / images, "ideal_score": digital / images}
    return row | {"agreement": 0.9, "loss": 0.5, "seconds": 0.1}


def failed(point_id, seed):
    why = {"status": "failed", "error": "ValueError: no", "seconds": 0.1}
    return dict.fromkeys(FACTS) | {"point_id": point_id, "seed": seed} | why


def facts(*rows):
    return pa.Table.from_pylist(list(rows), pa.schema(FACTS.items()))


def chips(*counts, **more):
    """One point `a` with a chip for each count of right images (None: a failed chip)."""
    rows = [failed("a", s) if c is None else ok("a", s, c, **more) for s, c in enumerate(counts)]
    return join([point("a")], facts(*rows), [])


def sweep(levels, swept=("drift.relative_drift",), correct=(8, 7, 9)):
    """One point for each drift level; None stands for drift=ideal, which has no such parameter."""
    points, rows = [], []
    for i, level in enumerate(levels):
        drift = {"drift": "ideal"} if level is None else {"params": {"drift.relative_drift": level}}
        points.append(point(f"p{i}", **drift))
        rows += [ok(f"p{i}", seed, count) for seed, count in enumerate(correct)]
    return join(points, facts(*rows), list(swept))


# -- join


def test_join_orders_by_point_then_seed_and_spreads_the_points_columns():
    points = [point("b", {"t_s": 1.0}), point("a", {"t_s": 2.0}, mapping="offset"), point("c", {"t_s": 3.0})]
    frame = join(points, facts(ok("a", 5, 7), ok("b", 1, 8), ok("a", 2, 6), ok("b", 0, 9)), ["t_s", "mapping"])
    assert list(zip(frame["point_id"], frame["seed"], strict=True)) == [("b", 0), ("b", 1), ("a", 2), ("a", 5)]
    assert frame["n_correct"].tolist() == [9, 8, 6, 7]
    assert frame["t_s"].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert frame["mapping"].tolist() == ["differential"] * 2 + ["offset"] * 2
    assert frame.columns.tolist() == [*FACTS, *CHOICES, *METRIC, "t_s"]
    assert frame.attrs == {"swept": ["t_s", "mapping"]}
    assert frame.index.tolist() == [0, 1, 2, 3]


def test_dtypes_do_not_depend_on_content():
    params = [{"a.n": 1, "a.x": 0.5, "a.b": True, "a.s": "x"}, {}]
    whole, holes = (
        join([point(str(i), p) for i, p in enumerate(params[:n])], facts(*rows), [])
        for n, rows in ((1, [ok("0", 0, 8)]), (2, [ok("0", 0, 8), failed("1", 0)]))
    )
    assert whole.dtypes.astype(str).to_dict() == holes.dtypes.astype(str).to_dict()
    expected = {"seed": "int64", "n_correct": "Int64", "accuracy": "float64", "a.n": "Int64", "a.b": "boolean"}
    assert {name: str(holes[name].dtype) for name in expected} == expected
    assert holes.loc[1, ["n_correct", "accuracy", "a.n", "a.x", "a.b", "a.s"]].isna().all()
    assert holes.loc[0, ["a.n", "a.x", "a.b", "a.s"]].tolist() == [1, 0.5, True, "x"]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1, 0.5], [1.0, 0.5]),
        ([1, float("inf")], [1.0, float("inf")]),
        ([1, "auto"], ["1", "auto"]),
        ([True, 2], ["True", "2"]),
        ([None, None], [None, None]),
    ],
)
def test_a_parameter_of_mixed_kinds_keeps_every_value(values, column):
    points = [point(str(i), {"a.x": value}) for i, value in enumerate(values)]
    frame = join(points, facts(ok("0", 0, 8), ok("1", 0, 8)), [])
    assert frame["a.x"].astype(object).where(frame["a.x"].notna(), None).tolist() == column


def test_a_point_listed_twice_gives_its_chips_once():
    assert len(join([point("a"), point("a")], facts(ok("a", 0, 8), ok("a", 1, 7)), [])) == 2


def test_one_point_under_two_names_gives_both_names_the_chips():
    names = [point("a", technology="one"), point("b"), point("a", technology="two")]
    frame = join(names, facts(ok("a", 0, 8), ok("b", 0, 6), ok("a", 1, 7)), ["technology"])
    assert frame["technology"].tolist() == ["one", "one", "pyrram", "two", "two"]
    assert frame["n_correct"].tolist() == [8, 7, 6, 8, 7]


def test_join_of_nothing_is_an_empty_frame_with_every_column():
    frame = join([], facts(), ["technology"])
    assert len(frame) == 0
    assert frame.columns.tolist() == [*FACTS, *CHOICES, *METRIC]
    assert len(summarize(frame)) == 0


def test_join_reads_dictionary_encoded_ids_and_leaves_other_columns_behind():
    table = facts(ok("a", 0, 8))
    encoded = table.set_column(0, "point_id", table["point_id"].dictionary_encode())
    frame = join([point("a")], encoded.append_column("host", pa.array([4])), [])
    assert frame["point_id"].tolist() == ["a"]
    assert "host" not in frame


@pytest.mark.parametrize(
    ("points", "table", "message"),
    [
        ([point("a")], facts(ok("zz", 0, 8)), "plan's points, got point_id 'zz'"),
        ([point("a")], facts(ok("a", 0, 8)).drop_columns("loss"), "missing loss"),
        ([point("a", {"drift": 1})], facts(), "name of its own, got 'drift'"),
        ([point("a", {"seed": 1})], facts(), "name of its own, got 'seed'"),
        ([point("a", {"a.x": [1, 2]})], facts(), "parameter a.x must be number"),
        ([point("a", converter="adc")], facts(), r"got \['converter'\]"),
        ([point("a")], facts(ok("a", 0, 8), ok("a", 0, 8)), "occur once in a point"),
    ],
)
def test_join_refuses(points, table, message):
    with pytest.raises(ValueError, match=message):
        join(points, table, [])


def test_join_gives_each_point_its_own_rows_in_the_order_of_seeds():
    n, size = 1_000, 100
    ids = [f"{i:020x}" for i in range(size)]
    points = [point(name, {f"a.p{j}": i / (j + 1) for j in range(30)}) for i, name in enumerate(ids)]
    order = np.random.default_rng(0).permutation(n)
    columns = {name: pa.array([value] * n, FACTS[name]) for name, value in ok("", 0, 8).items()}
    columns |= {"point_id": pa.array(np.array(ids)[order % size]), "seed": pa.array(order // size)}
    table = pa.table(columns)
    frame = join(points, table, ["a.p0"])
    assert frame["point_id"].tolist() == np.repeat(ids, 10).tolist()
    assert frame["seed"].tolist() == list(range(10)) * size
    assert frame["a.p1"].tolist() == np.repeat(np.arange(size) / 2, 10).tolist()


# -- check


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("status", "done", "status must be one of ok, failed, got 'done'"),
        ("status", None, "status must not be null"),
        ("point_id", None, "point_id must not be null"),
        ("accuracy", 80.0, r"accuracy must lie in \[0, 1\], got 80.0 .*divide a percentage by 100"),
        ("agreement", -0.1, r"agreement must lie in \[0, 1\]"),
        ("ideal_accuracy", 1.01, r"ideal_accuracy must lie in \[0, 1\]"),
        ("accuracy", 0.7, "accuracy must be n_correct / n_images, got 0.7"),
        ("digital_accuracy", 0.9, r"digital_accuracy must be \(n_correct \+ n_lost - n_gained\) / n_images"),
        ("n_correct", 11, "n_correct must lie in 0..n_images, got 11"),
        ("n_correct", -1, "n_correct must lie in 0..n_images, got -1"),
        ("n_lost", 3, "n_lost must lie in 0..n_images - n_correct, got 3"),
        ("n_gained", 9, "n_gained must lie in 0..n_correct, got 9"),
        ("n_images", 0, "n_images must be at least 1"),
        ("seconds", None, "seconds must not be null in an ok row"),
        ("n_correct", None, "n_correct must not be null in a row of right and wrong inputs"),
        ("score", None, "score must not be null in an ok row"),
        ("score", 0.7, "score must be accuracy where there is one, got 0.7"),
        ("ideal_score", 0.7, "ideal_score must be ideal_accuracy where there is one, got 0.7"),
        ("metric.name", None, "metric.name must not be null"),
        ("metric.higher_is_better", None, "metric.higher_is_better must not be null"),
    ],
)
def test_check_refuses_a_wrong_value(column, value, message):
    frame = chips(8, 8)
    frame.loc[1, column] = value
    with pytest.raises(ValueError, match=message) as caught:
        check(frame)
    assert "\n" not in str(caught.value)


def test_check_says_where():
    frame = chips(8, 8, 8)
    frame.loc[1:, "status"] = "done"
    with pytest.raises(ValueError, match="point_id 'a', seed 1, one of 2 such rows"):
        check(frame)


def test_check_refuses_a_failed_row_with_a_result_but_not_with_its_time():
    frame = chips(8, None)
    assert check(frame) is frame
    frame.loc[1, "n_correct"] = 3
    with pytest.raises(ValueError, match="n_correct must be null in a failed row"):
        check(frame)


def test_check_allows_a_loss_that_is_no_number_and_shares_in_32_bits():
    frame = chips(7, images=9)
    frame["loss"] = np.nan
    frame["accuracy"] = np.float64(np.float32(7 / 9))
    check(frame)


@pytest.mark.parametrize(
    ("column", "dtype", "message"),
    [
        ("n_correct", "float64", r"column n_correct must be Int64, got double: use astype\('Int64'\)"),
        ("accuracy", "float32", "column accuracy must be float64, got float"),
        ("seed", "str", "column seed must be Int64, got string"),
        ("metric.higher_is_better", "str", "column metric.higher_is_better must be boolean, got string"),
        ("t_s", "float32", "column t_s must be Int64 or float64 or boolean or str, got float"),
        ("t_s", "datetime64[ns]", "column t_s must be"),
    ],
)
def test_check_refuses_a_wrong_type(column, dtype, message):
    frame = join([point("a", {"t_s": 1.0})], facts(ok("a", 0, 8)), [])
    with pytest.raises(ValueError, match=message):
        check(frame.astype({column: dtype}))


def test_check_refuses_missing_doubled_and_mixed_columns():
    frame = chips(8, 7)
    with pytest.raises(ValueError, match="lacks columns n_lost, model"):
        check(frame.drop(columns=["n_lost", "model"]))
    with pytest.raises(ValueError, match="unique, got 'loss' twice"):
        check(pd.concat([frame, frame[["loss"]]], axis=1))
    with pytest.raises(ValueError, match=r"one kind of value, .*a\.x"):
        check(frame.assign(**{"a.x": pd.Series([1, "x"], dtype=object)}))


def test_check_refuses_a_chip_twice_but_not_under_two_names():
    frame = chips(8, 7)
    with pytest.raises(ValueError, match="seed must occur once in a point, got 0"):
        check(pd.concat([frame, frame.iloc[:1]]))
    check(pd.concat([frame, frame.assign(technology="other")]))


def test_check_takes_object_and_categorical_strings():
    frame = chips(8, 7)
    check(frame.astype({"technology": "category", "status": object}))


def test_frames_of_two_sweeps_concatenate():
    both = pd.concat([chips(8, 7), sweep([0.1, 0.2])], ignore_index=True)
    assert len(check(both)) == 8
    assert summarize(both, ["drift.relative_drift"])["n"].tolist() == [2, 3, 3]


# -- files


def test_a_frame_survives_the_file(tmp_path):
    frame = sweep([None, 0.1], swept=["drift", "drift.relative_drift"])
    frame["device.levels"] = pd.array([16, None] * 3, "Int64")
    frame["device.flag"] = pd.array([True, None] * 3, "boolean")
    frame.loc[0, ["n_images", "n_correct", "n_lost", "n_gained"]] = pd.NA
    frame.loc[0, ["accuracy", "digital_accuracy", "ideal_accuracy", "agreement", "loss"]] = np.nan
    frame.loc[0, ["score", "digital_score", "ideal_score"]] = np.nan
    frame.loc[0, ["status", "error"]] = ["failed", "out of memory"]
    frame.attrs["note"] = {"chips": 3}
    folder = tmp_path / "drift=ideal"  # looks like a partition, and must not become a column
    folder.mkdir()
    write(frame, folder / "results.parquet")
    back = read(folder / "results.parquet")
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs == {"swept": ["drift", "drift.relative_drift"], "note": {"chips": 3}}
    assert [path.name for path in folder.iterdir()] == ["results.parquet"]


def test_plain_pandas_reads_the_same(tmp_path):
    frame = sweep([None, 0.1])
    write(frame, tmp_path / "r.parquet")
    plain = pd.read_parquet(tmp_path / "r.parquet")
    pd.testing.assert_frame_equal(plain, pd.DataFrame(frame))
    assert plain.attrs == frame.attrs


def test_the_file_holds_the_schemas_types(tmp_path):
    write(chips(8, None).astype({"mapping": "category"}), tmp_path / "r.parquet")
    schema = pq.read_schema(tmp_path / "r.parquet")
    assert {name: schema.field(name).type for name in FACTS} == dict(FACTS)
    assert {schema.field(name).type for name in CHOICES} == {pa.string()}


def test_a_file_from_before_trials_said_where_they_ran_is_read(tmp_path):
    frame = chips(8, 7)
    write(frame, tmp_path / "r.parquet")
    pq.write_table(pq.read_table(tmp_path / "r.parquet").drop_columns(["accelerator"]), tmp_path / "old.parquet")
    old = read(tmp_path / "old.parquet")
    assert old["accelerator"].isna().all()
    pd.testing.assert_frame_equal(old.drop(columns="accelerator"), frame.drop(columns="accelerator"))


def test_a_frame_that_is_wrong_is_neither_written_nor_read(tmp_path):
    good, bad = chips(8, 7), chips(8, 7)
    bad.loc[0, "accuracy"] = 2.0
    path = tmp_path / "r.parquet"
    write(good, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="accuracy"):
        write(bad, path)
    good.attrs["x"] = object()
    with pytest.raises(TypeError):
        write(good, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    bad.to_parquet(path)
    with pytest.raises(ValueError, match="accuracy"):
        read(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.parquet"
    write(chips(8, 7), path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr("rramsweep.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(chips(8, 8, 8), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_read_refuses_what_is_no_parquet(tmp_path):
    (tmp_path / "r.parquet").write_bytes(b"not a table")
    with pytest.raises(ValueError, match=r"r\.parquet must be a Parquet file"):
        read(tmp_path / "r.parquet")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.parquet")


ENDS = ("", "_low", "_high")


def test_the_schema_is_what_the_readme_says():
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    assert dict(FACTS) == {
        **{"point_id": text, "seed": whole, "status": text, "error": text},
        **{"n_images": whole, "n_correct": whole, "n_lost": whole, "n_gained": whole},
        **{"score": real, "digital_score": real, "ideal_score": real},
        **{"accuracy": real, "digital_accuracy": real, "ideal_accuracy": real, "agreement": real},
        **{"chance_accuracy": real},
        **{"loss": real, "seconds": real, "batch_size": whole, "memory_format": text, "threads": whole},
        **{"accelerator": text, "wires_kernel": text, "dac_clip_rate": real, "adc_clip_rate": real},
        **{"calibration.extra_parameters": whole, "calibration.extra_macs": whole, "calibration.seconds": real},
        **{"cost.array_uS": real},
        **{f"cost.{cost}{end}": real for cost in ("energy_pJ", "area_um2", "latency_us") for end in ENDS},
    }
    readme = (Path(__file__).parents[2] / "rramsweep/analysis/README.md").read_text()
    assert all(f"`{name}`" in readme for name in (*FACTS, *CHOICES, *METRIC))


def test_the_table_side_loads_neither_torch_nor_hydra_nor_pyplot():
    heavy = ["torch", "hydra", "omegaconf", "matplotlib.pyplot"]
    imports = "import rramsweep.reporting.robustness_plot; import rramsweep.analysis.summary"
    code = f"{imports}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- summaries


def test_three_chips_by_hand():
    """0.8, 0.7, 0.9: mean 0.8, std 0.1; t(0.975, 2) = 4.30265, so 0.8 -+ 4.30265 * 0.1 / sqrt(3), cut at 1."""
    row = summarize(chips(8, 7, 9)).iloc[0]
    assert (row["n"], row["n_failed"]) == (3, 0)
    assert row["accuracy_mean"] == pytest.approx(0.8)
    assert row["accuracy_std"] == pytest.approx(0.1)
    assert row["accuracy_low"] == pytest.approx(0.8 - 0.2484137712, abs=1e-9)
    assert row["accuracy_high"] == 1
    assert row[["q05", "q25", "q50", "q75", "q95"]].tolist() == pytest.approx([0.71, 0.75, 0.8, 0.85, 0.89])
    assert (row["digital_accuracy"], row["ideal_accuracy"]) == (0.8, 0.8)


def test_yield_by_hand():
    """8 and 9 of 10 reach the digital 8, 7 does not: 2 / 3, in Wilson's closed form with z = 1.95996."""
    row = summarize(chips(8, 7, 9)).iloc[0]
    n, p, z = 3, 2 / 3, 1.959963984540054
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert row["yield_share"] == pytest.approx(p)
    assert row["yield_low"] == pytest.approx((middle - half) / (1 + z * z / n))
    assert row["yield_high"] == pytest.approx((middle + half) / (1 + z * z / n))
    all_good = summarize(chips(8, 7, 9), yield_drop=0.1).iloc[0]
    assert all_good["yield_share"] == 1
    assert all_good["yield_low"] == pytest.approx(n / (n + z * z))
    assert all_good["yield_high"] == pytest.approx(1)


@pytest.mark.parametrize(("correct", "good"), [(51, 1), (50, 0)])
def test_yield_counts_in_whole_images(correct, good):
    """0.29 * 100 is 28.999999999999996 in floats, and still allows 29 images."""
    frame = chips(correct, images=100, digital=80)
    assert summarize(frame, yield_drop=0.29)["yield_share"].tolist() == [good]


def test_yield_compares_with_the_digital_network_and_not_with_lost_images():
    """2 gained and 3 lost: 7 against 8, one image down."""
    frame = chips(7, gained=2)
    assert frame["n_lost"].tolist() == [3]
    assert summarize(frame, yield_drop=0.1)["yield_share"].tolist() == [1]
    assert summarize(frame, yield_drop=0.09)["yield_share"].tolist() == [0]


def test_equal_chips_have_no_spread_though_their_float_mean_differs():
    frame = chips(7, 7, 7)
    assert frame["accuracy"].sum() / 3 != 0.7
    row = summarize(frame).iloc[0]
    assert row[["accuracy_mean", "accuracy_low", "accuracy_high"]].tolist() == [0.7, 0.7, 0.7]
    assert row["accuracy_std"] == 0


def test_one_chip_has_no_interval():
    row = summarize(chips(7)).iloc[0]
    assert row["n"] == 1
    assert row["accuracy_mean"] == 0.7
    assert row[["accuracy_low", "accuracy_high", "accuracy_std"]].isna().all()
    assert row[["q05", "q50", "q95"]].tolist() == [0.7, 0.7, 0.7]
    assert row[["yield_share", "yield_high"]].notna().all()


def test_failed_chips_do_not_count():
    row = summarize(chips(8, None, 7, 9, None)).iloc[0]
    assert (row["n"], row["n_failed"]) == (3, 2)
    assert row["accuracy_std"] == pytest.approx(0.1)


def test_a_cell_without_a_finished_chip_is_a_row_of_nulls():
    frame = join([point("a", {"t_s": 1.0}), point("b", {"t_s": 2.0})], facts(failed("a", 0), ok("b", 0, 8)), ["t_s"])
    table = summarize(frame)
    assert table[["t_s", "n", "n_failed"]].to_numpy().tolist() == [[1, 0, 1], [2, 1, 0]]
    assert table.drop(columns=["t_s", "n", "n_failed", *METRIC]).iloc[0].isna().all()
    assert table["accuracy_mean"].tolist()[1] == 0.8
    assert str(table["n"].dtype) == "int64"
    assert summarize(chips(None))["n"].tolist() == [0]


def test_a_null_parameter_is_a_cell_of_its_own():
    table = summarize(sweep([0.1, None, 0.0]))
    assert table["drift.relative_drift"].isna().tolist() == [False, True, False]
    assert table["n"].tolist() == [3, 3, 3]


@pytest.mark.parametrize("values", [[1, None, 2], [0.5, None, 1.0], [True, None, False], ["x", None, "y"]])
def test_nulls_of_every_kind_keep_their_cell(values):
    points = [point(str(i), {"a.x": value}) for i, value in enumerate(values)]
    frame = join(points, facts(*(ok(str(i), s, 5 + i) for i in range(3) for s in range(2))), ["a.x"])
    table = summarize(frame)
    assert [None if pd.isna(value) else value for value in table["a.x"]] == values
    assert table["accuracy_mean"].tolist() == [0.5, 0.6, 0.7]
    assert table["a.x"].dtype == frame["a.x"].dtype


def test_cells_come_in_order_of_appearance_and_in_the_order_of_by():
    points = [point(f"{m}{d}", {"t_s": d}, mapping=m) for d in (2.0, 1.0) for m in ("offset", "differential")]
    frame = join(points, facts(*(ok(p["point_id"], 0, 8) for p in points)), ["t_s", "mapping"])
    table = summarize(frame)
    assert table.columns.tolist()[:3] == ["t_s", "mapping", "n"]
    cells = list(zip(table["t_s"], table["mapping"], strict=True))
    assert cells == [(2.0, "offset"), (2.0, "differential"), (1.0, "offset"), (1.0, "differential")]
    assert table.attrs == {"by": ["t_s", "mapping"], "yield_drop": 0.02, "interval": "t"}


def test_by_defaults_to_what_was_swept_and_then_to_what_varies():
    frame = sweep([0.1, 0.2], swept=["drift.relative_drift", "seed", "hydra.launcher.n_jobs"])
    assert summarize(frame).attrs["by"] == ["drift.relative_drift"]
    frame.attrs.clear()
    assert summarize(frame).attrs["by"] == ["drift.relative_drift"]
    assert summarize(sweep([None, 0.1], swept=[])[3:]).attrs["by"] == []


def test_by_takes_one_name_or_a_name_twice():
    frame = sweep([0.1, 0.2])
    one = summarize(frame, "drift.relative_drift")
    pd.testing.assert_frame_equal(summarize(frame, ["drift.relative_drift"] * 2), one)
    assert len(one) == 2


def test_two_points_in_one_cell_are_refused_with_what_differs():
    points = [point("a", {"t_s": 1.0}), point("b", {"t_s": 1.0, "device.g_max_uS": 50.0}, mapping="offset")]
    points.append(point("c", {"t_s": 2.0}))
    frame = join(points, facts(*(ok(p["point_id"], 0, 8) for p in points)), ["t_s"])
    message = r"one point, t_s=1.0 holds 2, which differ in mapping: add it to by, or filter the frame, frame\[frame\["
    with pytest.raises(ValueError, match=message) as caught:
        summarize(frame)
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match=r"one point, the whole frame holds 3, which differ in mapping, t_s: add them to by"
    ):
        summarize(frame, [])
    assert summarize(frame, ["t_s", "mapping"])["n"].tolist() == [1, 1, 1]


def test_a_failed_chip_of_another_point_is_refused_too():
    frame = join([point("a"), point("b", mapping="offset")], facts(ok("a", 0, 8), failed("b", 0)), [])
    with pytest.raises(ValueError, match="holds 2, which differ in mapping"):
        summarize(frame, ["technology"])


def test_points_that_no_column_tells_apart_are_refused_and_told_apart_by_id():
    frame = join([point("a"), point("b")], facts(ok("a", 0, 8), ok("b", 0, 7)), [])
    with pytest.raises(ValueError, match=r"no column tells apart .*: add point_id to by"):
        summarize(frame)
    assert summarize(frame, ["point_id"])["accuracy_mean"].tolist() == [0.8, 0.7]


def test_a_chip_under_two_names_counts_once_in_a_cell():
    names = [point("a", technology="one"), point("a", technology="two")]
    frame = join(names, facts(*(ok("a", s, c) for s, c in enumerate((8, 7, 9)))), ["technology"])
    assert summarize(frame)["n"].tolist() == [3, 3]
    pooled = summarize(frame, ["model"])
    assert pooled["n"].tolist() == [3]
    assert pooled["accuracy_low"].tolist() == pytest.approx([0.8 - 0.2484137712])


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (["drift.relative_drft"], "got 'drift.relative_drft': did you mean drift.relative_drift"),
        (["relative_drift"], "did you mean drift.relative_drift"),
        (["qqq"], "there are technology, macro, device"),
        (["accuracy"], "got 'accuracy', an outcome"),
    ],
)
def test_by_refuses(by, message):
    with pytest.raises(ValueError, match=message):
        summarize(sweep([0.1, 0.2]), by)


def test_summarize_refuses_a_percentage_and_a_frame_without_facts():
    with pytest.raises(ValueError, match="yield_drop must lie in"):
        summarize(chips(8), yield_drop=2)
    with pytest.raises(ValueError, match="lacks columns n_lost"):
        summarize(chips(8).drop(columns="n_lost"))


def test_summarize_takes_any_index():
    frame = sweep([0.1, 0.2])
    shuffled = frame.sample(frac=1, random_state=1)
    shuffled.index = [7] * len(shuffled)
    table = summarize(shuffled).sort_values("drift.relative_drift", ignore_index=True)
    pd.testing.assert_frame_equal(table, summarize(frame), check_exact=False)


FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-1+1",
    "-x",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "+",
    "=",
    "--1",
    "-1e5x",
]
PLAIN = ["a=1", "x\r=1", " =1", "1-2", "'=1", "", "x@y", "5", "-1", "-1.5e-3", "+3", "-.5", "-inf", "-"]


@pytest.mark.parametrize("kind", ["object", "string", "category"])
def test_no_cell_of_a_csv_is_a_formula(kind):
    frame = pd.DataFrame({"text": pd.Series([*FORMULAS, *PLAIN, None], dtype=kind)})
    back = pd.read_csv(io.BytesIO(csv(frame)), dtype=str, keep_default_na=False)
    assert back["text"].tolist() == [*(f"'{text}" for text in FORMULAS), *PLAIN, ""]


def test_numbers_of_a_csv_stay_as_they_are():
    frame = pd.DataFrame({"a": [-1, 2], "b": [-0.1, float("nan")], "c": [True, False], "d": [-3, "=x"]})
    frame["e"] = pd.array([-1, None], dtype="Int64")
    assert csv(frame[["a", "b", "c", "e"]]) == frame[["a", "b", "c", "e"]].to_csv(index=False).encode()
    assert csv(frame[["d"]]) == b"d\n-3\n'=x\n"


def test_the_head_of_a_csv_is_no_formula_either():
    assert csv(pd.DataFrame({"=a": [1], "b": [2]})) == b"'=a,b\n1,2\n"


def test_what_is_no_regular_file_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "results.parquet")
    with pytest.raises(OSError, match="is a FIFO, not a regular file: move it away"):
        read(tmp_path / "results.parquet")
