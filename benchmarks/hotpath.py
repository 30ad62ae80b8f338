"""What the proxy adds: mode large through it against the stand-in asked directly, in the same run.

Run: python benchmarks/overhead.py [requests]
Prints the medians and 99th percentiles of whole answers and of streams' first tokens in milliseconds, what is added,
the proxy's CPU time and its memory.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402

BODY = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}


def whole(client: httpx2.Client, path: str, model: str) -> float:
    """Return the milliseconds until a whole answer is there."""
    started = time.perf_counter()
    client.post(path, json={**BODY, "model": model}).raise_for_status()
    return 1000 * (time.perf_counter() - started)


def first_token(client: httpx2.Client, path: str, model: str) -> float:
    """Return the milliseconds until a stream's first token is there; the rest is read, too."""
    started, first = time.perf_counter(), 0.0
    with client.stream("POST", path, json={**BODY, "model": model, "stream": True}) as response:
        for line in response.iter_lines():
            if not first and '"ok"' in line:
                first = 1000 * (time.perf_counter() - started)
    return first


def report(name: str, taken: list[float]) -> float:
    """Print a row without the first tenth, which warms up, and return its median."""
    kept = taken[len(taken) // 10 :]
    median, last = statistics.median(kept), statistics.quantiles(kept, n=100)[98]
    print(f"{name:32} p50 {median:6.2f} ms   p99 {last:6.2f} ms")
    return median


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL]) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
        ProxyProcess(Path(folder), small.base_url, large.base_url) as proxy,
        httpx2.Client(headers={"authorization": f"Bearer {UPSTREAM_KEY}"}) as client,
    ):
        process = psutil.Process(proxy.pid)
        for name, measure in (("whole answer", whole), ("first token of a stream", first_token)):
            cpu = sum(process.cpu_times()[:2])
            medians = [
                report(
                    f"{name}, {how}",
                    [measure(client, f"{url}/chat/completions", model) for _ in range(count)],
                )
                for how, url, model in (
                    ("direct", large.base_url, LARGE_MODEL),
                    ("proxy", proxy.base_url, f"direct/{LARGE_MODEL}"),
                )
            ]
            spent = sum(process.cpu_times()[:2]) - cpu
            print(
                f"{name}, added at p50 {medians[1] - medians[0]:.2f} ms, {medians[1] / medians[0]:.2f} x direct"
            )
            print(f"{name}, proxy CPU {1000 * spent / count:.2f} ms a request")
        print(f"proxy memory {process.memory_info().rss / 2**20:.0f} MiB resident")


if __name__ == "__main__":
    main()
