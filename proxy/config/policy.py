"""The cascade's policy for one request, from the config and the control headers."""

from typing import Literal

from proxy.cascade.kinds import KINDS
from proxy.cascade.protocols import Runner
from proxy.cascade.types import Policy, StagePolicy, TaskKind
from proxy.config.controls import Controls
from proxy.config.schema import Cascade, Thresholds

NEVER = 2.0
"""The number for "never" in the config and in the log of a stage: a threshold above every confidence."""


def thresholds(cascade: Cascade, kind: TaskKind, defaults: tuple[float, float]) -> tuple[float, float]:
    """Return the thresholds of stages 1 and 2 for a task kind.

    In this order: the config's own table, a calibration made for the same estimator (identified by its default
    thresholds), the estimator's defaults.
    """
    table = cascade.thresholds.get(kind, Thresholds())
    found = table.certified
    first, second = (found.stage1, found.stage2) if found and found.usual == defaults else defaults
    return (
        _number(first if table.stage1 is None else table.stage1),
        _number(second if table.stage2 is None else table.stage2),
    )


def _number(threshold: float | Literal["never"]) -> float:
    return NEVER if threshold == "never" else threshold


def runner_for(cascade: Cascade, kind: TaskKind, sandbox: Runner | None) -> Runner | None:
    """Return the sandbox for the votes of a task kind, or `None` if its answers are compared as texts."""
    return None if kind is TaskKind.MATH and not cascade.programs else sandbox


def policy(
    cascade: Cascade,
    kind: TaskKind,
    defaults: tuple[float, float],
    controls: Controls,
    *,
    programs: bool = False,
) -> Policy:
    """Combine the config's values for a task kind with the request's headers.

    Args:
        cascade: the config's values.
        kind: the task kind.
        defaults: the default thresholds of the task's estimator.
        controls: the request's headers.
        programs: True if samples of this kind vote by programs beside texts.
    """
    table = cascade.thresholds.get(kind)
    first, second = controls.thresholds or thresholds(cascade, kind, defaults)
    temperatures = cascade.temperatures
    plans = (KINDS[kind].plans_with_programs if programs else None) or KINDS[kind].plans
    samples = controls.samples or (table.samples if table else None) or cascade.samples
    return Policy(
        samples=min(samples, cascade.max_samples),
        stages=(StagePolicy(first, temperatures.stage1), StagePolicy(second, temperatures.stage2)),
        inclusive=cascade.accept_at_threshold,
        max_stage=controls.max_stage,
        plans=(table.plans if table else None) or cascade.plans or plans,
        plan_max_tokens=cascade.plan_max_tokens,
        plan_temperature=temperatures.plan,
        early_stop=cascade.early_stop,
        stop_error=cascade.stop_error,
        speculate_from=_number(cascade.speculate_from),
    )
