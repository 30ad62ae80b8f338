"""What it saves to buy a guideline only where it earns its price: `python benchmarks/guideline_gate.py [--price F] [RUN...]`.

Three policies are compared: each request that stage 1 does not answer buys a guideline (always); all of a kind buy one until
guidelines have lost money over the last 200 (per kind, the rule of earlier versions); and the proxy's own gate (per request).

- Without RUN, requests are simulated. The worlds below say how likely stage 2 accepts. Prints the cost of 3,000 requests as a share
  of "always", the share that bought a guideline, and the quality, as means over 20 seeds with 95 % intervals.
- RUN is a folder of `cope-proxy eval`. The policies learn from requests drawn from one half of its items and are measured on the
  other half, so that no item is judged by its own outcome; 40 random halves. The bootstrap over items gives the intervals. Votes
  are complete there, so they do not stop early. `--price 0.05` counts the recorded guidelines at a twentieth of their price,
  as those of a planner that is as good and so much cheaper.
"""

import math
import random
import statistics
import sys
from argparse import ArgumentParser
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from proxy.cascade.types import TaskKind  # noqa: E402
from proxy.config.policy import thresholds  # noqa: E402
from proxy.config.schema import Cascade  # noqa: E402
from proxy.evals import trial  # noqa: E402
from proxy.evals.modes import Thresholds, accepts  # noqa: E402
from proxy.evals.trial import Trial, Vote  # noqa: E402
from proxy.service.guideline_records import TRY_SHARE, GuidelineRecords  # noqa: E402
from proxy.service.guideline_value import Answered, Features, Guided, length_of  # noqa: E402
from proxy.stats import bootstrap  # noqa: E402

SEEDS, REQUESTS, HALVES, LEARNED = 20, 3000, 40, 1000


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request that stage 1 does not answer, with both outcomes. Amounts are nano-USD, and scores are 0..1."""

    size: int
    share: float
    accepted: bool
    """Whether stage 2 accepts, if there is a guideline."""
    price: int
    longer: int
    """What the longer prompt of stage 3 costs."""
    answer: int
    second: float
    """The score of the answer of stage 2."""
    guided: float
    """The score of the large model with the guideline."""
    alone: float
    worth: float = 0.0
    """What a guideline saves on average, for the policy that knows it. Simulated requests have it."""

    def cost(self, *, buys: bool) -> int:
        """Return the cost of the request."""
        if not buys:
            return self.answer
        return self.price + (0 if self.accepted else self.longer + self.answer)

    def score(self, *, buys: bool) -> float:
        """Return the quality of the answer."""
        if not buys:
            return self.alone
        return self.second if self.accepted else self.guided


class Always:
    """Every request buys a guideline."""

    def buys(self, case: Case) -> bool:
        """Return True."""
        return True

    def learn(self, case: Case, *, bought: bool) -> None:
        """Learn nothing."""


class PerKind(Always):
    """The rule of earlier versions: skip all guidelines while they have lost money, but one in 20."""

    def __init__(self, lot: random.Random) -> None:
        self._lot = lot
        self._guided: deque[tuple[bool, int]] = deque(maxlen=200)
        self._answers: deque[int] = deque(maxlen=200)
        self._losing = False

    def buys(self, case: Case) -> bool:
        """Return True unless guidelines lose money."""
        return not self._losing or self._lot.random() < TRY_SHARE

    def learn(self, case: Case, *, bought: bool) -> None:
        """Judge the last 200 guidelines anew."""
        if not (bought and case.accepted):
            self._answers.append(case.answer)
        if not bought:
            return
        self._guided.append((case.accepted, case.price + (0 if case.accepted else case.longer)))
        if len(self._guided) == self._guided.maxlen and len(self._answers) >= 20:
            answer = statistics.fmean(self._answers)
            saved = [answer * accepted - paid for accepted, paid in self._guided]
            self._losing = sum(saved) < -2 * statistics.stdev(saved) * len(saved) ** 0.5


class PerRequest(Always):
    """The proxy's gate."""

    def __init__(self, lot: random.Random) -> None:
        self._records = GuidelineRecords(lot.random)

    def buys(self, case: Case) -> bool:
        """Ask the gate."""
        return self._records.gate("math", "large", case.size)(case.share)

    def learn(self, case: Case, *, bought: bool) -> None:
        """Record the outcome as the proxy does."""
        length = length_of(case.size)
        if not (bought and case.accepted):
            self._records.add_answer("math", "large", Answered(length, case.answer))
        if bought:
            extra = 0 if case.accepted else case.longer
            features = Features(length, case.share)
            guided = Guided(features=features, accepted=case.accepted, price=case.price, extra=extra)
            self._records.add_guided("math", "large", guided)


class Knowing(Always):
    """The best possible policy. It knows the chance and the mean prices, but not the outcome."""

    def buys(self, case: Case) -> bool:
        """Return True if the guideline earns its price on average."""
        return case.worth > 0


