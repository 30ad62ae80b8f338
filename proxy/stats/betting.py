"""Tests of a mean that hold for any number of items, whatever their distribution."""

from collections.abc import Iterable, Iterator

_LARGEST_BET = 0.9
"""The largest bet, as a share of the possible loss. With all of it, the first bad item would end the game."""


def p_value(values: Iterable[float], bound: float) -> float:
    """Return the p-value of the hypothesis that a mean is at most `bound`. A small one speaks against it.

    See `p_values`.
    """
    p = 1.0
    for p in p_values(values, bound):  # noqa: B007  (the last one counts)
        pass
    return p


def p_values(values: Iterable[float], bound: float) -> Iterator[float]:
    """Yield the p-value after each value. It never rises.

    The test plays a fair game against the hypothesis. A stake grows with every value above the bound and shrinks with
    every value below it. If the mean is at most the bound, the stake ever reaches 1/p with a probability of at most p
    (Ville's inequality). So the p-value is exact for few items too, and may be read after each of them. The test
    assumes that, given the values so far, the next one is at most `bound` on average. The values need not be
    independent. Source: hedged capital, Waudby-Smith and Ramdas, arXiv 2010.09686.

    Args:
        values: 0..1 each, in an order that does not depend on their size.
        bound: 0..1.
    """
    if not 0 < bound < 1:
        yield from (1.0 for _ in values)
        return
    stake = most = 1.0
    count, total, spread = 1.0, 0.5, 0.25
    for value in values:
        variance = spread / count
        # Kelly's bet on the values so far. A value must not decide the bet on itself.
        wish = (total / count - bound) / (variance + (total / count - bound) ** 2)
        bet = min(max(wish, 0.0), _LARGEST_BET / bound)
        stake *= 1 + bet * (value - bound)
        most = max(most, stake)
        total += value
        count += 1
        spread += (value - total / count) ** 2
        yield min(1.0, 1 / most)
