"""Starts the stand-in, prints its port as a JSON line, and ends when its stdin does."""

import argparse
import asyncio
import json
import sys

from aiohttp import web

from tests.support.standin.server import Options, StandInServer


async def serve(options: Options, port: int) -> None:
    """Serve until stdin is closed, which it is too when the parent dies."""
    # The cancellation of handlers is how the departure of a client is noticed.
    runner = web.AppRunner(StandInServer(options).app(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)  # nobody writes to it: readable means closed
    await ended.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin)
    await runner.cleanup()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--model", action="append", help="a model that is served; may be given more than once"
    )
    parser.add_argument("--max-model-len", type=int, help="the context's size in words, as vLLM tells it")
    parser.add_argument("--require-key", help="the only API key that is let in")
    parser.add_argument(
        "--made-up", action="store_true", help="serve any model, and any id of a stored object"
    )
    parser.add_argument("--prompt-cache", choices=("automatic", "breakpoints"), help="how prompts are cached")
    parser.add_argument("--least-cached", type=int, default=1024, help="the shortest cached prompt in tokens")
    given = parser.parse_args()
    models = tuple(given.model or ("stand-in",))
    options = Options(
        models, given.max_model_len, given.require_key, given.made_up, given.prompt_cache, given.least_cached
    )
    asyncio.run(serve(options, given.port))


if __name__ == "__main__":
    main()
