"""Waiting for conditions, free ports and single JSON requests."""

import http.client
import json
import socket
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import urlsplit

Json = dict[str, Any]


T = TypeVar("T")


LOCALHOST = "127.0.0.1"


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
