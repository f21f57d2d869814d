"""Fits the measured HfOx relaxation law: `python -m tests.fit_relaxation DATA.npz` writes the package's table again.

The data, `relaxation_hfox_40uS.npz`, are readings of 16,292 HfOx cells (`g_uS`, cells x times) at 0, 0.01, 0.1, 1, 4
and 1e5 s: technology C of A. Levy's RRAM-Relaxation-Master-Model (MIT licence, (c) 2021 Akash Levy). The readings at
4 s are of another subset and are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import expit, ndtr

from rramsweep.effects.hfox_relaxation import TABLE, components

Array = NDArray[np.float64]

TIMES_S = (0.01, 0.1, 1.0, 1e5)
PAIRS = [(i, j) for i in range(4) for j in range(i + 1, 4)]

# Closer together where the law bends: cells near 0 uS cannot fall.
KNOTS_US = np.array([0.6, 2.0, 4.0, 7.0, 12.0, 17.0, 22.0, 27.0, 32.0, 38.0])

BIN_US = 5.0
BINS = 8

# How far a change may lie from the median, in robust sigma: half the distance from the 16 to the 84 % quantile.
BEYOND = np.array([3.0, 4.0, 6.0])
SIGMA_QUANTILES = ndtr([-1.0, 0.0, 1.0])

SOURCE = (
    "Fitted by tests/fit_relaxation.py to half of the cells of technology C (HfOx, 0..40 uS) in A. Levy, "
    "RRAM-Relaxation-Master-Model, MIT licence, (c) 2021 Akash Levy. g_uS: knots; other rows: one a time."
)


def read(path: Path) -> tuple[Array, Array]:
    """First reading (cells,) and changes since then (cells, times) of the cells that were read at all four times."""
    with np.load(path) as data:
        columns = [int(np.flatnonzero(np.isclose(data["t_s"], t))[0]) for t in TIMES_S]
        g_uS = data["g_uS"].astype(np.float64)
    change_uS = g_uS[:, columns] - g_uS[:, :1]
    whole = np.isfinite(change_uS).all(axis=1)
    return g_uS[whole, 0], change_uS[whole]


def bins(g_uS: Array) -> NDArray[np.int64]:
    """Conductance bin of 5 uS of each cell, 0..7."""
    return np.minimum(g_uS // BIN_US, BINS - 1).astype(np.int64)


def balanced(g_uS: Array, change_uS: Array) -> NDArray[np.bool_]:
    """Which cells are fitted: half of each bin, chosen so that both halves have like means and variances.

    A few far outliers decide a variance here (kurtosis up to 100), so halves chosen blindly differ by up to 26 % in a
    standard deviation, which no law could follow. Cells are assigned from the farthest outlier on, each to the half
    that evens out the sums of the changes and of their squares at the four times (minimisation, as in clinical
    trials).
    """
    fitted = np.zeros(len(g_uS), dtype=bool)
    where = bins(g_uS)
    for k in range(BINS):
        (cells,) = np.nonzero(where == k)
        z = (change_uS[cells] - change_uS[cells].mean(axis=0)) / change_uS[cells].std(axis=0)
        sums = np.concatenate([np.ones((len(cells), 1)), z, z**2 - 1], axis=1)
        lead = np.zeros(sums.shape[1])
        for cell in np.argsort(-np.abs(z).max(axis=1), kind="stable"):
            side = -1.0 if lead @ sums[cell] > 0 else 1.0
            lead += side * sums[cell]
            fitted[cells[cell]] = side > 0
    return fitted


def beyond(x: Array) -> list[float]:
    """Share of a sample beyond 3, 4 and 6 robust sigma."""
    return _spread(x, np.ones(len(x)))[2:]


def fit(g_uS: Array, change_uS: Array) -> dict[str, Any]:
    """The table of `HfOxRelaxation` from first readings (cells,) and changes (cells, times)."""
    near = np.stack([np.interp(g_uS, KNOTS_US, row) for row in np.eye(len(KNOTS_US))])  # (knots, cells)
    weight = near / near.sum(axis=1, keepdims=True)
    # A shape needs more cells than a mean: from 7 uS on, neighbours help.
    wide = near.copy()
    wide[3:] += 0.5 * near[2:-1]
    wide[3:-1] += 0.5 * near[4:]

    def between(rows: Array) -> Array:
        return np.stack([np.interp(g_uS, KNOTS_US, row) for row in rows], axis=1)

    mean = (weight @ change_uS).T
    sd = np.sqrt(weight @ (change_uS - between(mean)) ** 2).T
    z = (change_uS - between(mean)) / between(sd)
    shape = np.array([[_shape(z[:, j], row) for row in wide] for j in range(len(TIMES_S))])
    table = {
        "t_s": np.array(TIMES_S),
        "g_uS": KNOTS_US,
        "mean_uS": mean,
        "sd_uS": sd,
        "tail_share": shape[:, :, 0],
        "tail_ratio": shape[:, :, 1],
        "tail_shift": shape[:, :, 2],
    }
    return {"source": SOURCE, **{k: v.round(4).tolist() for k, v in table.items()}, **_persistence(near, z, shape)}


def _quantiles(x: Array, weight: Array) -> Array:
    order = np.argsort(x)
    total = np.cumsum(weight[order])
    return np.interp(SIGMA_QUANTILES, (total - 0.5 * weight[order]) / total[-1], x[order])


def _spread(x: Array, weight: Array) -> list[float]:
    """Robust sigma, median, and the weight of the cells beyond 3, 4 and 6 robust sigma."""
    low, middle, high = _quantiles(x, weight)
    sigma = (high - low) / 2
    return [sigma, middle, *(weight @ (np.abs(x - middle) > k * sigma) / weight.sum() for k in BEYOND)]


def _spread_of_mixture(share: float, ratio: float, shift: float) -> list[float]:
    core, core_sd, tail, tail_sd = components(*np.array([0.0, 1.0, share, ratio, shift]))
    x = np.linspace(-4, 4, 801)
    low, middle, high = np.interp(SIGMA_QUANTILES, _mixture_cdf(x, share, core, core_sd, tail, tail_sd), x)
    sigma = (high - low) / 2
    ends = middle + sigma * np.array([[-1.0], [1.0]]) * BEYOND
    below, above = _mixture_cdf(ends, share, core, core_sd, tail, tail_sd)
    return [sigma, middle, *(below + 1 - above)]


def _mixture_cdf(x: Array, share: float, core: Any, core_sd: Any, tail: Any, tail_sd: Any) -> Array:
    cdf: Array = (1 - share) * ndtr((x - core) / core_sd) + share * ndtr((x - tail) / tail_sd)
    return cdf


def _shape(z: Array, weight: Array) -> tuple[float, float, float]:
    """Tail share, ratio and shift of standardised changes, from robust sigma, median and the shares beyond."""
    measured = _spread(z[weight > 0], weight[weight > 0])

    def parameters(theta: Array) -> tuple[float, float, float]:
        return 0.5 * expit(theta[0]), 1 + np.exp(theta[1]), theta[2]

    def misfit(theta: Array) -> list[float]:
        law = _spread_of_mixture(*parameters(theta))
        shares = [np.log((a + 0.002) / (b + 0.002)) for a, b in zip(law[2:], measured[2:], strict=True)]
        weights = (4.0, 1.5, 0.7)  # about one over the sampling error of each
        return [
            10 * np.log(law[0] / measured[0]),
            10 * (law[1] - measured[1]),
            *(w * s for w, s in zip(weights, shares, strict=True)),
        ]

    bounds = ([-8, -2, -1.9], [8, 3.5, 1.9])
    starts = [(-1.0, 1.0, shift) for shift in (-0.3, 0.3)]
    best = min((least_squares(misfit, start, bounds=bounds) for start in starts), key=lambda r: r.cost)
    return parameters(best.x)


def _persistence(near: Array, z: Array, shape: Array) -> dict[str, Any]:
    """Share of the persistent draw and links of its chain, from the correlations of the standardised changes.

    Given the conductance and the cell's own draw u of the tail, the change is linear in the normal draw, so that
    corr = E_u[sd_i sd_j] r_ij + Cov_u[mean_i, mean_j], with r_ij what the chain gives.
    """
    u = (np.arange(2000) + 0.5) / 2000
    share, ratio, shift = np.moveaxis(shape, -1, 0)  # (times, knots) each
    core, core_sd, tail, tail_sd = components(np.zeros_like(share), np.ones_like(share), share, ratio, shift)
    in_tail = u < share[:, :, None]
    mean = np.where(in_tail, tail[:, :, None], core[:, :, None])
    sd = np.where(in_tail, tail_sd[:, :, None], core_sd[:, :, None])
    of_knot = near.sum(axis=1) / near.sum()

    def needed(i: int, j: int) -> float:
        together = of_knot @ (sd[i] * sd[j]).mean(axis=1)
        return float((np.mean(z[:, i] * z[:, j]) - of_knot @ (mean[i] * mean[j]).mean(axis=1)) / together)

    r = np.array([needed(i, j) for i, j in PAIRS])

    def misfit(p: Array) -> Array:
        return np.array([p[0] * np.prod(p[1 + i : 1 + j]) for i, j in PAIRS]) - r

    best = least_squares(misfit, [0.8, 0.5, 0.7, 0.4], bounds=(0.0, 1.0)).x.round(4)
    return {"persistent_share": float(best[0]), "links": best[1:].tolist()}


def main(path: str) -> None:
    g_uS, change_uS = read(Path(path))
    fitted = balanced(g_uS, change_uS)
    rows = fit(g_uS[fitted], change_uS[fitted]).items()
    TABLE.write_text("{\n" + ",\n".join(f" {json.dumps(k)}: {_rows(v)}" for k, v in rows) + "\n}\n", encoding="utf-8")


def _rows(value: Any) -> str:
    if isinstance(value, list) and isinstance(value[0], list):
        return "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "\n ]"
    return json.dumps(value)


if __name__ == "__main__":
    main(sys.argv[1])
