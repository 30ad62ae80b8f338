"""Carry out audits: compare the small model's answers with the large model's, one request at a time.

An audit is a request like any other, with its row, its calls and its reservations. Its mode is "audit", and it is paid
from the audits' own budget.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec

from proxy.audits.drift import first_alarm
from proxy.cascade.confidence.agent import is_text, without_tools
from proxy.cascade.kinds import KINDS
from proxy.cascade.prompts import judge_request
from proxy.cascade.toolcalls import with_calls
from proxy.cascade.types import Json, Sample, Task, TaskKind
from proxy.concurrency import reap
from proxy.config.controls import Controls
from proxy.errors import ApiError
from proxy.formats.chat import Chat
from proxy.formats.sse import Accumulator
from proxy.ids import new_id, now
from proxy.ledger.audits import NO_ANSWER, Audited, Models, store_audit, verdicts
from proxy.ledger.database import DatabaseError
from proxy.ledger.windows import window_start
from proxy.logs import REQUEST_ID
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import hides_reasoning
from proxy.service.answer import answer
from proxy.service.audit_queue import AuditJob, StageAnswer
from proxy.service.request import ModelRequest
from proxy.service.state import AppState
from proxy.spending.planner import REASONING_ROOM

log = logging.getLogger(__name__)

_VERDICT_TOKENS = 256  # room for models that think in their text
_SAME_MOMENT = timedelta(seconds=1)
_VERDICT = re.compile(r"[\W_]*(yes|no)(?![^\W_])", re.IGNORECASE)
_DROPPED_FIELDS = frozenset(
    {"stream", "stream_options", "metadata", "store", "user", "safety_identifier", "models"}
)


class BufferedReply:
    """A `Reply` that buffers the response of an internal request, which is never streamed."""

    def __init__(self) -> None:
        self.body = b""

    async def json(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep the body."""
        self.body = body

    async def open(self, headers: Mapping[str, str]) -> None:
        """Refuse to stream."""
        raise AssertionError("an audit is never streamed")

    async def events(self, events: Sequence[tuple[bytes, str | None]]) -> None:
        """Refuse to stream."""
        raise AssertionError("an audit is never streamed")

    async def close(self) -> None:
        """Refuse to stream."""
        raise AssertionError("an audit is never streamed")

    @property
    def answering(self) -> bool:
        """Whether the answer is here."""
        return bool(self.body)


@dataclass(frozen=True, slots=True)
class _LargeAnswer:
    """The large model's answer to an audit.

    `price` is its price for a client in nano-USD. It is `None` if the audits' budget cut the answer short.
    """

    request_id: str
    choice: Json
    price: int | None


@asynccontextmanager
async def auditing(current: Callable[[], AppState]) -> AsyncIterator[None]:
    """Carry out audits in the background, each with the state of its time.

    On exit, the audit under way is cancelled and settled.
    """
    task = asyncio.create_task(_audit_forever(current))
    try:
        yield
    finally:
        await reap(task)


async def _audit_forever(current: Callable[[], AppState]) -> None:
    while True:
        job = await current().audits.next()
        state = current()
        REQUEST_ID.set(job.request_id)
        try:
            await _carry_out(state, job)
        except ApiError as e:
            log.warning("the audit of %s was not made: %s", job.request_id, e.word)
        except (OSError, DatabaseError) as e:
            log.warning("the audit of %s was not recorded (%s)", job.request_id, type(e).__name__)
        except Exception:  # a bug in one audit must not end the others
            log.exception("the audit of %s failed", job.request_id)


async def _carry_out(state: AppState, job: AuditJob) -> None:
    if KINDS[job.task.kind].audited_by == "judge":
        for local in job.answers:
            await _judge_answer(state, job, local, None)
        return
    # Audit requests without a valid answer too: leaving them out would bias the cost estimate.
    large = await _ask_large(state, job, job.task.body)
    for local in job.answers:
        vote = await _vote_of_large(job, local, large.choice)
        if vote != local.vote and _are_open_texts(job.task, vote, local.vote):
            await _judge_answer(state, job, local, large.price)  # they may say the same in other words
        else:
            agreed = None if vote is None or local.answer is None else vote == local.vote
            await _record_audit(state, job, local, large.request_id, agreed, large.price)


def _are_open_texts(task: Task, *votes: str | None) -> bool:
    """Return True if an agent's answers are texts of a kind without votes."""
    return (
        task.kind is TaskKind.AGENT
        and all(map(is_text, votes))
        and KINDS[without_tools(task).kind].audited_by == "judge"
    )


