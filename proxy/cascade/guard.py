"""No text ends a request: detection and votes that fail on a text, or take too long, count as none.

Every failure is reported with its traceback, so a programming error shows in the log, the metrics and the tests.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from proxy.cascade import detection
from proxy.cascade.kinds import KINDS, estimator_for
from proxy.cascade.protocols import AsksInputs, Estimator, Runner
from proxy.cascade.types import Ballot, Json, Sample, Standing, Task, TaskKind

log = logging.getLogger(__name__)

VOTE_SECONDS = 20.0
"""The longest time of one vote. Programs have no deadline here, because they wait for the sandbox, which has its own."""

Report = Callable[[TaskKind, Exception], None]
"""Called with the task kind and the error of a vote or a detection that failed."""


def log_failure(kind: TaskKind, error: Exception) -> None:
    """Log a failed vote or detection."""
    log.warning("a vote or a detection (%s) failed with %s", kind, described(error))


def described(error: Exception) -> str:
    """Return the type of an error and the place of it. Its message is left out, because it may quote a text."""
    places = traceback.format_tb(error.__traceback__, limit=-6)
    return "\n".join([type(error).__name__, *places])


class Guarded:
    """An estimator whose `vote` raises nothing and ends in time. See `proxy.cascade.protocols.Estimator`."""

    def __init__(self, inner: Estimator, report: Report, seconds: float | None = VOTE_SECONDS) -> None:
        self.default_thresholds = inner.default_thresholds
        self.forms = inner.forms
        self.asks_inputs = isinstance(inner, AsksInputs) and inner.asks_inputs
        self._inner = inner
        self._report = report
        self._seconds = seconds

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the group of a sample. It is `None` if the estimator fails on the sample, or is late."""
        try:
            async with nullcontext() if self._seconds is None else asyncio.timeout(self._seconds):
                return await self._inner.vote(task, sample, groups)
        except TimeoutError:
            log.warning("a vote (%s) took more than %s s", task.kind, self._seconds)
        except Exception as e:  # noqa: BLE001  (the texts of clients and models are not bugs that end a request)
            self._report(task.kind, e)
        return None

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`."""
        return self._inner.standing(ballot, total)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int | None:
        """See `Estimator.needed`."""
        return self._inner.needed(total, threshold, inclusive=inclusive)

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`."""
        return self._inner.wanted(ballot, total, threshold, inclusive=inclusive)


def safe_estimator(task: Task, runner: Runner | None, report: Report = log_failure) -> Guarded:
    """Return the guarded estimator of a task. If its examples cannot be read, programs are compared as text."""
    plain = KINDS[task.kind].estimator
    try:
        estimator = estimator_for(task, runner)
    except Exception as e:  # noqa: BLE001  (as above)
        report(task.kind, e)
        estimator = plain
    return Guarded(estimator, report, VOTE_SECONDS if estimator is plain else None)


def safe_detect(body: Json, report: Report = log_failure) -> Task:
    """Return the task of a request. It is open if detection fails."""
    try:
        return detection.detect(body)
    except Exception as e:  # noqa: BLE001  (as above)
        report(TaskKind.OPEN, e)
        return Task(TaskKind.OPEN, body, "")
