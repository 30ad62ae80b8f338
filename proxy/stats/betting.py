"""Tests of a mean that hold for any number of items, whatever their distribution."""

import math
from collections.abc import Iterable, Iterator

_LARGEST_BET = 0.9
"""Of what can be lost at worst: a bet of all of it would end the game at the first bad item."""


def p_value(values: Iterable[float], bound: float) -> float:
    """Return the p-value of the hypothesis that a mean is at most `bound`: small when the values speak against it.

    See `p_values`.
    """
    p = 1.0
    for p in p_values(values, bound):  # noqa: B007  (the last one counts)
        pass
    return p


def p_values(values: Iterable[float], bound: float) -> Iterator[float]:
    """Yield that p-value after each value; it never rises.

    The test plays a fair game against the hypothesis: a stake grows by every value above the bound and shrinks by every
    one below. Were the mean no higher, it would ever reach 1/p with a chance of at most p (Ville's inequality), so the
    answer is exact for few items, too, and one may look at it after each. It assumes that the next value is at most `bound`
    on average, whatever came before; the values need not be independent. Source: hedged capital, Waudby-Smith and Ramdas,
    arXiv 2010.09686.

    Args:
        values: 0..1 each, in an order that was not chosen by their size.
        bound: 0..1.
    """
    if not 0 < bound < 1:
        yield from (1.0 for _ in values)
        return
    stake = most = 1.0
    count, total, spread = 1.0, 0.5, 0.25
    for value in values:
        variance = spread / count
        # Kelly's bet on what was seen so far; today's value must not decide today's bet.
        wish = (total / count - bound) / (variance + (total / count - bound) ** 2)
        bet = min(max(wish, 0.0), _LARGEST_BET / bound)
        stake *= 1 + bet * (value - bound)
        most = max(most, stake)
        total += value
        count += 1
        spread += (value - total / count) ** 2
        yield min(1.0, 1 / most)


def upper_share(bad: int, of: int, level: float = 0.95) -> float:
    """Return the least share of bad ones that so few bad ones rule out (Clopper and Pearson, 1934), by bisection."""
    if bad >= of or not of:
        return 1.0
    low, high = bad / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(bad, of, middle) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def _at_most(bad: int, of: int, share: float) -> float:
    """Return the chance of at most so many bad ones, from the likeliest number down: that of none soon underflows."""
    ways = math.lgamma(of + 1) - math.lgamma(bad + 1) - math.lgamma(of - bad + 1)
    term = math.exp(ways + bad * math.log(share) + (of - bad) * math.log1p(-share))
    out = term
    for k in range(bad, 0, -1):
        term *= k / (of - k + 1) * (1 - share) / share
        out += term
    return out
