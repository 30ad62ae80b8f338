"""Read JSON as model servers really send it, and change members of an object without touching the others.

Servers send NaN and Infinity (log-probabilities), halves of surrogate pairs (an emoji that was cut), byte order marks,
raw control characters and numbers of any size. A strict decoder refuses them, but most clients read them. What the
proxy reads only to count must not decide whether a client gets its answer.
"""

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

_BLANKS = " \t\n\r"
_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LONGEST_INTEGER = 400
"""Digits. Python refuses to convert very long ones, and no count has so many."""


class TooDeepError(ValueError):
    """JSON is nested deeper than Python reads it."""


def decode(raw: bytes) -> Any:
    """Decode JSON, also if it is not quite JSON. Texts may hold halves of surrogate pairs: see `mended`.

    Raises:
        TooDeepError: it may be JSON, but is nested too deeply.
        ValueError: it cannot be read in any way.
    """
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        pass
    try:
        text = as_utf8(raw).decode("utf-8", "replace")
        return json.loads(text, strict=False, parse_int=_integer)
    except RecursionError as e:
        raise TooDeepError("the JSON is nested too deeply") from e


def decode_object(raw: bytes) -> dict[str, Any]:
    """Decode a JSON object. Return {} if it is anything else, or cannot be read."""
    try:
        decoded = decode(raw)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def decode_except(raw: bytes, names: Collection[str]) -> Any:
    """Decode JSON, but not the members of an object that have these names: each is [], or None if it is null.

    A batch of embeddings has millions of numbers, which nobody reads here. To decode them would stop all other requests.

    Raises:
        TooDeepError, ValueError: as `decode` does.
    """
    if names:
        try:
            found = _RAW_MEMBERS.decode(raw)
            return {
                k: (None if bytes(memoryview(v)[:5]) == b"null" else [])
                if k in names
                else msgspec.json.decode(v)
                for k, v in found.items()
            }
        except (ValueError, RecursionError):
            pass
    return decode(raw)


def is_json(raw: bytes) -> bool:
    """Whether bytes are JSON that some client can read."""
    try:
        decode(raw)
    except TooDeepError:
        return True
    except ValueError:
        return False
    return True


def encode(value: object) -> bytes:
    """Encode a value that `decode` has returned. Halves of surrogate pairs become escapes."""
    try:
        return msgspec.json.encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    try:
        return json.dumps(value, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return b"null"


def as_utf8(raw: bytes) -> bytes:
    """Return JSON in UTF-8 and without a byte order mark. Bytes that are so already stay as they are."""
    if raw[:1] == b"{" and raw[1:2] != b"\0":
        return raw  # as almost all is
    encoding = json.detect_encoding(raw)
    if encoding == "utf-8":
        return raw
    if encoding == "utf-8-sig":
        return raw[3:]
    return raw.decode(encoding, "replace").encode("utf-8", "replace")


def mended(text: str) -> str:
    """Join the halves of surrogate pairs, and replace those without a partner, so that the text can be encoded."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in an array, and [] for anything else."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def an_object(value: object) -> dict[str, Any]:
    """Return the value if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def finite(value: object) -> float | None:
    """Return a number, or None for anything else, NaN and infinities included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def with_members(raw: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """Return a JSON object with some members replaced, added at its end, or removed if None.

    The bytes of all other members stay as they are. Something that is no object comes back unchanged.
    """
    text = as_utf8(raw).strip()
    if not (text.startswith(b"{") and text.endswith(b"}")):
        return raw
    if any(b'"%s"' % name.encode() in text for name in changes):
        try:
            return _rebuilt(text, changes)
        except ValueError:
            pass  # A client takes the last of two members with one name, as all readers do.
    added = b",".join(
        b'"%s":%s' % (name.encode(), value) for name, value in changes.items() if value is not None
    )
    if not added:
        return raw
    empty = not text[1:-1].strip()
    return text[:-1] + (b"" if empty else b",") + added + b"}"


def _rebuilt(text: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    try:
        kept = _RAW_MEMBERS.decode(text)
    except (ValueError, RecursionError):
        scanned = {k: v for k, v in members(text).items() if k not in changes}
        scanned |= {k: v for k, v in changes.items() if v is not None}
        return b"{%s}" % b",".join(b"%s:%s" % (encode(k), v) for k, v in scanned.items())
    for name, value in changes.items():
        kept.pop(name, None)
        if value is not None:
            kept[name] = msgspec.Raw(value)
    return msgspec.json.encode(kept)


def members(raw: bytes) -> dict[str, bytes]:
    """Return the members of a JSON object, each with the bytes of its value. Of equal names the last one counts.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        found = _RAW_MEMBERS.decode(raw)
    except (ValueError, RecursionError):
        return _scan(as_utf8(raw).decode("utf-8", "surrogateescape"))
    return {name: bytes(value) for name, value in found.items()}


def _scan(text: str) -> dict[str, bytes]:
    decoder = json.JSONDecoder(strict=False, parse_int=_integer)
    found: dict[str, bytes] = {}
    at = _expect(text, 0, "{")
    while text[at : at + 1] != "}":
        if found:
            at = _expect(text, at, ",")
        try:
            name, at = decoder.raw_decode(text, at)
            start = _expect(text, _skip(text, at), ":")
            _, end = decoder.raw_decode(text, start)
        except RecursionError as e:
            raise TooDeepError("the JSON is nested too deeply") from e
        found[str(name)] = text[start:end].encode("utf-8", "surrogateescape")
        at = _skip(text, end)
    return found


def _expect(text: str, at: int, mark: str) -> int:
    """Return the position behind a mark and the blanks after it."""
    if text[at : at + 1] != mark:
        raise ValueError(f"no {mark!r} at {at}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANKS:
        at += 1
    return at


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_INTEGER else math.inf
