"""Thresholds for a target, from the trials of `cope-proxy eval`.

Pareto testing (arXiv 2210.07913): one half of the items ranks the promising ways to run the cascade. The other half tests
them in this order, and stops at the first failure. The chance that any certified way misses the target is at most `risk`
(learn then test, arXiv 2110.01052). This is true for traffic like the items.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from proxy.cascade.types import Plans
from proxy.config.policy import NEVER
from proxy.errors import ConfigError
from proxy.evals.modes import MODES, Outcome, Thresholds
from proxy.evals.trial import Trial
from proxy.stats.betting import p_value
from proxy.stats.certify import MOST_TESTED, dearest, halves, levels, passing

CASCADES = {"all": "full cascade", "goals": "cascade, goals only", "none": "cascade, no plans"}


class Target(msgspec.Struct, frozen=True):
    """The target: a share of the large model's quality (0..1), or a cost in nano-USD a request."""

    kind: Literal["quality", "cost"]
    value: float


class Way(msgspec.Struct, frozen=True):
    """One way to run the cascade for a task kind."""

    plans: Plans
    stage1: float
    stage2: float


FREE = (Way("none", 0.0, NEVER), Way("goals", 0.0, NEVER))
"""Accept every valid answer of the small model. The large model is only paid if there is none."""


