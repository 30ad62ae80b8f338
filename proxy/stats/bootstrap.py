"""How sure the figures are."""

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

RESAMPLES = 2000
_SEED = 20250612

Rows = Sequence[tuple[float, ...]]


def interval(rows: Rows, figure: Callable[[Rows], float], level: float = 0.95) -> tuple[float, float]:
    """Return a percentile bootstrap interval of a figure over items (Efron, 1979); rows of one item stay together.

    Resamples in which the figure is not defined are left out; where it never is, both ends are NaN.
    """
    if not rows:
        return (0.0, 0.0)
    lot = random.Random(_SEED)  # noqa: S311
    drawn = (figure(lot.choices(rows, k=len(rows))) for _ in range(RESAMPLES))
    # NaN compares with nothing: among others it would leave a list unsorted.
    figures = sorted(value for value in drawn if not math.isnan(value))
    if not figures:
        return (math.nan, math.nan)
    tail = (1 - level) / 2
    last = len(figures) - 1
    return figures[min(last, int(tail * len(figures)))], figures[min(last, int((1 - tail) * len(figures)))]


def mean(rows: Rows) -> float:
    """Return the mean of each row's first value."""
    return sum(r[0] for r in rows) / len(rows) if rows else 0.0


def difference(rows: Rows) -> float:
    """Return the mean of each row's first value less its second."""
    return sum(r[0] - r[1] for r in rows) / len(rows) if rows else 0.0


def ratio(rows: Rows) -> float:
    """Return the sum of the first values over that of the second."""
    below = sum(r[1] for r in rows)
    return sum(r[0] for r in rows) / below if below else 0.0


def auroc(rows: Rows) -> float:
    """Return how often a right answer has more confidence than a wrong one, equal ones counting half.

    Args:
        rows: a confidence and how right the answer is; 0.5 and more counts as right.

    Returns:
        0..1, 0.5 being chance; NaN where all are right or all are wrong.
    """
    right = [c for c, score in rows if score >= 0.5]
    wrong = sorted(c for c, score in rows if score < 0.5)
    if not right or not wrong:
        return float("nan")
    won = sum(bisect_left(wrong, c) + bisect_right(wrong, c) for c in right) / 2
    return won / (len(right) * len(wrong))


def calibration(rows: Rows, bins: int = 5) -> list[tuple[float, float, int]]:
    """Return a calibration curve: for each bin its mean confidence, how right its answers are, and how many."""
    out = []
    for i in range(bins):
        inside = [r for r in rows if i / bins <= r[0] < (i + 1) / bins or (i == bins - 1 and r[0] >= 1)]
        if inside:
            out.append((mean(inside), mean([(r[1],) for r in inside]), len(inside)))
    return out


def calibration_error(rows: Rows) -> float:
    """Return the expected calibration error: how far confidence and rightness are apart, on average over answers."""
    curve = calibration(rows)
    return sum(abs(c - r) * n for c, r, n in curve) / len(rows) if rows else 0.0
