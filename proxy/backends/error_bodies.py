"""Read what an upstream says about a failure, in the form of any vendor: below an error status, and inside a 200.

Known forms: OpenAI, Azure, OpenRouter (`{"error": {…}}`, also in a choice), Ollama (`{"error": "…"}`), FastAPI
(`{"detail": …}`), Mistral (`{"object": "error", "message": …}`), Anthropic (`{"type": "error", "error": {…}}`), Google
(`[{"error": {…}}]`), Cloudflare (`{"errors": […]}`), MiniMax (`{"base_resp": {…}}`), Baidu (`{"error_code": …}`),
problem details (RFC 9457), plain text, and web pages.
"""

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from proxy.backends.error_statuses import status_of
from proxy.backends.retry_hints import hinted_s
from proxy.formats.lenient import decode, encode

MOST_MESSAGE = 1000
"""The longest message in characters that is passed on."""
MOST_NAME = 100
"""The longest type, code or parameter in characters."""
_DEEPEST = 5

_ANSWERS = ("choices", "output", "data", "usage", "delta", "item", "part", "candidates", "content", "text")
"""Members of answers and of their events. An object with one of them is an error only if it says so."""
_MESSAGES = (
    "message", "msg", "detail", "error_message", "error_msg", "errorMessage", "Message", "status_msg",
    "error_description", "description", "title", "reason", "error", "errors",
)  # fmt: skip
"""Members that hold the words. The first one that is not empty counts."""
_TYPES = ("type", "error_type", "__type", "status")
_CODES = ("code", "error_code", "status_code", "statusCode", "http_status", "status")
_NO_NAMES = (
    "", "error", "response.failed", "None", "null", "failed", "about:blank",
    "completed", "in_progress", "incomplete", "queued",
)  # fmt: skip
"""Texts in the place of a name that tell nothing about the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorError:
    """The words and names of a failure. They may still contain the proxy's key."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    """The HTTP status that the body itself names."""
    usage: Mapping[str, Any] | None = None
    """The usage that the upstream reports beside the error."""
    retry_after_s: float | None = None
    """The pause in seconds that the body asks for."""


def read_error(raw: bytes) -> VendorError:
    """Read the body of a response that is known to be an error."""
    try:
        body = decode(raw)
    except ValueError:
        return _from_text(raw)
    return described(body)


def error_in_answer(raw: bytes) -> VendorError | None:
    """Return the error in the body of a successful response, or None if the body is an answer.

    A body that is no JSON object, such as a web page or a plain text, is an error too. An object of an unknown form is
    not: it may be an answer that is billed.
    """
    start = raw.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if start not in (b"{", b"["):
        return read_error(raw) if start == b'"' else _from_text(raw)
    if b'"usage"' in raw and not any(mark in raw for mark in (b'"error"', b'"base_resp"', b'"detail"')):
        return None  # an ordinary answer, which is not decoded here
    try:
        body = decode(raw)
    except ValueError:
        return None  # nested too deeply to be read, or cut: the format decides
    first = body[0] if isinstance(body, list) and body else body
    return described(body) if isinstance(first, Mapping) and says_error(first) else None


def says_error(body: Mapping[str, Any]) -> bool:
    """Return True if an answer or an event is an error, and contains no generated text and no usage of a failure."""
    kind = body.get("type")
    failed = body.get("response") if kind == "response.failed" else body
    if isinstance(failed, Mapping) and failed.get("status") == "failed" and _counts(failed.get("usage")):
        return False  # a failed response that is billed, in the form of its endpoint
    if kind == "response.failed":
        return not (isinstance(failed, Mapping) and failed.get("output"))
    if isinstance(kind, str) and kind.startswith("response."):
        return False
    if is_answering(body):
        return False
    base, choice = body.get("base_resp"), _first_choice(body)
    if (
        kind == "error"
        or body.get("object") == "error"
        or _says(body.get("error"))
        or body.get("success") is False
    ):
        return True
    if _says(choice.get("error")):
        return True
    if isinstance(base, Mapping) and base.get("status_code") not in (None, 0):
        return True
    if any(body.get(name) is not None for name in _ANSWERS):
        return False
    return _says(body.get("error_code")) or any(_words(body.get(name), 0) for name in _MESSAGES)


def _first_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else {}


