"""A server that does with each connection as a test says, byte by byte."""

import asyncio
import threading
from contextlib import contextmanager


@contextmanager
def talking(say):
    """Run a server that does with each connection as it is told."""
    ready, port, stop = threading.Event(), [0], []

    async def serve():
        async def handle(reader, writer):
            try:
                await say(reader, writer)
            except OSError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port[0] = server.sockets[0].getsockname()[1]
        ended = asyncio.Event()
        stop.append((asyncio.get_running_loop(), ended))
        ready.set()
        await ended.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield port[0]
    loop, ended = stop[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
