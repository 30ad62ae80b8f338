"""A receiver of webhooks on a real socket, which can misbehave."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.support.wait import LOCALHOST, free_port, wait_until

SECRET = "whsec_c2VjcmV0IG9mIHRoZSByZWNlaXZlcg=="


@dataclass(frozen=True)
class Received:
    """A request as it came in."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def verified(self, secret: str = SECRET) -> Any:
        """Return the payload if the signature is right, as the library of Standard Webhooks finds it; otherwise raise."""
        return Webhook(secret).verify(self.body, self.headers)


Answer = Callable[[web.Request], Any]


async def taken(_):
    """Answer as a receiver does that has taken the message."""
    return web.Response(status=204)


class Receiver:
    """An HTTP server in a thread. `answer` can be exchanged at any time."""

    def __init__(self, answer: Answer = taken) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.port = free_port()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its URL, whose path is a secret as in Slack's."""
        return f"http://{LOCALHOST}:{self.port}/services/T000/hush-hush"

    def start(self) -> Self:
        """Serve, after a `stop` on the same port again."""
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def stop(self) -> None:
        """End the server and its connections."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)
            self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, count: int, timeout_s: float = 30) -> list[Received]:
        """Wait until so many requests have come, and return them."""
        wait_until(lambda: len(self.received) >= count, f"{count} webhooks", timeout_s)
        return self.received[:]

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, LOCALHOST, self.port).start()
        started.set()
        await self._stopped.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.received.append(Received({k.lower(): v for k, v in request.headers.items()}, body))
        return await self.answer(request)
