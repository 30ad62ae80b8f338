"""Sample requests for audits against the large model."""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy.cascade.engine import CascadeLog
from proxy.cascade.protocols import Estimator
from proxy.cascade.types import Task
from proxy.config.schema import LargeModel
from proxy.records import CallRecord, Stage

log = logging.getLogger(__name__)

MAX_QUEUED = 64
"""Audits that may be queued. Further ones are dropped: the large model, or the budget, cannot keep up anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageAnswer:
    """One stage's answer: its vote, its confidence, and whether it was sent to the client.

    `answer` and `confidence` are `None` if no sample was valid. `spent` is the cost of the stage in nano-USD.
    """

    stage: Stage
    answer: str | None
    vote: str | None
    confidence: float | None
    accepted: bool
    spent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditJob:
    """A request to send to the large model as well: its task, and the answers of the small model's stages."""

    request_id: str
    task: Task
    estimator: Estimator
    small_model: str
    large_model: LargeModel
    samples: int
    answers: tuple[StageAnswer, ...]


class AuditQueue:
    """The audits that this process still has to carry out."""

    def __init__(self) -> None:
        self._jobs: asyncio.Queue[AuditJob] = asyncio.Queue(MAX_QUEUED)
        self.warned: set[tuple[str, int, datetime]] = set()
        """Task, stage and day of each drift that this process has warned about."""

    def add(self, job: AuditJob) -> None:
        """Queue an audit, or log a warning if the queue is full."""
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            log.warning("%s is not audited: %d audits are queued already", job.request_id, MAX_QUEUED)

    async def next(self) -> AuditJob:
        """Wait for the next audit."""
        return await self._jobs.get()


def drawn(share: float) -> bool:
    """Return True, at random, for a share of all requests."""
    return random.random() < share  # noqa: S311


def stage_answers(cascade_log: CascadeLog, calls: Sequence[CallRecord]) -> tuple[StageAnswer, ...]:
    """Return the answer and the cost of each stage that was reached."""
    answers = []
    for stage, verdict in cascade_log.verdicts.items():
        winner = verdict.standing.winner
        answers.append(
            StageAnswer(
                stage=stage,
                answer=None if winner is None else winner.text,
                vote=None if winner is None else cascade_log.vote(stage, winner.index),
                confidence=None if winner is None else verdict.standing.low,
                accepted=winner is not None and verdict.accepted,
                spent=sum(call.cost for call in calls if call.stage == stage),
            )
        )
    return tuple(answers)
