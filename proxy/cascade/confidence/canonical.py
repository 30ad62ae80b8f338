"""Canonical JSON, schema checks and short labels, for the task kinds that answer in JSON."""

import json
from typing import Any

from proxy.cascade.confidence.worker import Worker
from proxy.cascade.types import digest

_LABEL_LENGTH = 80
_LONGEST_SCHEMA = 200_000
_LONGEST_DOCUMENT = 200_000

SCHEMAS = Worker("conforms", answer_seconds=0.5)


def parse(text: str) -> Any:
    """Decode JSON so that equal numbers are equal values (1.0 is 1).

    Raises:
        ValueError: the text is not strict JSON, an object has one name twice, or the text is longer than any answer of a
            small model.
    """
    if len(text) > _LONGEST_DOCUMENT:
        raise ValueError("too long")
    try:
        return json.loads(
            text, parse_float=_number, parse_constant=_no_constant, object_pairs_hook=_without_repeats
        )
    except RecursionError as e:
        raise ValueError("nested too deeply") from e


def dumps(value: Any) -> str:
    """Write a value in canonical form: sorted keys, no spaces.

    Raises:
        ValueError: the value is not JSON, or contains a lone surrogate.
    """
    try:
        written = json.dumps(
            value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
    except RecursionError as e:
        raise ValueError("nested too deeply") from e
    written.encode()
    return written


def short(label: str) -> str:
    """Shorten a long label. A digest of the complete label is appended, so that labels stay distinct."""
    if len(label) <= _LABEL_LENGTH:
        return label
    return f"{label[:_LABEL_LENGTH]}... {digest(label)}"


async def conforms(value: Any, schema: Any) -> bool:
    """Return True if a value satisfies a JSON schema. An invalid schema is satisfied by every value.

    A schema that refers to another document, or takes too long to check, is satisfied by no value.
    """
    if not isinstance(schema, dict):  # `true` allows every value, and nobody asks for `false`
        return True
    try:
        written = json.dumps(schema, sort_keys=True)
        return len(written) <= _LONGEST_SCHEMA and await SCHEMAS.ask(written, dumps(value)) is True
    except (RecursionError, TypeError, ValueError):
        return False


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Readers differ in which of two equal names they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
