"""The task kinds, one row each.

To add a kind: add it to `TaskKind`, write its estimator in `proxy.cascade.confidence`, add its row here, let
`proxy.cascade.detection` detect it, and let `proxy.evals.grading` grade it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from proxy.cascade import prompts
from proxy.cascade.confidence.agent import AgentEstimator
from proxy.cascade.confidence.behaviour import behaviour_estimator
from proxy.cascade.confidence.choice import ChoiceEstimator
from proxy.cascade.confidence.code import CodeEstimator
from proxy.cascade.confidence.computed import computed_estimator
from proxy.cascade.confidence.mathematics import MathEstimator
from proxy.cascade.confidence.open import OpenEstimator
from proxy.cascade.confidence.structured import StructuredEstimator
from proxy.cascade.protocols import Estimator, Runner
from proxy.cascade.types import Plans, Task, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Everything that the cascade does differently for one task kind.

    Attributes:
        estimator: computes the confidence. Its `default_thresholds` are on its own scale.
        estimator_with_runner: returns the estimator of a task if programs can be run, or `None` if this task shows
            nothing to run.
        plans: which plans to make if the config sets none. docs/evaluation.md has the measurements.
        plans_with_programs: the same if samples vote by programs, for a kind whose other samples are texts.
        answer_form: the sentence that asks the small model for an answer that the estimator can read.
        audited_by: an audit compares the votes of both models, or asks the large model to judge the answer.
    """

    estimator: Estimator
    estimator_with_runner: Callable[[Task, Runner], Estimator | None] | None = None
    plans: Plans = "all"
    plans_with_programs: Plans | None = None
    answer_form: str = ""
    audited_by: Literal["vote", "judge"] = "vote"


_WITHOUT_TOOLS: Mapping[TaskKind, Kind] = MappingProxyType(
    {
        TaskKind.MATH: Kind(
            estimator=MathEstimator(),
            estimator_with_runner=computed_estimator,
            plans_with_programs="none",  # guidelines cost more than they saved
            answer_form=prompts.MATH_FORM,
        ),
        TaskKind.CHOICE: Kind(estimator=ChoiceEstimator(), answer_form=prompts.CHOICE_FORM),
        TaskKind.CODE: Kind(
            estimator=CodeEstimator(),
            estimator_with_runner=behaviour_estimator,
            plans="goals",  # a guideline costs too much beside an answer as short as a function
        ),
        TaskKind.STRUCTURED: Kind(
            estimator=StructuredEstimator(),
            plans="none",  # plans did not improve documents
        ),
        TaskKind.OPEN: Kind(
            estimator=OpenEstimator(),
            plans="none",  # words that a goal has already used are likely, right or wrong
            audited_by="judge",
        ),
    }
)
# An agent's answer in text is judged by the kind of the text.
_OF_TEXTS = {kind: row.estimator for kind, row in _WITHOUT_TOOLS.items() if row.audited_by == "vote"}
KINDS: Mapping[TaskKind, Kind] = MappingProxyType(
    {**_WITHOUT_TOOLS, TaskKind.AGENT: Kind(estimator=AgentEstimator(_OF_TEXTS))}
)


def estimator_for(task: Task, runner: Runner | None) -> Estimator:
    """Return the estimator of a task. `runner` is None if there is no sandbox."""
    kind = KINDS[task.kind]
    if runner is None or kind.estimator_with_runner is None:
        return kind.estimator
    return kind.estimator_with_runner(task, runner) or kind.estimator


def answer_form(kind: TaskKind, estimator: Estimator, index: int) -> str:
    """Return the sentence that asks for the form of the sample with this index."""
    forms = estimator.forms or (KINDS[kind].answer_form,)
    return forms[index % len(forms)]
