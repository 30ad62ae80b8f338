"""Checks of request fields that several formats share."""

from collections.abc import Iterable

from proxy.cascade.types import Json
from proxy.errors import bad_request

MOST_TOKENS = 2**20
"""The highest output limit that a request may name. No model writes more."""
MOST_CHOICES = 128
"""The highest number of choices. OpenAI allows as many."""


def positive(body: Json, names: Iterable[str], most: int = MOST_TOKENS, *, least: int = 1) -> None:
    """Check that fields, if given, are integers in `least`..`most`.

    Raises:
        ApiError: 400 that names the first wrong one.
    """
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise bad_request(
                f"'{name}' has to be an integer in {least}..{most}.", param=name, code="invalid_value"
            )


def typed(body: Json, **kinds: type) -> None:
    """Check the types of fields, if given.

    Raises:
        ApiError: 400 that names the first wrong one.
    """
    words = {bool: "true or false", list: "an array", dict: "an object", str: "a string"}
    for name, kind in kinds.items():
        if body.get(name) is not None and not isinstance(body[name], kind):
            raise bad_request(f"'{name}' has to be {words[kind]}.", param=name, code="invalid_type")


def tools(body: Json) -> None:
    """Check that `tools`, if given, is an array of objects with a type.

    Raises:
        ApiError: 400 that names it.
    """
    objects(body, "tools")
    for i, tool in enumerate(body.get("tools") or ()):
        if not isinstance(tool.get("type"), str):
            raise bad_request(
                f"'tools[{i}].type' has to be a string.", param=f"tools[{i}].type", code="invalid_type"
            )


def objects(body: Json, name: str) -> None:
    """Check that a field, if given, is an array of objects.

    Raises:
        ApiError: 400 that names it.
    """
    typed(body, **{name: list})
    if not all(isinstance(item, dict) for item in body.get(name) or ()):
        raise bad_request(f"'{name}' has to hold objects.", param=name, code="invalid_type")
