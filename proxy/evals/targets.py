"""Targets of a calibration, and the tests that show whether a way of running meets them.

Each test is exact for any number of items. A way meets several targets if it passes the test of each, and the chance that
a way passes without meeting all of them is at most that of one test.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from proxy.evals.accepted import regret
from proxy.evals.modes import Outcome
from proxy.stats import shares
from proxy.stats.betting import p_value
from proxy.stats.certify import dearest

Kind = Literal["quality", "cost", "regret"]


class Target(msgspec.Struct, frozen=True):
    """A target.

    Attributes:
        kind: the kind of the value.
        value: the lowest share of the large model's quality (0..1), the highest mean cost in nano-USD a request, or the
            highest regret as a share of the accepted answers (0..1).
    """

    kind: Kind
    value: float


Pairs = Sequence[tuple[Outcome, Outcome]]
"""For each item the outcome of a way, and that of the large model alone."""
Test = Callable[[Pairs], float]
"""Returns the p-value of the hypothesis that a way misses its target."""


def by_kind(targets: Iterable[Target]) -> Mapping[Kind, float]:
    """Return the values by kind."""
    return {target.kind: target.value for target in targets}


def test_of(targets: Mapping[Kind, float], costs: Iterable[int]) -> Test:
    """Return the test of all targets together.

    Args:
        targets: the values by kind.
        costs: the costs of the items in all modes. They give the highest cost that a request is assumed to have.
    """
    tests: list[Test] = []
    if "quality" in targets:
        tests.append(_quality(targets["quality"]))
    if "cost" in targets:
        tests.append(_cost(targets["cost"], dearest(costs, targets["cost"])))
    if "regret" in targets:
        tests.append(_regret(targets["regret"]))
    return lambda pairs: max(test(pairs) for test in tests)


def regrets(pairs: Pairs) -> list[float]:
    """Return the regret of each accepted answer, 0..1."""
    return [regret(outcome, base) for outcome, base in pairs if outcome.stage < 3]


def _quality(share: float) -> Test:
    # score - share * large lies in -share..1. Scaled to 0..1, its mean has to be more than the image of 0.
    return lambda pairs: p_value(
        ((o.score - share * base.score + share) / (1 + share) for o, base in pairs), share / (1 + share)
    )


def _cost(limit: float, most: float) -> Test:
    return lambda pairs: p_value((1 - min(1.0, o.cost / most) for o, _ in pairs), 1 - limit / most)


def _regret(limit: float) -> Test:
    # The regret is a ratio of two random numbers: regrets and accepted answers. It is below the limit if and only if the
    # mean of accepted * (regret - limit) over all items is below 0. Items that are not accepted add 0 to this mean,
    # whatever they are. So the test runs over the accepted ones, whose regret has to be below the limit on average.
    return lambda pairs: shares.p_below(regrets(pairs), limit)
