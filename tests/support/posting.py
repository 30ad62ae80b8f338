"""Requests to the stand-in itself, below the SDK."""

import http.client
import json
from contextlib import closing, contextmanager

ASK = {"model": "big-model", "messages": [{"role": "user", "content": "three small words"}]}


@contextmanager
def posting(server, body):
    """Post a chat without reading the answer, and hang up at the end."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        headers = {"authorization": "Bearer sk-upstream-secret"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        yield connection


def only(entries):
    """Return the single element."""
    (entry,) = entries
    return entry
