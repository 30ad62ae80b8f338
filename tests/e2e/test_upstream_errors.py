"""Errors of an upstream in every form, on every endpoint: below a status, inside a 200, and as a stream's first event."""

import json
import re

import pytest

from tests.support.config import LARGE_MODEL, UPSTREAM_KEY
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn
from tests.support.vendor_errors import FORMS, TEXTS, WORDS
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

ASK = {"messages": [{"role": "user", "content": "Say something."}]}
ENDPOINTS = {
    "/v1/chat/completions": ASK,
    "/v1/completions": {"prompt": "Say something."},
    "/v1/responses": {"input": "Say something."},
    "/v1/embeddings": {"input": "Say something."},
}
STREAMED = [path for path in ENDPOINTS if path != "/v1/embeddings"]
NOW = {"retry-after-ms": "1"}
SPARE = "second/spare-model"


@pytest.fixture(scope="module")
def second():
    """Another upstream, which answers."""
    with StandIn(["spare-model"], require_key=UPSTREAM_KEY) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(small_server, large_server, second, tmp_path_factory):
    """A proxy with both upstreams, whose breaker stays closed and which retries once."""
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"),
        small_server.base_url,
        large_server.base_url,
        large={"max_retries": 1, "breaker_failures": 10_000},
        upstreams={
            "second": {
                "base_url": second.base_url,
                "api_key_env": "OPENAI_API_KEY",
                "models": ["spare-model"],
                "breaker_failures": 10_000,
            }
        },
        prices={SPARE: {"input_per_mtok": 1, "output_per_mtok": 2}},
    ) as process:
        yield process


@pytest.fixture(scope="module")
def http(proxy):
    """One connection to the proxy."""
    return proxy.http()


def posted(http, path, name="something", **extra):
    body = json.loads(json.dumps(ENDPOINTS[path]).replace("something", name))
    return http.post(path, json={"model": f"direct/{LARGE_MODEL}", **body, **extra})


def as_event(body):
    return f"data: {body}\n\ndata: [DONE]\n\n"


def scripted(server, forms, reply):
    """Answer the request that names a form with `reply(form)`."""
    server.script(
        *(
            {"match": {"contains": f"[{form.name}]"}, "reply": {"headers": NOW, **reply(form)}}
            for form in forms
        )
    )


def asked(server, form):
    """Return how often a form was asked for."""
    return sum(f"[{form.name}]" in json.dumps(entry["body"]) for entry in server.log())


def costs(proxy, responses):
    """Return what the ledger has for requests, in nano-USD."""
    ids = [response.headers["x-cope-request-id"] for response in responses]
    marks = ", ".join("?" * len(ids))
    sql = f"SELECT request_id, sum(cost_nano) AS cost FROM calls WHERE request_id IN ({marks}) GROUP BY 1"
    rows = wait_until(lambda: len(found := proxy.rows(sql, *ids)) == len(ids) and found, "the rows")
    found = {row["request_id"]: row["cost"] for row in rows}
    return [found[id_] for id_ in ids]


CHAT = "/v1/chat/completions"
WAYS = [
    *(("status", path, False) for path in ENDPOINTS),
    ("status", CHAT, True),
    *(("whole", path, False) for path in ENDPOINTS),
    *(("whole", path, True) for path in STREAMED),
    *(("event", path, True) for path in STREAMED),
    ("event", CHAT, False),
]


@pytest.mark.parametrize(("way", "path", "stream"), WAYS)
def test_vendors_errors(proxy, http, large_server, second, way, path, stream):
    """Each form gives its status and its words, costs nothing, is retried and falls back like a status."""
    forms = [form for form in (*FORMS, *TEXTS) if way != "event" or form.body.startswith("{")]
    status = 418 if way == "status" else 200
    scripted(
        large_server,
        forms,
        lambda f: {"status": status, "raw_body": as_event(f.body) if way == "event" else f.body},
    )
    second.reset()
    extra = {"stream": True} if stream else {}
    failed = [posted(http, path, f"[{form.name}]", **extra) for form in forms]
    tried = [asked(large_server, form) for form in forms]
    answered = [posted(http, path, f"[{form.name}]", models=[SPARE], **extra) for form in forms]
    expected = [418 if way == "status" else form.status for form in forms]
    passing = [status in (429, 502, 503) for status in expected]
    assert [response.status_code for response in failed] == expected
    assert [
        f.name for f, r in zip(forms, failed, strict=True) if WORDS not in r.json()["error"]["message"]
    ] == []
    assert not any("<" in response.text for response in failed)
    assert set(costs(proxy, failed)) == {0}
    assert tried == [1 + again for again in passing]
    assert [r.status_code for r in answered] == [
        200 if p else s for p, s in zip(passing, expected, strict=True)
    ]
    assert [asked(second, form) for form in forms] == passing


