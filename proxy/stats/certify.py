"""Certification: one half of the evidence names candidates, the other half tests them.

Fixed-sequence testing (arXiv 2110.01052): with a probability of at least 1 - risk, every certified candidate meets
its target.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

MOST_TESTED = 24
MOST_LEVELS = 32
"""Thresholds that are tried for a stage. If there are more confidences, their quantiles are tried."""

T = TypeVar("T")


def halves(items: Sequence[T], seed: int) -> tuple[list[T], list[T]]:
    """Return two random halves: one to name candidates, one to test them."""
    order = random.Random(seed).sample(list(items), len(items))  # noqa: S311
    return order[: len(order) // 2], order[len(order) // 2 :]


def passing(ranked: Sequence[T], p: Callable[[T], float], risk: float) -> list[T]:
    """Return the candidates before the first one that fails its test. Any of them is wrong with a chance of `risk`."""
    return list(itertools.takewhile(lambda one: p(one) <= risk, ranked))


def levels(confidences: Sequence[float]) -> list[float]:
    """Return the distinct confidences in order. Of too many, return the lowest, the highest and quantiles between."""
    distinct = sorted(set(confidences))
    if len(distinct) <= MOST_LEVELS:
        return distinct
    ordered = sorted(confidences)
    return sorted({ordered[i * (len(ordered) - 1) // (MOST_LEVELS - 1)] for i in range(MOST_LEVELS)})


def dearest(costs: Iterable[int], limit: float) -> float:
    """Return an assumed maximum cost of a request: twice the highest cost seen, and at least twice the limit."""
    return 2.0 * max(1.0, limit, *costs)