async def _judge_answer(state: AppState, job: AuditJob, local: StageAnswer, price: int | None) -> None:
    """Ask the large model for a verdict on an answer and record it.

    `price` is the price of the large model's own answer, if it gave one.
    """
    large = await _ask_large(state, job, _verdict_request(job, local))
    await _record_audit(state, job, local, large.request_id, _read_verdict(large.choice), price)


async def _ask_large(state: AppState, job: AuditJob, asked: Json) -> _LargeAnswer:
    """Pay for one answer of the large model.

    The client's own request has just put the prompt into the upstream's cache, so the price counts it as uncached.
    """
    model = job.large_model.name
    body = {k: v for k, v in asked.items() if k not in _DROPPED_FIELDS} | {"model": f"direct/{model}"}
    request = ModelRequest(
        format=Chat(),
        id=new_id("req"),
        received_at=now(),
        key=None,
        body=body,
        size=len(msgspec.json.encode(body)),
        controls=Controls(mode="large"),
        audits=job.task.kind,
        trace=None if state.tracer is None else state.tracer.begin(),
    )
    reply = BufferedReply()
    await answer(state, request, reply)
    read = Accumulator()
    answered = read.add(reply.body)
    price = None
    if read.usage is not None and answered["cope"]["degraded"] is None:
        price = cost(state.prices[model], replace(read.usage, cached_tokens=0))
    choice = {"message": read.message, "finish_reason": read.finish_reason}
    return _LargeAnswer(request.id, choice, price)


def _verdict_request(job: AuditJob, local: StageAnswer) -> Json:
    """Return a request for a verdict: the complete conversation, the answer, and the question."""
    asked = {"messages": judge_request(job.task.body["messages"], local.answer)}
    room = REASONING_ROOM if hides_reasoning(job.large_model.id, asked) else 0
    return asked | {"max_completion_tokens": _VERDICT_TOKENS + room}


def _read_verdict(choice: Json) -> bool | None:
    """Return the verdict, or None if the text holds none or was cut short."""
    found = _VERDICT.match(str(choice["message"].get("content") or ""))
    if found is None or choice.get("finish_reason") == "length":
        return None
    return found[1].lower() == "yes"


async def _vote_of_large(job: AuditJob, local: StageAnswer, choice: Json) -> str | None:
    """Return the vote of the large model's answer, or None if it cannot be compared."""
    message = with_calls(choice["message"], job.task.body.get("tools"))
    sample = Sample(
        index=0,
        message=message,
        finish_reason=choice.get("finish_reason") or "stop",
        logprob=None,
        usage=Usage(),
    )
    known = () if local.vote is None else (local.vote,)
    return await job.estimator.vote(job.task, sample, known)


async def _record_audit(
    state: AppState, job: AuditJob, local: StageAnswer, id_: str, agreed: bool | None, price: int | None
) -> None:
    """Store one audit, and check for drift if an accepted answer disagreed."""
    audited = Audited(
        id=id_,
        request_id=job.request_id,
        created_at=now(),
        task=job.task.kind,
        stage=local.stage,
        confidence=NO_ANSWER if local.confidence is None else local.confidence,
        accepted=local.accepted,
        agreed=agreed,
        small_model=job.small_model,
        large_model=job.large_model.name,
        samples=job.samples,
        spent_nano=local.spent,
        large_nano=price,
    )
    await store_audit(state.database, audited)
    # Requests may name other large models. Drift is checked for the configured one, as in `cope-proxy audits`.
    if local.accepted and agreed is False and job.large_model.name == state.settings.large.model:
        await _warn_of_drift(state, audited)


async def _warn_of_drift(state: AppState, audited: Audited) -> None:
    """Warn once a day if the accepted answers of a task kind and stage agree too seldom."""
    expected = state.settings.audit.expect
    week = window_start("week", audited.created_at, state.zone)
    today = window_start("day", audited.created_at, state.zone)
    models = Models(audited.small_model, audited.large_model)
    found = await verdicts(state.database, week, models, of=(audited.task, audited.stage))
    first = first_alarm(found, expected, today)
    if first is None or (key := (audited.task, audited.stage, today)) in state.audits.warned:
        return
    # The process that recorded the first alarm of the day warns. Two processes may both warn if they record it at the
    # same moment.
    if audited.created_at - found[first].created_at <= _SAME_MOMENT:
        state.audits.warned.add(key)
        count = first + 1
        log.warning(
            "%s answers of stage %d agree with the large model in %d of %d audits of this week, fewer than the expected "
            "%g %%: see `cope-proxy audits`",
            audited.task, audited.stage, sum(bool(a.agreed) for a in found[:count]), count, 100 * expected,
        )  # fmt: skip
