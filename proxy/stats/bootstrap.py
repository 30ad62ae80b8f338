"""Bootstrap intervals, and the figures of a report."""

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

RESAMPLES = 2000
_SEED = 20250612

Rows = Sequence[tuple[float, ...]]


def interval(rows: Rows, figure: Callable[[Rows], float], level: float = 0.95) -> tuple[float, float]:
    """Return a percentile bootstrap interval of a figure over items (Efron, 1979), with one row an item.

    Resamples without a defined figure are skipped. If no resample has one, both ends are NaN.
    """
    if not rows:
        return (0.0, 0.0)
    lot = random.Random(_SEED)  # noqa: S311
    drawn = (figure(lot.choices(rows, k=len(rows))) for _ in range(RESAMPLES))
    # A list with NaN in it does not sort.
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
    """Return the mean of each row's first value minus its second."""
    return sum(r[0] - r[1] for r in rows) / len(rows) if rows else 0.0


def ratio(rows: Rows) -> float:
    """Return the sum of the first values divided by the sum of the second values."""
    below = sum(r[1] for r in rows)
    return sum(r[0] for r in rows) / below if below else 0.0


def auroc(rows: Rows) -> float:
    """Return how often a right answer has more confidence than a wrong one. A tie counts half.

    Args:
        rows: a confidence and the score of the answer. It is right if the score is at least 0.5.

    Returns:
        0..1, where 0.5 is chance. NaN if all answers are right or all are wrong.
    """
    right = [c for c, score in rows if score >= 0.5]
    wrong = sorted(c for c, score in rows if score < 0.5)
    if not right or not wrong:
        return float("nan")
    won = sum(bisect_left(wrong, c) + bisect_right(wrong, c) for c in right) / 2
    return won / (len(right) * len(wrong))


def calibration(rows: Rows, bins: int = 5) -> list[tuple[float, float, int]]:
    """Return a calibration curve: each bin has its mean confidence, mean score and number of answers."""
    out = []
    for i in range(bins):
        inside = [r for r in rows if i / bins <= r[0] < (i + 1) / bins or (i == bins - 1 and r[0] >= 1)]
        if inside:
            out.append((mean(inside), mean([(r[1],) for r in inside]), len(inside)))
    return out


def calibration_error(rows: Rows) -> float:
    """Return the expected calibration error: the mean distance of confidence and score over answers."""
    curve = calibration(rows)
    return sum(abs(c - r) * n for c, r, n in curve) / len(rows) if rows else 0.0
