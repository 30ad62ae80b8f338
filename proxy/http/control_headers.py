"""The X-COPE-* request headers: one table.

Parsing, the OpenAPI document and the table in docs/headers.md come from `HEADERS`. To add a header, add a row here and
a field to `proxy.config.controls.Controls`, and use the field.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, get_args

from litestar.openapi.spec import OpenAPIType, Schema

from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.errors import bad_header
from proxy.pricing.money import parse_usd
from proxy.records import Mode

PREFIX = "x-cope-"
LONGEST = 512
"""The longest name, and the longest value."""


@dataclass(frozen=True, slots=True)
class Values:
    """The values that a header takes: how to read one, and its JSON schema."""

    parse: Callable[[str], object]
    """Return the value. Raise ValueError with the problem if there is none."""
    schema: Schema
    """For the OpenAPI document. It may allow less than `parse`, never more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlHeader:
    """One control header."""

    name: str
    field: str
    """The field of `Controls`."""
    values: Values
    help: str
    """One sentence for the documentation."""
    example: str


def _text(pattern: str) -> Schema:
    return Schema(type=OpenAPIType.STRING, pattern=f"^{pattern}$")


def _parse_usd(text: str) -> int:
    try:
        return parse_usd(text)
    except ValueError as e:
        raise ValueError(f"{e}; give USD as a decimal number, such as 0.05") from None


def _parse_visible(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,128}", text):
        raise ValueError("has to be 1 to 128 visible ASCII characters")
    return text


def _parse_thresholds(text: str) -> tuple[float, float]:
    parts = text.split(",")
    number = re.compile(r"\s*(0(\.\d{1,6})?|1(\.0{1,6})?|\.\d{1,6})\s*")
    if len(parts) > 2 or not all(number.fullmatch(part) for part in parts):
        raise ValueError("give one number in 0..1, or two as stage1,stage2")
    return float(parts[0]), float(parts[-1])


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text) or int(text) < 1:
        raise ValueError("has to be a whole number from 1 up")
    return int(text)


def _one_of(values: dict[str, object]) -> Values:
    """Return the values of a header with a fixed set of values. Case does not matter."""

    def parse(text: str) -> object:
        if text.lower() not in values:
            raise ValueError(f"{text[:40]!r} is not one of {', '.join(values)}")
        return values[text.lower()]

    return Values(parse, Schema(type=OpenAPIType.STRING, enum=list(values)))


def _same(names: Iterable[str]) -> dict[str, object]:
    return {name: name for name in names}


USD = Values(_parse_usd, _text(r"\d{1,6}(\.\d{1,9})?"))
VISIBLE = Values(_parse_visible, _text("[!-~]{1,128}"))
THRESHOLDS = Values(_parse_thresholds, _text(r"0\.\d{1,6}(,0\.\d{1,6})?"))
COUNT = Values(_parse_count, _text("[1-9]"))

HEADERS = (
    ControlHeader(
        name="X-COPE-Budget-USD",
        field="budget",
        values=USD,
        help="The most that this request may spend upstream; 0 keeps it local.",
        example="0.05",
    ),
    ControlHeader(
        name="X-COPE-Session",
        field="session",
        values=VISIBLE,
        help="Groups requests into a session.",
        example="chat-42",
    ),
    ControlHeader(
        name="X-COPE-Session-Budget-USD",
        field="session_budget",
        values=USD,
        help="The most that the session may spend; later values can only lower it, and it needs X-COPE-Session.",
        example="1.50",
    ),
    ControlHeader(
        name="X-COPE-On-Budget",
        field="on_budget",
        values=_one_of(_same(("degrade", "fail"))),
        help="When a budget is used up, return the best local answer (`degrade`, the default) or a 429 (`fail`).",
        example="fail",
    ),
    ControlHeader(
        name="X-COPE-Mode",
        field="mode",
        values=_one_of(_same(get_args(Mode))),
        help="Answer with the cascade, with the small model only, or with the large model only.",
        example="cascade",
    ),
    ControlHeader(
        name="X-COPE-User",
        field="user",
        values=VISIBLE,
        help="The end user, if the request body names none.",
        example="alice",
    ),
    ControlHeader(
        name="X-COPE-Max-Stage",
        field="max_stage",
        values=_one_of({"1": 1, "2": 2, "3": 3}),
        help="The last stage that may run; 1 sends nothing upstream.",
        example="1",
    ),
    ControlHeader(
        name="X-COPE-Task",
        field="task",
        values=_one_of({"auto": None, **{kind.value: kind for kind in TaskKind}}),
        help="The task kind, instead of the detected one (`auto`).",
        example="math",
    ),
    ControlHeader(
        name="X-COPE-Threshold",
        field="thresholds",
        values=THRESHOLDS,
        help="The confidence that accepts a local answer: one number for both stages, or stage1,stage2.",
        example="0.75,0.5",
    ),
    ControlHeader(
        name="X-COPE-Samples",
        field="samples",
        values=COUNT,
        help="The number of answers that the small model draws in each stage.",
        example="4",
    ),
)
_PREFIX = PREFIX.encode()
_NOTHING_ASKED = Controls()
_BY_NAME = {header.name.lower(): header for header in HEADERS}


def read_controls(headers: Iterable[tuple[bytes, bytes]], max_samples: int) -> Controls:
    """Read the control headers of a request.

    Raises:
        ApiError: 400 `invalid_header` for an unknown, repeated, empty or unusable header.
    """
    given = tuple((name, value) for name, value in headers if name.lower().startswith(_PREFIX))
    if not given:
        return _NOTHING_ASKED
    # A client sends the same headers again and again. What is longer than a header may be is refused, not kept.
    known = sum(len(name) + len(value) for name, value in given) <= LONGEST
    return (_read if known else _read.__wrapped__)(given, max_samples)


@lru_cache(maxsize=1024)
def _read(given: tuple[tuple[bytes, bytes], ...], max_samples: int) -> Controls:
    fields: dict[str, Any] = {}
    for raw_name, raw_value in given:
        name = raw_name.decode("latin-1").lower()
        if len(name) > LONGEST or len(raw_value) > LONGEST:
            raise bad_header(name[:40], f"too long; the limit is {LONGEST} characters")
        header = _BY_NAME.get(name)
        if header is None:
            raise bad_header(name, _unknown(name))
        if header.field in fields:
            raise bad_header(header.name, "given more than once")
        text = raw_value.decode("latin-1").strip()
        if not text:
            raise bad_header(header.name, "empty")
        try:
            fields[header.field] = header.values.parse(text)
        except ValueError as e:
            raise bad_header(header.name, str(e)) from None
    controls = Controls(**fields)
    if controls.session_budget is not None and controls.session is None:
        raise bad_header("X-COPE-Session-Budget-USD", "needs X-COPE-Session beside it")
    if controls.samples is not None and controls.samples > max_samples:
        raise bad_header("X-COPE-Samples", f"has to be a whole number in 1..{max_samples}")
    return controls


def markdown_table() -> str:
    """Return the table of docs/headers.md."""
    rows = (f"| `{h.name}` | `{h.example}` | {h.help} |" for h in HEADERS)
    return "\n".join(("| Header | Example | Meaning |", "| --- | --- | --- |", *rows))


def _unknown(name: str) -> str:
    close = get_close_matches(name, _BY_NAME, n=1)
    if close:
        return f"unknown; the closest known header is {_BY_NAME[close[0]].name}"
    return f"unknown; known are {', '.join(sorted(header.name for header in HEADERS))}"
