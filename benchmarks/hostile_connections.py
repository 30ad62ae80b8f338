"""The proxy's memory and an honest client's latency beside hostile connections.

Run: python benchmarks/hostile_connections.py [connections [seconds]]

The connections are of these kinds, in equal parts, and each one starts again when it is refused:

- headers that come byte by byte, and headers without end
- bodies of 20 MB without a key, and tokens of 3 MB and of 30 kB
- with a key of their own: bodies of many tiny messages, compressed bombs, and bodies of 20 MB that come slowly

An honest client with another key sends small requests to a stand-in of the large model meanwhile. Prints its latency
alone and beside them, and the largest memory of the proxy.
"""

import asyncio
import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402
from tests.support.wait import LOCALHOST  # noqa: E402

MB = 2**20
TINY = json.dumps({"model": f"direct/{LARGE_MODEL}", "messages": [{"role": "u"}] * 250_000}).encode()
BOMB = gzip.compress(b'{"model":"' + b"a" * 500 * MB)
ASK = json.dumps(
    {"model": f"direct/{LARGE_MODEL}", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
)

Hostile = Callable[[asyncio.StreamWriter, str], Awaitable[None]]


def head(length: int, key: str = "", *more: str) -> bytes:
    """Return the header of a chat request."""
    lines = (f"authorization: Bearer {key}", f"content-length: {length}", *more)
    return "\r\n".join(("POST /v1/chat/completions HTTP/1.1", "host: x", *lines, "", "")).encode()


async def send(writer: asyncio.StreamWriter, *pieces: bytes, pause_s: float = 0.0) -> None:
    """Send pieces with pauses between them."""
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)


async def slow_header(writer: asyncio.StreamWriter, _: str) -> None:
    """Send a header byte by byte."""
    await send(writer, *(bytes([b]) for b in head(10)), pause_s=0.5)


async def endless_header(writer: asyncio.StreamWriter, _: str) -> None:
    """Send header fields without end."""
    await send(writer, b"GET / HTTP/1.1\r\n", *(b"x-%d: " % i + b"a" * 60_000 + b"\r\n" for i in range(500)))


async def body_without_key(writer: asyncio.StreamWriter, _: str) -> None:
    """Send 20 MB without a key, and leave the last byte out."""
    await send(writer, head(20 * MB), *([b"x" * MB] * 19))
    await asyncio.sleep(5)


async def large_token(writer: asyncio.StreamWriter, _: str, size: int) -> None:
    """Send a made-up key."""
    await send(writer, head(0, f"{time.perf_counter_ns()}" + "k" * size))
    await asyncio.sleep(0.2)


async def tiny_messages(writer: asyncio.StreamWriter, key: str) -> None:
    """Send many tiny messages."""
    await send(writer, head(len(TINY), key), TINY)
    await asyncio.sleep(1)


async def bomb(writer: asyncio.StreamWriter, key: str) -> None:
    """Send a small body that decompresses to 500 MB."""
    await send(writer, head(len(BOMB), key, "content-encoding: gzip"), BOMB)
    await asyncio.sleep(1)


async def slow_body(writer: asyncio.StreamWriter, key: str) -> None:
    """Send 20 MB slowly."""
    await send(writer, head(20 * MB, key), *([b"x" * 2**16] * 310), pause_s=0.1)


KINDS: dict[str, Hostile] = {
    "slow header": slow_header,
    "endless header": endless_header,
    "body without key": body_without_key,
    "token of 3 MB": partial(large_token, size=3 * MB),
    "token of 30 kB": partial(large_token, size=30_000),
    "tiny messages": tiny_messages,
    "bomb": bomb,
    "slow body": slow_body,
}


async def attack(kind: str, port: int, key: str, seen: Counter[str]) -> None:
    """Attack again and again. Count what the proxy answers."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(LOCALHOST, port)
            answer = asyncio.ensure_future(reader.read(200))
            try:
                with suppress(OSError):
                    await KINDS[kind](writer, key)
            finally:
                status = re.match(rb"HTTP/1.1 (\d+)", answer.result()) if _has(answer) else None
                seen[f"{kind}: {status[1].decode() if status else 'no answer'}"] += 1
                answer.cancel()
                writer.transport.abort()
        await asyncio.sleep(0.1)


def _has(answer: "asyncio.Future[bytes]") -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None


async def honest(port: int, key: str, seconds: float) -> list[float]:
    """Send small requests, one after the other. Return how many milliseconds each took."""
    taken = []
    until = time.perf_counter() + seconds
    reader, writer = await asyncio.open_connection(LOCALHOST, port)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(head(len(ASK), key) + ASK.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in answer[:20], answer
        length = re.search(rb"content-length: (\d+)", answer)
        assert length is not None
        await reader.readexactly(int(length[1]))
        taken.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(0.02)
    writer.close()
    return sorted(taken)


def line(name: str, taken: list[float]) -> str:
    """Return the percentiles of sorted times."""
    at = [taken[min(len(taken) - 1, int(len(taken) * share))] for share in (0.5, 0.99, 1)]
    return f"{name:24} p50 {at[0]:6.1f} ms, p99 {at[1]:6.1f} ms, longest {at[2]:6.1f} ms of {len(taken)}"


def memory(pid: int, field: str) -> float:
    """Return a size of a process in MB."""
    found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def attack_all(port: int, key: str, connections: int, seconds: float) -> None:
    """Attack with many connections, and print how often each got which answer."""
    seen: Counter[str] = Counter()
    kinds = [list(KINDS)[i % len(KINDS)] for i in range(connections)]
    tasks = [asyncio.create_task(attack(kind, port, key, seen)) for kind in kinds]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(*(f"{count:6} {what}" for what, count in sorted(seen.items())), sep="\n")


def measure(proxy: ProxyProcess, keys: tuple[str, str], connections: int, seconds: float) -> None:
    """Measure and print. The attackers are a process of their own, because they are busy."""
    alone = asyncio.run(honest(proxy.port, keys[0], seconds / 4))
    before = memory(proxy.pid, "VmRSS")
    given = map(str, (proxy.port, keys[1], connections, seconds + 5))
    with subprocess.Popen([sys.executable, __file__, "--attack", *given]) as attackers:
        time.sleep(3)
        beside = asyncio.run(honest(proxy.port, keys[0], seconds))
        attackers.wait()
    print(line("honest, alone", alone))
    print(line(f"beside {connections} hostile", beside))
    print(f"memory {before:.0f} MB before, {memory(proxy.pid, 'VmHWM'):.0f} MB at most")


def main() -> None:
    """Start everything, and measure."""
    if sys.argv[1:2] == ["--attack"]:
        port, key, number, duration = sys.argv[2:]
        asyncio.run(attack_all(int(port), key, int(number), float(duration)))
        return
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL]) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
    ):
        proxy = ProxyProcess(Path(folder), small.base_url, large.base_url)
        honest_key, other = (
            proxy.cli("keys", "create", name, check=True).stdout.split()[-1] for name in ("honest", "other")
        )
        with proxy:
            measure(proxy, (honest_key, other), connections, seconds)


if __name__ == "__main__":
    main()
