"""The second opinion: a linear model over words, runs of characters and signs. `benchmarks/train_detection.py` makes it."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise, repeat
from pathlib import Path

import msgspec

from proxy.cascade.types import TaskKind

TABLE = "weights.msgpack"
_WORD = re.compile(r"[^\W\d_]+|0|[^\w\s]")
_DIGITS = re.compile(r"\d[\d.,]*(?<=\d)|\d")
_READ = 220
_FIELD = 2**32 - 1
_EDGE_WORDS, _EDGE_CHARACTERS = 7, 14


class Stored(msgspec.Struct, frozen=True):
    """The table as it is stored: one row of signed bytes for each feature, one byte for each kind, times `scale`."""

    kinds: tuple[TaskKind, ...]
    scale: float
    bias: tuple[float, ...]
    features: tuple[str, ...]
    weights: bytes


@dataclass(frozen=True, slots=True)
class Weights:
    """The table in memory.

    A row of a feature is one number, so that the rows of a text add up in one call: a field of 32 bits for each kind with
    its byte plus 128, and a lowest field that counts the rows.
    """

    kinds: tuple[TaskKind, ...]
    scale: float
    bias: tuple[float, ...]
    rows: Mapping[str, int]

    def shares(self, text: str, signs: Iterable[str]) -> dict[TaskKind, float]:
        """Return the probability of each kind for a lower-case text with its signs. They add up to 1."""
        totals = list(self.bias)
        for found in features(text, signs):
            added = sum(map(self.rows.get, found, repeat(0)))
            count = added & _FIELD
            factor = self.scale / math.sqrt(count or 1)
            for i in range(len(totals)):
                totals[i] += factor * ((added >> 32 * (i + 1) & _FIELD) - 128 * count)
        highest = max(totals)
        powers = [math.exp(total - highest) for total in totals]
        return dict(zip(self.kinds, (power / sum(powers) for power in powers), strict=True))


def features(text: str, signs: Iterable[str]) -> tuple[set[str], ...]:
    """Return four groups of features of a lower-case text: runs of characters, words, words at its ends, signs."""
    text = text if len(text) <= 2 * _READ else f"{text[:_READ]}\n{text[-_READ:]}"
    text = _DIGITS.sub("0", text)
    padded = " " + " ".join(text.split()) + " "
    sizes = (3, 4) if text.isascii() else (2, 3)
    runs = {padded[i : i + size] for size in sizes for i in range(len(padded) - size + 1)}
    words = _WORD.findall(text)
    pairs = {f"{a}_{b}" for a, b in pairwise(words)}
    edges: set[str] = set()
    for edge, edge_words, edge_text in (
        ("^", words[:_EDGE_WORDS], padded[:_EDGE_CHARACTERS]),
        ("$", words[-_EDGE_WORDS:], padded[-_EDGE_CHARACTERS:]),
    ):
        edges.update(edge + word for word in edge_words)
        edges.update(f"{edge}{a}_{b}" for a, b in pairwise(edge_words))
        if not edge_text.isascii():
            edges.update(
                edge + edge_text[i : i + size] for size in (2, 3) for i in range(len(edge_text) - size + 1)
            )
    return runs, {*(f"={word}" for word in words), *pairs}, edges, set(signs)


def read(path: Path) -> Weights:
    """Return a table from its file.

    Raises:
        msgspec.MsgspecError: the file is not a table.
        ValueError: its weights do not fit its features.
    """
    return _unpacked(path.read_bytes())


@cache
def shipped() -> Weights:
    """Return the table of the package."""
    return _unpacked(files("proxy.cascade.detection").joinpath(TABLE).read_bytes())


def _unpacked(data: bytes) -> Weights:
    stored = msgspec.msgpack.decode(data, type=Stored)
    width = len(stored.kinds)
    if len(stored.weights) != width * len(stored.features) or len(stored.bias) != width:
        raise ValueError("the weights do not fit the features")
    numbers = memoryview(stored.weights).cast("b")
    rows = [_packed(numbers[i : i + width]) for i in range(0, len(numbers), width)]
    return Weights(stored.kinds, stored.scale, stored.bias, dict(zip(stored.features, rows, strict=True)))


def _packed(numbers: Sequence[int]) -> int:
    return 1 + sum(number + 128 << 32 * (i + 1) for i, number in enumerate(numbers))
