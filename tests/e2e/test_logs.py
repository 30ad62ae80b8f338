"""The proxy's log: its form, one line a request, and nothing in it that somebody has said."""

import contextlib
import json
import sqlite3

import pytest

from tests.support.config import LARGE_MODEL, UPSTREAM_KEY
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

MATH = "What is 6 times 7? Calculate the number."
MARK = "tulipbulb"  # one plain word, so that no rule for odd characters hides it
SECRETS = {"COPE_ADMIN_KEY": f"sk-admin-{MARK}", "COPE_METRICS_KEY": f"sk-metrics-{MARK}"}
JSON_LINES = {"format": "json", "level": "debug", "requests": True}


def lines(proxy):
    """Return the lines of the log as objects. Each one must be JSON."""
    return [json.loads(line) for line in proxy.output().splitlines()]


def line_of(proxy, request_id):
    """Wait for the line of a request."""

    def look():
        found = [
            line
            for line in lines(proxy)
            if line["logger"] == "proxy.requests" and line.get("request_id") == request_id
        ]
        return found and found[0]

    return wait_until(look, f"the line of {request_id}")


def test_a_line_a_request(make_proxy, small_server, large_server):
    """It has the request's id, outcome, model, tokens, costs and times."""
    proxy = make_proxy(logs=JSON_LINES)
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    large_server.say("42", usage=usage)
    body = {"model": f"direct/{LARGE_MODEL}", "messages": [{"role": "user", "content": MATH}]}
    answer = proxy.http().post("/v1/chat/completions", json=body)
    line = line_of(proxy, answer.headers["x-cope-request-id"])
    assert line["duration_s"] > 0
    assert line["first_token_s"] <= line["duration_s"]
    expected = {
        "level": "info", "logger": "proxy.requests", "method": "POST", "path": "/v1/chat/completions", "status": 200,
        "error": None, "kind": None, "mode": "large", "stage": 3, "model": LARGE_MODEL, "degraded": False,
        "stream": False, "prompt_tokens": 100, "completion_tokens": 20, "calls": 1, "cost_usd": 0.00045,
        "baseline_usd": 0.00045,
    }  # fmt: skip
    assert {name: line[name] for name in expected} == expected


def test_requests_of_all_kinds(make_proxy):
    """A refused request has a line too. Its path is that of the route."""
    proxy = make_proxy(logs=JSON_LINES | {"level": "info"})
    http = proxy.http()
    refused = http.post("/v1/chat/completions", content=b"{")
    assert line_of(proxy, refused.headers["x-cope-request-id"])["status"] == 400
    http.get("/v1/spend/requests/tulipbulb")
    http.get("/tulipbulb")
    http.get("/health/live")
    http.get("/metrics")
    http.get("/v1/models")
    wait_until(
        lambda: [line for line in lines(proxy) if line.get("path") == "/v1/models"],
        "the line of the last one",
    )
    seen = [(line["path"], line["status"]) for line in lines(proxy) if line["logger"] == "proxy.requests"]
    assert seen[1:] == [
        ("/v1/spend/requests/{request_id}", 404),
        ("(no such path)", 404),
        ("/v1/models", 200),
    ]


def test_silent_by_default(make_proxy, small_server):
    """Requests that are answered leave no line."""
    proxy = make_proxy()
    small_server.say("\\boxed{42}")
    before = proxy.output()
    assert "Uvicorn running on" in before
    proxy.client().chat.completions.create(model="cope", messages=[{"role": "user", "content": MATH}])
    proxy.http().get("/v1/models")
    assert proxy.output() == before


def test_workers_and_uvicorn(make_proxy):
    """The lines of all workers and of uvicorn have one form, to the very end."""
    proxy = make_proxy(server={"workers": 2}, logs={"format": "json"})
    proxy.stop()
    found = lines(proxy)
    assert {line["logger"].partition(".")[0] for line in found} == {"uvicorn"}
    assert sum("Application startup complete" in line["message"] for line in found) == 2
    assert any("Finished server process" in line["message"] for line in found)


@contextlib.contextmanager
def tables_gone(proxy, *tables):
    """Rename tables of the running proxy's database, so that each statement about them fails."""
    with contextlib.closing(sqlite3.connect(proxy.database, timeout=20)) as connection:
        for table in tables:
            connection.execute(f"ALTER TABLE {table} RENAME TO gone_{table}")
        connection.commit()
        yield
        for table in tables:
            connection.execute(f"ALTER TABLE gone_{table} RENAME TO {table}")
        connection.commit()


def chat(http, text=MARK, model="cope", headers=None, **extra):
    """Send a chat that has the mark in every place that takes a text, and read the answer."""
    body = {
        "model": model,
        "messages": [{"role": "system", "content": MARK}, {"role": "user", "content": f"{text} {MATH}"}],
        "user": MARK, "metadata": {MARK: MARK}, "stop": [MARK], "max_tokens": 50, MARK: MARK, **extra,
    }  # fmt: skip
    given = {"X-COPE-Session": MARK, "X-COPE-User": MARK, "Cookie": f"a={MARK}", "User-Agent": MARK} | (
        headers or {}
    )
    with contextlib.suppress(Exception):  # some streams break off
        return http.post("/v1/chat/completions", json=body, headers=given).status_code
    return None


