"""The stand-in model server as a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import openai

from tests.support.config import SMALL_MODEL
from tests.support.processes import ROOT, STOP_S, python_env
from tests.support.standin.prompt_cache import Way
from tests.support.wait import LOCALHOST, Json, exchange, wait_until


class StandIn:
    """A stand-in model server; see `tests/standin` for what it can be told."""

    def __init__(
        self,
        models: Iterable[str] = (SMALL_MODEL,),
        *,
        max_model_len: int | None = None,
        require_key: str | None = None,
        made_up: bool = False,
        prompt_cache: Way | None = None,
        least_cached: int = 1024,
    ) -> None:
        options = [f"--model={name}" for name in models]
        options += [] if max_model_len is None else [f"--max-model-len={max_model_len}"]
        options += [] if require_key is None else [f"--require-key={require_key}"]
        options += ["--made-up"] if made_up else []
        if prompt_cache is not None:
            options += [f"--prompt-cache={prompt_cache}", f"--least-cached={least_cached}"]
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self._key = require_key or "anything"
        self._open = ExitStack()

    def start(self) -> Self:
        """Start the server; after a `stop`, again on the same port."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.standin", f"--port={self.port}", *self._options],
            cwd=ROOT,
            env=python_env(),
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

    def kill(self) -> None:
        """End the server as a crash would. It can be started again on the same port."""
        if self._process is not None:
            self._process.kill()
        self.stop()

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
