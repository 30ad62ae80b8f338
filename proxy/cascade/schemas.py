"""Which schemas the small model's server is not given.

It turns a schema into a grammar before it writes a word. Some short schemas have an endless grammar, and others make the
server open a URL. The large model's upstream gets them as they are.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from proxy.cascade.types import Json

MOST_EXPANDED = 10_000
"""The most values of a schema after each reference to a definition is replaced by the definition."""
LONGEST_PATTERN = 1000
MOST_REPEATED = 10_000
"""The most repetitions that a grammar has to write out: items, properties, characters."""

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minContains")
_REPEATS = re.compile(r"\{(\d{0,9})(?:,(\d{0,9}))?")


def unserved_schema(body: Json) -> str | None:
    """Return why the schemas of a chat request are not for the small model, or `None` if they are."""
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind not in (None, "text", "json_object", "json_schema"):
        return f"response_format {str(kind)[:40]!r}"
    reasons = (_reason(schema) for schema in _schemas(body))
    return next(filter(None, reasons), None)


def _schemas(body: Json) -> Iterator[Any]:
    wanted = body.get("response_format")
    described = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    yield described.get("schema") if isinstance(described, Mapping) else None
    for tool in body.get("tools") or ():
        function = tool.get("function") if isinstance(tool, Mapping) else None
        yield function.get("parameters") if isinstance(function, Mapping) else None


def _reason(schema: Any) -> str | None:
    waiting, seen = [schema], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > MOST_EXPANDED:
            return "the schema is too complex"
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, Mapping):
            if reason := _reason_here(value):
                return reason
            waiting += value.values()
    try:
        return "the schema is too complex" if _Expansion(schema).size(schema) > MOST_EXPANDED else None
    except RecursionError:
        return "the schema is too complex"


def _reason_here(schema: Mapping[str, Any]) -> str | None:
    for name in _REFERENCES:
        reference = schema.get(name)
        if isinstance(reference, str) and not reference.startswith("#"):
            return "the schema refers to another document"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and (len(pattern) > LONGEST_PATTERN or _repeats(pattern)):
        return "the schema has a large pattern"
    if any(_is_large(schema.get(name)) for name in _COUNTS):
        return "the schema asks for many repetitions"
    return None


def _repeats(pattern: str) -> bool:
    counts = (int(n) for pair in _REPEATS.findall(pattern) for n in pair if n)
    product = 1
    for count in counts:  # repetitions inside each other multiply
        product *= max(1, count)
    return product > MOST_REPEATED


def _is_large(count: Any) -> bool:
    return isinstance(count, int | float) and count > MOST_REPEATED


class _Expansion:
    """The sizes of a schema's parts with their references replaced. A reference to a part around it counts once."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._sizes: dict[str, int] = {}

    def size(self, value: Any) -> int:
        """Return the number of values, `MOST_EXPANDED` + 1 if there are more."""
        inner: list[Any] = []
        if isinstance(value, Mapping):
            inner = [v for k, v in value.items() if k not in ("$defs", "definitions")]
        elif isinstance(value, list):
            inner = value
        total = 1 + sum(map(self.size, inner))
        reference = value.get("$ref") if isinstance(value, Mapping) else None
        if isinstance(reference, str):
            total += self._size_of(reference)
        return min(total, MOST_EXPANDED + 1)

    def _size_of(self, reference: str) -> int:
        if reference not in self._sizes:
            self._sizes[reference] = 1  # a part that refers to itself is a rule of its own in a grammar
            self._sizes[reference] = self.size(self._part(reference))
        return self._sizes[reference]

    def _part(self, reference: str) -> Any:
        value = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping):
                value = value.get(name)
            elif isinstance(value, list) and name.isdecimal() and len(name) < 9 and int(name) < len(value):
                value = value[int(name)]
            else:
                return None
        return value
