"""Mutated requests to every endpoint: no 5xx of the proxy's own, and nobody else waits.

    python benchmarks/fuzz_requests.py [--requests 10000] [--seed 1]

Each request is a good one with one to three changes in its body, path, query, headers or bytes. A probe asks `/health/live`
all the time, and at the same moment an idle server, which shows how long the machine itself makes wait. It exits with 1 if
a request got a 5xx that is not the stand-in's, or if the proxy let a probe wait longer than 100 ms and the idle server did
not.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.odd import changed, places  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402

STALL_S = 0.1
PARALLEL = 4
ADMIN = "admin-secret"
DIRECT = f"direct/{LARGE_MODEL}"
CHAT: Any = {
    "model": "cope",
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "What is 6 times 7?"}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": {"type": "object"}}},
    "stream": False,
    "stream_options": {"include_usage": True},
    "n": 1,
    "max_tokens": 5,
    "store": True,
    "metadata": {"a": "b"},
    "models": [LARGE_MODEL],
}
RESPONSE: Any = {
    "model": "cope",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
    "text": {"format": {"type": "json_object"}},
    "instructions": "x",
    "previous_response_id": None,
    "include": [],
    "max_output_tokens": 16,
}
COMPLETION: Any = {"model": DIRECT, "prompt": ["a"], "max_tokens": 2, "best_of": 1, "suffix": "x"}
PAGE = "limit=2&order=asc&after=x&metadata[a]=b&stream=true&starting_after=1&include[]=a"
GOOD: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/chat/completions", CHAT),
    ("POST", "/v1/responses", RESPONSE),
    ("POST", "/v1/responses/compact", {"model": DIRECT, "input": "hi", "instructions": "x"}),
    ("POST", "/v1/responses/input_tokens", RESPONSE),
    ("POST", "/v1/completions", COMPLETION),
    ("POST", "/v1/embeddings", {"model": DIRECT, "input": ["a"], "dimensions": 2}),
    ("GET", "/v1/responses/ID", None),
    ("GET", "/v1/responses/ID/input_items", None),
    ("POST", "/v1/responses/ID/cancel", {}),
    ("DELETE", "/v1/responses/ID", None),
    ("GET", "/v1/chat/completions", None),
    ("GET", "/v1/chat/completions/ID", None),
    ("POST", "/v1/chat/completions/ID", {"metadata": {"a": "b"}}),
    ("GET", "/v1/chat/completions/ID/messages", None),
    ("DELETE", "/v1/chat/completions/ID", None),
    ("GET", "/v1/models", None),
    ("GET", f"/v1/models/{LARGE_MODEL}", None),
    ("DELETE", f"/v1/models/{LARGE_MODEL}", None),
    ("GET", "/v1/spend", None),
    ("GET", "/v1/admin/keys", None),
    ("POST", "/v1/admin/keys", {"name": "ann", "budget_usd": "1", "models": ["cope"]}),
    ("GET", "/v1/admin/budgets", None),
    ("GET", "/metrics", None),
    ("GET", "/schema/openapi.json", None),
)
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 2**31, 2**63, 2**64, 10**40, "", "a", "\0", "\ud800", "\U0001f600",
    "0", "true", "null", "NaN", "../..", "%00", "a" * 5000, "9" * 5000, "(" * 3000, "\\" * 999, "{" * 999, "\u202e",
    [], [[]], [None], [0] * 300, {}, {"": None}, {"type": "x"}, {"$ref": "#"}, {"id": "x"}, [{}] * 50,
    "resp_req_1", "resp_1", "chatcmpl-req_1", "data:image/png;base64,AAAA", "cope", DIRECT, "small",
)  # fmt: skip
ODD_TEXTS = tuple(value for value in ODD if isinstance(value, str) and "\ud800" not in value)
HEADERS = (
    "x-cope-mode", "x-cope-budget-usd", "x-cope-session", "x-cope-session-budget-usd", "x-cope-on-budget", "x-cope-task",
    "x-cope-max-stage", "x-cope-samples", "x-cope-threshold", "x-cope-user", "authorization", "content-type",
    "content-encoding", "accept", "expect", "range", "if-none-match", "cookie", "x-http-method-override",
)  # fmt: skip


@dataclass
class Request:
    """One request, as it goes out."""

    method: str
    path: str
    query: str
    body: bytes | None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """What was seen so far."""

    statuses: Counter[int] = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=lambda: ["resp_req_1", "made_up"])
    sending: Counter[str] = field(default_factory=Counter)
    """Requests under way."""
    suspects: Counter[str] = field(default_factory=Counter)
    """Requests that were under way when the proxy let a probe wait."""
    waits: list[tuple[float, float]] = field(default_factory=list)
    """Seconds of each probe: the proxy's and the idle server's."""

    @property
    def stalls(self) -> int:
        """How many probes waited for the proxy, and not for the machine."""
        return sum(proxy > STALL_S > idle for proxy, idle in self.waits)


def mutated(rng: random.Random, ids: list[str]) -> Request:
    """Return a good request with one to three changes."""
    method, path, body = rng.choice(GOOD)
    path = path.replace("ID", rng.choice(ids))
    query = PAGE if method == "GET" and rng.random() < 0.5 else ""
    request = Request(method, path, query, None, {"authorization": f"Bearer {ADMIN}"})
    raw: bytes | None = None
    for _ in range(rng.randint(1, 3)):
        kind = rng.choice("bbbbbrpqhm")
        if kind == "b" and body is not None:
            extra = rng.random() < 0.1 and isinstance(body, dict)
            at = (rng.choice(["stream", "store", "x", "user", "conversation"]),) if extra else None
            body = changed(body, at or rng.choice(places(body)), rng.choice(ODD))
        elif kind == "r" and body is not None:
            whole = bytearray(json.dumps(body).encode())
            start = rng.randrange(len(whole))
            whole[start : start + rng.randint(0, 9)] = rng.randbytes(rng.randint(0, 4))
            raw = bytes(whole)
        elif kind == "p":
            parts = request.path.split("/")
            parts[rng.randrange(1, len(parts))] = rng.choice(
                ["", ".", "a b", "é", "x" * 300, "%2e%2e", "%00", "a:b"]
            )
            request.path = "/".join(parts)
        elif kind == "q":
            name = rng.choice(
                ["limit", "order", "after", "model", "metadata[a]", "stream", "include", "since", "by", "é"]
            )
            request.query += f"&{name}={rng.choice(ODD_TEXTS)[:500]}"
        elif kind == "h":
            value = rng.choice(
                [*ODD_TEXTS[:6], "1", "1e9", "-1", "nan", "gzip", "text/plain", "large", "0.5", "bytes=0-"]
            )
            text = value[:3000].encode("ascii", "ignore").decode().replace("\0", "")
            request.headers[rng.choice(HEADERS)] = text
        elif kind == "m":
            request.method = rng.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    if body is not None:
        request.body = raw or json.dumps(body).encode()
        request.headers.setdefault("content-type", "application/json")
    return request


async def send(session: aiohttp.ClientSession, url: str, request: Request, seen: Seen) -> None:
    """Send one request and note its status."""
    target = f"{url}{request.path}" + (f"?{request.query}" if request.query else "")
    try:
        async with session.request(
            request.method, target, data=request.body, headers=request.headers
        ) as response:
            text = await response.text(errors="replace")
    except ValueError:
        return  # aiohttp itself refuses to send this
    except (aiohttp.ClientError, TimeoutError) as e:
        seen.bad.append(
            (f"{request.method} {target[:150]} {str(request.body)[:300]}", f"{type(e).__name__} {e}")
        )
        return
    seen.statuses[response.status] += 1
    if response.status >= 500 and not of_the_standin(text):
        sent = f"{request.method} {target[:150]} {request.headers} {str(request.body)[:600]}"
        seen.bad.append((sent, f"{response.status} {text[:300]}"))
    if response.status == 200 and '"id":' in text and request.method == "POST":
        made = text.partition('"id":')[2].strip(' "')[:80].partition('"')[0]
        seen.ids = [*seen.ids[-20:], made]


def of_the_standin(text: str) -> bool:
    """Return True for an error that the stand-in gave, and for a refusal that names another server's state."""
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return error.get("code") in (None, "upstream_invalid", "upstream_broken")


