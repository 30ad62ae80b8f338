"""How long other clients wait while hostile texts arrive: `python benchmarks/hostile_texts.py`.

Sends hostile texts as prompts (short and long), as schemas, as tools and as answers of the small model through the front
door, four at a time. Meanwhile a thread asks `/health/live`. It prints the worst and the 99th percentile of its waiting
times for each group. The target is 100 ms at worst. The stand-ins and the senders share the machine with the proxy.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY
from tests.support.hostile_traffic import Case, answers, prompts, schemas, send
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn


def main() -> None:
    """Measure each group, and print."""
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL], max_model_len=4096) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
        ProxyProcess(
            Path(folder),
            small.base_url,
            large.base_url,
            small={"tools": True},
            cascade={"samples": 2},
            large={"max_retries": 0, "breaker_failures": 1_000_000},
        ) as proxy,
    ):
        groups: dict[str, Iterator[Case]] = {
            "quiet, for comparison": iter([(f"quiet {i}", {"model": "cope"}) for i in range(500)]),
            "prompts of 9,000": prompts([9_000]),
            "prompts of 1,000,000": prompts([1_000_000]),
            "schemas": schemas(),
            "answers of 3,000": answers(small, 3_000),
        }
        for name, cases in groups.items():
            bad, monitor = send(proxy, cases)
            p99 = statistics.quantiles(monitor.times, n=100)[98]
            print(
                f"{name:24} worst {monitor.worst * 1000:6.1f} ms, p99 {p99 * 1000:5.1f} ms of {len(monitor.times):6} answers, "
                f"{len(bad)} errors of the proxy",
                flush=True,
            )


if __name__ == "__main__":
    main()
