"""JSON documents in answers: the one that an answer consists of, and those that say nothing."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.cascade.confidence.canonical import parse
from proxy.cascade.confidence.doubt import refuses

_FENCED = re.compile(
    r"\s*+```[ \t]*+(?:json|json5|jsonc)?[ \t]*+\n(.*)\n[ \t]*+```\s*+", re.DOTALL | re.IGNORECASE
)
_DEEPEST = 40
_MOST_LEAVES = 2000
_PLACEHOLDER = re.compile(
    r"\s*+|\.{2,}|…|<[^<>]{1,40}>|\[[^\[\]]{1,40}\]|\{[^{}]{1,40}\}"
    r"|(?:string|str|text|integer|int|number|float|boolean|bool|array|object|null|none|undefined|value|placeholder|example"
    r"|todo|tbd|n/?a|unknown|lorem ipsum|your[ _]\w{1,20}|(?:insert|enter)[ _]\w{1,20}|x{3,40}|foo|bar|key|name|field)\.?",
    re.IGNORECASE,
)
_TYPE_NAME = re.compile(
    r"string|str|<[^<>]{1,40}>|\.{3}|…|your[ _]\w{1,20}|lorem ipsum|placeholder|string\s?\|.{0,80}",
    re.IGNORECASE,
)
_OF_ERRORS = frozenset({"error", "errors", "error_message", "errorMessage", "exception", "traceback"})
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_MAY_BE_EMPTY = {"str": "minLength", "list": "minItems", "dict": "minProperties"}


def document(text: str, *, bare: bool) -> Any:
    """Return the JSON value that an answer consists of.

    Args:
        text: the answer.
        bare: True if nothing may stand around the value. Otherwise it may stand in one fence.

    Raises:
        ValueError: the text is not one strict JSON value.
    """
    fenced = None if bare else _FENCED.fullmatch(text)
    return parse(fenced.group(1) if fenced else text)


def says_nothing(value: Any, schema: Any, asked: str) -> bool:
    """Return True if a document holds no answer: it is empty, or an error, a refusal, a placeholder or an echoed schema.

    An empty or null part counts as an answer if the schema names it: by `enum`, `const`, a type "null" or a least length 0.

    Args:
        value: the document.
        schema: the schema that was asked for, or `None`.
        asked: the text of the request.
    """
    known = schema if isinstance(schema, Mapping) else {}
    if known and value == known:
        return True
    if isinstance(value, Mapping) and (_is_error(value, known, asked) or _is_schema(value, known, asked)):
        return True
    leaves = list(_leaves(value, known, 0, known))
    if has_placeholder(value, known) or any(isinstance(leaf, str) and refuses(leaf) for leaf, _ in leaves):
        return True
    told = [leaf for leaf, part in leaves if not _is_empty(leaf) or _allowed(leaf, part)]
    if not told:
        return True
    # Zeros and false beside nothing but placeholders are placeholders, too.
    placeholders = any(
        isinstance(leaf, str) and _PLACEHOLDER.fullmatch(leaf) and not _allowed(leaf, part)
        for leaf, part in leaves
    )
    return placeholders and not any(leaf for leaf in told)


def has_placeholder(value: Any, schema: Any) -> bool:
    """Return True if a part of a document is the name of its type, or another mark of a place to fill in."""
    known = schema if isinstance(schema, Mapping) else {}
    leaves = _leaves(value, known, 0, known)
    return any(
        isinstance(leaf, str) and _TYPE_NAME.fullmatch(leaf.strip()) and not _named(leaf, part)
        for leaf, part in leaves
    )


def _leaves(
    value: Any, schema: Any, depth: int, root: Mapping[str, Any]
) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield each part without parts of its own, and its schema."""
    part = _resolved(schema, root)
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping) and value:
        fields = part.get("properties")
        for name, item in list(value.items())[:_MOST_LEAVES]:
            yield from _leaves(
                item, fields.get(name) if isinstance(fields, Mapping) else None, depth + 1, root
            )
    elif isinstance(value, list) and value:
        for item in value[:_MOST_LEAVES]:
            yield from _leaves(item, part.get("items"), depth + 1, root)
    else:
        yield value, part


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema without its reference, if that is to a definition of the same document."""
    if not isinstance(schema, Mapping):
        return {}
    reference = schema.get("$ref")
    if (
        isinstance(reference, str)
        and reference.count("/") == 2
        and reference.startswith(("#/$defs/", "#/definitions/"))
    ):
        place, name = reference.split("/")[1:]
        definitions = root.get(place)
        found = definitions.get(name) if isinstance(definitions, Mapping) else None
        return found if isinstance(found, Mapping) else {}
    return schema


def _is_empty(leaf: Any) -> bool:
    if isinstance(leaf, str):
        return _PLACEHOLDER.fullmatch(leaf) is not None
    return leaf is None or (isinstance(leaf, list | dict) and not leaf)


def _allowed(leaf: Any, schema: Mapping[str, Any]) -> bool:
    """Return True if a schema names an empty value as one of its answers."""
    if _named(leaf, schema):
        return True
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if leaf is None and ("null" in kinds or schema.get("nullable") is True):
        return True
    if leaf in ("", [], {}) and schema.get(_MAY_BE_EMPTY[type(leaf).__name__]) == 0:
        return True
    if leaf == {} and schema.get("properties") == {}:
        return True
    several = [s for name in ("anyOf", "oneOf") for s in schema.get(name) or () if isinstance(s, Mapping)]
    return any(_named(leaf, s) or (leaf is None and s.get("type") == "null") for s in several)


def _named(leaf: Any, schema: Mapping[str, Any]) -> bool:
    values = schema.get("enum")
    return (isinstance(values, list) and leaf in values) or ("const" in schema and schema["const"] == leaf)


def _is_error(value: Mapping[str, Any], schema: Mapping[str, Any], asked: str) -> bool:
    fields = schema.get("properties")
    wanted = fields if isinstance(fields, Mapping) else {}
    return any(name in _OF_ERRORS and name not in wanted and item for name, item in value.items()) and (
        bool(wanted) or "error" not in asked.casefold()
    )


def _is_schema(value: Mapping[str, Any], schema: Mapping[str, Any], asked: str) -> bool:
    fields = schema.get("properties")
    wanted = fields if isinstance(fields, Mapping) else {}
    looks = "$schema" in value or (
        isinstance(value.get("properties"), Mapping) and value.get("type") in _TYPES
    )
    return looks and "properties" not in wanted and (bool(wanted) or "schema" not in asked.casefold())
