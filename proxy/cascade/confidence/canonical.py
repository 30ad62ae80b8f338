"""Canonical JSON, schema checks and short labels, for the task kinds that answer in JSON."""

import json
from functools import lru_cache
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from proxy.cascade.types import digest

_LABEL_LENGTH = 80


def parse(text: str) -> Any:
    """Decode JSON so that equal numbers are equal values (1.0 is 1).

    Raises:
        ValueError: it is not strict JSON.
    """
    try:
        return json.loads(text, parse_float=_number, parse_constant=_no_constant)
    except RecursionError as e:
        raise ValueError("nested too deeply") from e


def dumps(value: Any) -> str:
    """Write a value the one way: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def short(label: str) -> str:
    """Shorten a label; what is cut away stays in as a digest, so that labels stay distinct."""
    if len(label) <= _LABEL_LENGTH:
        return label
    return f"{label[:_LABEL_LENGTH]}... {digest(label)}"


def conforms(value: Any, schema: Any) -> bool:
    """Say whether a value satisfies a JSON schema. A schema that is itself invalid demands nothing."""
    try:
        validator = _validator(json.dumps(schema, sort_keys=True))
        return validator is None or validator.is_valid(value)
    except (Unresolvable, RecursionError, TypeError, ValueError):
        return True


@lru_cache(maxsize=256)
def _validator(schema_text: str) -> Validator | None:
    schema = json.loads(schema_text)
    if not isinstance(schema, dict):  # `true` demands nothing either, and `false` is nobody's format
        return None
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError:
        return None
    # An empty registry: a client's "$ref" never makes this process fetch a URL.
    return kind(schema, registry=Registry())


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
