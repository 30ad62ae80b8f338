"""Odd answers of an upstream reach the client as they are, and are booked near the truth."""

import json
import random
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.config import LARGE_MODEL
from tests.support.odd import BODIES, CHAT, CHAT_STREAM, COMPLETE, STREAMED, mutants, raw, same, sse
from tests.support.odd_server import ThreadedOddServer
from tests.support.proxy_process import ProxyProcess
from tests.support.wait import wait_until

SAMPLED = 60


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedOddServer]:
    with ThreadedOddServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(small_server, upstream, tmp_path_factory) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("proxy")
    with ProxyProcess(folder, small_server.base_url, upstream.base_url) as process:
        yield process


@pytest.fixture(scope="module")
def both(proxy, upstream):
    """Ask the proxy and the upstream itself for a case, and return both answers."""
    with proxy.http() as ours, httpx2.Client(base_url=upstream.base_url.removesuffix("/v1")) as theirs:

        def ask(path, case, **more):
            body = asked(path, case, **more)
            return ours.post(f"/v1{path}", json=body), theirs.post(f"/v1{path}", json=body)

        yield ask


def asked(path, case, **more):
    asks = {"stream_options": {"include_usage": True}} if more and path != "/responses" else {}
    return {**BODIES[path], "model": f"direct/{LARGE_MODEL}", "user": case, **asks, **more}


def payloads(response):
    """The decoded payloads of a stream, without the proxy's facts; `[DONE]` as text."""
    data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [d if d == "[DONE]" else without_facts(json.loads(d)) for d in data]


def without_facts(answer):
    if not isinstance(answer, dict):
        return answer
    out = {k: v for k, v in answer.items() if k != "cope"}
    return {**out, "response": without_facts(out["response"])} if "response" in out else out


def check_calls(proxy, count):
    """No call was booked at the worst case, or has an error."""
    calls = "SELECT completion_tokens, error FROM calls"
    wait_until(lambda: len(proxy.rows(calls)) >= count, "the calls")
    assert all(row["completion_tokens"] < 1000 and row["error"] is None for row in proxy.rows(calls))


@pytest.mark.parametrize("path", list(COMPLETE))
def test_sampled_answers(proxy, upstream, both, path):
    """Complete answers with an odd value somewhere are the upstream's own."""
    sampled = random.Random(1).sample(list(mutants(COMPLETE[path])), SAMPLED)
    upstream.cases = {name: raw(answer) for name, answer in sampled}
    for case in upstream.cases:
        ours, theirs = both(path, case)
        assert ours.status_code == 200, (case, ours.text)
        assert same(without_facts(ours.json()), theirs.json()), case
        assert "cope" in ours.json(), case
    check_calls(proxy, SAMPLED)


@pytest.mark.parametrize("path", list(STREAMED))
def test_sampled_streams(proxy, upstream, both, path):
    """Streams with an odd value somewhere have the upstream's own events."""
    complete = [m for m in mutants(STREAMED[path]) if path != "/responses" or not m[0].startswith("(3")]
    sampled = random.Random(1).sample(complete, SAMPLED)
    upstream.cases = {name: sse(chunks, done=path != "/responses") for name, chunks in sampled}
    for case in upstream.cases:
        ours, theirs = both(path, case, stream=True)
        assert ours.status_code == 200, (case, ours.text)
        assert same(payloads(ours), payloads(theirs)), case
    check_calls(proxy, SAMPLED)


