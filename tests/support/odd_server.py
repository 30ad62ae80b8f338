"""A model server of which every byte is the test's: it answers each request with the bytes of its case."""

import asyncio
import threading
from typing import Self

from aiohttp import web

from tests.support.wait import LOCALHOST, Json


class OddServer:
    """It looks for the case in the field `user` of a request. Use it as `async with`."""

    def __init__(self) -> None:
        self.cases: dict[str, bytes | list[bytes]] = {}
        """The body of each case. A list is sent in pieces, each in a segment of its own."""
        self.headers: dict[str, str] = {}
        self.base_url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOCALHOST, 0)
        await site.start()
        self.base_url = f"http://{LOCALHOST}:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body: Json = await request.json()
        answer = self.cases[str(body.get("user"))]
        kind = "text/event-stream" if body.get("stream") else "application/json"
        headers = {**self.headers, "content-type": kind}
        if isinstance(answer, bytes):
            return web.Response(body=answer, headers=headers)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for piece in answer:
            await response.write(piece)
            await asyncio.sleep(0)
        await response.write_eof()
        return response


class ThreadedOddServer(OddServer):
    """The same server with a loop in a thread, for tests that block. Use it as `with`."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.__aexit__(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