@pytest.mark.parametrize("path", STREAMED)
def test_errors_later_in_streams(proxy, http, large_server, path):
    """An error after some text is an event in the form of the endpoint, without the key, and the text is paid."""
    text = {
        "/v1/chat/completions": {"choices": [{"index": 0, "delta": {"content": "hello"}}]},
        "/v1/completions": {"choices": [{"index": 0, "text": "hello"}]},
        "/v1/responses": {"type": "response.output_text.delta", "delta": "hello"},
    }[path]
    forms = [form for form in FORMS if form.body.startswith("{")]
    begun = f"data: {json.dumps(text)}\n\n"
    scripted(
        large_server,
        forms,
        lambda f: {"raw_body": begun + as_event(f.body.replace(WORDS, f"{WORDS}: {UPSTREAM_KEY}"))},
    )
    responses = [posted(http, path, f"[{form.name}]", stream=True) for form in forms]
    for form, response in zip(forms, responses, strict=True):
        events = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
        last = json.loads(events[-1])
        error = last if path == "/v1/responses" else last.get("error", {})
        assert WORDS in error.get("message", ""), (form.name, response.text)
        assert path != "/v1/responses" or error["type"] == "error"
        assert UPSTREAM_KEY not in response.text
    assert all(cost > 0 for cost in costs(proxy, responses))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["status", "inside"])
def test_keys_in_errors(proxy, http, large_server, how, stream):
    """No member shows the key, or the beginning of it that vendors quote."""
    quoted = f"{UPSTREAM_KEY[:8]}********{UPSTREAM_KEY[-4:]}"
    for echo in (UPSTREAM_KEY, quoted, f"Bearer {UPSTREAM_KEY}", UPSTREAM_KEY[:9]):
        error = {"message": f"bad {echo}", "type": echo, "code": echo, "param": echo}
        large_server.script(
            {"reply": {"status": 400 if how == "status" else 200, "raw_body": json.dumps({"error": error})}}
        )
        response = posted(http, "/v1/chat/completions", stream=stream)
        assert response.status_code >= 400
        assert UPSTREAM_KEY[:6] not in response.text
        assert UPSTREAM_KEY[-4:] not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_reported_usage_of_errors(proxy, http, large_server, stream):
    """An error that reports a usage is booked at it. It is neither repeated nor given to another model."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    error = {"error": {"message": WORDS, "code": 503}, "usage": usage}
    large_server.script({"reply": {"raw_body": json.dumps(error), "headers": NOW}})
    response = posted(http, "/v1/chat/completions", models=[SPARE], stream=stream)
    assert response.status_code == 503
    assert costs(proxy, [response])[0] == 3_500_000
    assert len(large_server.log()) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", STREAMED)
def test_answers_in_other_form(proxy, http, large_server, path, stream):
    """A complete answer where a stream was asked for becomes a stream, and the reverse: the client sees the same."""
    extra = {"stream": True} if stream else {}
    seen = []
    for other_form in (False, True):
        large_server.script({"reply": {"content": "one two three", "other_form": other_form}})
        response = posted(http, path, **extra)
        assert response.status_code == 200
        if stream:
            events = [
                json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")
            ]
            seen.append("".join(map(text_of, events)))
        else:
            seen.append(max(re.findall(r'"(?:content|text)": ?"([^"]*)"', response.text), key=len))
        assert costs(proxy, [response])[0] > 0
        large_server.reset()
    assert seen == ["one two three"] * 2


def text_of(event):
    """Return the text that an event of any endpoint adds."""
    if isinstance(event.get("delta"), str):
        return event["delta"]
    choices = event.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or choices[0].get("text") or ""


def test_errors_open_the_breaker(make_proxy, large_server):
    """Errors inside a 200 count like error statuses, also as events after some text."""
    text = json.dumps({"choices": [{"index": 0, "delta": {"content": "hello"}}]})
    error = json.dumps({"error": {"message": WORDS, "code": 503}})
    large_server.script(
        {"match": {"stream": True}, "reply": {"raw_body": f"data: {text}\n\ndata: {error}\n\n"}},
        {"reply": {"raw_body": error}},
    )
    http = make_proxy(large={"max_retries": 0, "breaker_failures": 2, "breaker_cooldown_s": 60}).http()
    assert posted(http, "/v1/chat/completions", stream=True).status_code == 200
    assert posted(http, "/v1/chat/completions").status_code == 503
    refused = posted(http, "/v1/chat/completions")
    assert refused.json()["error"]["code"] == "upstream_unavailable"
    assert len(large_server.chats()) == 2


def test_long_pauses_go_elsewhere(proxy, http, large_server, second):
    """A Retry-After of an hour is passed on at once, or another model answers at once."""
    large_server.script({"reply": {"status": 429, "headers": {"retry-after": "3600"}}})
    response = posted(http, "/v1/chat/completions")
    assert (response.status_code, response.headers["retry-after"]) == (429, "3600")
    assert posted(http, "/v1/chat/completions", models=[SPARE]).status_code == 200
    assert len(large_server.chats()) == 2


def test_planner_errors_are_free(proxy, small_server, large_server):
    """An error inside the planner's 200 costs nothing, and stage 3 answers."""
    small_server.script({"reply": {"contents": ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"]}})
    large_server.script(
        {
            "match": {"contains": "tell another assistant"},
            "reply": {"raw_body": json.dumps({"error": {"message": WORDS, "code": 402}})},
        },
        {"reply": {"content": "42"}},
    )
    body = {
        "model": "cope",
        "messages": [{"role": "user", "content": "What is 6 times 7? Calculate the number."}],
    }
    response = proxy.http().post("/v1/chat/completions", json=body)
    assert response.json()["choices"][0]["message"]["content"] == "42"
    request_id = response.headers["x-cope-request-id"]
    rows = wait_until(
        lambda: proxy.rows(
            "SELECT role, cost_nano FROM calls WHERE request_id = ? AND tier = 'large'", request_id
        ),
        "the rows",
    )
    assert {row["role"]: row["cost_nano"] > 0 for row in rows} == {"planner": False, "executor": True}
