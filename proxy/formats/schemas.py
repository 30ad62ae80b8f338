"""Limits of the JSON schemas in a request, so that no later step has to read an endless one.

They are far above what OpenAI accepts in strict mode: 5,000 properties, 120,000 characters and 10 levels.
"""

from collections.abc import Iterator
from typing import Any

from proxy.cascade.types import Json
from proxy.errors import bad_request

MOST_BYTES = 2**20
"""The most characters of all names and texts in one schema."""
MOST_VALUES = 50_000
"""The most values in all schemas of a request: keywords, entries of `enum`, and so on."""
MOST_REFERENCES = 5_000
"""The most references (`$ref`) in all schemas of a request."""
DEEPEST = 200
"""The most objects and arrays inside each other."""


def check_schemas(body: Json) -> None:
    """Check the schemas of a chat or Responses request: of its response format, its tools and its functions.

    Raises:
        ApiError: 400 that names the schema.
    """
    left = MOST_VALUES, MOST_REFERENCES
    for where, schema in _schemas(body):
        left = _check(schema, where, *left)


def _schemas(body: Json) -> Iterator[tuple[str, Any]]:
    """Yield each part of a request that holds a schema, with its name."""
    if (wanted := body.get("response_format")) is not None:
        yield "response_format", wanted
    if isinstance(text := body.get("text"), dict):
        yield "text.format", text.get("format")
    for name in ("tools", "functions"):
        given = body.get(name)
        for i, item in enumerate(given if isinstance(given, list) else ()):
            yield f"{name}[{i}]", item


def _check(schema: Any, where: str, values: int, references: int) -> tuple[int, int]:
    """Check one schema, and return how many values and references are left for the others."""
    size = 0
    level: list[Any] = [schema]
    for depth in range(DEEPEST + 1):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                size += len(value)
            elif isinstance(value, dict):
                size += sum(map(len, value))
                references -= "$ref" in value
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        values -= len(inner)
        problem = _problem(size, values, references)
        if problem is None and inner and depth == DEEPEST:
            problem = f"more than {DEEPEST} levels"
        if problem is not None:
            raise bad_request(
                f"A schema is too large: '{where}' has {problem}.", param=where, code="schema_too_large"
            )
        if not inner:
            break
        level = inner
    return values, references


def _problem(size: int, values: int, references: int) -> str | None:
    if size > MOST_BYTES:
        return f"more than {MOST_BYTES} characters"
    if values < 0:
        return f"more than {MOST_VALUES} values (all schemas of a request count together)"
    if references < 0:
        return f"more than {MOST_REFERENCES} references (all schemas of a request count together)"
    return None