async def probe(url: str, idle_url: str, seen: Seen) -> None:
    """Ask both servers whether they live, until cancelled."""

    async def wait(session: aiohttp.ClientSession, asked: str) -> float:
        started = time.perf_counter()
        async with session.get(asked) as response:
            await response.read()
        return time.perf_counter() - started

    async with aiohttp.ClientSession() as session:
        while True:
            sending = +seen.sending
            proxy, idle = await asyncio.gather(
                wait(session, f"{url}/health/live"), wait(session, f"{idle_url}/health")
            )
            seen.waits.append((proxy, idle))
            if proxy > STALL_S > idle:
                seen.suspects.update(sending.keys() | (+seen.sending).keys())
            await asyncio.sleep(0.005)


async def fuzz(url: str, idle_url: str, count: int, seed: int) -> Seen:
    """Send mutated requests, some at a time."""
    seen, rng = Seen(), random.Random(seed)
    remaining = iter(range(count))
    timeout = aiohttp.ClientTimeout(total=60)
    probing = asyncio.create_task(probe(url, idle_url, seen))
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def work() -> None:
            for _ in remaining:
                request = mutated(rng, seen.ids)
                name = f"{request.method} {request.path[:60]}"
                seen.sending[name] += 1
                await send(session, url, request, seen)
                seen.sending[name] -= 1

        await asyncio.gather(*(work() for _ in range(PARALLEL)))
    probing.cancel()
    return seen


def main() -> int:
    """Fuzz and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL]) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
        StandIn() as idle,
        ProxyProcess(
            Path(folder),
            small.base_url,
            large.base_url,
            env={"COPE_ADMIN_KEY": ADMIN},
            small={"tools": True},
            cascade={"samples": 1},
            large={"max_retries": 0, "breaker_failures": 1_000_000},
        ) as proxy,
    ):
        seen = asyncio.run(fuzz(proxy.url, idle.url, given.requests, given.seed))
        output = proxy.output()
    print(
        f"{given.requests} requests in {time.perf_counter() - started:.0f} s; statuses {dict(sorted(seen.statuses.items()))}"
    )
    worst = [1000 * max(waits) for waits in zip(*seen.waits, strict=True)]
    print(
        f"{len(seen.waits)} probes; the slowest took {worst[0]:.0f} ms, and {worst[1]:.0f} ms of an idle server"
    )
    print(f"{seen.stalls} probes waited over {1000 * STALL_S:.0f} ms for the proxy and not for the machine")
    for name, count in seen.suspects.most_common(5) if seen.stalls else ():
        print(f"  {count} x {name}")
    print(f"{len(seen.bad)} own 5xx or broken connections, {output.count('Traceback')} tracebacks in the log")
    for request, answer in seen.bad[:20]:
        print(f"  {request}\n    {answer}")
    return 1 if seen.bad or seen.stalls else 0


if __name__ == "__main__":
    raise SystemExit(main())
