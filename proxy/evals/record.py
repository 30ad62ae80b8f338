"""The record of a run: every model call, once. What makes a run resumable, and its comparisons paired."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from proxy.cascade.types import Json
from proxy.pricing.prices import Usage


class Call(msgspec.Struct, frozen=True):
    """One answer of one model to one request.

    `tokens` has a pair for each generated token of the small model: its log-probability, and how peaked the
    distribution was that it was drawn from, as minus the mean log-probability of the likeliest tokens
    (DeepConf, arXiv 2508.15260).
    """

    key: str
    item: str
    tier: str
    message: dict[str, Any]
    finish_reason: str
    usage: Usage
    ms: int
    logprob: float | None = None
    tokens: list[tuple[float, float]] = []


def key_of(tier: str, model: str, body: Json, index: int = 0) -> str:
    """Return what identifies a call: the same request of the same model, asked for the index-th time."""
    asked = msgspec.json.encode([tier, model, body, index], order="deterministic")
    return hashlib.sha256(asked).hexdigest()[:32]


class Record:
    """A file of calls, one JSON object a line, written as they come."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._calls = {call.key: call for call in calls(path)}
        self._file = path.open("ab")

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls.values())

    def find(self, key: str) -> Call | None:
        """Return a call that was made before."""
        return self._calls.get(key)

    def add(self, call: Call) -> None:
        """Write a call down."""
        self._calls[call.key] = call
        self._file.write(msgspec.json.encode(call) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def calls(path: Path) -> Iterator[Call]:
    """Yield the calls of a record; a last line that was torn when its run was killed is cut off."""
    if not path.exists():
        return
    raw = path.read_bytes()
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        path.write_bytes(raw[:whole])
    for line in raw[:whole].splitlines():
        yield msgspec.json.decode(line, type=Call)
