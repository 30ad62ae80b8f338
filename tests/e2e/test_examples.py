"""Each example runs as its users run it, against the real proxy; the compose file matches the Dockerfile and the config."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
import yaml

from proxy.config.environment import ENV_PREFIX
from proxy.config.loading import load
from tests.support.processes import ROOT

EXAMPLES = ROOT / "examples"


@dataclass
class Example:
    """Runs a Python example against a proxy and returns the lines that it printed."""

    base_url: str

    def lines(self, name, *args):
        done = subprocess.run(
            [sys.executable, EXAMPLES / name, *args],
            env={**os.environ, "OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": "anything"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.splitlines()


@pytest.fixture
def example(proxy):
    """Examples against the proxy of this module."""
    return Example(proxy.base_url)


def test_python_sdk(example, small_server, large_server):
    """The small model's samples agree, so the answer is local and costs nothing."""
    small_server.say("\\boxed{84}")
    answer, facts, money = example.lines("python_sdk.py")
    assert answer == "\\boxed{84}"
    assert re.fullmatch(r"task math, stage 1, confidence (0\.75|1\.0), model small-model", facts)
    assert money.startswith("cost 0 USD, the large model alone about 0.0")
    assert large_server.chats() == []


def test_streaming_example(example, small_server, large_server):
    """The small model is unsure; the large model's words and the cost of its answer arrive."""
    small_server.say("Perhaps.", logprob=-3.0)
    large_server.say("The sea is wide.", usage={"prompt_tokens": 1000, "completion_tokens": 100})
    assert example.lines("streaming.py") == ["The sea is wide.", "stage 3, 0.0035 USD"]


def test_budgets_example(example, small_server, large_server):
    """A paid answer lowers the session's budget, a local one does not, and a refusal is the SDK's own error."""
    small_server.say("\\boxed{4}")
    large_server.say("Paris.", usage={"prompt_tokens": 1000, "completion_tokens": 100})
    assert example.lines("budgets.py", "s-1") == [
        "one paid answer: 0.0035 USD, 0.0065 USD left in the session",
        "a local answer: stage 1, 0 USD",
        "refused: 429 insufficient_quota",
    ]


def test_agent_loop(make_proxy, small_server, large_server):
    """The small model calls the tool and reports its result; nothing is paid."""
    small_server.script(
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find the stock."}},
        {"match": {"contains": '"role": "tool"'}, "reply": {"content": "12 apples are in stock."}},
        {"reply": {"tool_calls": [{"name": "in_stock", "arguments": {"product": "apples"}}]}},
    )
    proxy = make_proxy(small={"tools": True})
    first, called, second, answer = Example(proxy.base_url).lines("agent_loop.py")
    assert first == "stage 1, 0 USD"
    assert re.fullmatch(r'in_stock\(\{"product": ?"apples"\}\) = 12', called)
    assert second == "stage 1, 0 USD"
    assert answer == "12 apples are in stock."
    assert large_server.chats() == []


@pytest.fixture(scope="module")
def compose():
    """The compose file, decoded."""
    return yaml.safe_load((EXAMPLES / "docker-compose.yml").read_text(encoding="utf-8"))


def test_compose_services(compose):
    """The proxy is built from a target of the Dockerfile, serves its port, and keeps its spool on a volume."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    proxy, postgres = compose["services"]["proxy"], compose["services"]["postgres"]
    assert (EXAMPLES / proxy["build"]["context"]).resolve() == ROOT
    assert f" AS {proxy['build']['target']}\n" in dockerfile
    assert proxy["ports"] == ["127.0.0.1:8080:8080"]
    assert "EXPOSE 8080" in dockerfile
    for volume in (*proxy["volumes"], *postgres["volumes"]):
        assert volume.split(":")[0] in compose["volumes"]
    assert "VOLUME /data" in dockerfile
    assert proxy["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert re.fullmatch(r"postgres:\d+", postgres["image"])


def test_compose_settings(compose):
    """The environment is a valid config that uses the Postgres of the file."""
    given = {"OPENAI_API_KEY": "sk-x", "COPE_ADMIN_KEY": "admin", "POSTGRES_PASSWORD": "secret"}

    def filled(value):
        # ${NAME:-default} and ${NAME:?message}, as compose fills them in.
        return re.sub(r"\$\{(\w+):(?:-([^}]*)|\?[^}]*)\}", lambda m: given.get(m[1]) or m[2], value)

    environment = {k: filled(v) for k, v in compose["services"]["proxy"]["environment"].items()}
    postgres = {k: filled(v) for k, v in compose["services"]["postgres"]["environment"].items()}
    settings = load(None, {k: v for k, v in environment.items() if k.startswith(ENV_PREFIX)})
    user, password, name = (postgres[f"POSTGRES_{part}"] for part in ("USER", "PASSWORD", "DB"))
    assert settings.database.url == f"postgresql+asyncpg://{user}:{password}@postgres/{name}"
    assert {settings.large.api_key_env, settings.server.admin_key_env} <= set(environment)
    assert settings.small.vllm is None
    assert settings.small.base_urls == ("http://host.docker.internal:8000/v1",)
    assert (settings.budgets.global_usd, settings.budgets.window) == (100, "month")


def test_dockerfile_paths():
    """Every file that the Dockerfile copies from the context is there."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line.split()[1:-1] for line in text.splitlines() if re.match(r"COPY (?!--from)", line)]
    assert lines
    assert [path for line in lines for path in line if not (ROOT / path).exists()] == []
