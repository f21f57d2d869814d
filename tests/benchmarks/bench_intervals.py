"""Coverage and width of the two intervals of a mean, over laws of scores and numbers of chips.

    python tests/benchmarks/bench_intervals.py                  # 4,000 samples a cell, about a minute
    python tests/benchmarks/bench_intervals.py --repeats 500

Laws: normal (0.9 +- 0.01); skewed (a chip loses a gamma-distributed share, skewness 2); few-valued (a chip loses 0, 1
or 2 of 100 images); dead (10 % of the chips score 0.1, the others are normal). For t the share of samples of n chips
whose interval holds the mean; for anytime the share whose intervals hold it at every number of chips up to n at once.
The p-value is that of the exact one-sided binomial test of a coverage of 95 %: below 0.001 the interval does not keep
what it promises, which a * marks. Beside them the mean half width, the share of samples whose t interval is called
doubtful (`intervals.is_skewed`), and what t covers in the others. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from rramsweep.intervals import betting_interval, binomial_tail, is_skewed, t_interval

CHIPS = (10, 20, 50, 200, 500)
SEED = 0


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.clip(0.9 + 0.01 * rng.standard_normal(shape), 0, 1)


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.clip(0.95 - rng.gamma(1.0, 0.02, shape), 0, 1)


def few_valued(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 0.9 - rng.choice([0.0, 0.01, 0.02], shape, p=[0.6, 0.3, 0.1])


def dead(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.1, 0.1, normal(rng, shape))


# Law -> its mean; what is cut at 0 and 1 is too rare to move any of them.
LAWS = {normal: 0.9, skewed: 0.93, few_valued: 0.895, dead: 0.82}


def verdict(held: np.ndarray) -> str:
    """Coverage in percent, with the p-value of its being at least 95 %."""
    missed = int((~held).sum())
    p = float(binomial_tail(missed, len(held), 0.05)) if len(held) else 1.0
    covered = f"{100 * held.mean():.1f}" if len(held) else "-"
    return f"{covered}{'*' if p < 0.001 else ''} | {p:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=4000)
    args = parser.parse_args()
    started = time.monotonic()
    print("| law | chips | t covers % | p | +- | anytime covers % | p | +- | t doubtful % | t covers else % | p |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for law, mean in LAWS.items():
        for n in CHIPS:
            x = law(np.random.default_rng((SEED, n)), (args.repeats, n))
            sizes = np.full(args.repeats, n)
            flat = np.ptp(x, axis=1) == 0
            sem = np.where(flat, 0.0, x.std(axis=1, ddof=1) / np.sqrt(n))
            low, high = t_interval(x.mean(axis=1), sem, sizes, 0.0, 1.0)
            t_held = (low <= mean) & (mean <= high)
            off = x - x.mean(axis=1, keepdims=True)
            second = np.where(flat, 1.0, (off**2).mean(axis=1))
            doubtful = is_skewed(np.where(flat, 0.0, (off**3).mean(axis=1) / second**1.5), sizes)
            first, last = betting_interval(x)
            held = (first <= mean) & (mean <= last)
            widths = [f"{np.mean(b - a) / 2:.4f}" for a, b in ((low, high), (first, last))]
            print(
                f"| {law.__name__} | {n} | {verdict(t_held)} | {widths[0]} | {verdict(held)} | {widths[1]} "
                f"| {100 * doubtful.mean():.0f} | {verdict(t_held[~doubtful])} |",
                flush=True,
            )
    print(f"\n{args.repeats} samples a cell, seed {SEED}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
