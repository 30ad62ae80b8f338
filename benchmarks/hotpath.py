"""What the proxy costs beside a bare pass-through, the floor: both are measured in turn, in one run.

Run: python benchmarks/hotpath.py [--rounds N] [--seconds S] [--postgres | --short]

Each request has a key with a monthly budget and a budget of its own, and the ledger is on. The floor passes bytes on with
the same server and the same HTTP client. CPU time is that of all processes of a server, a request. Ratios are the medians of
the ratios of each round, so a busy machine disturbs both sides alike.

`--short` counts what one request does: calls, tasks, jobs for threads, statements. The counts do not depend on the machine.
The exit code is 1 if one of them is above its limit, which is half as much again as it was when the limit was set.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import uvloop

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.hotpath_servers import CHUNKS, MODEL  # noqa: E402
from tests.support.postgres import postgres_server  # noqa: E402
from tests.support.processes import python_env  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.wait import free_port, wait_until  # noqa: E402

SERVERS = Path(__file__).with_name("hotpath_servers.py")
WARM_UP = 200
"""Requests before the first round."""
COUNTED = 160
"""Requests of which `--short` takes the mean."""


@dataclass(frozen=True)
class Load:
    """How many clients send requests at once, and which."""

    name: str
    clients: int
    stream: bool = False

    @property
    def body(self) -> bytes:
        """The body of a request."""
        content = (
            "Name the three largest cities of Peru, and say in one sentence what each is known for. " * 2
        )
        body = {
            "model": f"direct/{MODEL}",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 64,
        }
        more = {"stream": True, "stream_options": {"include_usage": True}} if self.stream else {}
        return json.dumps(body | more, separators=(",", ":")).encode()


LOADS = (
    Load("plain, 1 client", 1),
    Load("plain, 64 clients", 64),
    Load(f"stream of {CHUNKS} chunks, 16 clients", 16, stream=True),
)
LIMITS = {
    "plain": {"calls": 3300, "tasks": 6, "thread jobs": 0.5, "statements": 3, "commits": 1},
    "stream": {"calls": 7200, "tasks": 6, "thread jobs": 0.5, "statements": 3, "commits": 1},
}
"""The most of each count for one request, at 16 clients."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test: its port, its process, and what each request carries."""

    port: int
    pid: int
    headers: str = ""

    def cpu_s(self) -> float:
        """Return the CPU time of the process and all its children, in seconds."""
        process = psutil.Process(self.pid)
        tasks = [
            task
            for p in (process, *process.children(recursive=True))
            for task in Path(f"/proc/{p.pid}/task").iterdir()
        ]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


class Client(asyncio.Protocol):
    """One connection that sends the same request again and again, and notes how long each answer takes."""

    def __init__(self, server: Server, load: Load, jobs: Iterator[int], taken: list[float]) -> None:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n{server.headers}content-type: application/json"
        self._request = f"{head}\r\ncontent-length: {len(load.body)}\r\n\r\n".encode() + load.body
        self._stream, self._jobs, self._taken = load.stream, jobs, taken
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Send the first request."""
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Send the next request once the answer is complete."""
        self._data += data
        if not self._data.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._data[:500].decode()))
        elif self._is_complete():
            self._taken.append(time.perf_counter() - self._began)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail if requests are left."""
        if not self.done.done():
            self.done.set_exception(exc or RuntimeError("the connection was closed"))

    def _is_complete(self) -> bool:
        if self._stream:
            return self._data.endswith(b"0\r\n\r\n")
        head, found, body = self._data.partition(b"\r\n\r\n")
        return bool(found) and len(body) >= int(
            head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
        )

    def _next(self) -> None:
        if next(self._jobs, None) is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._data, self._began = b"", time.perf_counter()
        self._transport.write(self._request)


async def send(server: Server, load: Load, *, seconds: float = 60.0, most: int = 10**9) -> list[float]:
    """Send requests for some seconds, or until `most` are sent, and return how long each took, in seconds."""
    loop, taken, until = asyncio.get_running_loop(), list[float](), time.perf_counter() + seconds
    jobs = iter(lambda: None if time.perf_counter() > until or len(taken) >= most else 1, None)
    made = [
        await loop.create_connection(lambda: Client(server, load, jobs, taken), "127.0.0.1", server.port)
        for _ in range(load.clients)
    ]
    await asyncio.gather(*(client.done for _, client in made))
    return taken


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of one server has shown: milliseconds."""

    cpu: float
    p50: float
    p99: float


def measured(server: Server, load: Load, seconds: float) -> Round:
    """Send requests and measure."""
    before = server.cpu_s()
    taken = uvloop.run(send(server, load, seconds=seconds))
    time.sleep(0.3)  # the ledger's last rows belong to these requests
    cpu = 1000 * (server.cpu_s() - before) / len(taken)
    cuts = statistics.quantiles(taken, n=100)
    return Round(cpu, 1000 * cuts[49], 1000 * cuts[98])


