"""What plans made ahead and plans kept save: `python benchmarks/plans.py BASE_URL MODEL ITEMS AT_ONCE DELAY_S DATA...`.

BASE_URL is a vLLM server's that serves MODEL and nobody else; the large planner is a stand-in which takes DELAY_S seconds for a
guideline. So many items of each task kind go through stages 1 and 2 (n = 8), AT_ONCE at a time:

- ahead: through three proxies, of which one asks for the guideline when stage 1 has ended, the baseline, and the others while
  late samples still run, when the chance of an escalation is 80 or 50 %. Prints how long stage 2 had to wait for the
  guideline, by the ledger's times, how many guidelines were paid, and how many of these in vain, as stage 1 was accepted
  after all. Samples are drawn anew each time; stage 2 accepts what it has.
- kept: actions also as conversations of three turns (each call is given a result), in one session, and, as the baseline, in a
  session of its own for each turn, where nothing is known of the turns before. Prints the guidelines paid, the tokens that the
  engine generated and the seconds.
"""

import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import httpx2

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.early_stop import generated  # noqa: E402
from proxy.cascade.types import TaskKind  # noqa: E402
from proxy.evals.items import Item, chosen, load  # noqa: E402
from tests.support.config import LARGE_MODEL  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402

AHEAD = {"after stage 1": "never", "ahead, from 80 %": 0.8, "ahead, from 50 %": 0.5}
PLAN = "Work out first what exactly is asked for, then check the answer against each word of the question."
TURNS = 3


def asked(client: httpx2.Client, proxy: ProxyProcess, item: Item, messages: list, session: str = "") -> dict:
    """Send a request through stages 1 and 2 and return the answer."""
    body = {"model": "cope", **item.request(), "messages": messages}
    told = {"X-COPE-Max-Stage": "2", "X-COPE-Task": item.task} | (
        {"X-COPE-Session": session} if session else {}
    )
    reply = client.post(f"{proxy.base_url}/chat/completions", json=body, headers=told)
    return reply.raise_for_status().json()


def ended(call: dict) -> datetime:
    """Return when a call of the ledger ended."""
    return datetime.fromisoformat(call["started_at"]) + timedelta(milliseconds=call["latency_ms"])


def waited(client: httpx2.Client, proxy: ProxyProcess, item: Item) -> tuple[bool, int, float]:
    """Return whether an item came to stage 2, the guidelines paid for it, and the seconds from stage 1's end to the guideline's."""
    cope = asked(client, proxy, item, list(item.request()["messages"]))["cope"]
    reply = client.get(f"{proxy.base_url}/spend/requests/{cope['request_id']}")
    calls = reply.raise_for_status().json()["calls"]
    guidelines = [ended(c) for c in calls if c["tier"] == "large" and c["role"] == "planner"]
    escalated = cope["stages"][-1]["stage"] == 2
    stage1 = max(ended(c) for c in calls if c["stage"] == 1 and c["tier"] == "small")
    late = max(0.0, (guidelines[0] - stage1).total_seconds()) if escalated and guidelines else 0.0
    return escalated, len(guidelines), late


def ahead(
    client: httpx2.Client, threads: Executor, proxies: dict[str, ProxyProcess], items: list[Item]
) -> None:
    """Measure plans made ahead, and print."""
    print(
        "| task | items | guideline | came to stage 2 | mean seconds that it waited | guidelines paid | in vain |"
    )
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for task in sorted({item.task for item in items}):
        own = [item for item in items if item.task is task]
        for way, proxy in proxies.items():
            seen = list(threads.map(partial(waited, client, proxy), own))
            late = [seconds for escalated, _, seconds in seen if escalated]
            paid = sum(count for _, count, _ in seen)
            vain = sum(count for escalated, count, _ in seen if not escalated)
            mean = f"{sum(late) / len(late):.2f}" if late else "-"
            print(f"| {task} | {len(own)} | {way} | {len(late)} | {mean} | {paid} | {vain} |", flush=True)


def converse(client: httpx2.Client, proxy: ProxyProcess, item: Item, session: Callable[[int], str]) -> None:
    """Hold a conversation, each turn in the session that is given for it."""
    messages = list(item.request()["messages"])
    for turn in range(TURNS):
        said = asked(client, proxy, item, messages, session(turn))["choices"][0]["message"]
        calls = said.get("tool_calls") or ()
        messages.append(said)
        messages += [{"role": "tool", "tool_call_id": c["id"], "content": '{"value": 42}'} for c in calls]
        if not calls:
            messages.append({"role": "user", "content": "Go on."})


def kept(
    client: httpx2.Client, threads: Executor, proxy: ProxyProcess, large: StandIn, url: str, items: list[Item]
) -> None:
    """Measure plans kept over a conversation, and print."""
    print("| plans | guidelines paid | tokens of the small model | seconds |\n| --- | ---: | ---: | ---: |")
    ways: dict[str, Callable[[], Callable[[int], str]]] = {
        "a session for each turn": lambda: lambda _: uuid.uuid4().hex,
        "one session": lambda: partial(lambda session, _: session, uuid.uuid4().hex),
    }
    most: tuple[float, ...] = ()
    for way, session in ways.items():
        before, tokens, began = len(large.chats()), generated(client, url), time.perf_counter()
        list(threads.map(lambda item, session=session: converse(client, proxy, item, session()), items))
        taken = len(large.chats()) - before, generated(client, url) - tokens, time.perf_counter() - began
        most = most or taken
        shares = (f"{v:.0f} ({100 * v / max(1, m):.0f} %)" for v, m in zip(taken, most, strict=True))
        print(f"| {way} | {' | '.join(shares)} |", flush=True)


def main() -> None:
    """Start the proxies, and measure."""
    url, model, count, at_once, delay, *data = sys.argv[1:]
    items = chosen(load(map(Path, data)), int(count), seed=0)
    with ExitStack() as opened:
        client = opened.enter_context(httpx2.Client(timeout=900))
        threads = opened.enter_context(ThreadPoolExecutor(int(at_once)))
        large = opened.enter_context(StandIn((LARGE_MODEL,)))
        large.script({"reply": {"content": PLAN, "delay_s": float(delay)}})
        proxies = {}
        for way, chance in AHEAD.items():
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            small = {"model": model, "max_output_tokens": 400, "timeout_s": 800, "tools": True}
            accepts = {task: {"stage2": 0} for task in sorted({item.task for item in items})}
            how = {"samples": 8, "speculate_from": chance, "plans": "all", "thresholds": accepts}
            started = ProxyProcess(
                folder, url, large.base_url, small=small, cascade=how, sandbox={"enabled": True}
            )
            proxies[way] = opened.enter_context(started)
        for item in items:  # fills the prefix cache
            asked_once = {"model": model, "max_tokens": 1, **item.request()}
            client.post(f"{url}/chat/completions", json=asked_once).raise_for_status()
        ahead(client, threads, proxies, items)
        actions = [item for item in items if item.task is TaskKind.AGENT]
        if actions:
            kept(client, threads, proxies["after stage 1"], large, url, actions)


if __name__ == "__main__":
    main()
