"""Send odd answers of an upstream through the readers, through the proxy, and to OpenAI's SDK.

Run: python benchmarks/fuzz_answers.py [--readers 100000] [--door 10000] [--sdk 2000] [--seed 1]

The answers are good ones of all endpoints, streamed and not, with up to three odd values at random places: null, numbers
of any size, NaN, texts, halves of characters, arrays, objects, and members that are missing. Prints

- readers: how many answers the readers of `proxy.formats` took in this process, how many exceptions they raised, how
  many answers came out changed, and the longest time that one answer took (it would stall the event loop).
- door: how many answers went through a proxy with 16 clients at once, how many became a 5xx or a changed answer, how many
  calls were booked at the worst case, and the longest time that `/health/live` took meanwhile. A pause of 5 ms beside it
  shows how much of that is due to other processes.
- sdk: how many answers OpenAI's SDK read otherwise through `direct/` than from the upstream itself.
"""

import argparse
import asyncio
import collections
import contextlib
import http.client
import json
import multiprocessing
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

import aiohttp
import openai

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from proxy.formats.base import Format  # noqa: E402
from proxy.formats.chat import Chat  # noqa: E402
from proxy.formats.completions import Completions  # noqa: E402
from proxy.formats.embeddings import Embeddings  # noqa: E402
from proxy.formats.lenient import as_utf8, decode_object  # noqa: E402
from proxy.formats.responses import Responses  # noqa: E402
from proxy.formats.sse import DONE, events  # noqa: E402
from tests.support.config import LARGE_MODEL  # noqa: E402
from tests.support.odd import BODIES, raw, same  # noqa: E402
from tests.support.odd_random import cases, stream_bytes  # noqa: E402
from tests.support.odd_server import ThreadedOddServer  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402

FORMATS: dict[str, Format] = {f.path: f for f in (Chat(), Completions(), Embeddings(), Responses())}
FACTS = {"stage": 3}
CLIENTS = 16


def without_facts(answer):
    """Return an answer, or an event that contains one, without what the proxy adds."""
    if not isinstance(answer, dict):
        return answer
    out = {k: v for k, v in answer.items() if k != "cope"}
    return {**out, "response": without_facts(out["response"])} if "response" in out else out


def show(name, **figures):
    """Print a line of figures."""
    print(
        f"{name:8}",
        ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items()),
        flush=True,
    )


# ------------------------------------------------------------------------------------------------ readers


async def read_stream(format_, pieces):
    """Read a stream as a paid call does, and return its payloads with the facts."""

    async def arriving():
        for piece in pieces:
            yield piece

    total, seen = format_.tally(), []
    async with contextlib.aclosing(events(arriving())) as arrived:
        async for data in arrived:
            if data == DONE:
                break
            chunk = total.add(data)
            format_.is_content(chunk)
            seen.append(format_.with_facts(data, 3, FACTS) if format_.is_final_chunk(chunk) else data)
    total.reported.filled(9, len(total.generated), cut=total.final_usage is None)
    return seen


def read_complete(format_, sent):
    """Read a complete answer as a paid call does, and return it with the facts."""
    sent = as_utf8(sent)
    decoded = decode_object(sent)
    if format_.is_answer(decoded):
        answer = format_.read_complete(decoded)
        answer.reported.filled(9, len(answer.generated), cut=False)
    return format_.with_facts(sent, 3, FACTS)


def without_usage(answer):
    """Return an answer without facts and usage: the readers took a guideline's tokens off it."""
    plain = without_facts(answer)
    if isinstance(plain, dict) and isinstance(plain.get("response"), dict):
        plain = {**plain, "response": without_usage(plain["response"])}
    return {k: v for k, v in plain.items() if k != "usage"} if isinstance(plain, dict) else plain


def fuzz_readers(count, seed):
    """Read answers in this process."""
    rng = random.Random(seed)
    raised, differ, longest = collections.Counter(), 0, 0.0
    loop = asyncio.new_event_loop()
    started = time.perf_counter()
    for path, streams, answer in cases(rng, count):
        format_ = FORMATS[path]
        sent = stream_bytes(rng, path, answer) if streams else raw(answer)
        begun = time.thread_time()  # CPU time: other processes do not count
        try:
            got = (
                loop.run_until_complete(read_stream(format_, sent))
                if streams
                else read_complete(format_, sent)
            )
        except Exception as e:
            raised[type(e).__name__] += 1
            if raised.total() < 4:
                traceback.print_exc()
                print(path, streams, answer)
            continue
        longest = max(longest, time.thread_time() - begun)
        ours = [without_usage(json.loads(d)) for d in got] if streams else without_usage(json.loads(got))
        theirs = [without_usage(c) for c in answer] if streams else without_usage(answer)
        differ += not same(ours, theirs)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    show(
        "readers",
        answers=count,
        exceptions=dict(raised) or 0,
        changed=differ,
        longest=f"{1000 * longest:.1f} ms",
        took=f"{time.perf_counter() - started:.0f} s",
    )


# ------------------------------------------------------------------------------------------------ front door


def prepared(rng, count, ends=(b"\n", b"\r\n", b"\r")):
    """Return the cases by name, and the bytes that the upstream sends for each."""
    named = {f"case-{i}": case for i, case in enumerate(cases(rng, count))}
    sent = {n: stream_bytes(rng, p, a, ends) if s else raw(a) for n, (p, s, a) in named.items()}
    return named, sent


