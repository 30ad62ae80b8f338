"""The real vLLM: it answers, stops for a client that left, comes back after a crash, and never stays behind."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from proxy.config.schema import Small
from proxy.vllm.launch import EngineProcess

ROOT = Path(__file__).parents[2]
RESTART_S = 400.0

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def connect(engine: EngineProcess, timeout: float = 60) -> http.client.HTTPConnection:
    url = urlsplit(engine.base_url)
    return http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout)


def chat(
    engine: EngineProcess, connection: http.client.HTTPConnection, **body: object
) -> http.client.HTTPResponse:
    headers = {"content-type": "application/json", "authorization": f"Bearer {engine.api_key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection.getresponse()


def metric(engine: EngineProcess, name: str, *labels: str) -> float:
    """Return the sum of a metric over its lines that carry the labels."""
    connection = connect(engine)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    lines = [
        line for line in text.splitlines() if line.startswith(name + "{") and all(x in line for x in labels)
    ]
    assert lines, f"no metric {name} {labels}"
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def api_server(engine: EngineProcess) -> psutil.Process:
    """Return the server itself, which is below the supervisor's guard."""
    (keeper,) = (p for p in psutil.Process().children() if str(engine.log) in p.cmdline())
    return keeper.children()[0].children()[0]


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "large-stand-in"])
def test_bundled_model_knows_paris(engine: EngineProcess, model: str):
    """Under both of its names the model says Paris, and ends by itself."""
    connection = connect(engine)
    try:
        question = [{"role": "user", "content": "What is the capital of France?"}]
        answer = json.loads(
            chat(engine, connection, model=model, messages=question, temperature=0, max_tokens=40).read()
        )
    finally:
        connection.close()
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert engine.model == "smollm2-135m-instruct"


def test_disconnect_stops_generation(engine: EngineProcess, until: Callable[..., None]):
    """A stream whose client went away is aborted, and not one more token is made for it."""
    finished = metric(engine, "vllm:request_success_total", 'finished_reason="length"')
    begun = metric(engine, "vllm:generation_tokens_total")
    connection = connect(engine)
    body = {
        "messages": [{"role": "user", "content": "Tell a very long story."}],
        "max_tokens": 3000,
        "ignore_eos": True,
        "stream": True,
    }
    response = chat(engine, connection, model=engine.model, **body)
    for _ in range(6):
        assert response.readline()
    assert metric(engine, "vllm:num_requests_running") == 1
    response.close()
    connection.close()

    until(lambda: metric(engine, "vllm:num_requests_running") == 0, 15, "no request is running")
    # vLLM 0.32 counts no finished_reason="abort" for a client that left, and no tokens of a request that it
    # forgot. The scheduler tells: nothing runs, nothing holds a block of the cache, nothing got to its end.
    assert metric(engine, "vllm:num_requests_waiting") == 0
    assert metric(engine, "vllm:kv_cache_usage_perc") == 0
    assert metric(engine, "vllm:request_success_total", 'finished_reason="length"') == finished
    made = metric(engine, "vllm:generation_tokens_total")
    connection = connect(engine)
    try:  # a whole request of 8 tokens later, these 8 are all that was added
        question = [{"role": "user", "content": "Hello"}]
        chat(engine, connection, model=engine.model, messages=question, max_tokens=8, ignore_eos=True).read()
    finally:
        connection.close()
    until(lambda: metric(engine, "vllm:generation_tokens_total") >= made + 8, 10, "the tokens are counted")
    assert metric(engine, "vllm:generation_tokens_total") == made + 8
    assert made - begun < 1000


def test_a_killed_server_comes_back(engine: EngineProcess, until: Callable[..., None]):
    """After a SIGKILL of the API server no engine core is left over, and a new server gets ready."""
    server = api_server(engine)
    old = [server, *server.children(recursive=True)]
    assert len(old) >= 2
    server.send_signal(signal.SIGKILL)
    until(lambda: not running(old), 30, "the old processes are gone")
    steps: list[str] = []
    engine.wait_ready(steps.append, RESTART_S)
    print("\n".join(steps))
    assert api_server(engine).pid != server.pid
    assert "SIGKILL" in engine.log.read_text()


OWNER = """
import sys, msgspec
from proxy.vllm import launch
from proxy.config.schema import Small
engine = launch.start(msgspec.json.decode(sys.argv[1], type=Small), progress=lambda line: None)
print("started", flush=True)
sys.stdin.read()
"""


def test_nothing_outlives_a_killed_owner(engine_settings: Small, tmp_path: Path, until: Callable[..., None]):
    """A SIGKILL of the owner, in the middle of the start-up, leaves neither supervisor nor vLLM."""
    import msgspec

    own = msgspec.structs.replace(engine_settings.vllm, log_file=str(tmp_path / "vllm.log"))
    settings = msgspec.json.encode(msgspec.structs.replace(engine_settings, vllm=own)).decode()
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, settings],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"started\n"
        (supervisor,) = psutil.Process(owner.pid).children()
        until(lambda: len(supervisor.children(recursive=True)) >= 3, 120, "vLLM has started its engine core")
        family = [supervisor, *supervisor.children(recursive=True)]
        owner.kill()
    until(lambda: not running(family), 30, "supervisor and vLLM are gone")
    assert "stopped" in (tmp_path / "vllm.log").read_text()
