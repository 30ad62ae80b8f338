"""The modes that a run compares. Each is computed from the trials of the items."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.cascade.types import Plans
from proxy.evals.trial import Planned, Trial, Vote


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
    if accepts(vote, at.stage1, at):
        return Outcome(vote.score, vote.cost, 1)
    return Outcome(trial.large.score, vote.cost + trial.large.cost, 3)


def _cascade(trial: Trial, at: Thresholds) -> Outcome:
    return _under_guideline(trial, trial.own, at)


def _as_served(trial: Trial, at: Thresholds) -> Outcome:
    return _under_guideline(trial, trial.served, at)


def _under_guideline(trial: Trial, planned: Planned, at: Thresholds) -> Outcome:
    cost = trial.first.cost
    if accepts(trial.first, at.stage1, at):
        return Outcome(trial.first.score, cost, 1)
    cost += planned.cost
    if planned.second is not None:
        cost += planned.second.cost
        if accepts(planned.second, at.stage2, at):
            return Outcome(planned.second.score, cost, 2)
    return Outcome(planned.guided.score, cost + planned.guided.cost, 3)


def accepts(vote: Vote, threshold: float, at: Thresholds) -> bool:
    """Return whether a vote is accepted at a threshold."""
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
    "full cascade, separate planner": _as_served,
}
""""small alone" is the average single sample of the vote. "large, own plan" uses the cascade's guideline. Both
modes so share their calls with others, and only the methods differ. The last mode needs trials with `cascade.planner`."""

BASELINE = "large alone"

CASCADES: Mapping[Plans, Mode] = {"none": _without_plans, "goals": _goals_only, "all": _as_served}
"""The ways to run the cascade, by the plans that it writes. The guideline is that of `cascade.planner` if there is one."""

STAGES: Mapping[str, tuple[int, ...]] = {
    "cascade, no plans": (1,),
    "cascade, goals only": (1,),
    "full cascade": (1, 2),
    "full cascade, separate planner": (1, 2),
}
"""The modes that accept answers, and the stages that do. The next stage is the large model."""


def modes_of(trials: Sequence[Trial]) -> Mapping[str, Mode]:
    """Return the modes that all of these trials have the calls for."""
    if all(t.separate is not None for t in trials):
        return MODES
    return {name: mode for name, mode in MODES.items() if mode is not _as_served}


def cascade_name(plans: Plans, trials: Sequence[Trial]) -> str:
    """Return the mode that the config of these trials runs, if it writes these plans."""
    known = modes_of(trials)
    served = CASCADES[plans] if CASCADES[plans] in known.values() else _cascade
    return next(name for name, mode in known.items() if mode is served)
