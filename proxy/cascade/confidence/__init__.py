"""Confidence estimators, one for each task kind. A new kind plugs in here."""

from collections.abc import Mapping
from types import MappingProxyType

from proxy.cascade.confidence.agent import AgentEstimator
from proxy.cascade.confidence.behaviour import BehaviourEstimator
from proxy.cascade.confidence.canonical import SCHEMAS
from proxy.cascade.confidence.choice import ChoiceEstimator
from proxy.cascade.confidence.code import CodeEstimator
from proxy.cascade.confidence.examples import specification
from proxy.cascade.confidence.mathematics import ALGEBRA, MathEstimator
from proxy.cascade.confidence.open import OpenEstimator
from proxy.cascade.confidence.structured import StructuredEstimator
from proxy.cascade.protocols import Estimator, Runner
from proxy.cascade.types import Task, TaskKind

_BY_VOTES: Mapping[TaskKind, Estimator] = MappingProxyType(
    {
        TaskKind.MATH: MathEstimator(),
        TaskKind.CHOICE: ChoiceEstimator(),
        TaskKind.CODE: CodeEstimator(),
        TaskKind.STRUCTURED: StructuredEstimator(),
    }
)
ESTIMATORS: Mapping[TaskKind, Estimator] = MappingProxyType(
    {**_BY_VOTES, TaskKind.AGENT: AgentEstimator(_BY_VOTES), TaskKind.OPEN: OpenEstimator()}
)


def estimator_for(task: Task, runner: Runner | None) -> Estimator:
    """Return the estimator of a task: for code that can be run and tried, where there is a sandbox, its behaviour."""
    if task.kind is TaskKind.CODE and runner is not None and (wanted := specification(task.text)) is not None:
        return BehaviourEstimator(runner, shown=bool(wanted.checks))
    return ESTIMATORS[task.kind]


def shutdown() -> None:
    """Stop the processes that compare answers and check schemas, if they run."""
    for worker in (ALGEBRA, SCHEMAS):
        worker.shutdown()


__all__ = ["ESTIMATORS", "estimator_for", "shutdown"]
