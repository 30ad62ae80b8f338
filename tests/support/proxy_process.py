"""The real proxy as a process of its own."""

import http.client
import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import openai

from tests.support.config import UPSTREAM_KEY, config
from tests.support.processes import START_S, STOP_S, python_env
from tests.support.wait import LOCALHOST, Json, exchange, free_port, wait_until


class ProxyProcess:
    """The real proxy, started from a config file; everything it writes is in `folder`."""

    def __init__(
        self,
        folder: Path,
        small_url: str,
        large_url: str,
        *,
        env: Mapping[str, str] | None = None,
        **overrides: Any,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.database = folder / "cope.db"
        self.config_file = folder / "cope.toml"
        self.log_file = folder / "proxy.log"
        self._env = {**python_env(), "OPENAI_API_KEY": UPSTREAM_KEY, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()
        text = config(small_url, large_url, database_file=self.database, port=self.port, **overrides)
        self.config_file.write_text(text, encoding="utf-8")

    def start(self) -> Self:
        """Start the proxy and wait until it lives; after a `stop` or `kill`, again with the same files.

        Raises:
            RuntimeError: it ended, or does not answer; the message quotes what it wrote.
        """
        with self.log_file.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proxy.cli", "serve", "--config", str(self.config_file)],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(self._lives, "the proxy to live", START_S)
        except TimeoutError as e:
            self.kill()
            raise RuntimeError(f"the proxy does not answer. It wrote:\n{self.output()}") from e
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> int:
        """End the proxy by SIGTERM and return its exit code; that of a proxy which ended by itself, too."""
        self._open.close()
        process = self._running()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired as e:
            self.kill()
            raise RuntimeError(f"the proxy did not stop in {STOP_S:g} s. It wrote:\n{self.output()}") from e

    def kill(self) -> None:
        """End the proxy at once, as a crash would."""
        self._open.close()
        process = self._running()
        process.kill()
        process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process that was started (the parent of the workers where there are several)."""
        return self._running().pid

    @property
    def url(self) -> str:
        """The proxy's root."""
        return f"http://{LOCALHOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as base URL."""
        return f"{self.url}/v1"

    def client(self, api_key: str = "anything", **options: Any) -> openai.OpenAI:
        """Return an unmodified OpenAI client, open until the proxy ends."""
        given = {"base_url": self.base_url, "api_key": api_key, "max_retries": 0, "timeout": 60, **options}
        client = openai.OpenAI(**given)
        self._open.callback(client.close)
        return client

    def http(self, **options: Any) -> httpx2.Client:
        """Return a plain HTTP client of the proxy's root, open until the proxy ends."""
        client = httpx2.Client(base_url=self.url, timeout=60, **options)
        self._open.callback(client.close)
        return client

    def sent(self, path: str, body: Json) -> socket.socket:
        """Return a connection that has sent a request and reads nothing; closing it is a client that leaves."""
        raw = json.dumps(body).encode()
        connection = self.sent_head(path, length=len(raw))
        connection.sendall(raw)
        return connection

    def sent_head(self, path: str, *, length: int) -> socket.socket:
        """Return a connection that has sent the headers of a request, and nothing of its body."""
        head = f"POST {path} HTTP/1.1\r\nhost: {LOCALHOST}\r\ncontent-type: application/json\r\n"
        connection = socket.create_connection((LOCALHOST, self.port), timeout=60)
        connection.sendall(f"{head}content-length: {length}\r\n\r\n".encode())
        return connection

    def rows(self, sql: str, *parameters: object) -> list[Json]:
        """Read from the proxy's SQLite file."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, parameters)]

    def cli(
        self, *args: str, stdin: str = "", check: bool = False, timeout_s: float = START_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the proxy with the same config; it need not be running."""
        return self.cli_without_config(
            *args, "--config", str(self.config_file), stdin=stdin, check=check, timeout_s=timeout_s
        )

    @contextmanager
    def begun_cli(self, *args: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command of the proxy with the same config, as from a terminal; what is left of it is killed at the end."""
        with subprocess.Popen(
            [sys.executable, "-m", "proxy.cli", *args, "--config", str(self.config_file)],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Where the tests run in the background of a shell, Ctrl-C is ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def cli_without_config(
        self, *args: str, stdin: str = "", check: bool = False, timeout_s: float = START_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that has no config, in the same folder."""
        return subprocess.run(
            [sys.executable, "-m", "proxy.cli", *args],
            cwd=self.folder,
            env=self._env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=check,
        )

    def output(self) -> str:
        """Return all that the proxy wrote to stdout and stderr."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the proxy was not started")
        return self._process

    def _lives(self) -> bool:
        if (code := self._running().poll()) is not None:
            raise RuntimeError(f"the proxy ended with {code}. It wrote:\n{self.output()}")
        try:
            exchange(self.url, "GET", "/health/live")
        except (OSError, http.client.HTTPException, AssertionError):
            return False
        except json.JSONDecodeError:  # an answer, if not in JSON
            return True
        return True
