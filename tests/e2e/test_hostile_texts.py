"""Hostile texts through the front door, while another client asks whether the proxy lives."""

import json

import pytest

from tests.support.hostile import LARGE_SCHEMAS, in_places
from tests.support.hostile_traffic import answers, prompts, schemas, send
from tests.support.proxy_process import ProxyProcess

pytestmark = pytest.mark.slow

LONGEST_GAP_S = 1.0
"""A hang, not the time on a quiet machine: `benchmarks/hostile_texts.py` measures that."""


@pytest.fixture(scope="module")
def hostile_proxy(small_server, large_server, tmp_path_factory):
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"),
        small_server.base_url,
        large_server.base_url,
        small={"tools": True},
        cascade={"samples": 2},
        large={"max_retries": 0, "breaker_failures": 1_000_000},
    ) as process:
        yield process


def check(proxy, cases):
    """No answer is an error of the proxy, no other client waits, and no vote has failed."""
    gaps = []
    for _ in range(2):  # a text that stops the proxy does so each time, a busy machine does not
        bad, monitor = send(proxy, cases())
        assert bad == {}
        gaps.append(monitor.worst)
        if monitor.worst < LONGEST_GAP_S:
            break
    assert min(gaps) < LONGEST_GAP_S
    assert "cope_vote_failures_total{" not in proxy.http().get("/metrics").text


def test_hostile_prompts(hostile_proxy):
    """Each hostile text as a prompt is answered, and others are served meanwhile."""
    check(hostile_proxy, lambda: prompts([9_000]))


def test_hostile_schemas(hostile_proxy):
    """So is each hostile schema, as a format and in a tool."""
    check(hostile_proxy, schemas)


def test_hostile_answers(hostile_proxy, small_server):
    """So is each request to which the small model gives a hostile text as an answer."""
    check(hostile_proxy, lambda: answers(small_server, 3_000))


@pytest.mark.parametrize("name", LARGE_SCHEMAS)
def test_large_schemas_refused(hostile_proxy, name):
    """A schema over a limit is a 400 that names its place and the limit."""
    http = hostile_proxy.http(headers={"content-type": "application/json"})
    responses = {"text": {"format": {"type": "json_schema", "name": "s", "schema": LARGE_SCHEMAS[name]}}}
    chats = in_places(LARGE_SCHEMAS[name])
    places = [("/v1/chat/completions", c) for c in chats] + [("/v1/responses", responses)]
    for path, fields in places:
        body = {"model": "cope", "messages": [{"role": "user", "content": "x"}], "input": "x", **fields}
        answered = http.post(path, content=json.dumps(body))
        error = answered.json()["error"]
        assert (answered.status_code, error["code"]) == (400, "schema_too_large")
        assert error["param"] in ("response_format", "tools[0]", "text.format")
        assert "more than" in error["message"]