class Rated(msgspec.Struct, frozen=True, kw_only=True):
    """A way's mean score (0..1) and cost (nano-USD a request) on some items, and those of the large model alone."""

    way: Way
    items: int
    score: float
    large_score: float
    cost: float
    large_cost: float

    @property
    def quality_share(self) -> float:
        """Its quality as a share of the large model's."""
        return self.score / self.large_score if self.large_score else float("inf")

    @property
    def cost_share(self) -> float:
        """Its cost as a share of the large model's."""
        return self.cost / self.large_cost if self.large_cost else 0.0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a calibration for one task kind.

    Attributes:
        task: the task kind.
        samples: the number of samples in each vote.
        usual: the default thresholds of the estimator. The chosen thresholds are valid on the scale of its confidences.
        left_out: the number of skipped items. Their estimator has another scale, as for code that cannot be run.
        chosen: the chosen way, rated on all items. `None` means the large model alone. If `certified` is 0, the choice
            is not certified.
        tested: the number of tested ways.
        certified: the number of ways that meet the target.
        frontier: the ways with the best quality for their cost, on all items.
    """

    task: str
    samples: int
    usual: tuple[float, float]
    left_out: int
    chosen: Rated | None
    tested: int
    certified: int
    frontier: list[Rated]


@dataclass(frozen=True)
class _Test:
    """The test of a way: the mean of a value (0..1) over the items has to be more than the bound."""

    value: Callable[[Outcome, Outcome], float]
    bound: float


def calibrate(trials: Sequence[Trial], target: Target, *, risk: float, seed: int = 0) -> Choice:
    """Choose how to run the cascade for one task kind.

    For a quality, choose the cheapest certified way, unless the large model alone costs no more. For a cost, choose the
    best certified way. If no way is certified for a cost, choose the cheapest one.

    Args:
        trials: of one task kind.
        target: the target.
        risk: the chance that a certified choice misses the target, 0..1.
        seed: for the random halves of the items.

    Raises:
        ConfigError: items occur twice, or their votes have different sizes.
    """
    samples, usual = _samples(trials), statistics.mode(t.usual for t in trials)
    measured = [t for t in trials if t.usual == usual]
    tested, held = _hold(measured, target, risk, seed)
    certified = [rate(way, measured) for way in held]
    best = frontier([rate(way, measured) for way in ways(measured)])
    if target.kind == "quality":
        worthwhile = [r for r in certified if r.cost < r.large_cost or target.value > 1]
        chosen = min(worthwhile, key=lambda r: (r.cost, -r.score), default=None)
    elif certified:
        chosen = min(certified, key=lambda r: (-r.score, r.cost))
    else:
        local = [rate(way, measured) for way in FREE]
        chosen = min(local + best, key=lambda r: (r.cost, -r.score))
    return Choice(
        task=trials[0].task,
        samples=samples,
        usual=usual,
        left_out=len(trials) - len(measured),
        chosen=chosen,
        tested=tested,
        certified=len(certified),
        frontier=best,
    )


def _samples(trials: Sequence[Trial]) -> int:
    """Return the number of samples in each vote.

    Raises:
        ConfigError: there are several numbers, or an item occurs twice and would count as new evidence.
    """
    task, sizes = trials[0].task, sorted({len(t.plain.samples) for t in trials})
    twice = [item for item, count in Counter(t.item for t in trials).items() if count > 1]
    problems = []
    if twice:
        problems.append(f"{task}: {len(twice)} items occur twice, such as {twice[0]!r}; name each run once")
    if len(sizes) > 1:
        mixed = ", ".join(map(str, sizes))
        problems.append(f"{task}: votes of {mixed} samples; name runs with the same --samples")
    if problems:
        raise ConfigError(problems)
    return sizes[0]


def _hold(trials: Sequence[Trial], target: Target, risk: float, seed: int) -> tuple[int, list[Way]]:
    """Return the number of tested ways, and the ways that meet the target."""
    picking, testing = halves(trials, seed)
    test = _test_of(target, trials)
    promising = frontier([rate(way, picking) for way in ways(picking)]) if picking else []
    # The ways that meet the target best on this half come first.
    ranked = sorted(promising, key=lambda r: (_p(r.way, picking, test), -r.score))[:MOST_TESTED]
    return len(ranked), passing([r.way for r in ranked], lambda way: _p(way, testing, test), risk)


def ways(trials: Sequence[Trial]) -> list[Way]:
    """Return the ways with different outcomes on the items. If there are many confidences, return a selection.

    A threshold above 1 means that the stage accepts nothing.
    """
    plain = levels([t.plain.confidence for t in trials])
    firsts = [*levels([t.first.confidence for t in trials]), NEVER]
    seconds = [*levels([t.second.confidence for t in trials if t.second is not None]), NEVER]
    return [
        *(Way("none", c, NEVER) for c in plain),
        *(Way("goals", c, NEVER) for c in firsts[:-1]),
        *(Way("all", a, b) for a in firsts for b in seconds),
    ]


def rate(way: Way, trials: Sequence[Trial]) -> Rated:
    """Return the mean outcome of a way on some items."""
    pairs = [_pair(way, t) for t in trials]
    n = len(pairs)
    return Rated(
        way=way,
        items=n,
        score=sum(o.score for o, _ in pairs) / n,
        large_score=sum(base.score for _, base in pairs) / n,
        cost=sum(o.cost for o, _ in pairs) / n,
        large_cost=sum(base.cost for _, base in pairs) / n,
    )


def frontier(rated: Sequence[Rated]) -> list[Rated]:
    """Return the ways with the best quality for their cost, cheapest first."""
    out: list[Rated] = []
    for one in sorted(rated, key=lambda r: (r.cost, -r.score)):
        if not out or one.score > out[-1].score:
            out.append(one)
    return out


def _pair(way: Way, trial: Trial) -> tuple[Outcome, Outcome]:
    at = Thresholds(way.stage1, way.stage2)
    return MODES[CASCADES[way.plans]](trial, at), MODES["large alone"](trial, at)


def _p(way: Way, trials: Sequence[Trial], test: _Test) -> float:
    return p_value((test.value(*_pair(way, t)) for t in trials), test.bound)


def _test_of(target: Target, trials: Sequence[Trial]) -> _Test:
    if target.kind == "quality":
        # score - share * large lies in -share..1. Scaled to 0..1, its mean has to be more than the image of 0.
        share = target.value
        return _Test(
            lambda o, base: (o.score - share * base.score + share) / (1 + share), share / (1 + share)
        )
    nothing = Thresholds(NEVER, NEVER)
    most = dearest((mode(t, nothing).cost for t in trials for mode in MODES.values()), target.value)
    return _Test(lambda o, _: 1 - min(1.0, o.cost / most), 1 - target.value / most)
