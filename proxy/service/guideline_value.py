"""Track whether guidelines save money, and skip those that lose it, except for an occasional try.

A guideline costs about a quarter of a large answer. If stage 2 seldom accepts, it does not save that much (COPE, arXiv
2506.11578). This depends on both models and on the traffic. The record is kept in memory: each process learns for
itself, and starts again after a restart.
"""

import logging
import math
import random
import statistics
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.config.schema import Cascade
from proxy.pricing.money import format_usd
from proxy.service.finished import Finished

log = logging.getLogger(__name__)

WINDOW = 200
"""Number of recent guided requests to look at. With fewer, guidelines are not judged."""
MIN_ANSWERS = 20
"""Number of large-model answers needed before their mean cost is used as the value of an answer."""
TRY_SHARE = 0.05
"""Share of requests that still get a guideline while guidelines lose money."""
MIN_STANDARD_ERRORS = 2.0
"""A loss must be this many standard errors below zero. Otherwise chance would skip guidelines that save a little."""


@dataclass
class _Record:
    """Recent guideline outcomes and answer costs for one task kind and one large model."""

    guided: deque[tuple[bool, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    answers: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))
    losing: bool = False

    def savings(self) -> list[float]:
        """Return the nano-USD that each guideline saved. An answer is valued at the mean cost of recent ones."""
        answer = statistics.fmean(self.answers)
        return [(answer if accepted else 0.0) - paid for accepted, paid in self.guided]

    def loses(self) -> bool:
        """Return True if guidelines lost more money than chance explains."""
        if len(self.guided) < WINDOW or len(self.answers) < MIN_ANSWERS:
            return False
        savings = self.savings()
        error = statistics.stdev(savings) * math.sqrt(len(savings))
        return sum(savings) < -MIN_STANDARD_ERRORS * error


class GuidelineRecords:
    """The records of this process, by task kind and large model."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._records: defaultdict[tuple[str, str], _Record] = defaultdict(_Record)

    def skips(self, kind: str, large: str) -> bool:
        """Return True if a request should go without a guideline. While guidelines lose money, some still try one."""
        return self._records[kind, large].losing and self._draw() >= TRY_SHARE

    def add_answer(self, kind: str, large: str, cost: int) -> None:
        """Record the cost of a large-model answer, without the tokens of its guideline."""
        self._records[kind, large].answers.append(cost)

    def add_guideline(self, kind: str, large: str, *, accepted: bool, paid: int) -> None:
        """Record whether stage 2 accepted thanks to a guideline, and the money paid because of it."""
        record = self._records[kind, large]
        record.guided.append((accepted, paid))
        if (loses := record.loses()) != record.losing:
            record.losing = loses
            total = round(sum(record.savings()))
            log.warning(
                "guidelines for %s tasks with %s %s in the last %d guided requests: %s (cascade.skip_losses)",
                kind, large, f"lost {format_usd(-total)} USD" if total < 0 else f"saved {format_usd(total)} USD", WINDOW,
                f"using one in {round(1 / TRY_SHARE)} requests from now on" if loses else "using them again",
            )  # fmt: skip


def may_skip_guidelines(cascade: Cascade, kind: TaskKind, controls: Controls) -> bool:
    """Return True if guidelines may be skipped automatically.

    They may not if the config or a header fixes how this task kind runs.
    """
    configured = cascade.plans is not None or kind in cascade.thresholds
    asked = (controls.mode, controls.budget, controls.thresholds, controls.samples) != (None,) * 4
    return cascade.skip_losses and not configured and not asked and controls.max_stage == 3


def learn(guidelines: GuidelineRecords, cascade: Cascade, finished: Finished) -> None:
    """Record the outcome of a request that stage 1 did not answer.

    Failed requests count too, because their guideline was paid for. Guidelines planned ahead for requests that
    stage 1 answered do not count.
    """
    record, large = finished.record, finished.route.large.name
    if not record.stages or record.stages[0].accepted or record.task is None:
        return
    kind = TaskKind(record.task)
    if not may_skip_guidelines(cascade, kind, finished.request.controls):
        return
    answered = record.status == 200 and not record.error and not record.degraded
    baseline = record.baseline if answered and record.stage == 3 else None
    if baseline and record.model == large:  # a fallback has other prices
        guidelines.add_answer(kind, large, baseline)
    if any(call.stage == 2 for call in finished.calls):
        # The prompt of stage 3 is longer by the guideline.
        extra = 0 if baseline is None else _cost_of_stage(finished, 3) - baseline
        paid = _cost_of_stage(finished, 2) + extra
        guidelines.add_guideline(kind, large, accepted=answered and record.stage == 2, paid=paid)


def _cost_of_stage(finished: Finished, stage: int) -> int:
    return sum(call.cost for call in finished.calls if call.stage == stage)
