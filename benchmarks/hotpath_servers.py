"""The servers that `benchmarks/hotpath.py` starts: an upstream, the floor, and the proxy with counters.

Run: python benchmarks/hotpath_servers.py upstream PORT | floor PORT UPSTREAM_PORT | counted CONFIG FILE
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
import uvloop

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

CHUNKS = 24
GAP_S = 0.002
"""The pause between two chunks of a stream."""
MODEL = "gpt-4o-mini"
_HEAD = {"id": "chatcmpl-1", "created": 1, "model": MODEL}
_USAGE = {"prompt_tokens": 9, "completion_tokens": CHUNKS, "total_tokens": 9 + CHUNKS}


def _whole() -> bytes:
    message = {"role": "assistant", "content": "ok " * CHUNKS}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return _json({**_HEAD, "object": "chat.completion", "choices": choices, "usage": _USAGE})


def _pieces() -> list[bytes]:
    def event(choices: list[Any], **more: Any) -> bytes:
        chunk = {**_HEAD, "object": "chat.completion.chunk", "choices": choices, **more}
        return _chunk(b"data: " + _json(chunk) + b"\n\n")

    texts = [[{"index": 0, "delta": {"content": f" word{i}"}, "finish_reason": None}] for i in range(CHUNKS)]
    end = event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    last = event([], usage=_USAGE) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    return [*map(event, texts), end, last]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """Answer every request at once, with as little work as possible."""

    body = _whole()
    whole = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    )
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = _pieces()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer once the request is complete."""
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
        if not found or len(body) < int(length or 0):
            return
        self.data = b""
        if b'"stream":true' not in body:
            self.transport.write(self.whole)
            return
        self.transport.write(self.head)
        self._send(0)

    def _send(self, at: int) -> None:
        self.transport.write(self.pieces[at])
        if at + 1 < len(self.pieces):
            asyncio.get_running_loop().call_later(GAP_S, self._send, at + 1)


async def upstream(port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


def floor(upstream_port: int) -> Callable[..., Any]:
    """Return a raw ASGI application that passes bytes on with aiohttp, and does nothing else."""
    url = f"http://127.0.0.1:{upstream_port}/v1/chat/completions"
    sessions: list[aiohttp.ClientSession] = []
    headers = {"content-type": "application/json", "authorization": "Bearer key"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        async with sessions[0].post(url, data=body, headers=headers) as response:
            streamed = response.content_type == "text/event-stream"
            kind = response.headers["content-type"].encode()
            start = {"type": "http.response.start", "status": 200}
            if not streamed:
                raw = await response.read()
                length = (b"content-length", str(len(raw)).encode())
                await send({**start, "headers": [(b"content-type", kind), length]})
                await send({"type": "http.response.body", "body": raw})
                return
            await send({**start, "headers": [(b"content-type", kind)]})
            async for piece in response.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    return app


COUNTS: Counter[str] = Counter()
"""What has happened on the event loop of the counted proxy."""


def count_from_now() -> None:
    """Count on this loop: calls, tasks, jobs for threads, and statements of the database."""
    from concurrent.futures import ThreadPoolExecutor

    from sqlalchemy import Engine, event

    def task(loop: Any, coro: Any, **options: Any) -> Any:
        COUNTS["tasks"] += 1
        return asyncio.Task(coro, loop=loop, **options)

    def profile(_frame: object, kind: str, _arg: object) -> None:
        if kind in ("call", "c_call"):
            COUNTS["calls"] += 1

    submit = ThreadPoolExecutor.submit

    def counted(pool: Any, *args: Any, **options: Any) -> Any:
        COUNTS["thread jobs"] += 1
        return submit(pool, *args, **options)

    ThreadPoolExecutor.submit = counted  # type: ignore[method-assign]
    for name in ("before_cursor_execute", "commit"):
        event.listen(Engine, name, lambda *_, name=name: COUNTS.update([_EVENTS[name]]))
    asyncio.get_running_loop().set_task_factory(task)
    sys.setprofile(profile)


_EVENTS = {"before_cursor_execute": "statements", "commit": "commits"}


def counted(config: str, file: str) -> None:
    """Run the proxy. SIGUSR1 writes the counts into a file and starts again."""
    from proxy.cli.main import main
    from proxy.http import app as module

    create = module.create_app

    def report(*_: object) -> None:
        found = dict(COUNTS)
        COUNTS.clear()
        Path(f"{file}.new").write_text(json.dumps(found), encoding="utf-8")
        Path(f"{file}.new").rename(file)

    def create_counted() -> Any:
        app = create()
        begun = False

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            nonlocal begun
            if scope["type"] == "http" and not begun:
                begun = True
                count_from_now()
                signal.signal(signal.SIGUSR1, report)
            await app(scope, receive, send)

        return counting

    module.create_app = create_counted
    main(["serve", "--config", config])


def run() -> None:
    """Run the server that the command line names."""
    kind, *rest = sys.argv[1:]
    with ExitStack() as stack:
        if kind == "counted":
            counted(*rest)
        elif kind == "upstream":
            runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            runner.run(upstream(int(rest[0])))
        else:
            options: dict[str, Any] = {"lifespan": "off", "access_log": False, "log_level": "warning"}
            uvicorn.run(floor(int(rest[1])), host="127.0.0.1", port=int(rest[0]), ws="none", **options)


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "key")
    run()
