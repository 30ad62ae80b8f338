"""Thresholds for targets, from the trials of `cope-proxy eval`.

Pareto testing (arXiv 2210.07913): one half of the items ranks the promising ways to run the cascade. The other half tests
them in this order, and stops at the first failure. The chance that any certified way misses a target is at most `risk`
(learn then test, arXiv 2110.01052). This is true for traffic like the items.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from proxy.cascade.types import Plans
from proxy.config.policy import NEVER
from proxy.errors import ConfigError
from proxy.evals.modes import BASELINE, CASCADES, MODES, Outcome, Thresholds, modes_of
from proxy.evals.targets import Kind, Target, Test, by_kind, regrets, test_of
from proxy.evals.trial import Trial
from proxy.stats import shares
from proxy.stats.certify import MOST_TESTED, halves, levels, passing


class Way(msgspec.Struct, frozen=True):
    """One way to run the cascade for a task kind."""

    plans: Plans
    stage1: float
    stage2: float


FREE = (Way("none", 0.0, NEVER), Way("goals", 0.0, NEVER))
"""Accept every valid answer of the small model. The large model is only paid if there is none."""


class Rated(msgspec.Struct, frozen=True, kw_only=True):
    """A way on some items.

    Attributes:
        way: the way.
        items: the number of items.
        score: its mean score, 0..1.
        large_score: the mean score of the large model alone.
        cost: its mean cost in nano-USD a request.
        large_cost: the mean cost of the large model alone.
        accepted: the number of items that the small model answers.
        regret: the part of these answers that is wrong while the large model alone is right, as a number of answers.
    """

    way: Way
    items: int
    score: float
    large_score: float
    cost: float
    large_cost: float
    accepted: int
    regret: float

    @property
    def quality_share(self) -> float:
        """Its quality as a share of the large model's."""
        return self.score / self.large_score if self.large_score else float("inf")

    @property
    def cost_share(self) -> float:
        """Its cost as a share of the large model's."""
        return self.cost / self.large_cost if self.large_cost else 0.0

    @property
    def regret_share(self) -> float:
        """Its regret as a share of its accepted answers."""
        return self.regret / self.accepted if self.accepted else 0.0


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The test of the chosen way, on the items that were kept for it.

    Attributes:
        items: the number of these items.
        accepted: the number of them that the small model answers.
        regret: the part of these answers that is wrong while the large model alone is right, as a number of answers.
        p: the p-value of the hypothesis that the way misses a target.
    """

    items: int
    accepted: int
    regret: float
    p: float


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a calibration for one task kind.

    Attributes:
        task: the task kind.
        samples: the number of samples in each vote.
        planner: the separate planner that wrote the guidelines, or "".
        usual: the default thresholds of the estimator. The chosen thresholds are valid on the scale of its confidences.
        left_out: the number of skipped items. Their estimator has another scale, as for code that cannot be run.
        chosen: the chosen way, rated on all items. `None` means the large model alone.
        certificate: the test of the chosen way. `None` means that the choice is not certified, or needs no test.
        tested: the number of tested ways.
        certified: the number of ways that meet the targets.
        needed: about how many items show the limit of the regret, if no way is certified. `None` if none is known.
        frontier: the ways with the best quality for their cost, on all items. If the regret is the only target, the
            ways with the lowest regret for their cost.
    """

    task: str
    samples: int
    planner: str
    usual: tuple[float, float]
    left_out: int
    chosen: Rated | None
    certificate: Certificate | None
    tested: int
    certified: int
    needed: int | None
    frontier: list[Rated]


def calibrate(trials: Sequence[Trial], *targets: Target, risk: float, seed: int = 0) -> Choice:
    """Choose how to run the cascade for one task kind.

    For a cost, choose the best certified way. Otherwise choose the cheapest one, unless the large model alone costs no
    more. If no way is certified for a cost, choose the cheapest way, unless the regret has a limit too.

    Args:
        trials: of one task kind.
        targets: at most one of each kind.
        risk: the chance that a certified choice misses a target, 0..1.
        seed: for the random halves of the items.

    Raises:
        ConfigError: items occur twice, or their votes have different sizes or planners.
    """
    samples, usual = _samples(trials), statistics.mode(t.usual for t in trials)
    measured = [t for t in trials if t.usual == usual]
    aims = by_kind(targets)
    picking, testing = halves(measured, seed)
    nothing = Thresholds(NEVER, NEVER)
    test = test_of(aims, (mode(t, nothing).cost for t in measured for mode in modes_of(measured).values()))
    ranked = _ranked(picking, aims, test)
    held = passing(ranked, lambda way: test(_pairs(way, testing)), risk)
    rated = [rate(way, measured) for way in ways(measured)]
    certified = [rate(way, measured) for way in held]
    best = frontier(rated, _worth(aims))
    chosen = _chosen(aims, certified, [*(rate(way, measured) for way in FREE), *best])
    return Choice(
        task=trials[0].task,
        samples=samples,
        planner=trials[0].served.planner,
        usual=usual,
        left_out=len(trials) - len(measured),
        chosen=chosen,
        certificate=_certificate(chosen.way, testing, test) if certified and chosen is not None else None,
        tested=len(ranked),
        certified=len(certified),
        needed=_needed(rated, aims["regret"], risk) if "regret" in aims and not certified else None,
        frontier=best,
    )


