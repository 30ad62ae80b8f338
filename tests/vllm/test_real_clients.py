"""Unmodified clients on the real vLLM, and what happens in it when they leave."""

import json
import re
import subprocess
import urllib.request

import pydantic
import pytest

from tests.support.processes import ROOT
from tests.support.proxy_process import ProxyProcess
from tests.support.wait import wait_until

LARGE = "gpt-4o-mini"
ASK = "What is the capital of France?"
pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


class Verdict(pydantic.BaseModel):
    """Small enough for the smallest of models."""

    yes: bool


@pytest.fixture(scope="module")
def proxy(engine, tmp_path_factory):
    """Whatever the small model says is good enough; the same model plays the large one."""
    anything = {"stage1": 0.05, "stage2": 0.05}
    with ProxyProcess(
        tmp_path_factory.mktemp("real"),
        engine.base_url,
        engine.base_url,
        env={"ENGINE_KEY": engine.api_key, "OPENAI_API_KEY": engine.api_key},
        small={"model": engine.model, "api_key_env": "ENGINE_KEY", "max_output_tokens": 48},
        large={"model": LARGE, "max_output_tokens": 48},
        prices={LARGE: {"input_per_mtok": 2.5, "output_per_mtok": 10}},
        cascade={
            "samples": 2,
            "plan_max_tokens": 24,
            "thresholds": {"open": anything, "structured": anything, "choice": anything},
        },
    ) as process:
        yield process


def running(engine):
    """How many requests vLLM works on at present."""
    with urllib.request.urlopen(engine.base_url.removesuffix("/v1") + "/metrics", timeout=10) as answer:
        found = re.findall(
            r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)", answer.read().decode(), re.MULTILINE
        )
    return sum(map(float, found))


@pytest.mark.parametrize("model", ["cope", f"direct/{LARGE}"])
def test_python_sdk_reads_both_apis(proxy, model):
    """Chat and responses, whole and streamed; vLLM's own responses where the large model answers."""
    client = proxy.client(timeout=300)
    messages = [{"role": "user", "content": ASK}]
    assert client.chat.completions.create(model=model, messages=messages).choices[0].message.content
    chunks = list(client.chat.completions.create(model=model, messages=messages, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert client.responses.create(model=model, input=ASK, max_output_tokens=32).output
    events = [
        e.type for e in client.responses.create(model=model, input=ASK, max_output_tokens=32, stream=True)
    ]
    assert events[0] == "response.created"
    assert events[-1] in ("response.completed", "response.incomplete")


def test_guided_decoding_keeps_the_schema(proxy):
    """`.parse()` with Pydantic: the smallest model cannot break the format."""
    answer = proxy.client(timeout=300).chat.completions.parse(
        model="cope", messages=[{"role": "user", "content": "Is Paris in France?"}], response_format=Verdict
    )
    assert isinstance(answer.choices[0].message.parsed, Verdict)
    assert answer.cope["stage"] == 1


@pytest.mark.node
def test_the_node_sdk(proxy, node_chat):
    """A whole and a streamed answer, each at stage 1."""
    assert node_chat(proxy.base_url, "plain")["content"]
    assert node_chat(proxy.base_url, "stream")["content"]


@pytest.mark.clients
def test_the_llm_command(proxy, clients_python):
    """A command of somebody else's, answered by the real model."""
    done = subprocess.run(
        [clients_python, ROOT / "tests/clients/python/run.py", "llm", proxy.base_url],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    (answers,) = json.loads(done.stdout)
    assert all(answers.values())


@pytest.mark.parametrize(
    ("phase", "path", "body"),
    [
        ("planning", "/v1/chat/completions", {"model": "cope"}),
        ("planning", "/v1/responses", {"model": "cope"}),
        ("sampling", "/v1/chat/completions", {"model": "small", "max_tokens": 48}),
        (
            "a live stream",
            "/v1/chat/completions",
            {"model": f"direct/{LARGE}", "stream": True, "max_tokens": 2000},
        ),
        (
            "a live stream",
            "/v1/responses",
            {"model": f"direct/{LARGE}", "stream": True, "max_output_tokens": 2000},
        ),
    ],
)
def test_disconnect_stops_vllm(proxy, engine, phase, path, body):
    """Nothing is left running or waiting in the engine, and the row says who left."""
    story = "Tell a very long story about the sea. Calculate the number of fish in it, one by one."
    asked = (
        {"input": story} if path == "/v1/responses" else {"messages": [{"role": "user", "content": story}]}
    )
    before = proxy.rows("SELECT count(*) n FROM requests")[0]["n"]
    with proxy.sent(path, {**body, **asked}) as connection:
        if body.get("stream"):
            assert connection.recv(2000)
        wait_until(lambda: running(engine) > 0, f"vLLM to work on {phase}", 60)
    wait_until(lambda: running(engine) == 0, "vLLM to be idle", 15)
    wait_until(lambda: proxy.rows("SELECT count(*) n FROM requests")[0]["n"] == before + 1, "the row")
    row = proxy.rows("SELECT * FROM requests ORDER BY started_at DESC LIMIT 1")[0]
    assert row["error"] == "client_disconnected"
    assert proxy.rows("SELECT count(*) n FROM reservations") == [{"n": 0}]
