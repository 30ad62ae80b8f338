"""The size of a JSON text in values, found without building them.

A text of 4 MB may hold a million values, and each of them becomes a Python object of 50 to 300 bytes. So the values are
counted first.
"""

import re
from collections.abc import Iterator

from proxy.errors import ApiError, bad_request

MOST_VALUES = 500_000
"""Numbers and short texts are cheap: an embedding of 300,000 tokens is within OpenAI's own limit."""
MOST_MEMBERS = 100_000
"""Members of objects, objects and arrays. They take more memory and time."""

HARMLESS_BYTES = 50_000
"""A text of this size cannot exceed a limit."""
_SLICE_BYTES = 2**19  # the interpreter lets other threads run between two slices
_OTHERS = bytes(set(range(256)) - set(b',:[{"'))
_BACKSLASHES = re.compile(rb"\\++")
_STRING = re.compile(rb'"[^"]*+"')


def check_shape(raw: bytes) -> None:
    """Check that a JSON text does not hold too many values. A large text takes 10 ms a megabyte, so use a thread.

    Raises:
        ApiError: 400 `too_many_values`.
    """
    values = members = 0
    for part in structure(raw):
        some = sum(map(part.count, (b":", b"[", b"{")))
        members += some
        values += some + part.count(b",")
        if values > MOST_VALUES:
            raise _too_many(f"{MOST_VALUES} values")
        if members > MOST_MEMBERS:
            raise _too_many(f"{MOST_MEMBERS} members, objects and arrays")


def structure(raw: bytes, slice_bytes: int = _SLICE_BYTES) -> Iterator[bytes]:
    """Yield the commas, colons and opening brackets outside of strings, slice by slice."""
    start, inside = 0, False
    while start < len(raw):
        end = start + slice_bytes
        if escapes := _BACKSLASHES.match(raw, end - 1):  # an escape must not be cut
            end = escapes.end() + 1
        piece = raw[start:end]
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        bare = (b'"' if inside else b"") + piece.translate(None, _OTHERS)
        inside = bare.count(b'"') % 2 == 1
        bare = _STRING.sub(b"", bare)
        yield bare[: bare.rfind(b'"')] if inside else bare
        start = end


def _too_many(limit: str) -> ApiError:
    return bad_request(f"The request body is too large: it has more than {limit}.", code="too_many_values")
