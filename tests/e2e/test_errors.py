"""Bad input gets a clear 4xx in OpenAI's shape, and the server goes on."""

import openai
import pytest

GOOD = {"model": "cope", "messages": [{"role": "user", "content": "hi"}]}


def error_of(response, status):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'"x"', b'{"model": "cope"', b'{"model":"\xff\xfe"}', b"[" * 100_000],
)
def test_malformed_bodies(proxy, raw):
    """A body that is no JSON object is a 400."""
    with proxy.http() as http:
        error_of(
            http.post("/v1/chat/completions", content=raw, headers={"content-type": "application/json"}), 400
        )


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function", "function": True}]}, "tools[0].function"),
        ({"tools": [{"type": []}]}, "tools[0].type"),
    ],
)
def test_bad_fields_are_named(proxy, change, param):
    """The error names the parameter."""
    with proxy.http() as http:
        assert error_of(http.post("/v1/chat/completions", json={**GOOD, **change}), 400)["param"] == param


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("X-COPE-Budget-USD", v) for v in ("-1", "NaN", "1e400", "inf", "", "ten", "1,5")),
        ("X-COPE-Max-Stage", "4"),
        ("X-COPE-Mode", "both"),
        ("X-COPE-Task", "poetry"),
        ("X-COPE-Threshold", "1.5"),
        ("X-COPE-Threshold", "0.1,0.2,0.3"),
        ("X-COPE-Samples", "0"),
        ("X-COPE-Samples", "99"),
        ("X-COPE-Session", "a b"),
        ("X-COPE-Session", "x" * 129),
        ("X-COPE-Session-Budget-USD", "1"),
        ("X-COPE-On-Budget", "maybe"),
        ("X-COPE-Budjet", "1"),
    ],
)
def test_bad_control_headers_are_named(proxy, name, value):
    """A bad control header is a 400 that names it."""
    with proxy.http() as http:
        error = error_of(http.post("/v1/chat/completions", json=GOOD, headers={name: value}), 400)
    assert error["param"].lower() == name.lower()
    assert error["code"] == "invalid_header"


def test_duplicated_control_header(proxy):
    """A control header given twice is refused: nobody can tell which was meant."""
    with proxy.http() as http:
        headers = [("X-COPE-Budget-USD", "1"), ("X-COPE-Budget-USD", "2")]
        assert (
            "more than once"
            in error_of(http.post("/v1/chat/completions", json=GOOD, headers=headers), 400)["message"]
        )


def test_unknown_model_is_openais_404(proxy):
    """An unknown model raises NotFoundError in the SDK."""
    with proxy.client() as client, pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="gpt-nope", messages=[{"role": "user", "content": "x"}])
    assert e.value.code == "model_not_found"


def test_framework_errors_have_openais_shape(proxy):
    """404 and 405 look like OpenAI's."""
    with proxy.http() as http:
        error_of(http.get("/v1/nothing"), 404)
        error_of(http.put("/v1/chat/completions"), 405)
        error_of(http.post("/v1/models", json={}), 405)


def test_huge_bodies_are_refused(proxy):
    """A body over the limit is a 413, and the next request is served."""
    with proxy.http() as http:
        body = b'{"model":"cope","messages":[{"role":"user","content":"' + b"x" * 50_000_000 + b'"}]}'
        error_of(http.post("/v1/chat/completions", content=body), 413)
        assert http.get("/health/live").status_code == 200


def test_upstream_errors_are_passed_on(proxy, large_server):
    """The upstream's 429 keeps its status, code and Retry-After."""
    large_server.script(
        {
            "reply": {
                "status": 429,
                "error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"},
                "headers": {"retry-after": "7", "x-should-retry": "false"},
            }
        }
    )
    with proxy.client() as client, pytest.raises(openai.RateLimitError) as e:
        client.chat.completions.create(model="direct/big-model", messages=[{"role": "user", "content": "x"}])
    assert e.value.code == "rate_limit_exceeded"
    assert e.value.response.headers["retry-after"] == "7"


def test_upstream_authentication_failure_tells_nothing(proxy, large_server):
    """The upstream's refusal of our key is a 502 without a piece of the key."""
    large_server.script(
        {"reply": {"status": 401, "error": {"message": "Incorrect API key provided: sk-upstream-secret"}}}
    )
    with proxy.http() as http:
        response = http.post("/v1/chat/completions", json={**GOOD, "model": "direct/big-model"})
    assert error_of(response, 502)["code"] == "upstream_authentication"
    assert "sk-upstream" not in response.text


def test_failed_calls_are_recorded(proxy, large_server):
    """A 400 of the upstream is a row with cost 0."""
    large_server.script(
        {"reply": {"status": 400, "error": {"message": "bad", "type": "invalid_request_error"}}}
    )
    with proxy.http() as http:
        response = http.post("/v1/chat/completions", json={**GOOD, "model": "direct/big-model"})
        error_of(response, 400)
        story = http.get(f"/v1/spend/requests/{response.headers['x-cope-request-id']}").json()
    assert story["request"]["status"] == 400
    assert story["request"]["cost"] == 0


def test_broken_stream_sends_an_error(proxy, large_server):
    """A stream that breaks raises in the SDK, and what was used is counted and marked estimated."""
    large_server.script({"reply": {"content": "one two three four five six", "break_after": 4}})
    with proxy.client() as client, pytest.raises(openai.APIError):
        for _ in client.chat.completions.create(
            model="direct/big-model", messages=[{"role": "user", "content": "x"}], stream=True
        ):
            pass
    with proxy.http() as http:
        last = http.get("/v1/spend/requests?limit=1").json()["data"][0]
        story = http.get(f"/v1/spend/requests/{last['id']}").json()
    assert story["calls"][0]["estimated"] is True
    assert story["request"]["cost"] > 0
