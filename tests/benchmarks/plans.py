"""What plans made ahead and plans kept save: `python tests/benchmarks/plans.py BASE_URL MODEL ITEMS DELAY_S DATA...`.

BASE_URL is a vLLM server's that serves MODEL and nobody else; the large planner is a stand-in which takes DELAY_S seconds for a
guideline. So many items of each task kind go through stages 1 and 2 (n = 8), one item at a time:

- ahead: through three proxies, of which one asks for the guideline when stage 1 has ended, the baseline, and the others while
  late samples still run, when the chance of an escalation is 80 or 50 %. Prints the seconds until the verdict, how many
  guidelines were paid, and how many of these in vain, as stage 1 was accepted after all. Samples are drawn anew each time.
- kept: actions also as conversations of three turns (each call is given a result), in one session, and, as the baseline, in a
  session of its own for each turn, where nothing is known of the turns before. Prints the guidelines paid, the tokens that the
  engine generated and the seconds.
"""

import json
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import httpx2

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from proxy.cascade.types import TaskKind  # noqa: E402
from proxy.evals.items import Item, chosen, load  # noqa: E402
from tests.benchmarks.early_stop import generated  # noqa: E402
from tests.harness import LARGE_MODEL, ProxyProcess, StandIn  # noqa: E402

AHEAD = {"after stage 1": "never", "ahead, from 80 %": 0.8, "ahead, from 50 %": 0.5}
PLAN = "Work out first what exactly is asked for, then check the answer against each word of the question."
TURNS = 3
Sums = dict[str, list[float]]


def asked(client: httpx2.Client, proxy: ProxyProcess, item: Item, messages: list, **headers: str) -> dict:
    """Send a request through stages 1 and 2 and return the answer."""
    body = {"model": "cope", **item.request(), "messages": messages}
    told = {"X-COPE-Max-Stage": "2", "X-COPE-Task": item.task, **headers}
    reply = client.post(f"{proxy.base_url}/chat/completions", json=body, headers=told)
    return reply.raise_for_status().json()


def ahead(client: httpx2.Client, proxies: dict[str, ProxyProcess], large: StandIn, items: list[Item]) -> None:
    """Measure plans made ahead, and print."""
    sums: Sums = defaultdict(lambda: [0.0] * 5)
    for item in items:
        asked(
            client, proxies["after stage 1"], item, list(item.request()["messages"])
        )  # fills the prefix cache
        for way, proxy in proxies.items():
            before, began = len(large.chats()), time.perf_counter()
            stage = asked(client, proxy, item, list(item.request()["messages"]))["cope"]["stages"][-1]
            took = time.perf_counter() - began
            large.wait_idle()
            paid = len(large.chats()) - before
            first = stage["stage"] == 1
            for i, value in enumerate((took, took * (not first), not first, paid, paid * first)):
                sums[way][i] += value
        print(item.id, *(f"{way}: {values[0]:.0f} s so far;" for way, values in sums.items()), flush=True)
    print("| guideline | seconds | came to stage 2 | mean seconds of those | guidelines paid | in vain |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for way, (all_, second, escalated, paid, vain) in sums.items():
        mean = second / max(1, escalated)
        print(f"| {way} | {all_:.0f} | {escalated:.0f} | {mean:.1f} | {paid:.0f} | {vain:.0f} |")


def kept(client: httpx2.Client, proxy: ProxyProcess, large: StandIn, url: str, items: list[Item]) -> None:
    """Measure plans kept over a conversation, and print."""
    sums: Sums = defaultdict(lambda: [0.0] * 3)
    for item in items:
        asked(client, proxy, item, list(item.request()["messages"]))  # fills the prefix cache
        for way in ("a session for each turn", "one session"):
            session, messages = uuid.uuid4().hex, list(item.request()["messages"])
            before, tokens, began = len(large.chats()), generated(client, url), time.perf_counter()
            for turn in range(TURNS):
                own = session if way == "one session" else f"{session}-{turn}"
                said = asked(client, proxy, item, messages, **{"X-COPE-Session": own})["choices"][0][
                    "message"
                ]
                messages.append(said)
                for call in said.get("tool_calls") or ():
                    result = {
                        "role": "tool",
                        "tool_call_id": call["id"],
                        "content": json.dumps({"value": 42}),
                    }
                    messages.append(result)
                if not said.get("tool_calls"):
                    messages.append({"role": "user", "content": "Go on."})
            taken = (
                len(large.chats()) - before,
                generated(client, url) - tokens,
                time.perf_counter() - began,
            )
            for i, value in enumerate(taken):
                sums[way][i] += value
        print(item.id, *(f"{way}: {v[0]:.0f} guidelines so far;" for way, v in sums.items()), flush=True)
    print("| plans | guidelines paid | tokens of the small model | seconds |\n| --- | ---: | ---: | ---: |")
    most = sums["a session for each turn"]
    for way, values in sums.items():
        shares = (f"{v:.0f} ({100 * v / max(1, m):.0f} %)" for v, m in zip(values, most, strict=True))
        print(f"| {way} | {' | '.join(shares)} |")


def main() -> None:
    """Start the proxies, and measure."""
    url, model, count, delay, *data = sys.argv[1:]
    items = chosen(load(map(Path, data)), int(count), seed=0)
    with ExitStack() as opened:
        client = opened.enter_context(httpx2.Client(timeout=900))
        large = opened.enter_context(StandIn((LARGE_MODEL,)))
        large.script({"reply": {"content": PLAN, "delay_s": float(delay)}})
        proxies = {}
        for way, chance in AHEAD.items():
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            small = {"model": model, "max_output_tokens": 400, "timeout_s": 800, "tools": True}
            how = {"samples": 8, "speculate_from": chance, "plans": "all"}
            started = ProxyProcess(
                folder, url, large.base_url, small=small, cascade=how, sandbox={"enabled": True}
            )
            proxies[way] = opened.enter_context(started)
        ahead(client, proxies, large, items)
        actions = [item for item in items if item.task is TaskKind.AGENT]
        if actions:
            kept(client, proxies["after stage 1"], large, url, actions)


if __name__ == "__main__":
    main()
