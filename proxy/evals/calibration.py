"""Thresholds for a stated target, with a guarantee that holds for the traffic that the items were drawn from.

Pareto testing (arXiv 2210.07913): one half of the items picks the ways of running the cascade that are worth a test, best
first; the other half, which had no say in that, tests them in this order and stops at the first that fails. The chance
that any way so certified misses the target is at most `risk` (learn then test, arXiv 2110.01052).
"""

import itertools
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from proxy.cascade.bounds import p_value
from proxy.cascade.types import Plans
from proxy.errors import ConfigError
from proxy.evals.modes import MODES, Outcome, Thresholds
from proxy.evals.trial import Trial
from proxy.ledger.audits import NO_ANSWER, Evidence
from proxy.service.request import NEVER

CASCADES = {"all": "full cascade", "goals": "cascade, goals only", "none": "cascade, no plans"}
MOST_TESTED = 24
MOST_LEVELS = 32
"""Thresholds of a stage that are looked at: of more confidences, their quantiles. Pairs of them are rated on all items."""

T = TypeVar("T")


class Target(msgspec.Struct, frozen=True):
    """What is asked for: a share of the large model's quality (0..1), or a cost in nano-USD a request."""

    kind: Literal["quality", "cost"]
    value: float


class Way(msgspec.Struct, frozen=True):
    """One way to run the cascade for a task kind."""

    plans: Plans
    stage1: float
    stage2: float


FREE = (Way("none", 0.0, NEVER), Way("goals", 0.0, NEVER))
"""Whatever the small model answers is accepted: the large one is paid only where that has no valid answer."""


class Rated(msgspec.Struct, frozen=True):
    """What a way gives on some items: quality 0..1, cost in nano-USD a request, both beside the large model's alone."""

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


class Choice(msgspec.Struct, frozen=True):
    """What a calibration comes to for one task kind.

    Attributes:
        task: the kind.
        samples: n of the votes that were tested.
        usual: the usual thresholds of their estimator: what is chosen holds on the scale of its confidences.
        left_out: items whose confidences are on another scale: code that cannot be run, among code that can.
        chosen: the way to run it, rated on all items; `None` for the large model alone. Certified, unless `certified` is 0.
        tested: how many ways were tested.
        certified: how many ways hold the target.
        frontier: the ways that no other beats in quality at the same or a lower cost, on all items.
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
    """How a way is tested: a value of 0..1 for each item, whose mean has to be more than the bound."""

    value: Callable[[Outcome, Outcome], float]
    bound: float


def calibrate(trials: Sequence[Trial], target: Target, *, risk: float, seed: int = 0) -> Choice:
    """Choose how to run the cascade for one task kind.

    Among the certified ways the cheapest is chosen for a quality, unless the large model alone costs no more; the best for a
    cost. A cost that no way is certified for is held as well as it can be: by answering locally.

    Args:
        trials: of one task kind.
        target: what has to hold.
        risk: the chance that the choice misses the target although it was certified, 0..1.
        seed: of the lot that halves the items.

    Raises:
        ConfigError: items occur twice, or their votes are of different sizes.
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
    """Return n, when there is one and every item is new evidence."""
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
    """Return how many ways were tested, and those that hold the target."""
    picking, testing = _halves(trials, seed)
    test = _test_of(target, trials)
    promising = frontier([rate(way, picking) for way in ways(picking)]) if picking else []
    # Where any way holds the target, the best are the promising ones.
    ranked = sorted(promising, key=lambda r: (_p(r.way, picking, test), -r.score))[:MOST_TESTED]
    return len(ranked), _certified([r.way for r in ranked], lambda way: _p(way, testing, test), risk)