POLICIES: dict[str, Callable[[random.Random], Always]] = {
    "always": lambda _: Always(),
    "per kind": PerKind,
    "per request": PerRequest,
}
SIMULATED = POLICIES | {"best possible": lambda _: Knowing()}

SHARES = (0.125, 0.25, 0.375, 0.5, 0.625)
INPUT, OUTPUT = 2500, 10_000
"""Nano-USD a token of the large model."""
GUIDELINE_TOKENS, PROMPT_TOKENS = 45, 70
"""Tokens of a guideline, and of the prompt that asks for it."""
ANSWER_TOKENS = 5.5, 0.5
"""Tokens of an answer: mean and deviation of their logarithm."""
MEAN_ANSWER = math.exp(ANSWER_TOKENS[0] + ANSWER_TOKENS[1] ** 2 / 2)


def by_agreement(share: float, size: int, at: float) -> float:
    """Stage 2 accepts more often if the samples of stage 1 nearly agreed."""
    return {0.125: 0.01, 0.25: 0.04, 0.375: 0.15, 0.5: 0.45, 0.625: 0.7}[share]


def by_length(share: float, size: int, at: float) -> float:
    """The small model follows a guideline for a short request, and is lost in a long one."""
    return 0.5 if size < 2500 else 0.04


def flat(chance: float, share: float, size: int, at: float) -> float:
    """Nothing tells requests apart."""
    return chance


def worsens(share: float, size: int, at: float) -> float:
    """After a third of the requests, stage 2 hardly accepts any more. After two thirds it does again."""
    return 0.05 if 1 / 3 < at < 2 / 3 else 0.5


WORLDS: dict[str, tuple[Callable[[float, int, float], float], float]] = {
    "by agreement": (by_agreement, 1.0),
    "by agreement, planner at 1/20 of the price": (by_agreement, 0.05),
    "by length": (by_length, 1.0),
    "flat, earns (0.5)": (partial(flat, 0.5), 1.0),
    "flat, about even (0.45)": (partial(flat, 0.45), 1.0),
    "flat, loses (0.085)": (partial(flat, 0.085), 1.0),
    "flat, 0.085, planner at 1/20 of the price": (partial(flat, 0.085), 0.05),
    "worsens, then recovers": (worsens, 1.0),
}
"""By name: the chance that stage 2 accepts, and the planner's price as a share of the large model's."""


def drawn(lot: random.Random, chance: Callable[[float, int, float], float], factor: float, at: float) -> Case:
    """Draw a request of a world. An accepted answer is right in 85 %, and one of the large model in 80 %."""
    size, share = round(min(40_000, max(200, lot.lognormvariate(7, 0.9)))), lot.choice(SHARES)
    tokens = size / 4
    alone = float(lot.random() < 0.8)
    odds = chance(share, size, at)
    price = round(factor * ((tokens + PROMPT_TOKENS) * INPUT + GUIDELINE_TOKENS * OUTPUT))
    longer = GUIDELINE_TOKENS * INPUT
    return Case(
        size=size,
        share=share,
        accepted=lot.random() < odds,
        price=price,
        longer=longer,
        answer=round(tokens * INPUT + lot.lognormvariate(*ANSWER_TOKENS) * OUTPUT),
        second=float(lot.random() < 0.85),
        guided=alone,
        alone=alone,
        worth=odds * (tokens * INPUT + MEAN_ANSWER * OUTPUT) - price - (1 - odds) * longer,
    )


def simulate() -> None:
    """Print the table of the simulation."""
    print(f"{REQUESTS} simulated requests of each world that stage 1 does not answer, {SEEDS} seeds\n")
    print("| world | policy | cost, % of always (95 %) | guidelines bought, % | right, % (95 %) |")
    print("| --- | --- | --- | ---: | --- |")
    for world, (chance, factor) in WORLDS.items():
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SIMULATED}
        for seed in range(SEEDS):
            lot = random.Random(f"{world} {seed}")
            cases = [drawn(lot, chance, factor, i / REQUESTS) for i in range(REQUESTS)]
            most = sum(case.cost(buys=True) for case in cases)
            for name, policy in SIMULATED.items():
                one, choices = policy(random.Random(seed)), []
                for case in cases:
                    choices.append(one.buys(case))
                    one.learn(case, bought=choices[-1])
                spent = sum(c.cost(buys=b) for c, b in zip(cases, choices, strict=True))
                right = statistics.fmean(c.score(buys=b) for c, b in zip(cases, choices, strict=True))
                found[name].append((spent / most, statistics.fmean(choices), right))
        for name, rows in found.items():
            cost, bought, right = (list(column) for column in zip(*rows, strict=True))
            print(
                f"| {world} | {name} | {_of(cost)} | {100 * statistics.fmean(bought):.0f} | {_of(right)} |",
                flush=True,
            )