def test_sampled_guidelines(proxy, upstream, small_server):
    """A guideline with an odd value somewhere never costs the client its answer."""
    small_server.script({"reply": {"contents": [f"The answer is \\boxed{{{i}}}." for i in range(200)]}})
    sampled = random.Random(2).sample(list(mutants(CHAT)), 20)
    upstream.cases = {name: raw(answer) for name, answer in sampled}
    with proxy.http(headers={"X-COPE-Task": "math", "X-COPE-Samples": "2"}) as http:
        for case, answer in sampled:
            body = {**BODIES["/chat/completions"], "model": "cope", "user": case}
            ours = http.post("/v1/chat/completions", json=body)
            assert ours.status_code == 200, (case, ours.text)
            assert ours.json()["cope"]["stage"] == 3, case
            plain = {k: v for k, v in json.loads(raw(answer)).items() if k != "usage"}
            assert same({k: v for k, v in ours.json().items() if k not in ("usage", "cope")}, plain), case
    planned = "SELECT completion_tokens FROM calls WHERE role = 'planner' AND tier = 'large'"
    wait_until(lambda: len(proxy.rows(planned)) == len(sampled), "a guideline for each case")


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_streams_in_pieces(upstream, both, begin):
    """A stream in small segments, with any line ends and events of several lines, arrives whole."""
    for end in (b"\n", b"\r\n", b"\r"):
        whole = begin + sse(CHAT_STREAM).replace(b', "choices"', b',\ndata: "choices"').replace(b"\n", end)
        upstream.cases["x"] = [whole[i : i + 7] for i in range(0, len(whole), 7)]
        ours, _ = both("/chat/completions", "x", stream=True)
        events = ours.text.strip().split("\n\n")
        data = ["".join(line[6:] for line in event.split("\n")) for event in events]
        assert [without_facts(json.loads(d)) for d in data[:-1]] == CHAT_STREAM
        assert data[-1] == "[DONE]"


def test_long_headers(upstream, both):
    """A header line of 12 kB is no reason to refuse an answer."""
    upstream.headers = {"x-request-id": "x" * 12_000}
    upstream.cases["x"] = raw(CHAT)
    ours, _ = both("/chat/completions", "x")
    upstream.headers = {}
    assert ours.status_code == 200
    assert without_facts(ours.json()) == CHAT


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_proxy_behind_proxy(upstream, both, stream):
    """The facts of an inner proxy are replaced by those of the outer one."""
    inner = {"cope": {"inner": True}}
    last = {**CHAT_STREAM[-1], **inner}
    upstream.cases["x"] = sse([*CHAT_STREAM[:-1], last]) if stream else raw({**CHAT, **inner})
    ours, _ = both("/chat/completions", "x", **({"stream": True} if stream else {}))
    assert ours.text.count('"cope"') == 1
    assert '"inner"' not in ours.text


LATE = {**CHAT_STREAM[-1], "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}}
FINISHED = {**CHAT_STREAM[-2], "usage": LATE["usage"]}


@pytest.mark.parametrize(
    "chunks",
    [
        [*CHAT_STREAM[:-1], LATE],
        [*CHAT_STREAM[:-2], FINISHED],
        [*CHAT_STREAM[:-2], FINISHED, {**LATE, "usage": None}],
        [{**CHAT_STREAM[-1], "usage": {"prompt_tokens": 100}}, *CHAT_STREAM[:-2], FINISHED, LATE],
        [FINISHED],
    ],
    ids=["usage chunk", "usage beside the end", "empty chunk after it", "usage at both ends", "only chunk"],
)
def test_last_usage_has_facts(upstream, both, chunks):
    """The last chunk with usage has the facts, wherever an upstream puts the usage."""
    upstream.cases["x"] = sse(chunks)
    ours, theirs = both("/chat/completions", "x", stream=True)
    assert payloads(ours) == payloads(theirs)
    seen = [json.loads(line[6:]) for line in ours.text.splitlines() if line.startswith("data: {")]
    assert [i for i, chunk in enumerate(seen) if "cope" in chunk] == [
        max(i for i, chunk in enumerate(chunks) if chunk.get("usage"))
    ]
    facts = next(chunk["cope"] for chunk in seen if "cope" in chunk)
    assert float(facts["cost_usd"]) == pytest.approx((100 * 2.5 + 50 * 10) / 1e6)


def test_stream_of_usage_alone(upstream, both):
    """A client that did not ask for the usage gets a stream without chunks."""
    upstream.cases["x"] = sse([LATE])
    ours, _ = both("/chat/completions", "x", stream=True, stream_options=None)
    assert (ours.status_code, payloads(ours)) == (200, ["[DONE]"])
