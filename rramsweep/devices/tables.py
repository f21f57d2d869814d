"""Tables of a user's measurements: mean shift and spread of a cell over conductance and time."""

from __future__ import annotations

import csv
import hashlib
import math
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rramsweep.errors import ValidationError, one_of
from rramsweep.npz import array_names, check_memory, holds_one_array, read_arrays

# Columns of a CSV and arrays of an .npz; t_s may be left out.
AXES = ("g_uS", "t_s")
VALUES = ("mu_uS", "sigma_uS")
NEEDED = ("g_uS", *VALUES)

# Delimiters and decimal marks of a CSV, by name: a shell and Hydra's grammar take `;` and `,` for their own.
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}
DECIMALS = {"point": ".", "comma": ","}

# Form of a number. Python's float accepts more: underscores between digits, and digits of other scripts.
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

# No device's window ends below this (`device.PLAUSIBLE_G_MAX_US`): a table that ends below is in another unit.
SMALLEST_G_MAX_US = 1e-2

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """Mean shift and spread on a grid of conductances and times.

    Args:
        g_uS: conductances, shape (n,), ascending, at least two, none below 0.
        t_s: times in seconds, shape (m,), ascending and above 0; None for a table without times (m = 1).
        mu_uS: mean shift, shape (n, m).
        sigma_uS: standard deviation, shape (n, m), none below 0.

    Raises:
        ValueError: any of the above does not hold, or a number is not finite.
    """

    g_uS: Array
    t_s: Array | None
    mu_uS: Array
    sigma_uS: Array

    def __post_init__(self) -> None:
        for name in (*AXES, *VALUES):
            array = getattr(self, name)
            if array is not None and not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite, got NaN or infinity: leave such rows out")
        _ascending("g_uS", self.g_uS, 2)
        if self.g_uS[0] < 0:
            raise ValueError(f"g_uS must be at least 0, got {self.g_uS[0]:g}: give conductances in uS")
        if self.g_uS[-1] < SMALLEST_G_MAX_US:
            raise ValueError(
                f"g_uS must reach {SMALLEST_G_MAX_US:g} uS, got {self.g_uS[-1]:g} at most, which looks like siemens: "
                "give the table in microsiemens (1e-4 S = 100 uS)"
            )
        if self.t_s is not None:
            _ascending("t_s", self.t_s, 1)
            if self.t_s[0] <= 0:
                raise ValueError(f"t_s must lie above 0, got {self.t_s[0]:g}: the table is linear in log t")
        shape = (len(self.g_uS), 1 if self.t_s is None else len(self.t_s))
        for name in VALUES:
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} must have a value for each conductance and time, shape {shape}, got "
                    f"{getattr(self, name).shape}: fill the grid"
                )
        if (self.sigma_uS < 0).any():
            raise ValueError(f"sigma_uS must be at least 0, got {self.sigma_uS.min():g}: give standard deviations")

    def at(self, t_s: float) -> tuple[Array, Array]:
        """`(mu_uS, sigma_uS)` at one time, each (n,): linear in log t, and constant beyond the first and last time."""
        weights = np.ones(1)
        if self.t_s is not None:
            now, times = np.log(max(t_s, self.t_s[0])), np.log(self.t_s)
            weights = np.array([np.interp(now, times, one) for one in np.eye(len(times))])
        return self.mu_uS @ weights, self.sigma_uS @ weights

    def digest(self) -> str:
        """Hash of the numbers, which does not depend on file, format or order of rows."""
        sha = hashlib.sha256()
        for array in (self.g_uS, self.t_s, self.mu_uS, self.sigma_uS):
            sha.update(b"none" if array is None else f"{array.shape}".encode() + array.astype("<f8").tobytes())
        return sha.hexdigest()[:32]


def read_grid(path: str, delimiter: str = "comma", decimal: str = "point") -> Grid:
    """Read a table from a file.

    CSV: a header with the columns `g_uS, mu_uS, sigma_uS` and, for a table over times, `t_s`; one row for each
    conductance (and each time), in any order; lines that begin with `#` are comments. `.npz`: arrays of these names,
    `g_uS` (n,), `t_s` (m,), and `mu_uS`, `sigma_uS` of shape (n,) without times or (n, m) with them.

    Args:
        path: the file, relative to the working directory of the command.
        delimiter: of the columns of a CSV: `comma`, `semicolon` or `tab`.
        decimal: mark of its numbers: `point` or `comma`.

    Raises:
        ValueError: no such file or another kind, an invalid delimiter or mark, a column or array missing or unknown, a
            cell that is not a number, a grid with gaps or repeats, and what `Grid` refuses.
    """
    file = Path(path)
    one_of("delimiter", delimiter, list(DELIMITERS))
    one_of("decimal", decimal, list(DECIMALS))
    if delimiter == decimal:
        raise ValueError(
            "delimiter and decimal must be two characters, got comma for both: a table with decimal commas has "
            "delimiter=semicolon"
        )
    readers: dict[str, Callable[[Path], Grid]] = {
        ".csv": partial(_read_csv, delimiter=delimiter, decimal=decimal),
        ".npz": _read_npz,
    }
    if file.suffix.lower() not in readers:
        raise ValueError(f"path must name a .csv or .npz table, got {path}: save it as one of them")
    if not file.is_file():
        raise ValueError(f"path must name an existing table, got {path}: check the path")
    try:
        return readers[file.suffix.lower()](file)
    except ValidationError:  # names the file itself
        raise
    except ValueError as error:
        raise ValueError(f"{error} (in {path})") from error


