"""The small tier's servers are watched: one that is busy is not taken for dead."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from proxy.backends.small_pool import MISSED_PROBES, SmallPool
from proxy.errors import SmallUnavailableError
from proxy.formats.sse import Accumulator

pytestmark = pytest.mark.slow


@asynccontextmanager
async def server(answering: asyncio.Event):
    """A server that accepts every connection, and answers while it may."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if answering.is_set():
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
        else:
            await answering.wait()
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/v1"
    finally:
        answering.set()
        running.close()
        await running.wait_closed()


def test_missed_probes_of_busy_servers():
    """Otherwise one slow second sends everything to the model that is paid."""

    async def scenario():
        answering = asyncio.Event()
        answering.set()
        async with server(answering) as url, aiohttp.ClientSession() as session:
            pool = SmallPool(session, (url,), "m", None, 10)
            await pool.probe()
            assert pool.available
            answering.clear()
            for _ in range(MISSED_PROBES - 1):
                await pool.probe()
            assert pool.available
            await pool.probe()
            assert not pool.available
            answering.set()
            await pool.probe()
            assert pool.available

    asyncio.run(scenario())


def test_refused_connections_mean_down():
    """Nobody listens there any more."""

    async def scenario():
        answering = asyncio.Event()
        answering.set()
        async with aiohttp.ClientSession() as session:
            async with server(answering) as url:
                pool = SmallPool(session, (url,), "m", None, 10)
                await pool.probe()
                assert pool.available
            await pool.probe()
            assert not pool.available

    asyncio.run(scenario())


def test_redirects_are_not_followed():
    """Neither the key nor a prompt goes to another machine that a server names. Such a server is not used."""

    async def scenario():
        seen = []

        async def elsewhere(request):
            seen.append(request.path)
            return web.json_response({})

        async def moved(request):
            raise web.HTTPTemporaryRedirect(f"{other}{request.path}")

        async with listening(elsewhere) as other, listening(moved) as url, aiohttp.ClientSession() as session:
            pool = SmallPool(session, (f"{url}/v1",), "m", "sk-small", 10)
            await pool.probe()
            assert not pool.available
            pool._servers[0].healthy = True
            with pytest.raises(SmallUnavailableError, match="307"):
                await pool.stream(pool._servers[0], {"messages": []}, Accumulator())
        assert seen == []

    asyncio.run(scenario())


@asynccontextmanager
async def listening(handler):
    """A server that answers everything with one handler."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
