"""The cascade's policy for one request, from the config and the control headers."""

from collections.abc import Mapping
from typing import Literal

from proxy.cascade.types import Plans, Policy, TaskKind
from proxy.config.controls import Controls
from proxy.config.schema import Cascade, Thresholds

DEFAULT_PLANS: Mapping[str, Plans] = {"code": "goals", "structured": "none", "open": "none"}
"""The default plans of some kinds. All others have all plans. docs/evaluation.md has the measurements.

A guideline costs too much beside an answer as short as a function or a document, and plans did not improve documents.
The confidence of an open answer is the likelihood of its words. A goal makes them likely even if they are wrong.
"""

NEVER = 2.0
"""A threshold that no confidence reaches."""


def thresholds(cascade: Cascade, kind: TaskKind, defaults: tuple[float, float]) -> tuple[float, float]:
    """Return the confidences from which stages 1 and 2 accept a task.

    The thresholds of its kind in the config come first. Certified thresholds come next if they were tested with the
    same estimator, which its default thresholds identify. The default thresholds come last.
    """
    table = cascade.thresholds.get(kind.value, Thresholds())
    certified = table.certified
    first, second = (
        (certified.stage1, certified.stage2) if certified and certified.usual == defaults else defaults
    )
    return (
        _number(first if table.stage1 is None else table.stage1),
        _number(second if table.stage2 is None else table.stage2),
    )


def _number(threshold: float | Literal["never"]) -> float:
    return NEVER if threshold == "never" else threshold


def policy(cascade: Cascade, kind: TaskKind, defaults: tuple[float, float], controls: Controls) -> Policy:
    """Combine the settings of a task kind with the request's headers.

    Args:
        cascade: the settings.
        kind: the kind of the task.
        defaults: the default thresholds of its estimator.
        controls: the request's headers. They come before the settings.
    """
    table = cascade.thresholds.get(kind.value)
    first, second = controls.thresholds or thresholds(cascade, kind, defaults)
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
