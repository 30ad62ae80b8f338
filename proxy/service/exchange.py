"""A request being answered: its parts, and how its stream is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.cascade.types import Json
from proxy.formats.lenient import decode_object
from proxy.formats.sse import event_name
from proxy.service.reply import Reply
from proxy.service.request import ModelRequest
from proxy.service.request_log import RequestLog
from proxy.service.routing import Route
from proxy.service.state import AppState
from proxy.spending.budget import RequestBudget
from proxy.spending.paid import Spending


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An admitted request with everything that its stages need."""

    state: AppState
    request: ModelRequest
    route: Route
    budget: RequestBudget
    spending: Spending
    request_log: RequestLog
    reply: Reply
    body: Json
    """The client's body. An earlier conversation that this proxy keeps is filled in."""
    context_tokens: int
    """Tokens that the upstream adds from a conversation that it keeps."""


async def send_events(exchange: Exchange, events: Sequence[tuple[bytes, Any]]) -> None:
    """Send events of a stream together, each with its `type`, which is its name if the format names its events.

    An event of an upstream may lack a type, or have one that is no name.
    """
    if not exchange.request.format.events_are_named:
        await exchange.reply.events([(data, None) for data, _ in events])
        return
    await exchange.reply.events(
        [(data, event_name(kind or decode_object(data).get("type"))) for data, kind in events]
    )


async def end_stream(exchange: Exchange) -> None:
    """End a stream, with the last event of its format if it has one."""
    if exchange.request.format.end_event is not None:
        await exchange.reply.events([(exchange.request.format.end_event, None)])
    await exchange.reply.close()
