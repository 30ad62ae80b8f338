"""How the proxy spreads conversations over the servers of the small tier: `python benchmarks/affinity.py`.

Starts stand-ins for the servers, and sends conversations of several turns through the real proxy, some at a time. Prints how
many servers each request and each conversation has used, how even the load is, and what happens while one server is down.
"""

import argparse
import re
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn

DELAY_S = 0.05
"""The time of one generation."""


def main() -> None:
    """Run the conversations with all servers, and again with one server less."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=16)
    given = parser.parse_args()
    with ExitStack() as stack:
        servers = [stack.enter_context(StandIn([SMALL_MODEL])) for _ in range(given.servers)]
        large = stack.enter_context(StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        small = {"base_url": [server.base_url for server in servers]}
        cascade = {"samples": given.samples, "early_stop": False}
        proxy = ProxyProcess(folder, servers[0].base_url, large.base_url, small=small, cascade=cascade)
        stack.enter_context(proxy)
        for server in servers:
            server.script({"reply": {"content": "Good day to you.", "delay_s": DELAY_S}})
        send(proxy, given)
        before = homes(servers)
        report(f"{given.servers} servers", servers)
        servers[0].stop()
        for server in servers[1:]:
            server.script({"reply": {"content": "Good day to you.", "delay_s": DELAY_S}})
        marks = [len(server.log()) for server in servers[1:]]
        send(proxy, given)
        after = homes(servers[1:], marks)
        own = {talk for talk, home in before.items() if home == servers[0].port}
        moved = sum(after[talk] != home for talk, home in before.items() if talk not in own)
        print(
            f"one server down: {len(own)} conversations had it, {moved} of the other {len(before) - len(own)} moved"
        )


def send(proxy: ProxyProcess, given: argparse.Namespace) -> None:
    """Send all turns of all conversations."""
    client = proxy.client()

    def talk(number: int) -> None:
        messages = []
        for turn in range(given.turns):
            messages.append(
                {"role": "user", "content": f"<talk {number}> <turn {turn}> Say hello to the team."}
            )
            answer = client.chat.completions.create(model="cope", messages=messages)
            messages.append({"role": "assistant", "content": answer.choices[0].message.content})

    with ThreadPoolExecutor(given.at_once) as pool:
        list(pool.map(talk, range(given.conversations)))


def calls_of(servers: list[StandIn], marks: list[int] | None = None) -> dict[tuple[str, str], Counter[int]]:
    """Return the calls that each server has got of each turn of each conversation."""
    found: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for server, mark in zip(servers, marks or [0] * len(servers), strict=True):
        for entry in server.log()[mark:]:
            if entry["path"].endswith("/chat/completions"):
                text = str(entry["body"]["messages"])
                talk, turn = re.findall("<talk ([0-9]+)>", text)[0], re.findall("<turn ([0-9]+)>", text)[-1]
                found[talk, turn][server.port] += 1
    return found


def homes(servers: list[StandIn], marks: list[int] | None = None) -> dict[str, int]:
    """Return the server that has got most calls of each conversation."""
    calls: dict[str, Counter[int]] = defaultdict(Counter)
    for (talk, _), counted in calls_of(servers, marks).items():
        calls[talk] += counted
    return {talk: counted.most_common(1)[0][0] for talk, counted in calls.items()}


def report(name: str, servers: list[StandIn]) -> None:
    """Print how the calls were spread."""
    calls = calls_of(servers)
    talks: dict[str, set[int]] = defaultdict(set)
    loads: Counter[int] = Counter()
    for (talk, _), counted in calls.items():
        talks[talk] |= counted.keys()
        loads += counted
    one = sum(len(counted) == 1 for counted in calls.values())
    mean = loads.total() / len(servers)
    print(f"{name}: {one} of {len(calls)} requests at one server ({one / len(calls):.1%})")
    print(f"servers for a request: {sum(map(len, calls.values())) / len(calls):.2f}")
    print(f"servers for a conversation: {sum(map(len, talks.values())) / len(talks):.2f}")
    print(f"calls of each server: {sorted(loads.values())}, max/mean {max(loads.values()) / mean:.2f}")


if __name__ == "__main__":
    main()
