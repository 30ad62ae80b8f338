"""The record of a run: every answer of a model, once. It makes a run resumable and its comparisons paired."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from proxy.cascade.types import Json
from proxy.errors import ConfigError
from proxy.pricing.prices import Usage
from proxy.records import Tier

T = TypeVar("T", bound=msgspec.Struct)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of one model to one request.

    `tokens` has a pair for each generated token of the small model. The pair is the token's log-probability and
    the negated mean log-probability of the likeliest tokens at its place, which is high if the distribution is
    peaked (DeepConf, arXiv 2508.15260).
    """

    key: str
    item: str
    tier: Tier
    message: dict[str, Any]
    finish_reason: str
    usage: Usage
    logprob: float | None = None
    tokens: list[tuple[float, float]] = []
    cost: int | None = None
    """The cost of the large model's answer in nano-USD, at the price when it was paid."""

    @property
    def text(self) -> str:
        """The answer's text, or "" if it has none."""
        text = self.message.get("content")
        return text if isinstance(text, str) else ""


class Unsettled(msgspec.Struct, frozen=True):
    """Nano-USD that count as spent for a paid call without a recorded answer. 0 takes an earlier line back."""

    id: str
    amount: int


def key_of(tier: Tier, model: str, body: Json, index: int = 0) -> str:
    """Return the key of an answer: the `index`-th answer of a model to a request."""
    parts = msgspec.json.encode([tier, model, body, index], order="deterministic")
    return hashlib.sha256(parts).hexdigest()[:32]


class Record:
    """Two files with one JSON object a line: the answers, and next to them the unsettled calls.

    Each line is written at once.

    Raises:
        ConfigError: a line of a file is broken.
        OSError: a file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unsettled = path.with_name("unsettled.jsonl")
        self._answers = {answer.key: answer for answer in answers(path)}
        self._unsettled = {one.id: one.amount for one in _lines(unsettled, Unsettled)}
        self._file, self._unsettled_file = path.open("ab"), unsettled.open("ab")

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: str) -> Answer | None:
        """Return an answer that is on record."""
        return self._answers.get(key)

    def add(self, answer: Answer) -> None:
        """Write an answer."""
        self._answers[answer.key] = answer
        self._file.write(msgspec.json.encode(answer) + b"\n")
        self._file.flush()

    def set_unsettled(self, call_id: str, amount: int) -> None:
        """Count `amount` nano-USD as spent for a paid call, until its answer is on record. 0 takes that back."""
        self._unsettled[call_id] = amount
        self._unsettled_file.write(msgspec.json.encode(Unsettled(call_id, amount)) + b"\n")
        self._unsettled_file.flush()

    @property
    def spent(self) -> int:
        """The nano-USD spent upstream: for the answers on record, and for the unsettled calls."""
        return sum(answer.cost or 0 for answer in self._answers.values()) + sum(self._unsettled.values())

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._unsettled_file.close()


def answers(path: Path) -> Iterator[Answer]:
    """Yield the answers of a record. Cut off a torn last line, which a killed run may leave.

    Raises:
        ConfigError: another line is broken.
    """
    return _lines(path, Answer)


def _lines(path: Path, kind: type[T]) -> Iterator[T]:
    if not path.exists():
        return
    raw = path.read_bytes()
    end = raw.rfind(b"\n") + 1
    if end < len(raw):
        path.write_bytes(raw[:end])
    for number, line in enumerate(raw[:end].splitlines(), start=1):
        try:
            one = msgspec.json.decode(line, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            effect = (
                "the call is then made again" if kind is Answer else "its amount then does not count as spent"
            )
            raise ConfigError([f"{path}:{number}: is broken ({e}); delete the line; {effect}"]) from e
        yield one