def _read_csv(file: Path, delimiter: str, decimal: str) -> Grid:
    check_memory(file.stat().st_size, file, "text")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("a .csv must be text in UTF-8, this one is not: save it again") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    _check_delimiter(lines, delimiter)
    rows = list(csv.reader(lines, delimiter=DELIMITERS[delimiter], skipinitialspace=True))
    header = [name.strip() for name in rows[0]] if rows else []
    _check_names(header, "columns")
    values = []
    for n, row in enumerate(rows[1:], start=1):
        numbers = [_number(cell if decimal == "point" else _with_point(cell, n), n, row) for cell in row]
        if len(numbers) != len(header):
            raise ValueError(f"a row must hold {len(header)} numbers, row {n} has {len(numbers)}: correct it")
        values.append(numbers)
    if not values:
        raise ValueError("a table must hold rows, got none below the header: add them")
    column = dict(zip(header, np.array(values).T, strict=True))
    g_uS, i = np.unique(column["g_uS"], return_inverse=True)
    t_s, j = np.unique(column["t_s"], return_inverse=True) if "t_s" in column else (None, np.zeros_like(i))
    n_times = 1 if t_s is None else len(t_s)
    count = np.zeros((len(g_uS), n_times), dtype=int)
    np.add.at(count, (i, j), 1)
    if (count != 1).any():
        a, b = (int(k) for k in np.argwhere(count != 1)[0])
        where = f"g_uS={g_uS[a]:g}" + ("" if t_s is None else f", t_s={t_s[b]:g}")
        raise ValueError(
            f"a table must hold one row for each conductance and time, {where} has {count[a, b]}: fill the grid"
        )
    grids = []
    for name in VALUES:
        grid = np.empty(count.shape)
        grid[i, j] = column[name]
        grids.append(grid)
    return Grid(g_uS, t_s, *grids)


def _read_npz(file: Path) -> Grid:
    try:
        if holds_one_array(file):
            raise ValueError("an .npz must hold named arrays, this one holds a single array: save it with np.savez")
        _check_names(array_names(file), "arrays")
        arrays = {name: _numbers(name, array) for name, array in read_arrays(file).items()}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"an .npz must be whole, this one cannot be read ({error}): save it again") from None
    values = [arrays[name][:, None] if arrays[name].ndim == 1 else arrays[name] for name in VALUES]
    return Grid(arrays["g_uS"], arrays.get("t_s"), *values)


def _check_delimiter(lines: list[str], delimiter: str) -> None:
    """Check that the columns are not separated by another character than is expected.

    Raises:
        ValueError: names it, and how to read the file.
    """
    if not lines or DELIMITERS[delimiter] in lines[0]:
        return
    for other, character in DELIMITERS.items():
        if {*NEEDED} <= {part.strip() for part in lines[0].split(character)}:
            comma = " and decimal=comma" if other != "comma" and any("," in line for line in lines[1:]) else ""
            raise ValueError(
                f"columns must be separated by a {delimiter}, those of this table are by a {other}: set "
                f"delimiter={other}{comma} beside its path"
            )


def _with_point(cell: str, n: int) -> str:
    if "." in cell or cell.count(",") > 1:
        raise ValueError(
            f"a number must have a comma alone as its decimal mark, row {n} has {cell.strip()!r}: correct it"
        )
    return cell.replace(",", ".")


def _number(cell: str, n: int, row: list[str]) -> float:
    """Parse a field of a CSV, refusing text that Python reads as another number than a person does."""
    text = cell.strip()
    try:
        number = float(text)
    except ValueError:
        decimal = ", or set decimal=comma" if any("," in cell for cell in row) else ""
        raise ValueError(f"a row must hold numbers, row {n} has {'; '.join(row)}: correct it{decimal}") from None
    if _DECIMAL.fullmatch(text) or not math.isfinite(number):  # the grid names what is not finite
        return number
    raise ValueError(
        f"a number must be written in digits, point and exponent, row {n} has {text!r}, which would be read as "
        f"{number:g}: write {number:g} if that is meant"
    )


def _numbers(name: str, array: np.ndarray) -> Array:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}: save floating-point numbers")
    return array.astype(np.float64)


def _check_names(names: Iterable[str], what: str) -> None:
    found = list(names)
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise ValueError(
            f"a table must have the {what} {', '.join(NEEDED)} and may have t_s, but lacks {', '.join(missing)}: "
            f"it has {', '.join(found) or 'none'}"
        )
    unknown = [name for name in found if name not in (*AXES, *VALUES)]
    if unknown or len(set(found)) != len(found):
        raise ValueError(f"a table has the {what} {', '.join(NEEDED)} and t_s, got {', '.join(found)}: drop the others")


def _ascending(name: str, array: Array, least: int) -> None:
    if array.ndim != 1 or len(array) < least:
        raise ValueError(f"{name} must hold at least {least} numbers in one axis, got shape {array.shape}: add rows")
    if (np.diff(array) <= 0).any():
        raise ValueError(f"{name} must ascend without repeats, got {array.tolist()}: sort the table by it")
