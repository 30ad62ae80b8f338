"""Ask a worker process questions that may take for ever, with a deadline."""

import asyncio
import hashlib
import json
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, Literal

from proxy.fairness import FairThreads

START_SECONDS = 30.0
ANSWER_SECONDS = 3.0
_REMEMBERED = 4096
_PROGRAM = Path(__file__).with_name("worker_program.py")
# -P: the directory of the program holds a code.py, which must not hide that of the standard library.
_COMMAND = (sys.executable, "-P", str(_PROGRAM))

_Process = subprocess.Popen[str]


class Worker:
    """One process, started with the first question. If it does not answer in time, it is killed and replaced.

    A thread talks to the process, one question at a time. It works with any event loop and blocks none.
    """

    def __init__(
        self, question: Literal["equal", "conforms", "label"], answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._question = question
        self._answer_seconds = answer_seconds
        self._process: _Process | None = None
        self._thread: FairThreads | None = None
        self._known: OrderedDict[bytes, Any] = OrderedDict()

    async def ask(self, one: str, other: str = "") -> Any:
        """Return the answer to the worker's question about a pair. It is `None` if there is none in time."""
        written = json.dumps((one, other))
        name = hashlib.sha256(written.encode()).digest()  # pairs can be long, and many are remembered
        if name not in self._known:
            self._thread = self._thread or FairThreads(1, self._question, each=1)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, name, written)
        return self._known.get(name)

    def shutdown(self) -> None:
        """Stop the process and the thread. The next question starts them again."""
        if self._process is not None:
            self._process.kill()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._close()
        self._thread = None

    def _answer(self, name: bytes, written: str) -> None:
        if name in self._known:  # the same question came twice
            return
        try:
            reply = self._exchange(written)
        except OSError:  # no process can be started, or it died: a later question may fare better
            self._close()
            return
        # A timeout is remembered as well, so that one hopeless pair costs its seconds only once.
        self._known[name] = _decoded(reply)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _exchange(self, written: str) -> str:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        with _killed_after(process, self._answer_seconds):
            process.stdin.write(written + "\n")
            process.stdin.flush()
            reply = process.stdout.readline().strip()
        if not reply:
            self._close()
        return reply

    def _start(self) -> _Process:
        process = subprocess.Popen(
            (*_COMMAND, self._question),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self._process = process
        assert process.stdout is not None
        with _killed_after(process, START_SECONDS):
            if not process.stdout.readline():
                raise OSError("the worker did not start")
        return process

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # a dead process needs no more input
                continue


def _decoded(reply: str) -> Any:
    try:
        return json.loads(reply)
    except ValueError:  # the process was killed, perhaps in the middle of a line
        return None


@contextmanager
def _killed_after(process: _Process, seconds: float) -> Iterator[None]:
    timer = Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