def medians(rounds: list[Round]) -> Round:
    """Return the median of each figure."""
    return Round(*(statistics.median(getattr(r, name) for r in rounds) for name in ("cpu", "p50", "p99")))


def report(load: Load, floors: list[Round], proxies: list[Round]) -> None:
    """Print the medians of both, and the ratio of their CPU times."""
    for name, rounds in (("floor", floors), ("proxy", proxies)):
        own = medians(rounds)
        print(f"{load.name:32} {name}  CPU {own.cpu:7.3f} ms   p50 {own.p50:7.2f} ms   p99 {own.p99:7.2f} ms")
    pairs = list(zip(floors, proxies, strict=True))
    ratio = statistics.median(b.cpu / a.cpu for a, b in pairs)
    added = statistics.median(b.p50 - a.p50 for a, b in pairs)
    tail = statistics.median(b.p99 / a.p99 for a, b in pairs)
    print(f"{load.name:32} ratio  CPU {ratio:7.2f} x    p50 {added:+7.2f} ms   p99 {tail:7.2f} x", flush=True)


@contextlib.contextmanager
def started(folder: Path, *command: str) -> Iterator[int]:
    """Run one of the servers in a folder, and return its process."""
    with subprocess.Popen([sys.executable, str(SERVERS), *command], env=python_env(), cwd=folder) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def key_of(proxy: ProxyProcess) -> str:
    """Make a key with a monthly budget, and return what each request carries."""
    key = proxy.cli(
        "keys", "create", "load", "--budget", "100000", "--window", "month", check=True
    ).stdout.strip()
    return f"authorization: Bearer {key}\r\nx-cope-budget-usd: 1\r\n"


def configured(folder: Path, upstream: int, url: str | None) -> ProxyProcess:
    """Return a proxy, not started yet, before the upstream of this port."""
    base_url = f"http://127.0.0.1:{upstream}/v1"
    database = {} if url is None else {"database": {"url": url}}
    price = {"input_per_mtok": 0.15, "output_per_mtok": 0.6}
    return ProxyProcess(
        folder,
        base_url,
        base_url,
        large={"model": MODEL},
        prices={"big-model": None, MODEL: price},
        **database,
    )


def compare(folder: Path, upstream: int, url: str | None, rounds: int, seconds: float) -> None:
    """Measure the floor and the proxy in turn."""
    port = free_port()
    with (
        configured(folder, upstream, url) as proxy,
        started(folder, "floor", str(port), str(upstream)) as floor_pid,
    ):
        servers = Server(port, floor_pid), Server(proxy.port, proxy.pid, key_of(proxy))
        time.sleep(6)  # until the proxy has heard of its first key
        for load in LOADS:
            for server in servers:
                uvloop.run(send(server, load, most=WARM_UP))
            pairs = [[measured(server, load, seconds) for server in servers] for _ in range(rounds)]
            report(load, [a for a, _ in pairs], [b for _, b in pairs])
        memory = psutil.Process(proxy.pid).memory_info().rss / 2**20
        print(f"memory of the proxy: {memory:.0f} MiB")


def counts(folder: Path, upstream: int) -> bool:
    """Print what one request does. Return whether all counts are within their limits."""
    proxy, file, fine = configured(folder, upstream, None), folder / "counts.json", True
    proxy.cli("db", "upgrade", check=True)
    headers = key_of(proxy)
    with started(folder, "counted", str(proxy.config_file), str(file)) as pid:
        server = Server(proxy.port, pid, headers)
        for load in (Load("plain", 16), Load("stream", 16, stream=True)):
            wait_until(partial(_answers, server, load), "the counted proxy to answer", 60)
            _counts(pid, file)
            sent = len(uvloop.run(send(server, load, most=COUNTED)))
            time.sleep(0.5)
            found = {name: count / sent for name, count in _counts(pid, file).items()}
            for name, limit in LIMITS[load.name].items():
                value = found.get(name, 0.0)
                fine = fine and value <= limit
                print(
                    f"{load.name:8} {name:12} {value:9.2f} a request   limit {limit:6}   {'' if value <= limit else '!'}"
                )
    return fine


def _answers(server: Server, load: Load) -> bool:
    try:
        return len(uvloop.run(send(server, load, most=WARM_UP))) >= WARM_UP
    except OSError:
        return False


def _counts(pid: int, file: Path) -> dict[str, int]:
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    found: dict[str, int] = json.loads(wait_until(lambda: file.exists() and file.read_text(), "the counts"))
    return found


def main() -> None:
    """Measure, or count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round of one server")
    parser.add_argument(
        "--postgres", action="store_true", help="the ledger in a PostgreSQL server of its own"
    )
    parser.add_argument("--short", action="store_true", help="only count, and compare with the limits")
    options = parser.parse_args()
    upstream = free_port()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(started(folder, "upstream", str(upstream)))
        if options.short:
            sys.exit(0 if counts(folder, upstream) else 1)
        url = stack.enter_context(postgres_server()) if options.postgres else None
        compare(folder, upstream, url, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
