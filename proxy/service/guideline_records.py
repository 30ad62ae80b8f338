"""Remember what guidelines did, and decide whether a request gets one.

The records are kept in memory: each process learns for itself, and starts again after a restart.
"""

import logging
import random
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.config.schema import Cascade
from proxy.pricing.money import format_usd
from proxy.records import StageRecord
from proxy.service.finished import Finished
from proxy.service.guideline_value import Answered, Estimate, Features, Guided, estimate, length_of

log = logging.getLogger(__name__)

WINDOW = 200
"""Number of recent requests to look at."""
TRY_SHARE = 0.05
"""Share of the requests that still get a guideline although it is not expected to earn its price."""
LOGGED = 200
"""After so many decisions, the log says how many guidelines were skipped."""


@dataclass
class _Record:
    """Recent outcomes and answers of one task kind and one large model."""

    guided: deque[Guided] = field(default_factory=lambda: deque(maxlen=WINDOW))
    answers: deque[Answered] = field(default_factory=lambda: deque(maxlen=WINDOW))
    decisions: int = 0
    skipped: int = 0


class GuidelineRecords:
    """The records of this process, by task kind and large model."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._records: defaultdict[tuple[str, str], _Record] = defaultdict(_Record)

    def estimate(self, kind: str, large: str, request: Features) -> Estimate | None:
        """Estimate the value of a guideline for a request. Return `None` if there is too little evidence."""
        record = self._records[kind, large]
        return estimate(request, record.guided, record.answers)

    def gate(self, kind: str, large: str, size: int) -> Callable[[float | None], bool]:
        """Return the function that says whether a request of this size gets a guideline.

        Its argument is the share of the samples that agree in stage 1, if that is known. Some requests, drawn at random,
        get one in any case.
        """
        tries = self._draw() < TRY_SHARE

        def earns(share: float | None) -> bool:
            found = self.estimate(kind, large, Features(length_of(size), share))
            return tries or found is None or found.earns

        return earns

    def add_answer(self, kind: str, large: str, answered: Answered) -> None:
        """Record the cost of a large-model answer, without the tokens of its guideline."""
        self._records[kind, large].answers.append(answered)

    def add_guided(self, kind: str, large: str, guided: Guided) -> None:
        """Record whether stage 2 accepted thanks to a guideline, and the money paid because of it."""
        self._records[kind, large].guided.append(guided)

    def count(self, kind: str, large: str, *, skipped: bool) -> None:
        """Count a request that came to stage 2, or would have. Log now and then how many guidelines were skipped."""
        record = self._records[kind, large]
        record.decisions += 1
        record.skipped += skipped
        if record.decisions < LOGGED:
            return
        if record.skipped:
            usual = self._usual(kind, large)
            log.warning(
                "guidelines for %s tasks with %s: %d of the last %d requests went without, because a guideline would "
                "probably have cost more than it saves%s (cascade.skip_losses)",
                kind, large, record.skipped, record.decisions, usual,
            )  # fmt: skip
        record.decisions = record.skipped = 0

    def _usual(self, kind: str, large: str) -> str:
        """Return the estimate for a request of median length in words."""
        lengths = sorted(one.features.length for one in self._records[kind, large].guided)
        found = self.estimate(kind, large, Features(lengths[len(lengths) // 2])) if lengths else None
        if found is None:
            return ""
        return (
            f"; stage 2 accepts {100 * found.chance:.0f} %, a guideline costs {format_usd(round(found.price))} USD and an "
            f"answer {format_usd(round(found.answer))} USD"
        )


def may_skip_guidelines(cascade: Cascade, kind: TaskKind, controls: Controls) -> bool:
    """Return True if guidelines may be skipped automatically.

    They may not if the config or a header fixes how this task kind runs.
    """
    configured = cascade.plans is not None or kind in cascade.thresholds
    asked = (controls.mode, controls.budget, controls.thresholds, controls.samples) != (None,) * 4
    return cascade.skip_losses and not configured and not asked and controls.max_stage == 3


def agreement(stage: StageRecord) -> float:
    """Return the share of the drawn samples that form the largest group."""
    return stage.agreed / stage.drawn if stage.drawn else 0.0


def learn(guidelines: GuidelineRecords, cascade: Cascade, finished: Finished) -> None:
    """Record the outcome of a request that stage 1 did not answer.

    Failed requests count too, because their guideline was paid for. Guidelines planned ahead for requests that
    stage 1 answered do not count.
    """
    record, large, length = finished.record, finished.route.large.name, length_of(finished.request.size)
    if not record.stages or record.stages[0].accepted or record.task is None:
        return
    kind = TaskKind(record.task)
    if not may_skip_guidelines(cascade, kind, finished.request.controls):
        return
    answered = record.status == 200 and not record.error and not record.degraded
    baseline = record.baseline if answered and record.stage == 3 else None
    if baseline and record.model == large:  # a fallback has other prices
        guidelines.add_answer(kind, large, Answered(length, baseline))
    second = [call for call in finished.calls if call.stage == 2]
    if finished.guideline_skipped or second:
        guidelines.count(kind, large, skipped=finished.guideline_skipped)
    if not second:
        return
    planned = [call.cost for call in second if call.role == "planner"]
    local = sum(call.cost for call in second if call.role != "planner")
    # The prompt of stage 3 is longer by the guideline.
    longer = 0 if baseline is None else _cost_of_stage(finished, 3) - baseline
    guided = Guided(
        features=Features(length, agreement(record.stages[0])),
        accepted=answered and record.stage == 2,
        price=sum(planned) if planned else None,
        extra=local + longer,
    )
    guidelines.add_guided(kind, large, guided)


def _cost_of_stage(finished: Finished, stage: int) -> int:
    return sum(call.cost for call in finished.calls if call.stage == stage)
