"""Request bodies that are compressed, as Codex and others send them."""

import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO

import zstandard

from proxy.errors import ApiError, bad_request, request_too_large

ACCEPTED = ("gzip", "deflate", "zstd")
_CHUNK_BYTES = 2**18
_MOST_MEMBERS = 100
_MOST_WINDOW_BYTES = 8 * 2**20
"""The window that RFC 8878 asks every zstd decoder to support. A larger one would take memory before any output."""


def encoding_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the one encoding of a body, or `None` if it is not encoded.

    Raises:
        ApiError: 415 for an unknown encoding, or for several at once.
    """
    given = b",".join(value for name, value in headers if name == b"content-encoding").decode("latin-1")
    names = [name.strip().lower() for name in given.split(",")]
    wanted = [name.removeprefix("x-") for name in names if name not in ("", "identity")]
    if not wanted:
        return None
    if len(wanted) > 1 or wanted[0] not in ACCEPTED:
        accepted = ", ".join(ACCEPTED)
        raise ApiError(
            415,
            f"Content-Encoding {given[:60]!r} is not supported; send the body plain, or with one of {accepted}.",
            code="unsupported_content_encoding",
            headers={"accept-encoding": accepted},
        )
    return wanted[0]


def decoded(raw: bytes, encoding: str, limit: int) -> bytes:
    """Decompress a body. It takes milliseconds a megabyte, so call it in a thread.

    Raises:
        ApiError: 413 when the result is larger than `limit` bytes, 400 when the body does not have this encoding.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in _zstd_pieces(raw) if encoding == "zstd" else _zlib_pieces(raw, encoding):
            size += len(piece)
            if size > limit:
                pieces.clear()  # the error would keep them alive
                raise request_too_large(size, limit)
            pieces.append(piece)
    except (zlib.error, zstandard.ZstdError, EOFError) as e:
        raise bad_request(
            f"The request body is no valid {encoding}, which its Content-Encoding names: {str(e)[:100]}.",
            code="invalid_content_encoding",
        ) from None
    return b"".join(pieces)


def _zstd_pieces(raw: bytes) -> Iterator[bytes]:
    decoder = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES)
    with decoder.stream_reader(BytesIO(raw), read_across_frames=True) as reader:
        while piece := reader.read(_CHUNK_BYTES):
            yield piece


def _zlib_pieces(raw: bytes, encoding: str) -> Iterator[bytes]:
    bits = 16 + zlib.MAX_WBITS if encoding == "gzip" else _deflate_bits(raw)
    members = 0
    one = zlib.decompressobj(bits)
    for start in range(0, len(raw), _CHUNK_BYTES):
        data = raw[start : start + _CHUNK_BYTES]
        while data:
            if one.eof:  # a gzip file may have several members, and zeros behind them
                data = data.lstrip(b"\0")
                if not data:
                    break
                members += 1
                if members > _MOST_MEMBERS:
                    raise EOFError("it has too many members")
                one = zlib.decompressobj(bits)
            yield one.decompress(data, _CHUNK_BYTES)
            data = one.unused_data if one.eof else one.unconsumed_tail
    while raw and not one.eof:
        if not (piece := one.decompress(b"", _CHUNK_BYTES)):
            raise EOFError("it is cut off")
        yield piece


def _deflate_bits(raw: bytes) -> int:
    # "deflate" is zlib's format (RFC 9110, 8.4.1.2), but many clients send it without zlib's header.
    has_header = len(raw) > 1 and raw[0] & 15 == 8 and int.from_bytes(raw[:2]) % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
