"""Whether a budget is ever exceeded: random requests against a vendor that bills everything it receives.

Run: python benchmarks/budget_soundness.py [requests in this process, default 100000] [through the proxy, default 2000]
     [usages at published prices, default 100000]

The first part asks the functions of the proxy what they would send, and bills that. The second part sends requests of all
endpoints through a real proxy, each with a budget of its own and with one session's budget for all of them. Its upstream
bills each body that it receives, and reports the usage. The third part draws usages of all models that `genai-prices`
knows, in all classes of tokens and service tiers and at all times, and that package computes the bill. The program ends
with 1 if any bill is above its budget or its reservation, or if the ledger's sum differs from the bills.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from random import Random

import aiohttp
from aiohttp import web

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from proxy.pricing.money import format_usd  # noqa: E402
from tests.support.billing import Bill, Json, bill  # noqa: E402
from tests.support.config import LARGE_MODEL  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.random_requests import PATHS, request  # noqa: E402
from tests.support.random_usages import models  # noqa: E402
from tests.support.random_usages import trial as usage_trial  # noqa: E402
from tests.support.soundness import VENDORS, trial  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402

AT_ONCE = 8
SESSION_USD = Decimal(1000)
RATES = VENDORS["model-of-tomorrow"][1]
PRICES = {"input_per_mtok": 3, "output_per_mtok": 15, "cache_write_per_mtok": 3.75}


async def in_process(count: int) -> int:
    """Try random requests on the functions. Return the number of unsound ones."""
    ends: Counter[str] = Counter()
    unsound = 0
    started = time.perf_counter()
    for seed in range(count):
        found = await trial(Random(seed))
        ends[f"{found.path} {found.end}"] += 1
        if found.end == "paid" and not found.booked == found.billed <= found.reserved <= found.budget:
            unsound += 1
            print("unsound:", json.dumps(found.body)[:500])
    print(f"{count} requests in this process, {time.perf_counter() - started:.0f} s")
    for name, number in sorted(ends.items()):
        print(f"  {number:7} {name}")
    print(f"  {unsound:7} above their budget, or recorded at another amount")
    return unsound


class Vendor:
    """An upstream that bills each body it receives. Its answers are as long as they may be, in its usage."""

    def __init__(self) -> None:
        self.nano = 0
        self.calls = 0

    async def answer(self, http: web.Request) -> web.StreamResponse:
        """Bill one call."""
        path, body = http.path.removeprefix("/v1"), await http.json()
        billed = bill(path, body, RATES)
        self.nano += billed.nano
        self.calls += 1
        if body.get("stream") and path != "/embeddings":
            return web.Response(text=_stream(path, billed, self.calls), content_type="text/event-stream")
        return web.json_response(_whole(path, billed, self.calls))


def _whole(path: str, billed: Bill, number: int) -> Json:
    if path == "/responses":
        part = {"type": "output_text", "text": "ok", "annotations": []}
        message = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
        head = {"id": f"resp_{number}", "object": "response", "status": "completed", "output": [message]}
        return {**head, "model": LARGE_MODEL, "usage": _usage(billed, "input", "output")}
    usage = _usage(billed, "prompt", "completion")
    if path == "/embeddings":
        return {"object": "list", "data": [], "model": LARGE_MODEL, "usage": usage}
    text = {"text": "ok"} if path == "/completions" else {"message": {"role": "assistant", "content": "ok"}}
    kind = "text_completion" if path == "/completions" else "chat.completion"
    choice = {"index": 0, "finish_reason": "stop", **text}
    return {
        "id": "c",
        "object": kind,
        "created": 1,
        "model": LARGE_MODEL,
        "choices": [choice],
        "usage": usage,
    }


def _stream(path: str, billed: Bill, number: int) -> str:
    whole = _whole(path, billed, number)
    if path == "/responses":
        return f"event: response.completed\ndata: {json.dumps({'type': 'response.completed', 'response': whole})}\n\n"
    (choice,) = whole["choices"]
    said = {**choice, "delta": choice.pop("message")} if "message" in choice else choice
    kind = "chat.completion.chunk" if path == "/chat/completions" else whole["object"]
    chunks = [
        {**whole, "object": kind, "choices": [said], "usage": None},
        {**whole, "object": kind, "choices": []},
    ]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def _usage(billed: Bill, prompt: str, output: str) -> Json:
    return {
        f"{prompt}_tokens": billed.prompt,
        f"{output}_tokens": billed.output,
        "total_tokens": billed.prompt + billed.output,
        f"{prompt}_tokens_details": {"cached_tokens": 0, "cache_write_tokens": billed.written},
        f"{output}_tokens_details": {"reasoning_tokens": 0},
    }


@asynccontextmanager
async def serving(vendor: Vendor):
    """Serve the vendor, and yield its base URL."""
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/{path:.*}", vendor.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def through_the_proxy(count: int) -> int:
    """Send random requests through a proxy. Return 1 if the money does not add up."""
    vendor = Vendor()
    with tempfile.TemporaryDirectory() as folder, StandIn(["small-model"]) as small:
        async with serving(vendor) as large_url:
            process = ProxyProcess(Path(folder), small.base_url, large_url, prices={LARGE_MODEL: PRICES})
            await asyncio.to_thread(process.start)
            try:
                return await _send_all(process, vendor, count)
            finally:
                await asyncio.to_thread(process.stop)


async def _send_all(proxy: ProxyProcess, vendor: Vendor, count: int) -> int:
    statuses: Counter[str] = Counter()
    above = 0
    numbers = iter(range(count))

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal above
        for seed in numbers:
            rnd = Random(seed)
            path = rnd.choice(PATHS)
            model = rnd.choice(["cope", f"direct/{LARGE_MODEL}", f"direct/{LARGE_MODEL}"])
            budget = Decimal(round(10 ** rnd.uniform(-4, 1), 6)).quantize(Decimal("0.000001"))
            headers = {
                "X-COPE-Budget-USD": str(budget), "X-COPE-Session": "all", "X-COPE-Session-Budget-USD": str(SESSION_USD)
            }  # fmt: skip
            body = {"model": model, **request(rnd, path)}
            async with session.post(f"{proxy.url}/v1{path}", json=body, headers=headers) as response:
                raw = await response.read()
                cost = Decimal(response.headers.get("X-COPE-Cost-USD") or 0)
                above += cost > budget
                statuses[f"{path} {response.status}"] += 1
                if response.status >= 500:
                    print("failed:", response.status, raw[:200], json.dumps(body)[:300])

    started = time.perf_counter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        await asyncio.gather(*(client(session) for _ in range(AT_ONCE)))
    rows = (
        "SELECT coalesce(sum(cost_nano), 0) AS booked, count(*) AS calls, coalesce(sum(overrun), 0) AS overruns "
        "FROM calls WHERE tier = 'large'"
    )
    await asyncio.to_thread(
        wait_until, lambda: proxy.rows(rows)[0]["calls"] >= vendor.calls, "the rows of all calls"
    )
    (row,) = proxy.rows(rows)
    print(
        f"{count} requests through the proxy, {time.perf_counter() - started:.0f} s, {vendor.calls} paid calls"
    )
    for name, number in sorted(statuses.items()):
        print(f"  {number:7} {name}")
    print(
        f"  billed {format_usd(vendor.nano)} USD, recorded {format_usd(row['booked'])} USD, limit {SESSION_USD} USD"
    )
    print(f"  {above:7} responses above their own budget, {row['overruns']} calls above their reservation")
    within = vendor.nano <= SESSION_USD * 10**9 and vendor.nano == row["booked"]
    return int(not within) + above + row["overruns"]


def at_published_prices(count: int) -> int:
    """Try random usages of random models. Return the number of unsound ones."""
    tiers: Counter[str] = Counter()
    unsound = exact = changed = 0
    started = time.perf_counter()
    for seed in range(count):
        found = usage_trial(Random(seed))
        tiers[found.usage.tier or "(not named)"] += 1
        exact += found.exact
        changed += found.bills[0] != found.bills[1]
        if not found.sound:
            unsound += 1
            print("unsound:", found)
    print(
        f"{count} usages at published prices, {time.perf_counter() - started:.0f} s, {len(set(models()))} models"
    )
    for name, number in sorted(tiers.items()):
        print(f"  {number:7} served at {name}")
    print(
        f"  {exact:7} booked exactly as billed, the others at least so; {changed} prices changed during the call"
    )
    print(f"  {unsound:7} reserved less than was booked, or booked another amount")
    return unsound


def main() -> int:
    """Run all parts."""
    given = [int(value) for value in sys.argv[1:]]
    alone, sent, usages = (given + [100_000, 2_000, 100_000][len(given) :])[:3]
    unsound = asyncio.run(in_process(alone)) if alone else 0
    unsound += asyncio.run(through_the_proxy(sent)) if sent else 0
    return int(bool(unsound + at_published_prices(usages)))


if __name__ == "__main__":
    sys.exit(main())
