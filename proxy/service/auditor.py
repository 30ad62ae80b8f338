"""Audits: the large model is asked what the small one has answered, one at a time, from a budget of their own.

An audit is a request like another, with its row, its calls and its holds; its mode is "audit" and no client's budget pays.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec

from proxy.cascade.bounds import upper_share
from proxy.cascade.types import Json, Sample, TaskKind
from proxy.errors import ApiError
from proxy.ledger.audits import Agreement, Audited, agreements, keep
from proxy.ledger.database import DatabaseError
from proxy.pricing.prices import Usage
from proxy.service.answer import answer
from proxy.service.audit import Audit
from proxy.service.dialects.chat import Chat
from proxy.service.gateway import Gateway
from proxy.service.ids import new_id
from proxy.service.request import Controls, ModelRequest
from proxy.service.trace import now

log = logging.getLogger(__name__)

DRIFT_WINDOW = timedelta(days=7)
_JUDGED_TOKENS = 256  # room for models that think
_JUDGE = (
    "Question:\n\n{question}\n\nAn assistant's answer:\n\n{answer}\n\nIs the answer correct, and as helpful as a very good "
    "one? Write only yes or no."
)
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
async def auditing(gateway: Gateway) -> AsyncIterator[None]:
    """Carry out audits in the background; one that is under way at the end is cut short, and settled."""
    task = asyncio.create_task(_work(gateway))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _work(gateway: Gateway) -> None:
    while True:
        audit = await gateway.audits.next()
        try:
            await _carry_out(gateway, audit)
        except ApiError as e:
            log.warning("the audit of %s was not made: %s", audit.request_id, e.message)
        except (OSError, DatabaseError) as e:
            log.warning("the audit of %s is not on record (%s)", audit.request_id, type(e).__name__)


async def _carry_out(gateway: Gateway, audit: Audit) -> None:
    request = _request(audit)
    page = _Page()
    await answer(gateway, request, page)
    choice = msgspec.json.decode(page.body)["choices"][0]
    agreed = await _agreed(audit, choice)
    await keep(
        gateway.database,
        Audited(request.id, audit.request_id, now(), audit.task.kind, audit.stage, audit.confidence, agreed),
    )
    if agreed is False:
        await _watch(gateway, audit)


def _request(audit: Audit) -> ModelRequest:
    body = {k: v for k, v in audit.task.body.items() if k not in _LEFT_OUT}
    if audit.task.kind is TaskKind.OPEN:
        asked = _JUDGE.format(question=audit.task.text, answer=audit.answer)
        body = {"messages": [{"role": "user", "content": asked}], "max_completion_tokens": _JUDGED_TOKENS}
    body["model"] = f"direct/{audit.model.name}"
    size = len(msgspec.json.encode(body))
    return ModelRequest(
        Chat(), new_id("req"), now(), None, body, size, Controls(mode="large"), audits=audit.task.kind
    )


async def _agreed(audit: Audit, choice: Json) -> bool | None:
    """Say whether the large model's answer is the local one; `None` when it gave nothing to compare with."""
    message, finish = choice["message"], choice.get("finish_reason") or "stop"
    if audit.task.kind is TaskKind.OPEN:
        said = str(message.get("content") or "").strip().lower()
        return None if finish == "length" or said[:2] not in ("ye", "no") else said.startswith("ye")
    theirs = Sample(0, message, finish, None, Usage())
    known = () if audit.vote is None else (audit.vote,)
    vote = await audit.estimator.vote(audit.task, theirs, known)
    return None if vote is None else vote == audit.vote


async def _watch(gateway: Gateway, audit: Audit) -> None:
    """Warn when the answers of a kind agree less often than they have to."""
    expected = gateway.settings.audit.expect
    for found in await agreements(gateway.database, now() - DRIFT_WINDOW):
        if (found.task, found.stage) == (audit.task.kind.value, audit.stage) and drifted(found, expected):
            log.warning(
                "%s answers of stage %d agree with the large model in %d of %d audits of %d days, fewer than the "
                "expected %g %%: see `cope-proxy audits`",
                found.task, found.stage, found.agreed, found.agreed + found.differed, DRIFT_WINDOW.days, 100 * expected,
            )  # fmt: skip


def drifted(found: Agreement, expected: float) -> bool:
    """Whether so few agree that chance does not explain it: even the upper end of a 95 % interval is too low."""
    count = found.agreed + found.differed
    return bool(count) and upper_share(found.agreed, count) < expected