def body_of(name, path, streams):
    """Return the request of a case."""
    options = {"stream": True} if streams else {}
    options |= {"stream_options": {"include_usage": True}} if streams and path != "/responses" else {}
    return {**BODIES[path], **options, "model": f"direct/{LARGE_MODEL}", "user": name}


def payloads(text):
    """Return the decoded payloads of a stream."""
    found = ["\n".join(li[6:] for li in e.split("\n") if li.startswith("data: ")) for e in text.split("\n\n")]
    return [without_facts(json.loads(d)) for d in found if d and d != "[DONE]"]


async def through_door(proxy, named, figures):
    """Send all cases with some clients at once."""
    waiting = iter(list(named.items()))

    async def client(session):
        for name, (path, streams, answer) in waiting:
            async with session.post(f"{proxy.base_url}{path}", json=body_of(name, path, streams)) as response:
                text = await response.text()
            if response.status >= 500 or '"code":"internal_error"' in text:
                figures["own 5xx"] += 1
                print(name, response.status, text[-300:], answer)
                continue
            ours = payloads(text) if streams else without_facts(json.loads(text))
            if response.status != 200 or not same(
                ours, [without_facts(c) for c in answer] if streams else without_facts(answer)
            ):
                figures["changed"] += 1
                print(name, response.status, path, text[:2000], answer)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))


def watch(port, ended, stall, idle):
    """Note the longest time that the proxy takes to say that it lives, and the longest that a pause of 5 ms takes.

    The second tells how much of the first is due to other processes on this machine.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not ended.is_set():
        begun = time.perf_counter()
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        asked = time.perf_counter()
        time.sleep(0.005)
        stall.value = max(stall.value, asked - begun)
        idle.value = max(idle.value, time.perf_counter() - asked - 0.005)


def fuzz_door(proxy, server, count, seed):
    """Send answers through a proxy."""
    named, server.cases = prepared(random.Random(seed), count)
    figures = collections.defaultdict(float)
    ended, stall, idle = multiprocessing.Event(), multiprocessing.Value("d"), multiprocessing.Value("d")
    watching = multiprocessing.Process(target=watch, args=(proxy.port, ended, stall, idle))
    watching.start()
    started = time.perf_counter()
    asyncio.run(through_door(proxy, named, figures))
    took = time.perf_counter() - started
    ended.set()
    watching.join()
    worst = "SELECT count(*) AS n FROM calls WHERE completion_tokens = 16384 AND estimated"
    show(
        "door",
        answers=count,
        own_5xx=int(figures["own 5xx"]),
        changed=int(figures["changed"]),
        at_worst_case=proxy.rows(worst)[0]["n"],
        longest_stall=f"{1000 * stall.value:.0f} ms (the machine's own: {1000 * idle.value:.0f} ms)",
        took=f"{took:.0f} s",
    )


# ------------------------------------------------------------------------------------------------ SDK


def plain(part):
    """Return a model of the SDK as JSON, without the proxy's facts."""
    return (
        without_facts(part.model_dump(mode="python", warnings=False)) if hasattr(part, "model_dump") else part
    )


def sdk_reads(client, name, path, streams):
    """Return what OpenAI's SDK makes of a case, or the error that it raises."""
    body = body_of(name, path, streams)
    call = {
        "/chat/completions": client.chat.completions.create,
        "/completions": client.completions.create,
        "/embeddings": client.embeddings.create,
        "/responses": client.responses.create,
    }[path]
    seen = []
    try:
        answer = call(**body)
        seen.extend(map(plain, answer if streams else [answer]))
    except Exception as e:
        seen.append(type(e).__name__)
    return seen


def fuzz_sdk(proxy, server, count, seed):
    """Compare what the SDK reads from the upstream and through the proxy."""
    named, server.cases = prepared(random.Random(seed), count, ends=(b"\n", b"\r\n"))
    differ, errors = 0, 0
    started = time.perf_counter()
    with openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as direct:
        ours = proxy.client()
        for name, (path, streams, answer) in named.items():
            theirs, got = sdk_reads(direct, name, path, streams), sdk_reads(ours, name, path, streams)
            errors += isinstance(theirs[-1:], list) and bool(theirs) and isinstance(theirs[-1], str)
            if json.dumps(got, default=repr, sort_keys=True) != json.dumps(
                theirs, default=repr, sort_keys=True
            ):
                differ += 1
                print(name, path, streams, answer, "\n  direct:", theirs, "\n  proxy: ", got)
    took = f"{time.perf_counter() - started:.0f} s"
    show("sdk", answers=count, read_otherwise=differ, errors_of_the_SDK_itself=errors, took=took)


def main():
    """Run all three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readers", type=int, default=100_000)
    parser.add_argument("--door", type=int, default=10_000)
    parser.add_argument("--sdk", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    fuzz_readers(given.readers, given.seed)
    if not given.door and not given.sdk:
        return
    # The small model is not asked: `direct/` goes to the large one.
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadedOddServer() as server,
        ProxyProcess(Path(folder), "http://127.0.0.1:9/v1", server.base_url) as proxy,
    ):
        fuzz_door(proxy, server, given.door, given.seed + 1)
        fuzz_sdk(proxy, server, given.sdk, given.seed + 2)
        log = proxy.output()
        if "Traceback" in log:
            print(log[log.index("Traceback") :][:5000])


if __name__ == "__main__":
    main()
