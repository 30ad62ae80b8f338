"""A request under way and what its steps share."""

from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.cascade.types import Json
from proxy.service.reply import Reply
from proxy.service.request import ModelRequest
from proxy.service.request_log import RequestLog
from proxy.service.routing import Route
from proxy.service.state import AppState
from proxy.spending.budget import RequestBudget


@dataclass(frozen=True)
class Exchange:
    """A request under way and what its steps share."""

    state: AppState
    request: ModelRequest
    way: Route
    budget: RequestBudget
    request_log: RequestLog
    body: Json
    """The client's, with what `previous_response_id` stands for in it."""
    context: int
    """Tokens that the upstream adds to it from what it keeps."""


async def send_event(exchange: Exchange, reply: Reply, data: bytes, name: Any = None) -> None:
    """Send one event of a stream, named if the format names its events."""
    if exchange.request.format.events_are_named:
        await reply.event(data, str(name or msgspec.json.decode(data)["type"]))
    else:
        await reply.event(data)


async def end_stream(exchange: Exchange, reply: Reply) -> None:
    """End a stream, with the last event of its format if there is one."""
    if exchange.request.format.end_event is not None:
        await reply.event(exchange.request.format.end_event)
    await reply.close()
