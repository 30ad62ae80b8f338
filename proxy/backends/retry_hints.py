"""When an upstream wants a request again: Retry-After, and the other places and forms in which vendors say it.

Sources: OpenAI ("Please try again in 6m0s", `x-ratelimit-reset-*`), Azure ("retry after 6 seconds"), Google
(`RetryInfo.retryDelay`), Anthropic (`anthropic-ratelimit-*-reset`), OpenRouter (`X-RateLimit-Reset` in milliseconds, also
inside the body), RFC 9110 (Retry-After), and the IETF draft "RateLimit header fields".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_S = 7 * 86400.0
"""A longer pause is no wish, but an error of the upstream."""
_MOST_PLACES = 20
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"\d{1,9}(?:\.\d{1,9})? ?(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
_PARTS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|mil|[smhd])[a-z]{0,12}")
_DURATION = re.compile(rf"{_PART}(?:(?: |, ?| and )?{_PART}){{0,3}}")
_WISH = re.compile(rf"\b(?:try|retry|wait)[a-z ]{{0,40}}? ({_DURATION.pattern})")
_FIELDS = {
    "retrydelay": 1.0, "retryafter": 1.0, "retryafters": 1.0, "retryafterseconds": 1.0, "retryin": 1.0,
    "retryafterms": 0.001, "retryaftermilliseconds": 0.001, "retrydelayms": 0.001,
}  # fmt: skip
"""Members of an error, in lower case without hyphens and underscores, and the unit of a bare number in seconds."""
_RESET = re.compile(r"(?:x-)?rate-?limit-reset(-[a-z-]{1,40})?|anthropic-ratelimit(-[a-z-]{1,40})-reset")
_EPOCH_S, _EPOCH_MS = 1e9, 1e12
"""A count from here on is a time since 1970, in seconds or in milliseconds."""


def asked_s(headers: Mapping[str, str]) -> float | None:
    """Return the pause that Retry-After asks for, or None if no form of it can be read. Names are in lower case."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except ValueError:
        pass
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        return _first(_until_date(text), _duration(text))


def reset_s(headers: Mapping[str, str]) -> float | None:
    """Return when the limits that are used up are reset, or None if no header says so. Names are in lower case."""
    found = []
    for name, value in headers.items():
        if _RESET.fullmatch(name):
            remaining = headers.get(name.replace("reset", "remaining"), "0")
            if remaining.strip() in ("0", "0.0"):
                found.append(_moment(value))
    pauses = [pause for pause in found if pause is not None]
    return max(pauses, default=None)


def hinted_s(layers: Iterable[Mapping[str, Any]], message: str | None) -> float | None:
    """Return the pause that an error's body asks for, in a member or in words, or None.

    Args:
        layers: the objects that describe the error.
        message: its words, with a limited length.
    """
    for place in _places(layers):
        for name, value in place.items():
            unit = _FIELDS.get(name[:40].lower().replace("_", "").replace("-", ""))
            pause = None if unit is None else _delay(value, unit)
            if pause is not None:
                return pause
        headers = place.get("headers")
        if isinstance(headers, Mapping) and len(headers) <= 100:
            texts = {str(n).lower(): str(v)[:60] for n, v in headers.items()}
            inside = _first(_bounded(asked_s(texts)), reset_s(texts))
            if inside is not None:
                return inside
    words = _WISH.search((message or "").lower())
    return None if words is None else _duration(words[1])


def _places(layers: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in which vendors put such a member: the error, its metadata and its details."""
    for layer in layers:
        details = layer.get("details")
        several = details[:_MOST_PLACES] if isinstance(details, list) else ()
        for place in (layer, layer.get("metadata"), layer.get("innererror"), details, *several):
            if isinstance(place, Mapping):
                yield place


def _delay(value: Any, unit: float) -> float | None:
    """Return a length of time: a number in its unit, a text such as "31s", or protobuf's seconds and nanoseconds."""
    if isinstance(value, Mapping):
        whole, rest = _number(value.get("seconds", 0)), _number(value.get("nanos", 0))
        return None if whole is None or rest is None else _bounded(whole + rest / 1e9)
    number = _number(value)
    if number is not None:
        return _bounded(number * unit)
    return _duration(value) if isinstance(value, str) else None


def _moment(text: str) -> float | None:
    """Return the seconds until a reset: a length, a time since 1970, or a date."""
    number = _number(text)
    if number is None:
        return _first(_duration(text), _until_date(text))
    if number >= _EPOCH_S:
        number = number / (1000 if number >= _EPOCH_MS else 1) - datetime.now(UTC).timestamp()
    return _bounded(max(0.0, number))


def _until_date(text: str) -> float | None:
    """Return the seconds until a date of HTTP, or of ISO 8601."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = read(text.strip()[:60])
            return max(0.0, (at - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _duration(text: str) -> float | None:
    """Return a length such as "6m0s", "120ms" or "1 minute and 20 seconds"."""
    given = text.strip().lower()
    if not _DURATION.fullmatch(given[:100]):
        return None
    parts = _PARTS.findall(given)
    return _bounded(sum(float(number) * _UNITS["ms" if unit == "mil" else unit] for number, unit in parts))


def _number(value: Any) -> float | None:
    """Return a number of seconds or less, also from a text, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value) if not isinstance(value, str) or len(value) <= 30 else None
    except (ValueError, OverflowError):
        return None


def _first(*pauses: float | None) -> float | None:
    return next((pause for pause in pauses if pause is not None), None)


def _bounded(pause: float | None) -> float | None:
    return pause if pause is not None and 0 <= pause <= LONGEST_S else None
