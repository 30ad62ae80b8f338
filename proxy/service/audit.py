"""Which local answers are checked against the large model, to see whether the small one still holds its word."""

import asyncio
import logging
import random
from dataclasses import dataclass

from proxy.cascade.types import Accepted, Estimator, Task
from proxy.config import LargeModel
from proxy.records import Stage

log = logging.getLogger(__name__)

WAITING = 64
"""Audits that may wait for their turn; more are left out, as the share is of no use where it cannot be paid."""


@dataclass(frozen=True, slots=True)
class Audit:
    """A local answer to check: the task, what it stood for in the ballot, and what would have been asked."""

    request_id: str
    task: Task
    estimator: Estimator
    model: LargeModel
    stage: Stage
    confidence: float
    vote: str | None
    answer: str


class Audits:
    """The audits of one process that wait for their turn."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._waiting: asyncio.Queue[Audit] = asyncio.Queue(WAITING)

    def propose(
        self,
        request_id: str,
        task: Task,
        estimator: Estimator,
        model: LargeModel,
        accepted: Accepted,
        vote: str | None,
    ) -> None:
        """Draw a lot for an accepted answer; what is drawn is audited when its turn comes."""
        if not self._share or random.random() >= self._share:  # noqa: S311
            return
        audit = Audit(
            request_id,
            task,
            estimator,
            model,
            accepted.stage,
            accepted.confidence,
            vote,
            accepted.sample.text,
        )
        try:
            self._waiting.put_nowait(audit)
        except asyncio.QueueFull:
            log.warning("%s is not audited: %d audits wait already", request_id, WAITING)

    async def next(self) -> Audit:
        """Wait for an audit to do."""
        return await self._waiting.get()
