"""Whether guidelines earn their price: where they lose money, they are left out, but for a try now and then.

A guideline costs about a quarter of a large answer, and a stage 2 that is seldom sure does not earn it (COPE, arXiv
2506.11578). That hangs on both models and on the traffic. Kept in this process's memory only: each one learns for itself,
anew after a start.
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
from proxy.service.request_log import RequestLog

log = logging.getLogger(__name__)

WINDOW = 200
"""As many of the last requests with a guideline are looked at; fewer say nothing."""
ANSWERS = 20
"""As many answers of the large model have to be known before their mean says what one is worth."""
TRIES = 0.05
"""The share of requests for which guidelines that lose money are tried again."""
SURE = 2.0
"""How many standard errors a loss has to be from nothing: else chance would leave out what earns a little."""


@dataclass
class _Record:
    """Of one task kind before one large model: what guidelines cost and whether stage 2 was sure; what answers cost."""

    tries: deque[tuple[bool, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    answers: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))
    losing: bool = False

    def saved(self) -> list[float]:
        """Return what each guideline saved, in nano-USD, when an answer is worth what they cost on average."""
        worth = statistics.fmean(self.answers)
        return [(worth if accepted else 0.0) - paid for accepted, paid in self.tries]

    def loses(self) -> bool:
        """Return whether the guidelines lost money, and more than chance explains."""
        if len(self.tries) < WINDOW or len(self.answers) < ANSWERS:
            return False
        saved = self.saved()
        return sum(saved) < -SURE * statistics.stdev(saved) * math.sqrt(len(saved))


class GuidelineRecords:
    """What guidelines have been worth lately, by task kind and large model. State is its point."""

    def __init__(self, lot: Callable[[], float] = random.random) -> None:
        self._lot = lot
        self._records: defaultdict[tuple[str, str], _Record] = defaultdict(_Record)

    def left_out(self, kind: str, large: str) -> bool:
        """Say for one request whether to go without."""
        return self._records[kind, large].losing and self._lot() >= TRIES

    def answered(self, kind: str, large: str, cost: int) -> None:
        """Note what an answer of the large model cost, without its guideline."""
        self._records[kind, large].answers.append(cost)

    def tried(self, kind: str, large: str, *, accepted: bool, paid: int) -> None:
        """Note whether a guideline made the large model's answer needless, and what was paid because of it."""
        record = self._records[kind, large]
        record.tries.append((accepted, paid))
        if (loses := record.loses()) != record.losing:
            record.losing = loses
            total = round(sum(record.saved()))
            log.warning(
                "guidelines for %s tasks, before %s, %s in the last %d requests that had one: %s (cascade.skip_losses)",
                kind, large, f"lost {format_usd(-total)} USD" if total < 0 else f"saved {format_usd(total)} USD", WINDOW,
                f"tried once in {round(1 / TRIES)} from now on" if loses else "they are back",
            )  # fmt: skip


def undecided(cascade: Cascade, kind: TaskKind, controls: Controls) -> bool:
    """Whether neither the config nor the request says how this kind of task is to run, so that the record may."""
    said = cascade.plans is not None or kind in cascade.thresholds
    asked = (controls.mode, controls.budget, controls.thresholds, controls.samples) != (None,) * 4
    return cascade.skip_losses and not said and not asked and controls.max_stage == 3


def learn(guidelines: GuidelineRecords, request_log: RequestLog, large: str) -> None:
    """Note what a request tells of which stage 1 was not sure; also one that failed or ran out of money: it was paid for.

    What was planned ahead for a request that stage 1 answers is no matter of this record.
    """
    if not request_log.cascade_log.stages or request_log.cascade_log.stages[0].accepted:
        return
    kind, whole = (
        str(request_log.task),
        request_log.status == 200 and not request_log.error and not request_log.degraded,
    )
    baseline = request_log.baseline if whole and request_log.stage == 3 else None
    if baseline and request_log.model == large:  # a fallback has other prices
        guidelines.answered(kind, large, baseline)
    if any(call.stage == 2 for call in request_log.calls):
        # Stage 3's prompt is longer by the guideline.
        more = 0 if baseline is None else sum(c.cost for c in request_log.calls if c.stage == 3) - baseline
        paid = sum(call.cost for call in request_log.calls if call.stage == 2) + more
        guidelines.tried(kind, large, accepted=whole and request_log.stage == 2, paid=paid)
