"""Several upstreams, and how their failures end: retries, the breaker, fallbacks, shutdown."""

import signal
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.support.config import LARGE_MODEL, UPSTREAM_KEY
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

ASK = [{"role": "user", "content": "Say something."}]
DIRECT = f"direct/{LARGE_MODEL}"
NO_PAUSE = {"headers": {"retry-after-ms": "1"}}
SECOND_KEY = "sk-second-secret"
FREE = {"input_per_mtok": 0, "output_per_mtok": 0}


@pytest.fixture
def second():
    """Another upstream, with a key of its own."""
    with StandIn(["spare-model"], require_key=SECOND_KEY) as server:
        yield server


@pytest.fixture
def with_second(make_proxy, second):
    """A proxy that knows both; keywords change its [large]."""

    def make(**large):
        return make_proxy(
            large=large,
            upstreams={
                "second": {
                    "base_url": second.base_url,
                    "api_key_env": "SECOND_KEY",
                    "models": ["spare-model"],
                }
            },
            prices={"second/spare-model": {"input_per_mtok": 1, "output_per_mtok": 2}},
            env={"SECOND_KEY": SECOND_KEY},
        )

    return make


def ask(proxy, model=DIRECT, **extra):
    return proxy.client().chat.completions.create(model=model, messages=ASK, **extra)


def calls_of(proxy, answer):
    return proxy.http().get(f"/v1/spend/requests/{answer.cope['request_id']}").json()["calls"]


def test_upstreams_have_own_keys(with_second, second, large_server):
    """A further upstream's model is "NAME/model" for clients, prices and the ledger, and "model" for itself."""
    proxy = with_second()
    answer = ask(proxy, "direct/second/spare-model")
    assert answer.cope["model"] == "second/spare-model"
    (entry,) = second.chats()
    assert entry["body"]["model"] == "spare-model"
    assert entry["headers"]["authorization"] == f"Bearer {SECOND_KEY}"
    assert large_server.chats() == []
    usage = answer.usage
    assert answer.cope[
        "cost_usd"
    ] == f"{(usage.prompt_tokens + 2 * usage.completion_tokens) / 1e6:.6f}".rstrip("0")
    assert "second/spare-model" in {m.id for m in proxy.client().models.list()}


