"""What early stopping saves on a real engine: `python tests/benchmarks/early_stop.py BASE_URL MODEL ITEMS DATA...`.

BASE_URL is a vLLM server's, such as http://127.0.0.1:8001/v1, that serves MODEL and nobody else. So many items of each task kind
go through stage 1 (n = 8 samples, each under a goal; nothing goes upstream) of three proxies, one item at a time: one draws all
samples, the baseline, one stops when the verdict is certain, one by odds. The engine has read each item once before, so that all
find its prompt in the prefix cache. Prints the tokens that the engine generated (its own counter) and the seconds until the
answer, and their ratios to the baseline.
"""

import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx2

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from proxy.evals.items import chosen, load  # noqa: E402
from tests.harness import ProxyProcess  # noqa: E402

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


def main() -> None:
    """Measure in turns, and print."""
    url, model, count, *data = sys.argv[1:]
    items = chosen(load(map(Path, data)), int(count), seed=0)
    sums: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as open_:
        client = open_.enter_context(httpx2.Client(timeout=900))
        proxies = {}
        for rule, how in RULES.items():
            folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
            small = {"model": model, "max_output_tokens": 400, "timeout_s": 800, "tools": True}
            proxies[rule] = open_.enter_context(
                ProxyProcess(
                    folder, url, NOBODY, small=small, cascade={"samples": 8, **how}, sandbox={"enabled": True}
                )
            )
        for item in items:
            taken = {}
            first = {"model": model, "max_tokens": 1, **item.request()}
            client.post(f"{url}/chat/completions", json=first).raise_for_status()
            for rule, proxy in proxies.items():
                before, began = generated(client, url), time.perf_counter()
                headers = {"X-COPE-Max-Stage": "1", "X-COPE-Task": item.task}
                body = {"model": "cope", **item.request()}
                client.post(
                    f"{proxy.base_url}/chat/completions", json=body, headers=headers
                ).raise_for_status()
                took = time.perf_counter() - began
                taken[rule] = 1, generated(client, url) - before, took
            print(
                item.id,
                *(f"{rule}: {t:.0f} tokens, {s:.0f} s;" for rule, (_, t, s) in taken.items()),
                flush=True,
            )
            for rule, values in taken.items():
                so_far = sums.setdefault((item.task, rule), [0, 0.0, 0.0])
                for i, value in enumerate(values):
                    so_far[i] += value
    print("| task | rule | items | tokens | of all n | seconds | of all n |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for (task, rule), (number, tokens, seconds) in sums.items():
        _, most, longest = sums[task, "all n"]
        print(
            f"| {task} | {rule} | {number:.0f} | {tokens:.0f} | {100 * tokens / most:.0f} %"
            f" | {seconds:.0f} | {100 * seconds / longest:.0f} % |"
        )


if __name__ == "__main__":
    main()
