"""The cascade's policy for one request: the config's values and the headers' overrides."""

from collections.abc import Mapping
from typing import Literal

from proxy.cascade.types import Plans, Policy, TaskKind
from proxy.config.controls import Controls
from proxy.config.schema import Cascade, Thresholds

DEFAULT_PLANS: Mapping[str, Plans] = {"code": "goals", "structured": "none", "open": "none"}
"""Where nobody has said; all plans but for these kinds (measured in docs/evaluation.md).

Beside an answer as short as a function or a document a guideline costs too much, and plans made documents no better. An open
answer counts by how likely its words are, and what a goal has said already is likely, right or wrong.
"""


NEVER = 2.0
"""A threshold that no confidence reaches."""


def thresholds(cascade: Cascade, kind: TaskKind, usual: tuple[float, float]) -> tuple[float, float]:
    """Return the confidences from which stages 1 and 2 accept a task.

    The config's for its kind; else those certified on the scale of its estimator, which `usual` tells; else the usual ones.
    """
    table = cascade.thresholds.get(kind.value, Thresholds())
    found = table.certified
    first, second = (found.stage1, found.stage2) if found and found.usual == usual else usual
    return (
        _number(first if table.stage1 is None else table.stage1),
        _number(second if table.stage2 is None else table.stage2),
    )


def _number(threshold: float | Literal["never"]) -> float:
    return NEVER if threshold == "never" else threshold


def policy(cascade: Cascade, kind: TaskKind, usual: tuple[float, float], controls: Controls) -> Policy:
    """Combine the config's values for a task kind with the request's headers; `usual` is its estimator's."""
    table = cascade.thresholds.get(kind.value)
    first, second = controls.thresholds or thresholds(cascade, kind, usual)
    samples = controls.samples or (table.samples if table else None) or cascade.samples
    return Policy(
        samples=min(samples, cascade.max_samples),
        threshold1=first,
        threshold2=second,
        inclusive=cascade.accept_at_threshold,
        max_stage=controls.max_stage,
        plans=(table.plans if table else None) or cascade.plans or DEFAULT_PLANS.get(kind, "all"),
        plan_max_tokens=cascade.plan_max_tokens,
        early_stop=cascade.early_stop,
        stop_error=cascade.stop_error,
        speculate_from=_number(cascade.speculate_from),
        plan_temperature=cascade.temperatures.plan,
        temperature1=cascade.temperatures.stage1,
        temperature2=cascade.temperatures.stage2,
    )