def test_azures_paths_and_key_header(make_proxy):
    """With an api_version the deployment is in the path, the version in the query, the key in `api-key`."""
    import http.server
    import json
    import threading

    seen = {}

    class Azure(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.update(path=self.path, key=self.headers["api-key"], bearer=self.headers["authorization"])
            self.rfile.read(int(self.headers["content-length"]))
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            message = {"role": "assistant", "content": "hi"}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            raw = json.dumps(
                {
                    "id": "a",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "m",
                    "choices": [choice],
                    "usage": usage,
                }
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Azure) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = make_proxy(
            upstreams={
                "azure": {
                    "base_url": f"http://127.0.0.1:{server.server_port}",
                    "api_version": "2024-10-21",
                    "models": ["gpt-4o"],
                }
            }
        )
        assert ask(proxy, "direct/azure/gpt-4o").choices[0].message.content == "hi"
        server.shutdown()
    assert seen == {
        "path": "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "key": UPSTREAM_KEY,
        "bearer": None,
    }


@pytest.mark.parametrize("how", ["config", "request"])
@pytest.mark.parametrize("stream", [False, True])
def test_fallback_answers(with_second, second, large_server, how, stream):
    """The failed call is on record and costs nothing; the answer says who gave it."""
    large_server.script({"reply": {"status": 503, "error": {"code": "overloaded"}, **NO_PAUSE}})
    second.say("from the spare one")
    proxy = with_second(fallbacks=["second/spare-model"] if how == "config" else [])
    extra = {"extra_body": {"models": ["second/spare-model"]}} if how == "request" else {}
    if stream:
        extra |= {"stream": True, "stream_options": {"include_usage": True}}
    answer = ask(proxy, "cope", extra_headers={"X-COPE-Mode": "large"}, **extra)
    if stream:
        chunks = list(answer)
        text, answer = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks[-1]
    else:
        text = answer.choices[0].message.content
    assert text == "from the spare one"
    assert answer.cope["model"] == "second/spare-model"
    assert [(c["model"], c["cost"] > 0) for c in calls_of(proxy, answer)] == [
        (LARGE_MODEL, False),
        ("second/spare-model", True),
    ]
    assert "models" not in second.chats()[0]["body"]


@pytest.mark.parametrize(
    "reply",
    [
        {"status": 400, "error": {"code": "bad"}},  # the next one would not like it either
        {"break_after": 0},  # it may be billed already
        {"raw_body": "{}"},  # an answer in another form may be, too
    ],
)
def test_bad_requests_never_fall_back(with_second, second, large_server, reply):
    """One request is not paid for twice, and a client's own mistake is told to the client."""
    large_server.script({"reply": reply})
    proxy = with_second(fallbacks=["second/spare-model"])
    with pytest.raises(openai.APIStatusError):
        ask(proxy, "cope", extra_headers={"X-COPE-Mode": "large"})
    assert second.chats() == []


def test_direct_never_falls_back(with_second, second, large_server):
    """The config's fallbacks are for the cascade's large model, not for who names one directly."""
    large_server.script({"reply": {"status": 503, **NO_PAUSE}})
    with pytest.raises(openai.InternalServerError):
        ask(with_second(fallbacks=["second/spare-model"]))
    assert second.chats() == []


def test_an_unknown_fallback_is_named(make_proxy):
    """A name in `models` that nobody serves is a 404 that says so."""
    with pytest.raises(openai.NotFoundError) as e:
        ask(make_proxy(), extra_body={"models": ["gpt-nope"]})
    assert e.value.param == "models"


def test_breaker_opens_and_closes(make_proxy, large_server):
    """After so many failures in a row nothing goes out; after the cooldown one success closes it."""
    large_server.script(
        {"match": {"contains": "well"}, "reply": {"content": "hi"}}, {"reply": {"status": 500}}
    )
    proxy = make_proxy(large={"max_retries": 0, "breaker_failures": 3, "breaker_cooldown_s": 0.5})
    for _ in range(3):
        with pytest.raises(openai.InternalServerError):
            ask(proxy)
    with pytest.raises(openai.InternalServerError) as e:
        ask(proxy)
    assert (e.value.status_code, e.value.code) == (503, "upstream_unavailable")
    assert int(e.value.response.headers["retry-after"]) >= 1
    assert len(large_server.chats()) == 3
    assert b"cope_upstream_available" in proxy.http().get("/metrics").content

    def well():
        try:
            well = [{"role": "user", "content": "well"}]
            return proxy.client().chat.completions.create(model=DIRECT, messages=well)
        except openai.InternalServerError:
            return None

    assert wait_until(well, "the breaker to close").choices[0].message.content == "hi"


def test_bad_requests_keep_breaker_closed(make_proxy, large_server):
    """What a client does wrong says nothing about the upstream."""
    large_server.script(
        {"match": {"contains": "well"}, "reply": {"content": "hi"}}, {"reply": {"status": 400}}
    )
    proxy = make_proxy(large={"max_retries": 0, "breaker_failures": 1})
    for _ in range(3):
        with pytest.raises(openai.BadRequestError):
            ask(proxy)


def test_retries_respect_the_deadline(make_proxy, large_server):
    """A Retry-After beyond the client's patience is passed on at once."""
    large_server.script({"reply": {"status": 429, "headers": {"retry-after": "30"}}})
    proxy = make_proxy(server={"request_timeout_s": 20})
    with pytest.raises(openai.RateLimitError) as e:
        ask(proxy)
    assert e.value.response.headers["retry-after"] == "30"
    assert len(large_server.chats()) == 1


def test_timeouts_are_not_retried(make_proxy, large_server):
    """No byte within read_timeout_s: 504, settled at the worst case, and SDKs are told not to try again."""
    large_server.script({"reply": {"stall_after": 0}})
    proxy = make_proxy(large={"read_timeout_s": 0.3})
    client = proxy.client(max_retries=3)
    with pytest.raises(openai.InternalServerError) as e:
        client.chat.completions.create(model=DIRECT, messages=ASK, max_tokens=10)
    assert (e.value.status_code, e.value.code) == (504, "upstream_timeout")
    assert e.value.response.headers["x-should-retry"] == "false"
    assert len(large_server.chats()) == 1
    row = proxy.http().get("/v1/spend/requests?limit=1").json()["data"][0]
    assert row["cost"] > 0


def test_sdk_never_pays_twice(make_proxy, small_server, large_server):
    """Stage 3 fails after stage 2 was paid: the error says that a retry costs again, and the SDK makes none."""
    small_server.script(
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}},
        {"reply": {"contents": ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"]}},
    )
    large_server.script(
        {"match": {"contains": "tell another assistant"}, "reply": {"content": "multiply"}},
        {"reply": {"status": 500, **NO_PAUSE}},
    )
    proxy = make_proxy(large={"max_retries": 0})
    with pytest.raises(openai.InternalServerError) as e:
        proxy.client(max_retries=3).chat.completions.create(
            model="cope", messages=[{"role": "user", "content": "What is 6 times 7? Calculate the number."}]
        )
    assert e.value.response.headers["x-should-retry"] == "false"
    assert len(large_server.chats()) == 2


def test_sdk_retries_free_failures(make_proxy, large_server):
    """A 500 that was not billed is left to the SDK's own retries, and the second attempt answers."""
    large_server.script({"reply": [{"status": 500}, {"content": "hi"}]})
    proxy = make_proxy(large={"max_retries": 0})
    answer = proxy.client(max_retries=1).chat.completions.create(model=DIRECT, messages=ASK)
    assert answer.choices[0].message.content == "hi"


@pytest.mark.parametrize("status", [200, 429])
def test_upstream_headers_are_passed_on(proxy, large_server, status):
    """Its request id and rate limits reach the client, whose own answer still has ours."""
    limits = {"x-ratelimit-remaining-requests": "7", "openai-processing-ms": "12", "set-cookie": "a=b"}
    large_server.script({"reply": {"status": status, "headers": {**limits, "x-should-retry": "false"}}})
    response = proxy.http().post("/v1/chat/completions", json={"model": DIRECT, "messages": ASK})
    assert response.status_code == status
    assert response.headers["x-request-id"].startswith("req_standin_")
    assert response.headers["x-cope-request-id"].startswith("req_")
    assert response.headers["x-ratelimit-remaining-requests"] == "7"
    assert response.headers["openai-processing-ms"] == "12"
    assert "set-cookie" not in response.headers


def test_sdk_raises_stream_errors(proxy, large_server):
    """The upstream's own error event is what the SDK raises."""
    large_server.script(
        {
            "reply": {
                "content": "a b c d e f",
                "error_after": 3,
                "error": {"message": "overloaded", "code": "busy"},
            }
        }
    )
    with pytest.raises(openai.APIError, match="overloaded"):
        list(ask(proxy, stream=True))


def test_keep_alive_comments_trip_nobody(proxy, small_server):
    """While the cascade decides, comments come, and the SDK's stream is whole nevertheless."""
    small_server.script({"reply": {"content": "hello you", "release": "later"}})
    body = {"model": "cope", "messages": ASK, "stream": True}

    def streamed():
        return "".join(c.choices[0].delta.content or "" for c in ask(proxy, "cope", stream=True))

    with (
        ThreadPoolExecutor(1) as pool,
        proxy.http().stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        future = pool.submit(streamed)
        lines = response.iter_lines()
        assert next(line for line in lines if line) == ": keep-alive"
        small_server.open_gate("later")
        assert future.result() == "hello you"
        assert "data: [DONE]" in list(lines)


def test_shutdown_drains_the_streams(make_proxy, large_server):
    """SIGTERM in the middle of a stream: the client gets all of it, and its row is in the ledger."""
    large_server.script({"reply": {"content": "a b c d e f", "release": "go", "release_after": 3}})
    proxy = make_proxy()
    stream = ask(proxy, stream=True)
    pieces = [next(stream).choices[0].delta.content or ""]
    import os

    os.kill(proxy.pid, signal.SIGTERM)
    wait_until(lambda: "Shutting down" in proxy.output(), "the proxy to have heard")
    large_server.open_gate("go")
    pieces += [c.choices[0].delta.content or "" for c in stream if c.choices]
    assert "".join(pieces) == "a b c d e f"
    proxy.stop()
    assert [r["status"] for r in proxy.rows("SELECT status FROM requests")] == [200]
    assert proxy.rows("SELECT count(*) n FROM reservations") == [{"n": 0}]