def _of(values: Sequence[float]) -> str:
    mean, half = statistics.fmean(values), 2.09 * statistics.stdev(values) / len(values) ** 0.5
    return f"{100 * mean:.1f} ({100 * (mean - half):.1f} to {100 * (mean + half):.1f})"


@dataclass(frozen=True)
class Recorded:
    """An item of a run: what stage 1 makes of it, and the case if stage 1 does not answer."""

    score: float
    cost: int
    large: int
    case: Case | None


def recorded(one: Trial, factor: float) -> Recorded:
    """Return an item at the default thresholds, with the price of its guideline times a factor."""
    at, planned = Thresholds(*thresholds(Cascade(), TaskKind(one.task), one.usual)), one.served
    if accepts(one.first, at.stage1, at):
        return Recorded(one.first.score, one.first.cost, one.large.cost, None)
    second = planned.second
    case = Case(
        size=one.size,
        share=largest_share(one.first),
        accepted=second is not None and accepts(second, at.stage2, at),
        price=round(factor * planned.cost) + (0 if second is None else second.cost),
        longer=planned.guided.cost - one.large.cost,
        answer=one.large.cost,
        second=0.0 if second is None else second.score,
        guided=planned.guided.score,
        alone=one.large.score,
    )
    return Recorded(one.large.score, one.first.cost, one.large.cost, case)


def largest_share(vote: Vote) -> float:
    """Return the share of the samples in the largest group."""
    groups = Counter(sample.vote for sample in vote.samples if sample.vote is not None)
    return max(groups.values(), default=0) / max(1, len(vote.samples))


def replay(kind: str, items: Sequence[Recorded]) -> None:
    """Print the rows of one task kind."""
    outcomes: dict[str, list[list[tuple[float, float, float]]]] = {
        name: [[] for _ in items] for name in POLICIES
    }
    for half in range(HALVES):
        lot = random.Random(half)
        order = lot.sample(range(len(items)), len(items))
        for known, new in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            cases = [case for i in known if (case := items[i].case) is not None]
            for name, policy in POLICIES.items():
                one, draws = policy(random.Random(half)), random.Random(half)
                for case in draws.choices(cases, k=LEARNED) if cases else ():
                    one.learn(case, bought=one.buys(case))
                for i in new:
                    outcomes[name][i].append(_measured(items[i], one))
    base = [_mean_of(runs) for runs in outcomes["always"]]
    for name, per_item in outcomes.items():
        means = [_mean_of(runs) for runs in per_item]
        costs = [(cost, item.large) for (cost, _, _), item in zip(means, items, strict=True)]
        saved = [(b[0], m[0]) for b, m in zip(base, means, strict=True)]
        better = [(m[1], b[1]) for b, m in zip(base, means, strict=True)]
        low, high = bootstrap.interval(costs, bootstrap.ratio)
        less = bootstrap.interval([(m, b) for b, m in saved], bootstrap.ratio)
        points = bootstrap.interval(better, bootstrap.difference)
        print(
            f"| {kind} | {name} | {100 * statistics.fmean(m[2] for m in means):.0f} "
            f"| {100 * bootstrap.ratio(costs):.1f} ({100 * low:.1f} to {100 * high:.1f}) "
            f"| {100 * (1 - bootstrap.ratio([(m, b) for b, m in saved])):.1f} ({100 * (1 - less[1]):.1f} to {100 * (1 - less[0]):.1f}) "
            f"| {100 * statistics.fmean(m[1] for m in means):.1f} "
            f"| {100 * bootstrap.difference(better):+.1f} ({100 * points[0]:+.1f} to {100 * points[1]:+.1f}) |",
            flush=True,
        )


def _measured(item: Recorded, policy: Always) -> tuple[float, float, float]:
    """Return the cost and the score of an item, and whether it bought a guideline."""
    if item.case is None:
        return float(item.cost), item.score, 0.0
    buys = policy.buys(item.case)
    return float(item.cost + item.case.cost(buys=buys)), item.case.score(buys=buys), float(buys)


def _mean_of(runs: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    cost, score, bought = (statistics.fmean(column) for column in zip(*runs, strict=True))
    return cost, score, bought


def main() -> None:
    """Simulate, or replay the given runs."""
    parser = ArgumentParser()
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--price", type=float, default=1.0)
    given = parser.parse_args()
    if not given.runs:
        simulate()
        return
    trials = [one for run in given.runs for one in trial.read(run)]
    print(
        "| task | policy | guidelines bought, % of items | cost, % of large alone (95 %) | saved, % of always (95 %) "
        "| right, % | points against always (95 %) |"
    )
    print("| --- | --- | ---: | --- | --- | ---: | --- |")
    for kind in sorted({one.task for one in trials}):
        replay(kind, [recorded(one, given.price) for one in trials if one.task == kind])


if __name__ == "__main__":
    main()
