"""Other people's client libraries, unmodified, on the cascade and on the large model behind it."""

import json
import subprocess

import pytest

from tests.support.config import SMALL_MODEL, UPSTREAM_KEY
from tests.support.processes import ROOT
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn

# A name that the libraries know: some refuse others.
MODEL = "gpt-4o-mini"
HELLO = "Hello there, how are you today?"
CITY = {"name": "Paris", "people": 2}
ALL = {"plain": HELLO, "stream": HELLO, "tool": "It is sunny.", "structured": CITY}
RULES = (
    {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}},
    {"match": {"contains": "sunny in Paris"}, "reply": {"content": "It is sunny."}},
    {
        "match": {"contains": "weather in Paris"},
        "reply": {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
    },
    {"match": {"contains": "Describe Paris"}, "reply": {"content": json.dumps(CITY)}},
    {
        "match": {"contains": "Extract the city"},
        "reply": {"tool_calls": [{"name": "City", "arguments": CITY}]},
    },
    {"reply": {"content": HELLO}},
)
EXPECTED = {
    "langchain": {"chat": ALL, "responses": ALL},
    "llama_index": {k: v for k, v in ALL.items() if k != "structured"},
    "pydantic_ai": {"chat": ALL, "responses": ALL},
    "instructor": {"structured": CITY, "stream": CITY},
    "agents": {"chat": ALL, "responses": ALL},
    "litellm": ALL,
    "llm": {"plain": HELLO, "stream": HELLO},
}


@pytest.fixture(scope="module")
def small():
    with StandIn([SMALL_MODEL], max_model_len=4096) as server:
        yield server


@pytest.fixture(scope="module")
def large():
    with StandIn([MODEL], require_key=UPSTREAM_KEY) as server:
        yield server


@pytest.fixture(scope="module")
def proxies(small, large, tmp_path_factory):
    """Two proxies that differ in who answers: the small model, or, as that one is away, the large one."""
    small.script(*RULES)
    large.script(*RULES)
    changes = {"large": {"model": MODEL}, "small": {"tools": True}}
    folders = [tmp_path_factory.mktemp("proxy") for _ in range(2)]
    with (
        ProxyProcess(folders[0], small.base_url, large.base_url, **changes) as cascade,
        ProxyProcess(folders[1], "http://127.0.0.1:9/v1", large.base_url, **changes) as escalating,
    ):
        yield cascade, escalating


@pytest.mark.clients
@pytest.mark.parametrize("library", EXPECTED)
def test_python_libraries(proxies, clients_python, library):
    """Texts, streams, tool loops and structured answers arrive, whoever gives them."""
    done = subprocess.run(
        [clients_python, ROOT / "tests/clients/python/run.py", library, *(p.base_url for p in proxies)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [EXPECTED[library]] * 2


@pytest.mark.clients
def test_who_answered_the_libraries(proxies, clients_python, large):
    """The two proxies were asked alike, and the ledger says that each was answered by its own tier."""
    cascade, escalating = proxies
    for proxy in proxies:
        subprocess.run(
            [clients_python, ROOT / "tests/clients/python/run.py", "litellm", proxy.base_url],
            capture_output=True,
            timeout=100,
            check=True,
        )
    assert cascade.rows("SELECT count(*) n FROM requests WHERE stage = 1")[0]["n"] >= 5
    assert {r["stage"] for r in escalating.rows("SELECT stage FROM requests")} == {3}
    assert {r["reason"] for r in escalating.rows("SELECT reason FROM requests")} == {"small tier unavailable"}


@pytest.mark.node
def test_the_vercel_ai_sdk(proxies, node_run):
    """The AI SDK does the same over chat completions and over responses."""
    for proxy in proxies:
        assert node_run("ai.mjs", proxy.base_url) == {"chat": ALL, "responses": ALL}
