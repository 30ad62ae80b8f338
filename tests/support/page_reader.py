"""A reader who follows a page: one folder, one terminal, and a proxy between two stand-ins."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml

from proxy.config.loading import load
from proxy.config.prices import resolve_prices
from tests.support.config import UPSTREAM_KEY, merged, toml
from tests.support.output_shape import fits_text, json_differences
from tests.support.page_blocks import Block
from tests.support.processes import ROOT, START_S
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

ADMIN_KEY = "admin-secret"
BLOCK_S = 300  # far above the time of the longest block
STOPPED = "Stop the proxy first"
SERVES = re.compile(r"^(?:\w+=\S+ )*cope-proxy serve", re.MULTILINE)
# `serve` goes on in the background, as in a second terminal, and the next command waits until it answers.
COPE_PROXY = """#!/bin/bash
if [ "$1" != serve ]; then exec {python} -m proxy.cli "$@"; fi
{python} -m proxy.cli "$@" >serve.log 2>&1 &
echo $! >>serve.pids
until curl --silent --fail --output /dev/null {url}/health/live; do
  kill -0 $! 2>/dev/null || {{ cat serve.log >&2; exit 1; }}
  sleep 0.1
done
"""
TERMINAL = """set -eo pipefail
[ ! -f .terminal ] || . ./.terminal
{text}
export -p >.terminal
"""


class PageReader:
    """Runs the blocks of one page, in order."""

    def __init__(self, proxy: ProxyProcess, large: StandIn, postgres: Callable[[], str]) -> None:
        """Prepare the folder of `proxy`, which need not be running.

        Args:
            proxy: whose config the commands of the page use.
            large: its upstream.
            postgres: starts a server, and returns the URL of an empty database.
        """
        self._proxy, self._large, self._postgres = proxy, large, postgres
        self._output = ""
        # `cope-proxy init` of a page writes a cope.toml of its own.
        proxy.config_file = proxy.config_file.rename(proxy.folder / "session.toml")
        self._programs = proxy.folder / "bin"
        self._programs.mkdir()
        self._program("cope-proxy", COPE_PROXY.format(python=sys.executable, url=proxy.url))
        self._program("python", f'#!/bin/bash\nexec {sys.executable} "$@"\n')
        (proxy.folder / "examples").symlink_to(ROOT / "examples")

    def follow(self, block: Block) -> None:
        """Do as a block says.

        Raises:
            AssertionError: it fails, or shows something else than the real output.
        """
        text = self._filled(block.text)
        if block.title == STOPPED:
            self._proxy.stop()
            getattr(self, f"_{block.language}")(block, text)
            self._proxy.start()
        elif block.file is not None:
            (self._proxy.folder / block.file).write_text(text, encoding="utf-8")
        elif block.title == "Answer":
            self._compare(block, text)
        else:
            getattr(self, f"_{block.language}")(block, text)

    def close(self) -> None:
        """End each `serve` that the page has started."""
        with suppress(FileNotFoundError):
            for pid in map(int, (self._proxy.folder / "serve.pids").read_text().split()):
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "serve to end", START_S)  # type: ignore[misc]

    def _sh(self, block: Block, text: str) -> None:
        self._output = self._run(block, "bash", "-c", TERMINAL.format(text=text))

    def _console(self, block: Block, text: str) -> None:
        for command, shown in re.findall(r"^\$ (.*(?:\\\n.*)*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            self._sh(block, command)
            assert fits_text(shown, self._output), f"{block}: {command}\n{self._output}"

    def _python(self, block: Block, text: str) -> None:
        self._output = self._run(block, sys.executable, "-W", "error", "-c", text)

    def _toml(self, block: Block, text: str) -> None:
        base = tomllib.loads(self._proxy.config_file.read_text(encoding="utf-8"))
        shown = tomllib.loads(text)
        file = self._proxy.folder / "shown.toml"
        targets = {name for alert in shown.get("alerts", ()) for name in alert["targets"]}
        for name in targets - set(shown.get("webhooks", {})) - set(shown.get("mail", {})):
            base.setdefault("webhooks", {})[name] = {"url": "https://ops.example.com"}
        if "vllm" in shown.get("small", {}):
            base["small"].pop("base_url")
        file.write_text(toml(merged(base, shown)), encoding="utf-8")
        assert resolve_prices(load(file, {})), block

    def _sql(self, block: Block, text: str) -> None:
        if block.on_postgres:
            self._output = self._run(block, "psql", "-v", "ON_ERROR_STOP=1", "-c", text)
        else:
            self._output = "\n".join(str(row) for row in self._proxy.rows(text))
        assert self._output.strip(), f"{block} finds nothing"

    def _json(self, block: Block, text: str) -> None:
        assert json.loads(text), block

    def _yaml(self, block: Block, text: str) -> None:
        assert yaml.safe_load(text), block

    def _compare(self, block: Block, text: str) -> None:
        if block.language == "json":
            problems = json_differences(json.loads(text), json.loads(self._output))
            assert not problems, f"{block}: {problems}"
        elif block.language == "http":
            shown, real = (
                {n.partition(":")[0].lower() for n in t.splitlines()} for t in (text, self._output)
            )
            assert shown <= real, f"{block}: {sorted(shown - real)} not in\n{self._output}"
        else:
            assert fits_text(text, self._output), f"{block}:\n{self._output}"

    def _run(self, block: Block, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self._proxy.folder,
            env=self._environment(block),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_S,
            check=False,
        )
        assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def _environment(self, block: Block) -> dict[str, str]:
        given = {
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self._proxy.folder),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "140",
            "COPE_CONFIG": str(self._proxy.config_file),
            "COPE_ADMIN_KEY": ADMIN_KEY,
            "OPENAI_API_KEY": UPSTREAM_KEY,
        }
        if block.on_postgres:
            url = self._postgres()
            binaries = Path(shutil.which("pg_dump") or _newest("pg_dump")).parent
            given |= {
                "PATH": f"{given['PATH']}{os.pathsep}{binaries}",
                "COPE__DATABASE__URL": url,
                **_psql_variables(url),
            }
        return given

    def _filled(self, text: str) -> str:
        """Put the real address, key and ids into the places of those that a page shows."""
        text = re.sub(r"(?:127\.0\.0\.1|localhost):8080", f"127.0.0.1:{self._proxy.port}", text)
        text = text.replace("sk-...", UPSTREAM_KEY)
        newest = "SELECT id FROM {} ORDER BY {} DESC LIMIT 1"
        for shown, table, order, make in (
            ("req_...", "requests", "started_at", None),
            ("call_...", "reservations", "created_at", self._leave_unsettled),
            ("KEY_ID", "api_keys", "created_at", None),
        ):
            if shown in text:
                if make is not None:
                    make()
                text = text.replace(shown, self._proxy.rows(newest.format(table, order))[0]["id"])
        return text

    def _leave_unsettled(self) -> None:
        """Kill the proxy during a paid call, and start it again."""
        query = "SELECT id FROM reservations WHERE state = 'unsettled'"
        if self._proxy.rows(query):
            return
        self._large.script({"reply": {"release": "never"}})
        body = {"model": "direct/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
        with self._proxy.sent("/v1/chat/completions", body):
            self._large.wait_waiting("never", 1)
            self._proxy.kill()
        self._proxy.start()
        wait_until(lambda: self._proxy.rows(query), "the call to be unsettled", START_S)

    def _program(self, name: str, text: str) -> None:
        path = self._programs / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)


def _newest(program: str) -> str:
    return str(max(Path("/usr/lib/postgresql").glob(f"*/bin/{program}")))


def _psql_variables(url: str) -> dict[str, str]:
    found = re.fullmatch(r"postgresql\+asyncpg://(\w+)@([\w.]+):(\d+)/(\w+)", url)
    assert found is not None, url
    return dict(zip(("PGUSER", "PGHOST", "PGPORT", "PGDATABASE"), found.groups(), strict=True))
