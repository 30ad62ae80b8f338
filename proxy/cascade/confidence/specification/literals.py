"""Read the values that a text states: literals of Python, of JSON and of other languages.

All functions take a `Parser`. It bounds the work for one request, because it runs on the event loop.
"""

import ast
import re
import warnings
from typing import Any

from proxy.cascade.confidence.specification.records import LONGEST, Arguments

_NUMBER = re.compile(
    r"[-+]?(?:\d[\d_]{0,60}+(?:\.\d{1,60}+)?+|\.\d{1,60}+)(?:[eE][-+]?\d{1,3}+)?+(?![\w.]*\w)"
)
_WORD = re.compile(r"(?:[Tt]rue|TRUE|[Ff]alse|FALSE|None|none|null|nil|NULL)\b")
_PREFIXED = re.compile(r"[bBrRuU]{1,2}(?=[\"'])")
_FOREIGN = re.compile(
    r"""("(?:\\.|[^"\\])*+(?:"|\Z)|'(?:\\.|[^'\\])*+(?:'|\Z))|\b(true|TRUE|false|FALSE|null|NULL|nil)\b""",
    re.DOTALL,
)
_WORDS = {"true": True, "false": False, "none": None, "null": None, "nil": None}
_SPACE = re.compile(r"\s{0,200}+")
_ASSIGNED = re.compile(r"[`*]{0,3}([A-Za-z_]\w{0,60}+)[`*]{0,3}(\[\])?\s{0,4}+(?:=(?!=)|:)\s{0,4}+[`*]{0,3}")
_BETWEEN = re.compile(r"[`*]{0,3}\s{0,20}+(?:[,;]\s{0,20}+)?(?:(?:and|und|et|y|e|и|和)\s{1,4}+)?[`*]{0,3}")
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_MOST_ARGUMENTS = 8


class Parser:
    """Python's own parser with a limit on the characters that it reads for one request."""

    def __init__(self, characters: int = 24_000) -> None:
        self._left = characters

    def tree(self, source: str) -> ast.Module | None:
        """Return the syntax tree of a source, or `None` if it does not parse or the limit is reached."""
        self._left -= len(source) + 20
        if self._left < 0 or "\0" in source:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    def parses(self, source: str) -> bool:
        """Return True if a source parses."""
        return self.tree(source) is not None

    def literal(self, source: str) -> tuple[Any] | None:
        """Return the value of a literal in a tuple of one, or `None` if the text is no literal."""
        source = source.strip()
        if source.lower() in _WORDS:
            return (_WORDS[source.lower()],)
        if source.isascii() and source.isdigit() and len(source) < 18 and (source[0] != "0" or source == "0"):
            return (int(source),)
        for written in dict.fromkeys((source, in_python(source))):
            tree = self.tree(written)
            if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
                continue
            value = value_of(tree.body[0].value)
            if value is not None and can_be_written(value[0]):
                return value
        return None


def value_of(node: ast.expr) -> tuple[Any] | None:
    """Return the value of a literal's syntax tree in a tuple of one, or `None`."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def can_be_written(value: Any) -> bool:
    """Return True if a value has a literal. An infinity and a huge number have none."""
    match value:
        case bool() | None | str() | bytes():
            return True
        case int():
            return value.bit_length() < 13_000
        case float():
            return value - value == 0
        case complex():
            return can_be_written(value.real) and can_be_written(value.imag)
        case list() | tuple() | set() | frozenset():
            return all(map(can_be_written, value))
        case dict():
            return all(can_be_written(k) and can_be_written(v) for k, v in value.items())
        case _:
            return False


def closing(text: str, start: int) -> int:
    """Return the offset after the bracket that closes the one at `start`, or -1. Brackets in quotes do not count."""
    open_ones: list[str] = []
    quote = ""
    end = min(len(text), start + LONGEST)
    i = start
    while i < end:
        c = text[i]
        if quote:
            if c == "\\":
                i += 1
            elif c in (quote, "\n"):
                quote = ""
        elif c in "\"'":
            quote = c
        elif c in _CLOSED_BY:
            open_ones.append(_CLOSED_BY[c])
        elif c in ")]}":
            if not open_ones or open_ones.pop() != c:
                return -1
            if not open_ones:
                return i + 1
        i += 1
    return -1


def value_at(text: str, start: int, parser: Parser) -> tuple[Any, int] | None:
    """Return the value that starts at an offset, and the offset after it. Return `None` if none starts there."""
    start = skip(text, start)
    end = _end(text, start)
    found = parser.literal(text[start:end]) if end > start else None
    return None if found is None else (found[0], end)


def skip(text: str, start: int) -> int:
    """Return the offset after white space."""
    match = _SPACE.match(text, start)
    return match.end() if match else start


def arguments_at(text: str, start: int, parser: Parser) -> tuple[Arguments, int] | None:
    """Return the arguments `2, [3]` or `n = 2, xs = [3]` that start at an offset, and the offset after them."""
    given: list[Any] = []
    named: list[tuple[str, Any]] = []
    at = end = skip(text, start)
    while len(given) + len(named) < _MOST_ARGUMENTS:
        name = _ASSIGNED.match(text, at)
        if bool(name) != bool(named) and (given or named):
            break
        found = value_at(text, name.end() if name else at, parser)
        if found is None:
            break
        value, end = found
        if name:
            named.append((name[1], list(value) if name[2] and isinstance(value, set) else value))
        else:
            given.append(value)
        between = _BETWEEN.match(text, end)
        if between is None or not between[0].strip("`* "):
            break
        at = between.end()
    if not given and not named:
        return None
    return Arguments(tuple(given), tuple(named)), end


def _end(text: str, start: int) -> int:
    """Return the offset after the value that may start at an offset, or -1."""
    c = text[start : start + 1]
    if prefixed := _PREFIXED.match(text, start):
        return _quoted(text, prefixed.end())
    if c and c in "\"'":
        return _quoted(text, start)
    if c in _CLOSED_BY:
        return closing(text, start)
    match = _NUMBER.match(text, start) or _WORD.match(text, start)
    if match is None:
        return -1
    return match.end()


def _quoted(text: str, start: int) -> int:
    """Return the offset after a string, or -1 if it does not end."""
    mark = text[start]
    if text.startswith(mark * 3, start):
        end = text.find(mark * 3, start + 3, start + LONGEST)
        return end + 3 if end >= 0 else -1
    i = start + 1
    end = min(len(text), start + LONGEST)
    while i < end:
        if text[i] == "\\":
            i += 1
        elif text[i] == mark:
            return i + 1
        elif text[i] == "\n":
            return -1
        i += 1
    return -1


def in_python(source: str) -> str:
    """Return a source with `true`, `false` and `null` in Python's form, except in strings."""
    return _FOREIGN.sub(_in_python, source)


def _in_python(match: re.Match[str]) -> str:
    return match[1] or str(_WORDS[match[2].lower()])
