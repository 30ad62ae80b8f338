"""Ask a proxy whether it lives, over and over, while something else happens to it."""

import http.client
import threading
import time
from types import TracebackType
from typing import Self

from tests.support.wait import LOCALHOST

_PAUSE_S = 0.002
_TIMEOUT_S = 30.0


class Monitor:
    """A thread that asks `/health/live` on one connection. Use it as `with`."""

    def __init__(self, port: int) -> None:
        self.times: list[float] = []
        """How long each answer took, in seconds."""
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def worst(self) -> float:
        """The longest time of an answer, in seconds."""
        return max(self.times)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(LOCALHOST, self._port, timeout=_TIMEOUT_S)
        while not self._ended.is_set():
            started = time.perf_counter()
            try:
                connection.request("GET", "/health/live")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
            self.times.append(time.perf_counter() - started)
            self._ended.wait(_PAUSE_S)
        connection.close()
