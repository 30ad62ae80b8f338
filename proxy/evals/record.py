"""The record of a run: every model call, once. What makes a run resumable, and its comparisons paired."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from proxy.cascade.types import Json
from proxy.errors import ConfigError
from proxy.pricing.prices import Usage

T = TypeVar("T", bound=msgspec.Struct)


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
    cost: int | None = None
    """What the large model's answer cost, in nano-USD, at the price of the day."""


class Owed(msgspec.Struct, frozen=True):
    """What a paid call may cost at worst, in nano-USD: written before it goes out, and as 0 when it is known."""

    id: str
    worst: int


def key_of(tier: str, model: str, body: Json, index: int = 0) -> str:
    """Return what identifies a call: the same request of the same model, asked for the index-th time."""
    asked = msgspec.json.encode([tier, model, body, index], order="deterministic")
    return hashlib.sha256(asked).hexdigest()[:32]


class Record:
    """Two files, one JSON object a line, written as they come: the calls, and beside them what is owed for those lost.

    Raises:
        ConfigError: a line of them is broken.
        OSError: they cannot be read, or written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        owed = path.with_name("owed.jsonl")
        self._calls = {call.key: call for call in calls(path)}
        self._owed = {one.id: one.worst for one in _lines(owed, Owed)}
        self._file, self._owed_file = path.open("ab"), owed.open("ab")

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

    def owe(self, id_: str, worst: int) -> None:
        """Note what a paid call may cost at worst: should this process die, it counts as paid. 0 takes that back."""
        self._owed[id_] = worst
        self._owed_file.write(msgspec.json.encode(Owed(id_, worst)) + b"\n")
        self._owed_file.flush()

    @property
    def owed(self) -> int:
        """What was paid, at worst, for calls of which nothing is known, in nano-USD."""
        return sum(self._owed.values())

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._owed_file.close()


def calls(path: Path) -> Iterator[Call]:
    """Yield the calls of a record; a last line that was torn when its run was killed is cut off.

    Raises:
        ConfigError: another line is broken.
    """
    return _lines(path, Call)


def _lines(path: Path, kind: type[T]) -> Iterator[T]:
    if not path.exists():
        return
    raw = path.read_bytes()
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        path.write_bytes(raw[:whole])
    for number, line in enumerate(raw[:whole].splitlines(), start=1):
        try:
            one = msgspec.json.decode(line, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            lost = (
                "its call is then made again" if kind is Call else "what it says is then not counted as paid"
            )
            raise ConfigError([f"{path}:{number}: is broken ({e}); delete the line; {lost}"]) from e
        yield one
