"""Other gateways beside this proxy and the bare pass-through of `hotpath.py`, all measured in turn, in one run.

Run: python benchmarks/peers.py [--litellm PYTHON] [--portkey FOLDER] [--rounds N] [--seconds S]

PYTHON is an interpreter with `litellm[proxy]`. FOLDER is one in which npm has installed `@portkey-ai/gateway`. Each gateway
runs as one process with its defaults for production, without a database. So LiteLLM and Portkey check no budget and keep no
ledger here. This proxy does both, in SQLite, for each request.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.hotpath import (
    LOADS,
    MODEL,
    WARM_UP,
    Load,
    Round,
    Server,
    configured,
    key_of,
    measured,
    medians,
    send,
    started,
)
from tests.support.wait import free_port, wait_until

START_S = 120
_KEY = "authorization: Bearer sk-peer\r\n"
_LITELLM = """
model_list:
  - model_name: direct/{model}
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: key
general_settings:
  master_key: sk-peer
"""


@contextlib.contextmanager
def litellm(python: str, folder: Path, upstream: int) -> Iterator[Server]:
    """Run LiteLLM's proxy with one worker."""
    port, config = free_port(), folder / "litellm.yaml"
    config.write_text(_LITELLM.format(model=MODEL, upstream=upstream), encoding="utf-8")
    command = [
        str(Path(python).with_name("litellm")),
        "--config",
        str(config),
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    with _running(command, folder, {"LITELLM_LOG": "ERROR"}) as pid:
        yield Server(port, pid, _KEY)


@contextlib.contextmanager
def portkey(modules: str, folder: Path, upstream: int) -> Iterator[Server]:
    """Run Portkey's gateway."""
    port = free_port()
    main = Path(modules).resolve() / "node_modules/@portkey-ai/gateway/build/start-server.js"
    with _running(
        ["node", str(main), f"--port={port}", "--headless"], folder, {"NODE_ENV": "production"}
    ) as pid:
        host = f"x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:{upstream}/v1\r\n"
        yield Server(port, pid, _KEY + host)


@contextlib.contextmanager
def _running(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[int]:
    with (folder / "peer.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | env, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def compare(servers: dict[str, Server], load: Load, rounds: int, seconds: float) -> None:
    """Measure all servers in turn, and print a row for each. A server that does not answer such requests is left out."""
    for name, server in list(servers.items()):
        try:
            uvloop.run(send(server, load, most=WARM_UP))
        except (OSError, RuntimeError) as e:
            servers = {other: one for other, one in servers.items() if other != name}
            print(f"{load.name:32} {name:10} left out: {str(e).partition(chr(13))[0]}", flush=True)
    found: dict[str, list[Round]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            found[name].append(measured(server, load, seconds))
    floor = medians(found["floor"])
    for name, results in found.items():
        own = medians(results)
        print(
            f"{load.name:32} {name:10} CPU {own.cpu:7.3f} ms = {own.cpu / floor.cpu:5.1f} x"
            f"   p50 {own.p50:7.2f} ms   p99 {own.p99:8.2f} ms",
            flush=True,
        )


def _answers(server: Server) -> bool:
    try:
        return len(uvloop.run(send(server, Load("first", 1), most=1))) >= 1
    except (OSError, RuntimeError):
        return False


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--litellm", metavar="PYTHON", help="an interpreter that has litellm[proxy]")
    parser.add_argument("--portkey", metavar="FOLDER", help="a folder with node_modules/@portkey-ai/gateway")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a round of one server")
    options = parser.parse_args()
    upstream, port = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(started(folder, "upstream", str(upstream)))
        floor = stack.enter_context(started(folder, "floor", str(port), str(upstream)))
        proxy = stack.enter_context(configured(folder, upstream, None))
        servers = {"floor": Server(port, floor), "cope-proxy": Server(proxy.port, proxy.pid, key_of(proxy))}
        if options.portkey:
            servers["portkey"] = stack.enter_context(portkey(options.portkey, folder, upstream))
        if options.litellm:
            servers["litellm"] = stack.enter_context(litellm(options.litellm, folder, upstream))
        for name, server in servers.items():
            wait_until(lambda server=server: _answers(server), f"{name} to answer", START_S)
        time.sleep(6)  # until the proxy has heard of its first key
        for load in LOADS:
            compare(servers, load, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
