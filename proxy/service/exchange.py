"""A request being answered: its parts, and how its stream is written."""

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


async def send_event(exchange: Exchange, data: bytes, name: Any = None) -> None:
    """Send one event of a stream. If the format names its events, the default name is the event's `type`.

    An event of an upstream may lack a type, or have one that is no name.
    """
    if not exchange.request.format.events_are_named:
        await exchange.reply.event(data)
        return
    await exchange.reply.event(data, event_name(name or decode_object(data).get("type")))


async def end_stream(exchange: Exchange) -> None:
    """End a stream, with the last event of its format if it has one."""
    if exchange.request.format.end_event is not None:
        await exchange.reply.event(exchange.request.format.end_event)
    await exchange.reply.close()
