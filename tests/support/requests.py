"""Requests as the service sees them, for tests that need no server."""

from datetime import UTC, datetime

from proxy.config.controls import Controls
from proxy.config.schema import LargeModel
from proxy.formats.chat import Chat
from proxy.service.request import ModelRequest
from proxy.service.request_log import RequestLog
from proxy.service.routing import Route


def request_log(*, mode="cascade", large="gpt", body=None, controls=None, **facts):
    """Return the log of a chat request, with the given facts noted."""
    request = ModelRequest(
        format=Chat(),
        id="req_1",
        received_at=datetime(2026, 11, 23, tzinfo=UTC),
        key=None,
        body=body or {"model": "cope", "messages": [{"role": "user", "content": "6 times 7?"}]},
        size=60,
        controls=controls or Controls(),
    )
    route = Route(mode, (LargeModel(name=large, id=large, upstream=""),))
    return RequestLog(request=request, route=route, **facts)
