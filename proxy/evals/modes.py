"""The modes that a run compares. Each is computed from the trials of the items."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.cascade.types import Plans
from proxy.evals.trial import Trial, Vote


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one item in one mode: its score (0..1), its cost (nano-USD) and the stage that answered."""

    score: float
    cost: int
    stage: int


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The lowest accepted confidence of each stage, 0..1. If not `inclusive`, it has to be higher."""

    stage1: float
    stage2: float
    inclusive: bool = True


At = Callable[[Trial], Thresholds]
"""Returns the thresholds of an item."""
Mode = Callable[[Trial, Thresholds], Outcome]


def _small(trial: Trial, _: Thresholds) -> Outcome:
    return Outcome(trial.single, trial.plain.cost // max(1, len(trial.plain.samples)), 1)


def _vote(trial: Trial, _: Thresholds) -> Outcome:
    return Outcome(trial.plain.score, trial.plain.cost, 1)


def _large(trial: Trial, _: Thresholds) -> Outcome:
    return Outcome(trial.large.score, trial.large.cost, 3)


def _large_plan(trial: Trial, _: Thresholds) -> Outcome:
    return Outcome(trial.guided.score, trial.plan_cost + trial.guided.cost, 3)


def _without_plans(trial: Trial, at: Thresholds) -> Outcome:
    return _first_or_large(trial.plain, trial, at)


def _goals_only(trial: Trial, at: Thresholds) -> Outcome:
    return _first_or_large(trial.first, trial, at)


def _first_or_large(vote: Vote, trial: Trial, at: Thresholds) -> Outcome:
    if _accepted(vote, at.stage1, at):
        return Outcome(vote.score, vote.cost, 1)
    return Outcome(trial.large.score, vote.cost + trial.large.cost, 3)


def _cascade(trial: Trial, at: Thresholds) -> Outcome:
    cost = trial.first.cost
    if _accepted(trial.first, at.stage1, at):
        return Outcome(trial.first.score, cost, 1)
    cost += trial.plan_cost
    if trial.second is not None:
        cost += trial.second.cost
        if _accepted(trial.second, at.stage2, at):
            return Outcome(trial.second.score, cost, 2)
    return Outcome(trial.guided.score, cost + trial.guided.cost, 3)


def _accepted(vote: Vote, threshold: float, at: Thresholds) -> bool:
    enough = vote.confidence >= threshold if at.inclusive else vote.confidence > threshold
    return vote.answered and enough


MODES: Mapping[str, Mode] = {
    "small alone": _small,
    "small, voting": _vote,
    "large alone": _large,
    "large, own plan": _large_plan,
    "cascade, no plans": _without_plans,
    "cascade, goals only": _goals_only,
    "full cascade": _cascade,
}
""""small alone" is the average single sample of the vote. "large, own plan" uses the cascade's guideline. Both
modes so share their calls with others, and only the methods differ."""

BASELINE = "large alone"

CASCADES: Mapping[Plans, str] = {
    "none": "cascade, no plans",
    "goals": "cascade, goals only",
    "all": "full cascade",
}
"""The modes that accept answers, by the plans that they write."""

STAGES: Mapping[str, tuple[int, ...]] = {
    "cascade, no plans": (1,),
    "cascade, goals only": (1,),
    "full cascade": (1, 2),
}
"""The stages of a cascade that accept answers. The next stage is the large model."""