def is_answering(body: Mapping[str, Any]) -> bool:
    """Return True if an answer, or a chunk of one, has generated text, a tool call, an output or embeddings."""
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping):
            part = choice.get("message") or choice.get("delta")
            if choice.get("text") or (
                isinstance(part, Mapping) and any(v for k, v in part.items() if k != "role")
            ):
                return True
    return bool(body.get("output")) or bool(body.get("data")) or bool(body.get("delta"))


def _from_text(raw: bytes) -> VendorError:
    text = raw[: 16 * MOST_MESSAGE].decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if not text.startswith("<"):
        message = _cleaned(text, MOST_MESSAGE)
        return VendorError(message=message, retry_after_s=hinted_s((), message))
    lower = text.lower()
    begin, end = lower.find("<title"), lower.find("</title")
    title = text[begin:end].partition(">")[2].strip() if 0 <= begin < end else ""
    named = f' with the title "{_cleaned(title, MOST_NAME)}"' if title else ""
    return VendorError(
        message=f"The upstream sent a web page{named}. Its base_url may be wrong, or a login is needed."
    )


def described(body: Any) -> VendorError:
    """Read a JSON value that is known to be an error."""
    layers = list(_layers(body, 0))
    message = next((w for value in (body, *layers) if (w := _words(value, 0))), None)
    if message is None and body and isinstance(body, Mapping):
        message = encode(body)[: 4 * MOST_MESSAGE].decode("utf-8", "replace")
    codes = [layer.get(name) for layer in layers for name in _CODES]
    names = [layer.get(name) for layer in layers for name in (*_CODES, *_TYPES)]
    statuses = (status_of(value) for value in (*filter(_is_number, codes), *names))
    usages = (layer.get("usage") for layer in layers)
    code = next((c for c in codes if _is_number(c) or _is_name(c)), None)
    param = next((p for layer in layers if _is_name(p := layer.get("param"))), None)
    kind = next((t for layer in layers for name in _TYPES if _is_name(t := layer.get(name))), None)
    message = _cleaned(message or "", MOST_MESSAGE)
    return VendorError(
        message=message,
        type=None if kind is None else _cleaned(kind, MOST_NAME),
        code=None if code is None else _cleaned(str(code), MOST_NAME),
        param=None if param is None else _cleaned(param, MOST_NAME),
        status=next((status for status in statuses if status is not None), None),
        usage=next((u for u in usages if isinstance(u, Mapping) and _counts(u)), None),
        retry_after_s=hinted_s(layers, message),
    )


def _layers(body: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the objects that describe the error, the innermost first."""
    if depth >= _DEEPEST:
        return
    if isinstance(body, list):
        for inner in body[:1]:
            yield from _layers(inner, depth + 1)
    elif isinstance(body, Mapping):
        for name in ("response", "error", "errors", "detail", "message", "base_resp"):
            yield from _layers(body.get(name), depth + 1)
        yield from _layers(_first_choice(body).get("error"), depth + 1)
        yield body


def _words(value: Any, depth: int) -> str | None:
    """Return the message of an error object, or the text that stands in its place."""
    if isinstance(value, str):
        return value.strip() or None
    if depth >= _DEEPEST:
        return None
    if isinstance(value, list):
        return "; ".join(w for w in (_words(v, depth + 1) for v in value[:5]) if w) or None
    if not isinstance(value, Mapping):
        return None
    found = next((w for name in _MESSAGES if (w := _words(value.get(name), depth + 1))), None)
    place = value.get("loc")
    if found and isinstance(place, list):
        return f"{'.'.join(str(p) for p in place[:10])}: {found}"
    return found


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value.strip() not in _NO_NAMES


def _is_number(value: Any) -> bool:
    """Return True for an integer of a usual size, also if it is written as text."""
    if isinstance(value, str):
        return len(value) < 12 and value.strip().isdecimal()
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**12


def _says(value: Any) -> bool:
    """Return True if a member holds words or a code, and not only empty members."""
    if isinstance(value, Mapping):
        return any(_says(v) for v in value.values())
    return bool(value)


def _counts(usage: Any) -> bool:
    """Return True if a usage has a positive count."""
    return isinstance(usage, Mapping) and any(
        isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in usage.values()
    )


def _cleaned(text: str, most: int) -> str | None:
    """Return a text without control characters and lone surrogates, cut to a length, or None if nothing is left."""
    cut = text[:most] if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() or c == "\n" else " " for c in cut).strip() or None
