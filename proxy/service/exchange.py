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

    gateway: AppState
    request: ModelRequest
    way: Route
    purse: RequestBudget
    trace: RequestLog
    body: Json
    """The client's, with what `previous_response_id` stands for in it."""
    context: int
    """Tokens that the upstream adds to it from what it keeps."""


async def send_event(work: Exchange, reply: Reply, data: bytes, name: Any = None) -> None:
    """Send one event of a stream, named if the format names its events."""
    if work.request.dialect.named_events:
        await reply.event(data, str(name or msgspec.json.decode(data)["type"]))
    else:
        await reply.event(data)


async def end_stream(work: Exchange, reply: Reply) -> None:
    """End a stream, with the last event of its format if there is one."""
    if work.request.dialect.farewell is not None:
        await reply.event(work.request.dialect.farewell)
    await reply.close()
