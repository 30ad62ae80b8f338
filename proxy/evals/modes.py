"""The ways to answer that a run compares, each computed from what became of the items."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.evals.trial import Trial, Vote


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item answered one way: how right (0..1), at what price (nano-USD), and by which stage."""

    score: float
    cost: int
    stage: int


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which confidence on a stage's answer is accepted, 0..1."""

    stage1: float
    stage2: float


At = Callable[[Trial], Thresholds]
"""Says which thresholds hold for an item."""
Mode = Callable[[Trial, Thresholds], Outcome]


def _small(trial: Trial, _: Thresholds) -> Outcome:
    return Outcome(trial.single, 0, 1)


def _vote(trial: Trial, _: Thresholds) -> Outcome:
    return Outcome(trial.plain.score, 0, 1)


def _large(trial: Trial, _: Thresholds) -> Outcome:
    return Outcome(trial.large.score, trial.large.cost, 3)


def _large_plan(trial: Trial, _: Thresholds) -> Outcome:
    return Outcome(trial.guided.score, trial.plan_cost + trial.guided.cost, 3)


def _without_plans(trial: Trial, at: Thresholds) -> Outcome:
    if _accepted(trial.plain, at.stage1):
        return Outcome(trial.plain.score, 0, 1)
    return Outcome(trial.large.score, trial.large.cost, 3)


def _goals_only(trial: Trial, at: Thresholds) -> Outcome:
    if _accepted(trial.first, at.stage1):
        return Outcome(trial.first.score, 0, 1)
    return Outcome(trial.large.score, trial.large.cost, 3)


def _cascade(trial: Trial, at: Thresholds) -> Outcome:
    if _accepted(trial.first, at.stage1):
        return Outcome(trial.first.score, 0, 1)
    if trial.second is not None and _accepted(trial.second, at.stage2):
        return Outcome(trial.second.score, trial.plan_cost, 2)
    return Outcome(trial.guided.score, trial.plan_cost + trial.guided.cost, 3)


def _accepted(vote: Vote, threshold: float) -> bool:
    return vote.confidence >= threshold


MODES: Mapping[str, Mode] = {
    "small alone": _small,
    "small, voting": _vote,
    "large alone": _large,
    "large, own plan": _large_plan,
    "cascade, no plans": _without_plans,
    "cascade, goals only": _goals_only,
    "full cascade": _cascade,
}
"""Small alone is the average single sample of the vote; the large model's plan is the cascade's guideline, so that both
are the same calls and their difference is that of the method alone."""

BASELINE = "large alone"
