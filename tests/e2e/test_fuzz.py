"""Whatever arrives: no 5xx of our own making, no hang, no secret in an answer."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from tests.support.config import UPSTREAM_KEY
from tests.support.odd import changed, places
from tests.support.wait import Json

pytestmark = pytest.mark.slow

ADMIN = "admin-secret-9f"
QUICK = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
GOOD: dict[str, Json] = {
    "/v1/chat/completions": {
        "model": "cope",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": {"type": "object"}}},
        "stream": True, "stream_options": {"include_usage": True}, "n": 1, "max_tokens": 5, "stop": ["a"],
        "metadata": {"a": "b"}, "user": "u", "logprobs": True, "models": ["big-model"],
    },
    "/v1/responses": {
        "model": "cope",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "x"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        "text": {"format": {"type": "json_object"}}, "instructions": "x", "stream": True, "store": False,
        "previous_response_id": None, "include": [], "tool_choice": "auto", "max_output_tokens": 5,
    },
    "/v1/responses/compact": {
        "model": "cope", "input": [{"role": "user", "content": "hi"}], "instructions": "x", "service_tier": "auto",
    },
    "/v1/responses/input_tokens": {"model": "cope", "input": [{"role": "user", "content": "hi"}], "tools": []},
    "/v1/completions": {"model": "cope", "prompt": ["a"], "max_tokens": 2, "n": 1, "best_of": 1, "suffix": "x", "stream": True},
    "/v1/embeddings": {"model": "cope", "input": ["a"], "dimensions": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def proxy(small_server, large_server, tmp_path_factory):
    from tests.support.proxy_process import ProxyProcess

    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"),
        small_server.base_url,
        large_server.base_url,
        env={"COPE_ADMIN_KEY": ADMIN},
        small={"tools": True},
        cascade={"samples": 1},
        # What the stand-in chokes on must not keep the next request from it.
        large={"max_retries": 0, "breaker_failures": 1_000_000},
    ) as process:
        yield process


@pytest.fixture(scope="module")
def http(proxy):
    return proxy.http(headers={"authorization": f"Bearer {ADMIN}"})


def fair(response, *, of_the_upstream=()):
    """What holds for every answer; an error of the upstream may be passed on, a failure of ours may not."""
    assert UPSTREAM_KEY not in response.text
    assert ADMIN not in response.text
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error["message"]
        assert response.status_code < 500 or error["code"] in of_the_upstream, response.text


@pytest.mark.parametrize("path", GOOD)
def test_any_value_anywhere_in_body(http, path):
    """A good body with one value replaced, in either mode."""

    @QUICK
    @given(st.sampled_from(places(GOOD[path])), JSON, st.sampled_from(["cascade", "large"]))
    def check(place, new, mode):
        raw = json.dumps(changed(GOOD[path], place, new))
        note(raw)
        headers = {"content-type": "application/json", "x-cope-mode": mode}
        # The stand-in's own 500 is what an upstream that chokes on a body answers.
        fair(http.post(path, content=raw, headers=headers), of_the_upstream={None})

    check()
    assert http.get("/health/live").status_code == 200


@QUICK
@given(
    raw=st.binary(max_size=200) | st.sampled_from([b"[" * 5000, b'{"a":' * 5000, b'{"\xf2": 1}', b'"\xff"']),
    path=st.sampled_from([*sorted(GOOD), "/v1/chat/completions/any", "/v1/admin/keys"]),
)
def test_any_bytes_as_a_body(http, raw, path):
    """Bytes that are no JSON object are a 400."""
    response = http.post(path, content=raw, headers={"content-type": "application/json"})
    fair(response)
    assert response.status_code == 400


@QUICK
@given(
    name=st.sampled_from(
        ["Budget-USD", "Session", "Session-Budget-USD", "On-Budget", "Mode", "User", "Max-Stage", "Task", "Threshold", "Samples"]
    ),
    value=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=140).map(str.strip),
)  # fmt: skip
def test_any_control_header_value(http, name, value):
    """A control header is used, or refused by its name."""
    headers = {f"X-COPE-{name}": value.encode("latin-1"), "X-COPE-On-Budget": "fail"}
    body = {"model": "cope", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    response = http.post("/v1/chat/completions", json=body, headers=headers)
    fair(response)
    if response.status_code == 400:
        assert response.json()["error"]["param"].lower() == f"x-cope-{name}".lower()


@pytest.fixture(scope="module")
def api(proxy):
    return schemathesis.openapi.from_url(f"{proxy.url}/schema/openapi.json")


def test_our_own_openapi(api):
    """Every operation of our own document survives what the document allows, and what it does not."""
    modes = schemathesis.GenerationMode
    headers = {"authorization": f"Bearer {ADMIN}"}
    operations = [operation.ok() for operation in api.get_all_operations()]
    for operation in operations:
        for mode in (modes.POSITIVE, modes.NEGATIVE):
            cases = operation.as_strategy(generation_mode=mode)

            @settings(QUICK, max_examples=25)
            @given(case=cases)
            def check(case):
                response = case.call(headers=headers)
                assert UPSTREAM_KEY not in response.text
                # 503 of readiness is its answer; all else of ours has to hold.
                assert response.status_code < 500 or case.path == "/health/ready", response.text

            try:
                check()
            except Unsatisfiable:
                assert mode is modes.NEGATIVE  # of an operation without parameters nothing can be wrong
    assert len(operations) >= 15


def test_the_document_names_every_endpoint(api):
    """Who reads the document finds the model endpoints beside the others."""
    paths = set(api.raw_schema["paths"])
    assert {*GOOD, "/v1/models", "/v1/spend", "/health/live"} <= paths
