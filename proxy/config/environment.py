"""Read the values of environment variables as the types of their keys.

A variable has only a text, and its writer does not think of TOML: `2024-10-21` is a text where the key wants a text, and
a date nowhere. An empty variable counts as unset, because many tools cannot remove one.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from proxy.config.schema import Settings
from proxy.config.section import Section

ENV_PREFIX = "COPE__"

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def overlay_environment(table: dict[str, Any], env: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Set the keys of `table` that the environment names, and add the problems.

    Return the variable of each key that was set, by the key's dotted path.
    """
    sources: dict[str, str] = {}
    for name, raw in sorted(env.items()):
        if not name.startswith(ENV_PREFIX) or not raw.strip():
            continue
        path, type_ = _key(name.removeprefix(ENV_PREFIX).split("__"))
        node = table
        for key in path[:-1]:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                problems.append(f"{name}: {key} is not a table")
                break
            node = child
        else:
            try:
                node[path[-1]] = _value(raw, type_)
            except ValueError as e:
                problems.append(f"{dotted(path)}: {e} (environment variable {name})")
            else:
                sources[dotted(path)] = name
    return sources


def dotted(path: Iterable[str]) -> str:
    """Return the name of a key in messages."""
    return ".".join(f'"{key}"' if "." in key else key for key in path)


def _key(names: list[str]) -> tuple[list[str], Any]:
    """Return the keys that the parts of a variable's name stand for, and the type of the last one.

    Keys of the schema are lower case. Names of your own, such as the model in `[prices."gpt-4o"]`, keep their case.
    The type is `None` for an unknown key.
    """
    path: list[str] = []
    type_: Any = Settings
    for name in names:
        type_ = _section_or_map(type_)
        if get_origin(type_) is dict:
            key_type, type_ = get_args(type_)
            path.append(name.lower() if issubclass(key_type, StrEnum) else name)
        else:
            key = name.lower()
            path.append(key)
            hints = get_type_hints(type_, include_extras=True) if _is_section(type_) else {}
            type_ = hints.get(key)
    return path, type_


def _value(raw: str, type_: Any) -> Any:
    """Return a text as the value of a key.

    Raises:
        ValueError: the text is no such value. The message has the accepted ones, and not the text: it may be secret.
    """
    text = raw.strip()
    options = [option for option in _options(type_) if option is not type(None)]
    words = [word for option in options if get_origin(option) is Literal for word in get_args(option)]
    types = [option for option in options if get_origin(option) is not Literal]
    kinds = [get_origin(option) or option for option in types]
    if text in words:
        return text
    if any(kind is dict or _is_section(kind) for kind in kinds):
        return _structure(text, "a table such as {key = 1}")
    if tuple in kinds and (text.startswith("[") or str not in kinds):
        return _array(text, get_args(types[kinds.index(tuple)]))
    if bool in kinds:
        return _boolean(text)
    for kind, read, form in (
        (int, _integer, "a whole number"),
        (float, float, "a number"),
        (Decimal, Decimal, "a number"),
    ):
        if kind in kinds:
            try:
                return read(text)
            except (ValueError, InvalidOperation):
                alternatives = f", or one of {', '.join(words)}" if words else ""
                raise ValueError(f"must be {form}{alternatives}") from None
    return _unquoted(text) if str in kinds else text


def _options(type_: Any) -> list[Any]:
    """Return the members of a union, or the type itself, without the limits of `Annotated`."""
    if get_origin(type_) is Annotated:
        return _options(get_args(type_)[0])
    if get_origin(type_) in (Union, UnionType):
        return [member for option in get_args(type_) for member in _options(option)]
    return [type_]


def _boolean(text: str) -> bool:
    word = _unquoted(text).lower()
    if word not in _YES + _NO:
        raise ValueError(f"must be true or false; also accepted: {', '.join(_YES[1:] + _NO[1:])}")
    return word in _YES


def _integer(text: str) -> int:
    text = _unquoted(text)
    return int(text, 0) if text.lower().startswith(("0x", "0o", "0b")) else int(text)


def _array(text: str, element: tuple[Any, ...]) -> list[Any]:
    """Read `["a", "b"]`, or a list of texts as `a,b`."""
    if text.startswith("["):
        try:
            found = _structure(text, "")
        except ValueError:
            found = None
        if isinstance(found, list):
            return found
    if str not in element:
        raise ValueError("must be a list such as [1, 2]")
    # A shell may have taken the quotes away.
    return [_unquoted(part.strip()) for part in text.strip("[]").split(",") if part.strip()]


def _structure(text: str, form: str) -> Any:
    """Read a table or a list in the notation of TOML or JSON."""
    try:
        return tomllib.loads(f"value = {text}", parse_float=Decimal)["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        pass
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise ValueError(f"must be {form}") from None


def _unquoted(text: str) -> str:
    """Return a text without the quotes of TOML, which others write around every value."""
    if text[:1] in "\"'" and text[:1] == text[-1:] and len(text) > 1:
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text[1:-1]
        return str(value)
    return text


def _section_or_map(type_: Any) -> Any:
    """Return the section or the map inside `Section | None`, else the type itself."""
    return next((o for o in _options(type_) if _is_section(o) or get_origin(o) is dict), type_)


def _is_section(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Section)
