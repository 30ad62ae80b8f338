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
from proxy.cascade.types import Json, Sample, Task, TaskKind
from proxy.errors import ApiError
from proxy.ledger.audits import Agreement, Audited, agreements, keep
from proxy.ledger.database import DatabaseError
from proxy.pricing.prices import Usage
from proxy.records import Stage
from proxy.service.answer import answer
from proxy.service.audit import Audit, Local
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
        except Exception:  # one that breaks must not end the others
            log.exception("the audit of %s failed", audit.request_id)


async def _carry_out(gateway: Gateway, audit: Audit) -> None:
    if audit.task.kind is TaskKind.OPEN:
        for local in audit.answers:
            id_, choice = await _ask(gateway, audit, _judging(audit.task, local))
            await _note(gateway, audit, local, id_, _judged(choice))
        return
    id_, choice = await _ask(gateway, audit, audit.task.body)
    for local in audit.answers:
        await _note(gateway, audit, local, id_, await _agreed(audit, local, choice))


async def _ask(gateway: Gateway, audit: Audit, asked: Json) -> tuple[str, Json]:
    """Pay for one answer; return the id of its request, and its choice."""
    body = {k: v for k, v in asked.items() if k not in _LEFT_OUT} | {"model": f"direct/{audit.model.name}"}
    size = len(msgspec.json.encode(body))
    request = ModelRequest(
        Chat(), new_id("req"), now(), None, body, size, Controls(mode="large"), audits=audit.task.kind
    )
    page = _Page()
    await answer(gateway, request, page)
    return request.id, msgspec.json.decode(page.body)["choices"][0]


def _judging(task: Task, local: Local) -> Json:
    asked = _JUDGE.format(question=task.text, answer=local.answer)
    return {"messages": [{"role": "user", "content": asked}], "max_completion_tokens": _JUDGED_TOKENS}


def _judged(choice: Json) -> bool | None:
    """Read a verdict; `None` when it is none."""
    said = str(choice["message"].get("content") or "").strip().lower()
    if choice.get("finish_reason") == "length" or said[:2] not in ("ye", "no"):
        return None
    return said.startswith("ye")


async def _agreed(audit: Audit, local: Local, choice: Json) -> bool | None:
    """Say whether the large model's answer is the local one; `None` when it gave nothing to compare with."""
    theirs = Sample(0, choice["message"], choice.get("finish_reason") or "stop", None, Usage())
    known = () if local.vote is None else (local.vote,)
    vote = await audit.estimator.vote(audit.task, theirs, known)
    return None if vote is None else vote == local.vote


async def _note(gateway: Gateway, audit: Audit, local: Local, id_: str, agreed: bool | None) -> None:
    kind = audit.task.kind
    found = Audited(id_, audit.request_id, now(), kind, local.stage, local.confidence, local.accepted, agreed)
    await keep(gateway.database, found)
    if local.accepted and agreed is False:
        await _watch(gateway, kind, local.stage)


async def _watch(gateway: Gateway, kind: TaskKind, stage: Stage) -> None:
    """Warn when the accepted answers of a kind agree less often than they have to."""
    expected = gateway.settings.audit.expect
    for found in await agreements(gateway.database, now() - DRIFT_WINDOW):
        if (found.task, found.stage, found.accepted) == (kind.value, stage, True) and drifted(
            found, expected
        ):
            log.warning(
                "%s answers of stage %d agree with the large model in %d of %d audits of %d days, fewer than the "
                "expected %g %%: see `cope-proxy audits`",
                found.task, found.stage, found.agreed, found.agreed + found.differed, DRIFT_WINDOW.days, 100 * expected,
            )  # fmt: skip


def drifted(found: Agreement, expected: float) -> bool:
    """Whether so few agree that chance does not explain it: even the upper end of a 95 % interval is too low."""
    count = found.agreed + found.differed
    return bool(count) and upper_share(found.agreed, count) < expected
