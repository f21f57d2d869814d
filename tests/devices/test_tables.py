"""Reading a user's table: CSV and .npz give the same grid, and whatever is wrong is said in one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from rramsweep.devices.tables import DECIMALS, DELIMITERS, read_grid

HEAD = "g_uS,mu_uS,sigma_uS\n"
TIMED = "g_uS,t_s,mu_uS,sigma_uS\n"


def text(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_text(content) if isinstance(content, str) else path.write_bytes(content)
    return str(path)


def arrays(tmp_path, **named):
    np.savez(tmp_path / "t.npz", **named)
    return str(tmp_path / "t.npz")


def test_csv_and_npz_are_the_same_grid(tmp_path):
    csv = read_grid(text(tmp_path, f"# a comment\n\n{TIMED}5, 1, 3, 4\n1,1,.1,.2\n 1,10,0.5,6e-1\n5,10,7,8\n"))
    npz = read_grid(
        arrays(tmp_path, g_uS=[1, 5], t_s=[1.0, 10.0], mu_uS=[[0.1, 0.5], [3, 7]], sigma_uS=[[0.2, 0.6], [4, 8]])
    )
    for name in ("g_uS", "t_s", "mu_uS", "sigma_uS"):
        np.testing.assert_array_equal(getattr(csv, name), getattr(npz, name))
    assert csv.digest() == npz.digest()


def test_columns_may_stand_in_any_order_and_a_byte_order_mark_is_no_column(tmp_path):
    grid = read_grid(text(tmp_path, "\ufeffsigma_uS, g_uS, mu_uS\r\n1, 10, 2\r\n3, 20, 4\r\n"))
    assert grid.t_s is None
    assert grid.sigma_uS[:, 0].tolist() == [1, 3]
    assert [values.tolist() for values in grid.at(0.0)] == [[2, 4], [1, 3]]


def test_times_are_interpolated_in_their_logarithm(tmp_path):
    grid = read_grid(text(tmp_path, TIMED + "1,1,0,0\n1,100,1,2\n2,1,0,4\n2,100,-1,6\n"))
    for t_s, weight in ((1, 0), (10, 0.5), (100, 1), (0, 0), (1e9, 1)):
        mu, sigma = grid.at(t_s)
        np.testing.assert_allclose([*mu, *sigma], [weight, -weight, 2 * weight, 4 + 2 * weight], atol=1e-12)


BAD_CSV = [
    ("", r"lacks g_uS, mu_uS, sigma_uS: it has none"),
    ("g_uS,sigma_uS\n1,2\n", r"must have the columns g_uS, mu_uS, sigma_uS and may have t_s, but lacks mu_uS"),
    ("g,mu,sigma\n1,2,3\n", r"lacks g_uS, mu_uS, sigma_uS: it has g, mu, sigma"),
    ("g_uS,mu_uS,sigma_uS,n\n1,2,3,4\n", r"got g_uS, mu_uS, sigma_uS, n: drop the others"),
    ("g_uS,g_uS,mu_uS,sigma_uS\n1,2,3,4\n", r"drop the others"),
    (HEAD, r"must hold rows, got none below the header"),
    (HEAD + "1,2,3\n4,much,5\n", r"must hold numbers, row 2 has 4; much; 5"),
    (HEAD + "1,2,3\n4,,5\n", r"must hold numbers, row 2"),
    (HEAD + "1,2,3\n4,5\n", r"a row must hold 3 numbers, row 2 has 2"),
    (HEAD + "1,2,3\n", r"g_uS must hold at least 2 numbers"),
    (HEAD + "1,2,3\n1,2,4\n", r"one row for each conductance and time, g_uS=1 has 2"),
    (HEAD + "1,2,3\n2,2,-4\n", r"sigma_uS must be at least 0, got -4"),
    (HEAD + "-1,2,3\n2,2,4\n", r"g_uS must be at least 0, got -1"),
    (HEAD + "1e-6,0,1e-7\n1e-4,0,1e-6\n", r"must reach 0.01 uS, got 0.0001 at most, which looks like siemens: .* uS\)"),
    (HEAD + "1,nan,3\n2,2,4\n", r"mu_uS must be finite"),
    (HEAD + "1,2,inf\n2,2,4\n", r"sigma_uS must be finite"),
    (TIMED + "1,1,0,1\n2,1,0,1\n1,10,0,1\n", r"one row for each conductance and time, g_uS=2, t_s=10 has 0"),
    (TIMED + "1,0,0,1\n2,0,0,1\n", r"t_s must lie above 0, got 0: the table is linear in log t"),
    (b"\xff\xfe\x00g", r"must be text in UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), BAD_CSV)
def test_a_bad_csv_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_grid(text(tmp_path, content))
    assert "\n" not in str(error.value)
    assert "t.csv" in str(error.value)


GOOD = {"g_uS": [1.0, 2.0], "mu_uS": [0.0, 0.0], "sigma_uS": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"g_uS": [2.0, 1.0]}, r"g_uS must ascend without repeats, got \[2.0, 1.0\]"),
        ({"g_uS": [1.0, 1.0]}, r"g_uS must ascend"),
        ({"g_uS": [[1.0, 2.0]]}, r"g_uS must hold at least 2 numbers in one axis, got shape \(1, 2\)"),
        ({"mu_uS": [0.0]}, r"mu_uS must have a value for each conductance and time, shape \(2, 1\), got \(1, 1\)"),
        ({"t_s": [1.0, 2.0]}, r"mu_uS must have a value for each .*, shape \(2, 2\), got \(2, 1\)"),
        ({"t_s": []}, r"t_s must hold at least 1 numbers"),
        ({"mu_uS": ["a", "b"]}, r"mu_uS must hold numbers, got dtype <U1"),
        ({"n": [1]}, r"drop the others"),
    ],
)
def test_a_bad_npz_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_grid(arrays(tmp_path, **{**GOOD, **changes}))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must name a .csv or .npz table, got t.xlsx: save it as one of them"):
        read_grid("t.xlsx")
    with pytest.raises(ValueError, match=r"must name an existing table, got nowhere.csv"):
        read_grid("nowhere.csv")
    with pytest.raises(ValueError, match=r"an .npz must be whole"):
        read_grid(text(tmp_path, b"PK\x03\x04", "t.npz"))
    np.save(tmp_path / "t.npy", np.ones(3))
    (tmp_path / "t.npy").rename(tmp_path / "t.npz")
    with pytest.raises(ValueError, match=r"holds a single array: save it with np.savez"):
        read_grid(str(tmp_path / "t.npz"))
    with pytest.raises(ValueError, match=r"t.npz"):
        read_grid(arrays(tmp_path, **{**GOOD, "mu_uS": np.array([None, {}], dtype=object)}))


@pytest.mark.parametrize(
    ("cell", "read"),
    [("1_0", "10"), ("1_000.5", "1000.5"), ("\uff11\uff10", "10"), ("1e1_0", "1e+10"), ("\u0661", "1")],
)
def test_a_number_that_only_python_reads_is_refused_with_what_it_reads_as(tmp_path, cell, read):
    with pytest.raises(
        ValueError, match=r"in digits, point and exponent, row 2 has .*, which would be read as"
    ) as error:
        read_grid(text(tmp_path, f"{HEAD}1,0,1\n{cell},0,1\n"))
    assert f"would be read as {read}: write {read} if" in str(error.value)


@pytest.mark.parametrize("cell", ["0x10", "1:30", "ten", "1 0", "10uS", "--1"])
def test_what_is_no_number_is_refused(tmp_path, cell):
    with pytest.raises(ValueError, match="a row must hold numbers, row 1 has "):
        read_grid(text(tmp_path, f"{HEAD}{cell},0,1\n20,0,1\n"))


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity"])
def test_a_number_that_is_not_finite_is_refused(tmp_path, cell):
    with pytest.raises(ValueError, match="g_uS must be finite"):
        read_grid(text(tmp_path, f"{HEAD}{cell},0,1\n20,0,1\n"))


@pytest.mark.parametrize("cell", ["010", "+10", "10.", "1e1", "1.0E+01", "10.0"])
def test_usual_ways_of_writing_ten_are_ten(tmp_path, cell):
    assert read_grid(text(tmp_path, f"{HEAD}{cell},0,1\n20,0,1\n")).g_uS.tolist() == [10.0, 20.0]


@pytest.mark.parametrize(
    ("delimiter", "decimal"), [("semicolon", "comma"), ("semicolon", "point"), ("tab", "comma"), ("tab", "point")]
)
def test_a_table_of_another_locale_is_read_when_told(tmp_path, delimiter, decimal):
    content = (HEAD + "1.5,-0.25,3e-1\n20,0,1\n").replace(",", DELIMITERS[delimiter]).replace(".", DECIMALS[decimal])
    grid = read_grid(text(tmp_path, content), delimiter, decimal)
    assert (grid.g_uS.tolist(), grid.mu_uS[:, 0].tolist()) == ([1.5, 20.0], [-0.25, 0.0])
    assert grid.digest() == read_grid(text(tmp_path, HEAD + "1.5,-0.25,0.3\n20,0,1\n")).digest()


SEMICOLONS = "g_uS;mu_uS;sigma_uS\n"


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        (SEMICOLONS + "1;0;1\n", {}, r"by a comma, those of this table are by a semicolon: set delimiter=semicolon b"),
        (SEMICOLONS + "1,5;0;1\n", {}, r"set delimiter=semicolon and decimal=comma beside"),
        (SEMICOLONS.replace(";", "\t") + "1\t0\t1\n", {}, r"are by a tab: set delimiter=tab beside"),
        (HEAD + "1,0,1\n", {"delimiter": "semicolon"}, r"by a comma: set delimiter=comma beside"),
        (SEMICOLONS + "1.5;0;1\n", {"delimiter": "semicolon", "decimal": "comma"}, r"a comma alone as its decimal"),
        (
            SEMICOLONS + "1,5;0;1\n",
            {"delimiter": "semicolon"},
            r"1,5; 0; 1: correct it, or set decimal=comma",
        ),
        (HEAD + "1,0,1\n", {"decimal": "comma"}, r"a table with decimal commas has delimiter=semicolon"),
        (HEAD + "1,0,1\n", {"delimiter": ";"}, r"delimiter must be one of comma, semicolon, tab, got"),
    ],
)
def test_a_table_of_another_locale_is_refused_by_its_delimiter(tmp_path, content, given, message):
    with pytest.raises(ValueError, match=message):
        read_grid(text(tmp_path, content), **given)