def _halves(items: Sequence[T], seed: int) -> tuple[list[T], list[T]]:
    order = random.Random(seed).sample(list(items), len(items))  # noqa: S311
    return order[: len(order) // 2], order[len(order) // 2 :]


def _certified(ranked: Sequence[T], p: Callable[[T], float], risk: float) -> list[T]:
    """Test in order until one fails: the chance that any of those returned is wrong is at most `risk`."""
    return list(itertools.takewhile(lambda one: p(one) <= risk, ranked))


class AuditLevel(msgspec.Struct, frozen=True):
    """What accepting from a threshold on would come to, in audited requests.

    Attributes:
        threshold: the confidence; `NEVER` where nothing is accepted.
        audits: the requests that reached the stage.
        accepted: how many of them it would have answered.
        judged: how many of those answers were compared with the large model's.
        agreed: how many of these are the same.
        cost: of a request, in nano-USD, all samples drawn, where the large model answers all that is refused; `None`
            where no audit says.
        large_cost: of the large model's answer to one.
    """

    threshold: float
    audits: int
    accepted: int
    judged: int
    agreed: int
    cost: float | None
    large_cost: float | None

    @property
    def alike(self) -> float | None:
        """The share of requests answered as by the large model, itself included; `None` where no audit says."""
        if not self.accepted:
            return 1.0
        if not self.judged:
            return None
        return 1 - self.accepted / self.audits * (1 - self.agreed / self.judged)


class AuditChoice(msgspec.Struct, frozen=True):
    """What audits say of one task kind and stage.

    Attributes:
        task: the kind.
        stage: the stage.
        chosen: the threshold to accept from.
        certified: whether it was tested that the target holds.
        estimated: for how many audits the price of the large model's answer is not what it was billed.
        frontier: what the confidences to choose from would come to, cheapest first; none without audits.
    """

    task: str
    stage: int
    chosen: float
    certified: bool
    estimated: int
    frontier: list[AuditLevel]


def from_audits(
    found: Sequence[Evidence], quality: float, *, risk: float, seed: int = 0
) -> tuple[AuditChoice, AuditChoice]:
    """Choose for each stage the lowest confidence from which a share of `quality` agrees with the large model's answers.

    As in `calibrate`, half of the audits say in which order thresholds are tested, and the other half tests them. An
    answer that differs counts as a loss, though it may be as good. Stage 2 is tested on the requests that the stage 1
    chosen here lets through.

    Args:
        found: audits of one task kind, of accepted and refused answers.
        quality: the share that has to agree, 0..1.
        risk: the chance, for each stage, of certifying a threshold that does not hold it, 0..1.
        seed: of the lot that halves the audits.
    """
    task = found[0].task
    at_first = [a for a in found if a.stage == 1]
    first = _least(at_first, quality, risk, seed)
    at_second = _let_through(found, first)
    second = _least(at_second, quality, risk, seed)
    return (
        _audit_choice(task, 1, at_first, first, certified=True),
        _audit_choice(task, 2, at_second, second, certified=True),
    )


def cost_from_audits(found: Sequence[Evidence], limit: float, *, risk: float, seed: int = 0) -> AuditChoice:
    """Choose the highest confidence from which stage 1 has to accept for a request to cost no more than `limit` on average.

    The large model answers all that is refused, without a guideline. Tested as in `calibrate`: from the cheapest threshold
    up, on the half of the audits that did not name them. Where none holds, every valid answer is accepted: nothing costs
    less.

    Args:
        found: audits of stage 1 and one task kind, as `priced` returns them.
        limit: nano-USD of a request.
        risk: the chance of certifying a threshold that does not hold it, 0..1.
        seed: of the lot that halves the audits.
    """
    most = _dearest((_cost(a, NEVER) for a in found), limit)
    picking, testing = _halves(found, seed)
    held = _certified(
        [0.0, *_confidences(picking), NEVER],
        lambda t: p_value((1 - min(1.0, _cost(a, t) / most) for a in testing), 1 - limit / most),
        risk,
    )
    chosen = max(held, default=0.0)
    return _audit_choice(found[0].task, 1, found, chosen, certified=bool(held))


def priced(found: Sequence[Evidence]) -> list[Evidence]:
    """Return the audits that say what their stage cost, each with a baseline: the dearest one where it has none.

    Nobody knows the price of an answer that the client never got, such as one that a budget forbade. Without any price there
    are none.
    """
    known = [p for a in found for p in (a.large_nano, a.baseline_nano) if p is not None]
    return [
        msgspec.structs.replace(a, baseline_nano=max(known)) if a.baseline_nano is None else a
        for a in found
        if a.spent_nano is not None and known
    ]


def _let_through(found: Sequence[Evidence], stage1: float) -> list[Evidence]:
    """Return stage 2's audits of the requests that such a stage 1 refuses; none when it used to accept some of them.

    What stage 2 would have made of those, nobody knows.
    """
    accepted = {a.request_id: a.accepted for a in found if a.stage == 1 and a.confidence < stage1}
    if any(accepted.values()):
        return []
    return [a for a in found if a.stage == 2 and a.request_id in accepted]


def _least(audits: Sequence[Evidence], quality: float, risk: float, seed: int) -> float:
    def p(threshold: float, some: Sequence[Evidence]) -> float:
        return p_value((float(bool(a.agreed)) for a in some if a.confidence >= threshold), quality)

    picking, testing = _halves([a for a in audits if a.agreed is not None], seed)
    ranked = sorted({a.confidence for a in picking}, key=lambda t: p(t, picking))[:MOST_TESTED]
    return min(_certified(ranked, lambda t: p(t, testing), risk), default=NEVER)


def _audit_choice(
    task: str, stage: int, audits: Sequence[Evidence], chosen: float, *, certified: bool
) -> AuditChoice:
    levels = sorted({*_confidences(audits), NEVER, chosen}) if audits else []
    bills = priced(audits)
    frontier = [_level(audits, bills, level) for level in levels]
    return AuditChoice(task, stage, chosen, certified, sum(a.large_nano is None for a in bills), frontier)


def _confidences(audits: Sequence[Evidence]) -> list[float]:
    return _levels([a.confidence for a in audits if a.confidence > NO_ANSWER])


def _level(audits: Sequence[Evidence], bills: Sequence[Evidence], threshold: float) -> AuditLevel:
    accepted = [a for a in audits if a.confidence >= threshold]
    judged = [a.agreed for a in accepted if a.agreed is not None]
    return AuditLevel(
        threshold=threshold,
        audits=len(audits),
        accepted=len(accepted),
        judged=len(judged),
        agreed=sum(judged),
        cost=statistics.fmean(_cost(a, threshold) for a in bills) if bills else None,
        large_cost=statistics.fmean(map(_large, bills)) if bills else None,
    )


def _cost(bill: Evidence, threshold: float) -> int:
    """Return what a stage, and the large model behind it, cost in nano-USD."""
    return (bill.spent_nano or 0) + (_large(bill) if bill.confidence < threshold else 0)


def _large(bill: Evidence) -> int:
    return (bill.baseline_nano or 0) if bill.large_nano is None else bill.large_nano


def ways(trials: Sequence[Trial]) -> list[Way]:
    """Return the ways that the items can tell apart, or a choice of them where confidences are many.

    A threshold above 1 means that the stage accepts nothing.
    """
    plain = _levels([t.plain.confidence for t in trials])
    firsts = [*_levels([t.first.confidence for t in trials]), NEVER]
    seconds = [*_levels([t.second.confidence for t in trials if t.second is not None]), NEVER]
    return [
        *(Way("none", c, NEVER) for c in plain),
        *(Way("goals", c, NEVER) for c in firsts[:-1]),
        *(Way("all", a, b) for a in firsts for b in seconds),
    ]


def _levels(confidences: Sequence[float]) -> list[float]:
    """Return the confidences, each once, in order; of too many the lowest, the highest and quantiles between."""
    distinct = sorted(set(confidences))
    if len(distinct) <= MOST_LEVELS:
        return distinct
    ordered = sorted(confidences)
    return sorted({ordered[i * (len(ordered) - 1) // (MOST_LEVELS - 1)] for i in range(MOST_LEVELS)})


def rate(way: Way, trials: Sequence[Trial]) -> Rated:
    """Return what a way gives on some items."""
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
    """Return those that no other beats in quality at the same or a lower cost, cheapest first."""
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
        # score - share * large is in -share..1; moved and scaled to 0..1, its mean has to be more than that of 0.
        share = target.value
        return _Test(
            lambda o, base: (o.score - share * base.score + share) / (1 + share), share / (1 + share)
        )
    nothing = Thresholds(NEVER, NEVER)
    most = _dearest((mode(t, nothing).cost for t in trials for mode in MODES.values()), target.value)
    return _Test(lambda o, _: 1 - min(1.0, o.cost / most), 1 - target.value / most)


def _dearest(costs: Iterable[int], limit: float) -> float:
    """Return what stands for the dearest request that there is: the dearest one seen, twice over, or twice the limit."""
    return 2.0 * max(1.0, limit, *costs)
