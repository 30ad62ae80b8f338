"""What certifying takes: one half of the evidence names what is worth a test, the other half tests it.

Fixed-sequence testing (arXiv 2110.01052): the chance that anything certified misses its target is at most the risk.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

MOST_TESTED = 24
MOST_LEVELS = 32
"""Thresholds of a stage that are looked at: of more confidences, their quantiles. Pairs of them are rated on all items."""

T = TypeVar("T")


def halves(items: Sequence[T], seed: int) -> tuple[list[T], list[T]]:
    """Return two halves by lot: one to name candidates, one to test them."""
    order = random.Random(seed).sample(list(items), len(items))  # noqa: S311
    return order[: len(order) // 2], order[len(order) // 2 :]


def passing(ranked: Sequence[T], p: Callable[[T], float], risk: float) -> list[T]:
    """Return what passes its test, in order, until one fails: the chance that any of them is wrong is at most `risk`."""
    return list(itertools.takewhile(lambda one: p(one) <= risk, ranked))


def levels(confidences: Sequence[float]) -> list[float]:
    """Return the confidences, each once, in order; of too many the lowest, the highest and quantiles between."""
    distinct = sorted(set(confidences))
    if len(distinct) <= MOST_LEVELS:
        return distinct
    ordered = sorted(confidences)
    return sorted({ordered[i * (len(ordered) - 1) // (MOST_LEVELS - 1)] for i in range(MOST_LEVELS)})


def dearest(costs: Iterable[int], limit: float) -> float:
    """Return what stands for the dearest request that there is: the dearest one seen, twice over, or twice the limit."""
    return 2.0 * max(1.0, limit, *costs)
