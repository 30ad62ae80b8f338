"""Starts what tests talk to: the stand-in model server and the real proxy, each a process of its own."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai

Json = dict[str, Any]
T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM_KEY = "sk-upstream-secret"
SMALL_MODEL, LARGE_MODEL = "small-model", "big-model"
LOCALHOST = "127.0.0.1"
START_S = 60.0
STOP_S = 45.0
POLL_S = 0.02


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 10.0) -> T:
    """Poll until the condition is true, and return its value.

    Raises:
        TimeoutError: it did not become true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}; last seen: {value!r}")
        time.sleep(POLL_S)
    return value


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])


def exchange(url: str, method: str, path: str, body: object = None) -> Any:
    """Send one JSON request on a connection of its own and return the decoded answer.

    Raises:
        AssertionError: the answer is no success.
    """
    with closing(http.client.HTTPConnection(LOCALHOST, urlsplit(url).port, timeout=10)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        raw = response.read()
    if response.status >= 400:
        raise AssertionError(f"{method} {path}: {response.status} {raw.decode()}")
    return json.loads(raw or b"null")


class StandIn:
    """A stand-in model server; see `tests/standin` for what it can be told."""

    def __init__(
        self,
        models: Iterable[str] = (SMALL_MODEL,),
        *,
        max_model_len: int | None = None,
        require_key: str | None = None,
    ) -> None:
        options = [f"--model={name}" for name in models]
        options += [] if max_model_len is None else [f"--max-model-len={max_model_len}"]
        options += [] if require_key is None else [f"--require-key={require_key}"]
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self._key = require_key or "anything"
        self._open = ExitStack()

    def start(self) -> Self:
        """Start the server; after a `stop`, again on the same port."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.standin", f"--port={self.port}", *self._options],
            cwd=ROOT,
            env=_python_env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError("the stand-in did not start; its error is on stderr")
        self.port = json.loads(line)["port"]
        return self

    def stop(self) -> None:
        """End the server, at once and with all its connections."""
        self._open.close()
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # closes the pipes, of which stdin ends the server, and waits
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The server's root."""
        return f"http://{LOCALHOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as base URL."""
        return f"{self.url}/v1"

    def client(self, api_key: str | None = None) -> openai.OpenAI:
        """Return a client of this server, open until `stop`; without a key it sends the right one."""
        return self._open.enter_context(
            openai.OpenAI(base_url=self.base_url, api_key=api_key or self._key, max_retries=0, timeout=30)
        )

    def script(self, *rules: Json) -> None:
        """Replace all rules; the first that matches a request is followed, "ok" is said when none does."""
        exchange(self.url, "PUT", "/control/script", rules)

    def say(self, *contents: str, **reply: Any) -> None:
        """Answer every request with these texts in turn; the keywords are further fields of the reply."""
        self.script({"reply": {"contents": contents, **reply}})

    def log(self) -> list[Json]:
        """Return every request since the last reset, in order of arrival."""
        return list(exchange(self.url, "GET", "/control/log"))

    def chats(self) -> list[Json]:
        """Return the chat requests of the log."""
        return [entry for entry in self.log() if entry["path"] == "/v1/chat/completions"]

    def state(self) -> Json:
        """Return `in_flight`, `peak_in_flight`, `connections_opened` and `waiting` (how many at which gate)."""
        return dict(exchange(self.url, "GET", "/control/state"))

    def open_gate(self, name: str) -> None:
        """Let all go on that wait, or will come to wait, at this gate."""
        exchange(self.url, "PUT", f"/control/gate/{name}")

    def wait_waiting(self, name: str, count: int) -> None:
        """Block until this many requests wait at a gate."""
        wait_until(lambda: self.state()["waiting"].get(name, 0) == count, f"{count} requests at gate {name}")

    def wait_idle(self) -> None:
        """Block until no chat request is under way."""
        wait_until(lambda: self.state()["in_flight"] == 0, "the stand-in to be idle")

    def reset(self) -> None:
        """Forget rules, log and counters, and open all gates."""
        exchange(self.url, "DELETE", "/control")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """Return the tables of `base` changed key by key, at every depth; a value of None removes its key."""
    out = dict(base)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping):
            out[key] = merged(out.get(key) or {}, value)
        else:
            out[key] = value
    return out


def toml(tables: Mapping[str, Any]) -> str:
    """Write tables as TOML; what is nested deeper becomes inline tables."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{json.dumps(key)} = {_toml_value(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def config(small_url: str, large_url: str, *, database_file: Path, port: int, **overrides: Any) -> str:
    """Return the TOML of a proxy between two servers.

    Args:
        small_url: base URL of the small tier.
        large_url: base URL of the upstream.
        database_file: where the SQLite file is to be.
        port: where the proxy listens.
        overrides: a table for each section to change, such as `cascade={"samples": 2}`; None removes a key.
    """
    defaults: Json = {
        "server": {"host": LOCALHOST, "port": port},
        "database": {"url": f"sqlite+aiosqlite:///{database_file}"},
        "small": {"model": SMALL_MODEL, "base_url": small_url},
        "large": {"base_url": large_url, "api_key_env": "OPENAI_API_KEY", "model": LARGE_MODEL},
        "prices": {
            LARGE_MODEL: {"input_per_mtok": 2.5, "cached_input_per_mtok": 1.25, "output_per_mtok": 10}
        },
        "cascade": {"samples": 4},
        "sandbox": {"enabled": False},  # its self-test takes seconds; the tests of code turn it on
    }
    return toml(merged(defaults, overrides))


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
        self._env = {**_python_env(), "OPENAI_API_KEY": UPSTREAM_KEY, **(env or {})}
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
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        connection = socket.create_connection((LOCALHOST, self.port))
        connection.sendall(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
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


def _python_env() -> dict[str, str]:
    """Return the environment without the proxy's variables, and with this checkout on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COPE_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value) if isinstance(value, bool | int) else str(value)
