"""Audits: the large model is asked what the small one has answered, one at a time, from a budget of their own.

An audit is a request like another, with its row, its calls and its holds; its mode is "audit" and no client's budget pays.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import msgspec

from proxy.audits.drift import first_alarm
from proxy.cascade import prompts
from proxy.cascade.confidence.agent import TEXT
from proxy.cascade.toolcalls import with_calls
from proxy.cascade.types import Json, Sample, TaskKind
from proxy.config.controls import Controls
from proxy.errors import ApiError
from proxy.formats.chat import Chat
from proxy.ids import new_id, now
from proxy.ledger.audits import Audited, Models, keep, verdicts
from proxy.ledger.database import DatabaseError
from proxy.ledger.windows import window_start
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import hides_reasoning
from proxy.service.answer import answer
from proxy.service.audit_queue import Audit, Local
from proxy.service.request import ModelRequest
from proxy.service.state import AppState
from proxy.spending.planner import REASONING_ROOM

log = logging.getLogger(__name__)

_JUDGED_TOKENS = 256  # room for models that think in their text
_AT_ONCE = timedelta(seconds=1)
_VERDICT = re.compile(r"[\W_]*(yes|no)(?![^\W_])", re.IGNORECASE)
_LEFT_OUT = frozenset(
    {"stream", "stream_options", "metadata", "store", "user", "safety_identifier", "models"}
)


class _Page:
    """The reply to a request that nobody has sent: what would go to its client is kept. See `Reply`."""

    def __init__(self) -> None:
        self.body = b""

    async def json(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.body = body

    async def open(self, headers: Mapping[str, str]) -> None:
        raise AssertionError("an audit is never streamed")

    async def event(self, data: bytes, name: str | None = None) -> None:
        raise AssertionError("an audit is never streamed")

    async def close(self) -> None:
        raise AssertionError("an audit is never streamed")

    @property
    def answering(self) -> bool:
        return bool(self.body)


@asynccontextmanager
async def auditing(state: AppState) -> AsyncIterator[None]:
    """Carry out audits in the background; one that is under way at the end is cut short, and settled."""
    task = asyncio.create_task(_work(state))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _work(state: AppState) -> None:
    while True:
        audit = await state.audits.next()
        try:
            await _carry_out(state, audit)
        except ApiError as e:
            log.warning("the audit of %s was not made: %s", audit.request_id, e.message)
        except (OSError, DatabaseError) as e:
            log.warning("the audit of %s is not on record (%s)", audit.request_id, type(e).__name__)
        except Exception:  # one that breaks must not end the others
            log.exception("the audit of %s failed", audit.request_id)


async def _carry_out(state: AppState, audit: Audit) -> None:
    if audit.task.kind is TaskKind.OPEN:
        for local in audit.answers:
            await _judge(state, audit, local, None)
        return
    # Also where no stage has an answer: what such requests cost is evidence, and they must be as likely to be on record.
    id_, choice, price = await _ask(state, audit, audit.task.body)
    for local in audit.answers:
        theirs = await _vote(audit, local, choice)
        if audit.task.kind is TaskKind.AGENT and theirs == local.vote == TEXT:
            await _judge(state, audit, local, price)  # texts have one label, whatever they say
        else:
            agreed = None if theirs is None or local.answer is None else theirs == local.vote
            await _note(state, audit, local, id_, agreed, price)


async def _judge(state: AppState, audit: Audit, local: Local, price: int | None) -> None:
    """Note a verdict on an answer, and the price of the large model's own, where it was asked for one."""
    id_, choice, _ = await _ask(state, audit, _judging(audit, local))
    await _note(state, audit, local, id_, _judged(choice), price)


async def _ask(state: AppState, audit: Audit, asked: Json) -> tuple[str, Json, int | None]:
    """Pay for one answer; return the id of its request, its choice, and its price for a client, in nano-USD.

    The price is `None` where the audits' budget has cut the answer. A prompt that was cached, since the client's own request
    came a moment ago, counts as if it had not been.
    """
    body = {k: v for k, v in asked.items() if k not in _LEFT_OUT} | {"model": f"direct/{audit.model.name}"}
    size = len(msgspec.json.encode(body))
    request = ModelRequest(
        Chat(), new_id("req"), now(), None, body, size, Controls(mode="large"), audits=audit.task.kind
    )
    page = _Page()
    await answer(state, request, page)
    answered = msgspec.json.decode(page.body)
    usage, _, _ = request.format.whole(answered)
    price = None
    if usage is not None and answered["cope"]["degraded"] is None:
        price = cost(state.prices[audit.model.name], replace(usage, cached_tokens=0))
    return request.id, answered["choices"][0], price


def _judging(audit: Audit, local: Local) -> Json:
    """Ask about an answer where it was given: after the whole conversation."""
    answer = {"role": "assistant", "content": local.answer}
    messages = [*audit.task.body["messages"], answer, {"role": "user", "content": prompts.JUDGE}]
    asked = {"messages": messages}
    room = REASONING_ROOM if hides_reasoning(audit.model.id, asked) else 0
    return asked | {"max_completion_tokens": _JUDGED_TOKENS + room}


def _judged(choice: Json) -> bool | None:
    """Read a verdict; `None` when it is none."""
    said = _VERDICT.match(str(choice["message"].get("content") or ""))
    if said is None or choice.get("finish_reason") == "length":
        return None
    return said[1].lower() == "yes"


async def _vote(audit: Audit, local: Local, choice: Json) -> str | None:
    """Return what the large model's answer stands for; `None` when it is nothing to compare with."""
    message = with_calls(choice["message"], audit.task.body.get("tools"))
    theirs = Sample(0, message, choice.get("finish_reason") or "stop", None, Usage())
    known = () if local.vote is None else (local.vote,)
    return await audit.estimator.vote(audit.task, theirs, known)


async def _note(
    state: AppState, audit: Audit, local: Local, id_: str, agreed: bool | None, price: int | None
) -> None:
    found = Audited(
        id=id_,
        request_id=audit.request_id,
        created_at=now(),
        task=audit.task.kind,
        stage=local.stage,
        confidence=local.confidence,
        accepted=local.accepted,
        agreed=agreed,
        small_model=audit.small,
        large_model=audit.model.name,
        samples=audit.samples,
        spent_nano=local.spent,
        large_nano=price,
    )
    await keep(state.database, found)
    # Requests may name other large models; the watch is over the configured one, as `cope-proxy audits` is.
    if local.accepted and agreed is False and audit.model.name == state.settings.large.model:
        await _watch(state, found)


async def _watch(state: AppState, noted: Audited) -> None:
    """Warn, once a day, when the accepted answers of a kind and stage agree less often than they have to."""
    expected = state.settings.audit.expect
    week = window_start("week", noted.created_at, state.zone)
    today = window_start("day", noted.created_at, state.zone)
    models = Models(noted.small_model, noted.large_model)
    found = await verdicts(state.database, week, models, of=(noted.task, noted.stage))
    first = first_alarm(found, expected, today)
    if first is None or (told := (noted.task, noted.stage, today)) in state.audits.told:
        return
    # Whichever process noted the day's first one warns. Of two at the same time neither may have seen the other: both do.
    if noted.created_at - found[first].created_at <= _AT_ONCE:
        state.audits.told.add(told)
        count = first + 1
        log.warning(
            "%s answers of stage %d agree with the large model in %d of %d audits of this week, fewer than the expected "
            "%g %%: see `cope-proxy audits`",
            noted.task, noted.stage, sum(bool(a.agreed) for a in found[:count]), count, 100 * expected,
        )  # fmt: skip
