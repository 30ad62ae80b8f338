"""How soon all work ends after a client has left, at each phase of a request.

Run: python benchmarks/disconnect.py [times]
Prints the longest time in milliseconds from the closed connection until neither tier works for it any more; a paid
call gets up to 800 ms of these to report its usage, since it is billed anyway.
"""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.test_disconnect import BODIES, PHASES  # noqa: E402
from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402


def main() -> None:
    """Measure and print."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL], max_model_len=4096) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
        ProxyProcess(Path(folder), small.base_url, large.base_url) as proxy,
    ):
        for phase, (small_rules, large_rules, stream, reached) in PHASES.items():
            for path, body in BODIES.items():
                taken = []
                for _ in range(times):
                    small.reset()
                    large.reset()
                    small.script(*small_rules)
                    large.script(*large_rules)
                    with proxy.sent(path, {"model": "cope", **body, "stream": stream}):
                        wait_until(lambda reached=reached: reached(small, large), phase)
                    left = time.perf_counter()
                    small.wait_idle()
                    large.wait_idle()
                    taken.append(1000 * (time.perf_counter() - left))
                print(f"{phase:28} {path:22} {max(taken):6.0f} ms at most of {times}")


if __name__ == "__main__":
    main()
