"""What the proxy adds: mode large through it against the stand-in asked directly, in the same run.

Run: python tests/benchmarks/overhead.py [requests]
Prints the medians and 99th percentiles in milliseconds, their difference, and the proxy's peak memory.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.harness import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY, ProxyProcess, StandIn  # noqa: E402

BODY = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}


def measure(client: httpx2.Client, path: str, model: str, count: int) -> list[float]:
    """Return the milliseconds of each of `count` requests, one after the other on one connection."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        client.post(path, json={**BODY, "model": model}).raise_for_status()
        taken.append(1000 * (time.perf_counter() - started))
    return taken[count // 10 :]  # the first tenth warms up


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL]) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
        ProxyProcess(Path(folder), small.base_url, large.base_url) as proxy,
    ):
        auth = {"authorization": f"Bearer {UPSTREAM_KEY}"}
        with httpx2.Client(headers=auth) as client:
            direct = measure(client, f"{large.base_url}/chat/completions", LARGE_MODEL, count)
            through = measure(client, f"{proxy.base_url}/chat/completions", f"direct/{LARGE_MODEL}", count)
        process = psutil.Process(proxy.pid)
        cpu = process.cpu_times()
        rss = process.memory_info().rss / 2**20
    for name, values in (("direct", direct), ("through the proxy", through)):
        print(
            f"{name:18} p50 {statistics.median(values):6.2f} ms   p99 {statistics.quantiles(values, n=100)[98]:6.2f} ms"
        )
    print(f"added at p50       {statistics.median(through) - statistics.median(direct):6.2f} ms")
    print(f"proxy CPU          {1000 * (cpu.user + cpu.system) / count:6.2f} ms a request, start-up included")
    print(f"proxy memory       {rss:6.0f} MiB resident")


if __name__ == "__main__":
    main()