def _ranked(picking: Sequence[Trial], aims: Mapping[Kind, float], test: Test) -> list[Way]:
    """Return the promising ways. Those that meet the targets best come first."""
    if not picking:
        return []
    rated = [rate(way, picking) for way in ways(picking)]
    fronts = [frontier(rated, worth) for kind, worth in WORTHS.items() if kind in aims]
    promising = {r.way: r for front in fronts for r in front}.values()
    ranked = sorted(promising, key=lambda r: (test(_pairs(r.way, picking)), -r.score))
    return [r.way for r in ranked[:MOST_TESTED]]


def _chosen(aims: Mapping[Kind, float], certified: list[Rated], uncertified: list[Rated]) -> Rated | None:
    if "cost" not in aims:
        worthwhile = [r for r in certified if r.cost < r.large_cost or aims.get("quality", 0) > 1]
        return min(worthwhile, key=lambda r: (r.cost, -r.score), default=None)
    if certified:
        return min(certified, key=lambda r: (-r.score, r.cost))
    # A wrong answer costs more than a paid one: without a certificate, no answer is accepted.
    return None if "regret" in aims else min(uncertified, key=lambda r: (r.cost, -r.score))


def _certificate(way: Way, testing: Sequence[Trial], test: Test) -> Certificate:
    pairs = _pairs(way, testing)
    found = regrets(pairs)
    return Certificate(items=len(pairs), accepted=len(found), regret=sum(found), p=test(pairs))


def _needed(rated: Sequence[Rated], limit: float, risk: float) -> int | None:
    """Return about how many items certify the limit of the regret, if a way stays as it is on these items."""
    found = [
        # Half of the items are kept for the test, and only a part of them is accepted.
        math.ceil(2 * count * r.items / r.accepted)
        for r in frontier(rated, _low_regret)
        if r.accepted
        and r.cost < r.large_cost
        and (count := shares.needed(r.regret_share, limit, risk)) is not None
    ]
    return min(found, default=None)


def _samples(trials: Sequence[Trial]) -> int:
    """Return the number of samples in each vote.

    Raises:
        ConfigError: there are several numbers or planners, or an item occurs twice and would count as new evidence.
    """
    task, sizes = trials[0].task, sorted({len(t.plain.samples) for t in trials})
    twice = [item for item, count in Counter(t.item for t in trials).items() if count > 1]
    problems = []
    if twice:
        problems.append(f"{task}: {len(twice)} items occur twice, such as {twice[0]!r}; name each run once")
    if len(sizes) > 1:
        mixed = ", ".join(map(str, sizes))
        problems.append(f"{task}: votes of {mixed} samples; name runs with the same --samples")
    planners = sorted({t.served.planner or "the large model" for t in trials})
    if len(planners) > 1:
        problems.append(
            f"{task}: guidelines of {' and '.join(planners)}; name runs with the same cascade.planner"
        )
    if problems:
        raise ConfigError(problems)
    return sizes[0]


def ways(trials: Sequence[Trial]) -> list[Way]:
    """Return the ways with different outcomes on the items. If there are many confidences, return a selection.

    A threshold above 1 means that the stage accepts nothing.
    """
    plain = levels([t.plain.confidence for t in trials])
    firsts = [*levels([t.first.confidence for t in trials]), NEVER]
    second = [vote.confidence for t in trials if (vote := t.served.second) is not None]
    seconds = [*levels(second), NEVER]
    return [
        *(Way("none", c, NEVER) for c in plain),
        *(Way("goals", c, NEVER) for c in firsts[:-1]),
        *(Way("all", a, b) for a in firsts for b in seconds),
    ]


def rate(way: Way, trials: Sequence[Trial]) -> Rated:
    """Return the mean outcome of a way on some items."""
    pairs = _pairs(way, trials)
    n = len(pairs)
    found = regrets(pairs)
    return Rated(
        way=way,
        items=n,
        score=sum(o.score for o, _ in pairs) / n,
        large_score=sum(base.score for _, base in pairs) / n,
        cost=sum(o.cost for o, _ in pairs) / n,
        large_cost=sum(base.cost for _, base in pairs) / n,
        accepted=len(found),
        regret=sum(found),
    )


def _score(rated: Rated) -> float:
    return rated.score


def _low_regret(rated: Rated) -> float:
    return -rated.regret_share


WORTHS: Mapping[Kind, Callable[[Rated], float]] = {"quality": _score, "cost": _score, "regret": _low_regret}
"""A way is promising for a target if no cheaper way has more of this."""


def _worth(aims: Mapping[Kind, float]) -> Callable[[Rated], float]:
    return _low_regret if aims.keys() == {"regret"} else _score


def frontier(rated: Sequence[Rated], worth: Callable[[Rated], float] = _score) -> list[Rated]:
    """Return the ways with the best quality, or another worth, for their cost. The cheapest comes first."""
    out: list[Rated] = []
    for one in sorted(rated, key=lambda r: (r.cost, -worth(r))):
        if not out or worth(one) > worth(out[-1]):
            out.append(one)
    return out


def _pairs(way: Way, trials: Sequence[Trial]) -> list[tuple[Outcome, Outcome]]:
    at, mode = Thresholds(way.stage1, way.stage2), CASCADES[way.plans]
    return [(mode(t, at), MODES[BASELINE](t, at)) for t in trials]
