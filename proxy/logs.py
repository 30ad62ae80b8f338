"""Structured logs: one line a record, for people (`console`) or for machines (`json`), on standard error.

No line may quote a text of a client, a model or an upstream. So tracebacks have no messages of exceptions, which often
quote the value that they are about, and other packages' lines name only their place in the code.

A reader that does not keep up must not stop the event loop. Its lines wait for a thread, and past a limit they are
dropped and counted.
"""

import json
import logging
import os
import select
import sqlite3
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from proxy import metrics

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request that the present task belongs to. The tasks and threads that it starts have the same."""

_OWN = ("proxy", "uvicorn")
"""Packages whose messages are written with care."""
_STDERR = 2
_AT_ONCE = select.PIPE_BUF
"""A pipe that can be written takes this many bytes without waiting."""
_MOST_WAITING = 2**20
"""Bytes of lines that wait for a slow reader."""
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\n\t"}


def log_config(form: str, level: str) -> dict[str, Any]:
    """Return the configuration of all loggers, for `logging.config.dictConfig`.

    Args:
        form: `console` or `json`.
        level: the lowest level of the proxy's own lines. Other packages have `warning`, because their finer levels quote
            parameters.
    """
    formatter = "proxy.logs.JsonFormatter" if form == "json" else "proxy.logs.ConsoleFormatter"
    own = {"level": level.upper(), "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": formatter}},
        "handlers": {"stderr": {"()": "proxy.logs.PatientHandler", "formatter": "lines"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": dict.fromkeys(_OWN, own),
    }


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record: timestamp, level, logger, message, and request_id and traceback if it has them.

    The fields of `extra={"fields": {...}}` follow.
    """
    fields: dict[str, Any] = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _message(record),
    }
    if request_id := REQUEST_ID.get():
        fields["request_id"] = request_id
    if record.exc_info and record.exc_info[1] is not None:
        fields["traceback"] = trace(record.exc_info[1])
    return fields | getattr(record, "fields", {})


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return json.dumps(fields_of(record), default=str)


class ConsoleFormatter(logging.Formatter):
    """Time, level, logger, message and request, then the traceback on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        fields = fields_of(record)
        line = f"{fields['timestamp'][:23]}Z {record.levelname:<8} {record.name}: {fields['message']}"
        if request_id := fields.get("request_id"):
            line += f" [{request_id}]"
        if "traceback" in fields:
            line += "\n" + fields["traceback"]
        return line.translate(_CONTROL)


def trace(error: BaseException) -> str:
    """Return the traceback of an error and of its causes, without their messages."""
    return "\n\n".join(reversed(list(_traces(error))))


def _traces(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield "".join([*traceback.format_tb(at.__traceback__), name_of(at)])
        if isinstance(at, BaseExceptionGroup):
            for inner in at.exceptions:
                yield from _traces(inner)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def name_of(error: BaseException) -> str:
    """Return the type of an error, and its reason if that cannot quote a text."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        return f"{name}: {os.strerror(error.errno)}"
    if isinstance(error, sqlite3.Error):
        return f"{name}: {error}"
    state = getattr(error, "sqlstate", None)
    return f"{name} {state}" if isinstance(state, str) and len(state) == 5 else name


def _message(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in _OWN:
        return record.getMessage().rstrip()
    if record.name == "asyncio":
        return record.getMessage().partition("\n")[0]  # the lines after it quote tasks and their errors
    return f"a message of {record.module}.{record.funcName}, line {record.lineno}"


class PatientHandler(logging.Handler):
    """Writes lines to standard error without waiting for the reader. It has state: the lines that wait."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._more = threading.Condition()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or let it wait."""
        try:
            line = (self.format(record) + "\n").encode(errors="backslashreplace")
        except Exception:  # noqa: BLE001  (a line that cannot be written must not end a request)
            line = b"a line of the log could not be formatted\n"
        with self._more:
            rest = line if self._waiting else _write_now(line)
            if not rest:
                return
            if self._bytes + len(rest) > _MOST_WAITING:
                metrics.LOG_LINES_DROPPED.inc()
                return
            self._waiting.append(rest)
            self._bytes += len(rest)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_forever, name="log", daemon=True)
                self._thread.start()
            self._more.notify_all()

    def flush(self) -> None:
        """Wait for a moment until all lines are written."""
        with self._more:
            self._more.wait_for(lambda: not self._waiting, timeout=1)

    def _write_forever(self) -> None:
        while True:
            with self._more:
                self._more.wait_for(lambda: bool(self._waiting))
                line = self._waiting[0]
            _write_all(line)
            with self._more:
                self._waiting.popleft()
                self._bytes -= len(line)
                self._more.notify_all()


def _write_now(line: bytes) -> bytes:
    """Write as much of a line as standard error takes at once. Return the rest."""
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    while line:
        if not poll.poll(0):
            return line
        try:
            line = line[os.write(_STDERR, line[:_AT_ONCE]) :]
        except BlockingIOError:
            return line
        except OSError:  # nobody reads any more
            return b""
    return line


def _write_all(line: bytes) -> None:
    while line:
        select.select([], [_STDERR], [])
        line = _write_now(line)
