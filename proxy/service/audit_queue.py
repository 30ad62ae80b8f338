"""Which requests are checked against the large model, to see whether the small one still holds its word."""

import asyncio
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy.cascade.engine import CascadeLog
from proxy.cascade.protocols import Estimator
from proxy.cascade.types import Task
from proxy.config.schema import LargeModel
from proxy.records import CallRecord, Stage

log = logging.getLogger(__name__)

WAITING = 64
"""Audits that may wait for their turn; more are left out, as the share is of no use where it cannot be paid."""


@dataclass(frozen=True, slots=True)
class Local:
    """A stage's answer: what it stood for in its ballot, how sure that was, and whether the client got it.

    `answer` and `confidence` are `None` if no sample was valid. `spent` is what the stage cost, in nano-USD.
    """

    stage: Stage
    answer: str | None
    vote: str | None
    confidence: float | None
    accepted: bool
    spent: int


@dataclass(frozen=True, slots=True)
class Audit:
    """A request to ask the large model, too: the task, and what the stages of the small one answered to it, by n votes."""

    request_id: str
    task: Task
    estimator: Estimator
    small: str
    model: LargeModel
    samples: int
    answers: tuple[Local, ...]


class Audits:
    """The audits of one process that wait for their turn."""

    def __init__(self, share: float) -> None:
        self._share = share
        self.told: set[tuple[str, int, datetime]] = (
            set()
        )  # of which drift this process has warned: task, stage, day
        self._waiting: asyncio.Queue[Audit] = asyncio.Queue(WAITING)

    def drawn(self) -> bool:
        """Draw a lot: whether the request at hand is to be audited."""
        return random.random() < self._share  # noqa: S311

    def add(self, audit: Audit) -> None:
        """Let an audit wait for its turn."""
        try:
            self._waiting.put_nowait(audit)
        except asyncio.QueueFull:
            log.warning("%s is not audited: %d audits wait already", audit.request_id, WAITING)

    async def next(self) -> Audit:
        """Wait for an audit to do."""
        return await self._waiting.get()


def answers(cascade_log: CascadeLog, calls: Sequence[CallRecord]) -> Iterator[Local]:
    """Yield what each stage that was reached would have answered, and what its calls cost."""
    for stage, verdict in cascade_log.verdicts.items():
        spent = sum(call.cost for call in calls if call.stage == stage)
        if (winner := verdict.standing.winner) is None:
            yield Local(stage, None, None, None, False, spent)
        else:
            vote = cascade_log.vote(stage, winner.index)
            yield Local(stage, winner.text, vote, verdict.standing.low, verdict.accepted, spent)