TOOL = {"type": "function", "function": {"name": MARK, "description": MARK, "parameters": {"type": "object"}}}
ERROR = {"message": MARK, "type": MARK, "code": MARK, "param": MARK}
UPSTREAM = [
    {"content": MARK},
    {"tool_calls": [{"name": MARK, "arguments": {MARK: MARK}}]},
    *({"status": status, "error": ERROR} for status in (400, 401, 403, 404, 409, 422, 429, 500, 503)),
    {"status": 200, "raw_body": MARK},
    {"status": 200, "raw_body": f'{{"choices": "{MARK}"}}'},
    {"status": 502, "raw_body": f"<html>{MARK}</html>"},
    {"content": MARK, "break_after": 1},
    {"content": MARK, "error_after": 1, "error": ERROR},
    {"content": MARK, "finish_reason": MARK, "extra": {MARK: MARK}},
]


@pytest.mark.parametrize("form", ["console", "json"])
def test_nothing_that_somebody_said(make_proxy, small_server, large_server, form):
    """Prompts, answers, keys, names and the texts of upstreams are in no line, whatever fails."""
    proxy = make_proxy(
        logs=JSON_LINES | {"format": form},
        env=SECRETS,
        ledger={"store_content": True},
        audit={"share": 1.0},
        large={"max_retries": 0, "breaker_failures": 1000},
        cascade={"samples": 2},
    )
    http = proxy.http(headers={"Authorization": f"Bearer {SECRETS['COPE_ADMIN_KEY']}"})
    small_server.script({"reply": {"contents": [MARK, f"\\boxed{{{MARK}}}", "42"]}})
    for reply in UPSTREAM:
        large_server.script({"reply": reply})
        for stream in (False, True):
            chat(http, model=f"direct/{LARGE_MODEL}", stream=stream, tools=[TOOL])
        chat(http)
    for reply in UPSTREAM:
        small_server.script({"reply": reply})
        chat(http, headers={"X-COPE-Mode": "small"}, stream=True)
    small_server.say("\\boxed{42}")
    large_server.script({"reply": {"status": 400, "error": ERROR}})
    audited = {"model": "cope", "messages": [{"role": "user", "content": f"{MATH} {MARK}"}]}
    assert http.post("/v1/chat/completions", json=audited).status_code == 200
    wait_until(lambda: "was not made" in proxy.output(), "the audit to fail")
    for name in ("Budget-USD", "Session-Budget-USD", "On-Budget", "Mode", "Task", "Threshold", "Samples"):
        assert chat(http, headers={f"X-COPE-{name}": MARK}) == 400, name
    assert chat(http, model=MARK) == 404
    schema = {"type": "json_schema", "json_schema": {"name": MARK, "schema": {"pattern": f"({MARK}"}}}
    chat(http, response_format=schema)
    for body in (f"{{{MARK}", f'"{MARK}"', MARK.encode() + b"\xff", b"[" * 10_000 + MARK.encode()):
        http.post("/v1/chat/completions", content=body)
        http.post("/v1/admin/keys", content=body)
        http.post("/v1/responses", content=body)
    for path in (
        f"/{MARK}",
        f"/v1/{MARK}?q={MARK}",
        f"/v1/responses/{MARK}",
        f"/dashboard/{MARK}",
        f"/%0a{MARK}",
    ):
        http.get(path)
        http.delete(path)
    http.get("/v1/spend", params={"by": MARK, "since": MARK})
    http.post("/dashboard/sign-in", data={"key": MARK})
    http.get("/metrics", headers={"Authorization": f"Bearer {MARK}"})
    with tables_gone(proxy, "requests", "calls", "rollups", "budgets", "plans", "api_keys"):
        chat(http)
        chat(http, model=f"direct/{LARGE_MODEL}")
        for path in (
            "/v1/spend",
            "/v1/spend/requests",
            f"/v1/spend/requests/{MARK}",
            "/dashboard",
            "/metrics",
        ):
            http.get(path)
            http.get(path, headers={"Authorization": f"Bearer sk-cope-{MARK}"})
        http.post("/v1/admin/keys", json={"name": MARK})
        wait_until(lambda: "the ledger cannot be written" in proxy.output(), "the writer to fail")
    proxy.stop()
    output = proxy.output()
    assert "the database is unavailable" in output
    assert "POST /v1/chat/completions 200" in output
    assert not [line for line in output.splitlines() if MARK in line]
    assert UPSTREAM_KEY not in output
    if form == "json":
        assert all(line.keys() >= {"timestamp", "level", "logger", "message"} for line in lines(proxy))
        failed = [
            line for line in lines(proxy) if line["message"].endswith("is unavailable (OperationalError)")
        ]
        assert failed
        assert all("request_id" in line for line in failed)
