"""What early stopping saves on a real engine: `python benchmarks/early_stop.py BASE_URL MODEL ITEMS AT_ONCE DATA...`.

BASE_URL is a vLLM server's, such as http://127.0.0.1:8001/v1, that serves MODEL and nobody else. So many items of each task kind
go through stage 1 (n = 8 samples, each under a goal; nothing goes upstream) of three proxies, AT_ONCE at a time: one draws all
samples, the baseline, one stops when the verdict is certain, one by odds. The engine has read each item once before (but for
the tools of actions, of which planners are told as text), so that all find its prompt in the prefix cache. Prints the tokens that the engine generated (its own counter), the seconds until all items
were done and the mean of those that each took, and their ratios to the baseline.
"""

import re
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from proxy.evals.items import Item, chosen, load  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402

RULES = {
    "all n": {"early_stop": False},
    "when certain": {"early_stop": True},
    "by odds, 5 %": {"early_stop": True, "stop_error": 0.05},
}
NOBODY = "http://127.0.0.1:9/v1"


def generated(client: httpx2.Client, url: str) -> float:
    """Return the tokens that the engine has generated so far."""
    text = client.get(url.removesuffix("/v1") + "/metrics").text
    found = re.findall(r"^vllm:generation_tokens_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def ask(client: httpx2.Client, proxy: ProxyProcess, item: Item) -> float:
    """Send an item through stage 1 and return the seconds that it took."""
    began = time.perf_counter()
    headers = {"X-COPE-Max-Stage": "1", "X-COPE-Task": item.task}
    body = {"model": "cope", **item.request()}
    client.post(f"{proxy.base_url}/chat/completions", json=body, headers=headers).raise_for_status()
    return time.perf_counter() - began


def main() -> None:
    """Measure in turns, and print."""
    url, model, count, at_once, *data = sys.argv[1:]
    items = chosen(load(map(Path, data)), int(count), seed=0)
    with ExitStack() as opened:
        client = opened.enter_context(httpx2.Client(timeout=900))
        threads = opened.enter_context(ThreadPoolExecutor(int(at_once)))
        proxies = {}
        for rule, how in RULES.items():
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            small = {"model": model, "max_output_tokens": 400, "timeout_s": 800, "tools": True}
            started = ProxyProcess(
                folder, url, NOBODY, small=small, cascade={"samples": 8, **how}, sandbox={"enabled": True}
            )
            proxies[rule] = opened.enter_context(started)
        print("| task | items | rule | tokens | seconds until all were done | mean seconds of one |")
        print("| --- | ---: | --- | ---: | ---: | ---: |")
        for task in sorted({item.task for item in items}):
            own = [item for item in items if item.task == task]
            for item in own:
                once = {"model": model, "max_tokens": 1, **item.request()}
                client.post(f"{url}/chat/completions", json=once).raise_for_status()
            most: tuple[float, ...] = ()
            for rule, proxy in proxies.items():
                before, began = generated(client, url), time.perf_counter()
                each = list(threads.map(lambda item, proxy=proxy: ask(client, proxy, item), own))
                took = time.perf_counter() - began
                taken = generated(client, url) - before, took, statistics.mean(each)
                most = most or taken
                shares = (
                    f"{value:.0f} ({100 * value / of:.0f} %)" for value, of in zip(taken, most, strict=True)
                )
                print(f"| {task} | {len(own)} | {rule} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
