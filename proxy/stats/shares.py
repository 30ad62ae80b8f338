"""Shares of few items: intervals and tests that hold for any number of them, also where none is bad.

A bootstrap of 12 items without a fault has an interval from 0 to 0, which 12 items cannot show. The methods here give 0 to
26 %. Values of 0 and 1 are counted, and the binomial distribution is exact for them (Clopper and Pearson, 1934). Grades
between 0 and 1 have no such distribution, and are tested by bets (`proxy.stats.betting`).
"""

import math
from collections.abc import Sequence

from proxy.stats.betting import p_value

_STEPS = 60
MOST_NEEDED = 1_000_000
"""Beyond this number of items, evidence counts as out of reach."""


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return an interval of the mean that covers the true one with a probability of at least `level`.

    Args:
        values: 0..1 each, in an order that does not depend on their size. Without any, the interval is 0 to 1.
        level: 0..1. Each side misses with half of the rest.
    """
    side = (1 + level) / 2
    return 1 - _upper([1 - v for v in values], side), _upper(values, side)


def p_below(values: Sequence[float], limit: float) -> float:
    """Return the p-value of the hypothesis that the mean is at least `limit`. A small one shows that it is below.

    No number of values shows that a mean is below 0: the p-value is 1 then.

    Args:
        values: 0..1 each, independent of each other.
        limit: 0..1.
    """
    if _counts(values):
        return _at_most(round(sum(values)), len(values), limit)
    return p_value((1 - v for v in values), 1 - limit)


def needed(share: float, limit: float, risk: float) -> int | None:
    """Return about how many items show that their bad share is below `limit`, if it stays at `share`.

    Return `None` if no number does, or only one above `MOST_NEEDED`.
    """

    def shows(count: int) -> bool:
        return _at_most(math.ceil(share * count - 1e-9), count, limit) <= risk

    most = 1
    while not shows(most):
        most *= 2
        if share >= limit or most > MOST_NEEDED:
            return None
    least = most // 2
    while least + 1 < most:
        middle = (least + most) // 2
        least, most = (least, middle) if shows(middle) else (middle, most)
    return most


def upper_share(bad: int, of: int, level: float = 0.95) -> float:
    """Return an upper confidence bound of a share after `bad` of `of` (Clopper and Pearson, 1934), by bisection."""
    if bad >= of or not of:
        return 1.0
    low, high = bad / of, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_most(bad, of, middle) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def _upper(values: Sequence[float], level: float) -> float:
    if _counts(values):
        return upper_share(round(sum(values)), len(values), level)
    low, high = sum(values) / len(values), 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if p_value((1 - v for v in values), 1 - middle) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def _counts(values: Sequence[float]) -> bool:
    return all(v in (0, 1) for v in values)


def _at_most(bad: int, of: int, share: float) -> float:
    """Return the probability of at most `bad` of `of`. Sum from the likeliest count, as the first terms underflow."""
    if bad >= of or share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    ways = math.lgamma(of + 1) - math.lgamma(bad + 1) - math.lgamma(of - bad + 1)
    term = math.exp(ways + bad * math.log(share) + (of - bad) * math.log1p(-share))
    out = term
    for k in range(bad, 0, -1):
        term *= k / (of - k + 1) * (1 - share) / share
        out += term
    return out
