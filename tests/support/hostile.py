"""Texts, schemas and tools that have stopped or broken readers of text."""

from collections.abc import Sequence
from typing import Any

_UNITS = (
    "a", "1", " ", "\n", "\t", "(", "[", "{", "}", "\\", "$", "'", '"', "#", ".", ",", "-", "^", "=", "_", "`", "*", "!",
    "\u0301", "\u202e", "\u200b", "\uff11", "\u0660", "漢", "😀", "\0", "\x1b[2J", "\ud83d", "\r\n", "<", "|", "&",
    "\\boxed{", "\\frac", "\\sqrt{", "$1$ ", "1,", "1.", "1/", "1 and ", "2^", "9!", "answer is ", "**A", "(A) ", "A) x\n",
    "option A ", "how much ", "what is 1 ", "in 1999 ", "f(1) == 2\n", "assert f(1) == 2\n", "def f(x):\n    pass\n",
    ">>> f(1)\n1\n", "```python\n", "```\n", "<tool_call>", "</tool_call>", '{"a":', '[{"name":', "not ", "lambda:", "x+",
    "f(", "if 1:\n", "/*", "<!--", '"""', "####", "| a ", "write a function in python ", "🇩🇪", "a\u0301\u0302\u0303",
)  # fmt: skip
"""Texts to repeat."""

_ALONE = {
    "empty": "",
    "infinity": "\\boxed{1e999}",
    "nan": "The answer is NaN.",
    "long integer": "\\boxed{" + "9" * 5000 + "}",
    "long fraction": "\\boxed{\\frac{" + "9" * 5000 + "}{7}}",
    "zero division": "\\boxed{1/0}",
    "tower": "\\boxed{9^{9^{9^9}}}",
    "factorial": "\\boxed{(99999!)!}",
    "open braces": "\\boxed{" * 500 + "7",
    "open brackets": "\\boxed{\\left(\\frac{1}{}",
    "json infinity": '{"a": 1e999, "b": -Infinity}',
    "json long integer": '{"a": ' + "9" * 5000 + "}",
    "json deep": "[" * 100_000,
    "json half character": '{"a": "\\ud83d"}',
    "json twice": '{"a": 1, "a": 2}',
    "infinite example": "Write a python function.\ndef f(x):\n    pass\nf(1e999) == 2\nf(-1e999, 1e308) -> 3\n",
    "long example": f"def f(x):\n    pass\nf({'9' * 4000}) == 2\nf(0x{'f' * 3000}) == 1\n",
    "example of sets": "def f(x):\n    pass\nf({1, 'a', None}) == 2\nf(set()) == 1\nf({1: {2: [3]}}) == 4\n",
    "example of a float": "def f(x: float):\n    pass\nf(1.7976931348623157e308) == 2\n",
    "complex example": "def f(x):\n    pass\nf(1j) == 2\nf(b'x') == 3\nf(...) == 4\n",
    "deep example": f"def f(x):\n    pass\nf({'[' * 90}{']' * 90}) == 2\n",
    "half a program": "```python\ndef f(x):\n    return '\ud83d'\n```",
    "program with nul": "```python\ndef f(x):\n    return 1\0\n```",
    "deep program": "```python\n" + "x = " + "-" * 20_000 + "1\n```",
    "deep blocks": "```python\n" + "".join(" " * i + "if 1:\n" for i in range(95)) + "```",
    "long attribute": "```python\nx" + ".a" * 9000 + "\n```",
    "long sum": "```python\nx = " + "1+" * 9000 + "1\n```",
    "calls": "<tool_call>" + '{"name": "look", "arguments": {}}' + "</tool_call>" + "x",
    "calls of a number": '<tool_call>{"name": 1, "arguments": {"a": 1e308}}</tool_call>',
    "calls of a list": '{"name": ["look"], "arguments": {}}',
    "bidirectional": "\u202e(A)\u202c the answer is \u2067B\u2069",
    "digits of all scripts": "\\boxed{१२३ + ١٢٣ = 一二三}",
}


def texts(size: int, ends: Sequence[str] = ("", "st", "}\n")) -> dict[str, str]:
    """Return hostile texts by name, the repeated ones of about `size` characters with each of the ends."""
    repeated = {}
    for unit in _UNITS:
        for end in ends:
            repeated[f"{unit!r}... {end!r}"] = unit * (size // len(unit)) + end
    return {**_ALONE, **repeated}


def _nested(schema: Any, depth: int) -> Any:
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def _doubling(depth: int) -> dict[str, Any]:
    twice = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": {**twice, f"d{depth}": {"type": "object"}}}


SCHEMAS: dict[str, Any] = {
    "doubling": _doubling(40),
    "loop": {"$ref": "#"},
    "two loops": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "loop of two": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "chain": {"$ref": "#/$defs/0", "$defs": {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(3000)}},
    "remote": {"$ref": "http://127.0.0.1:9/s.json"},
    "file": {"$ref": "file:///etc/passwd"},
    "nowhere": {"$ref": "#/$defs/none"},
    "backtracking": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
    "repetitions": {"type": "string", "pattern": "^(a{1000}){1000}$"},
    "no pattern": {"patternProperties": {"(": {}}},
    "many items": {"type": "array", "minItems": 10**9, "uniqueItems": True},
    "large number": {"type": "integer", "multipleOf": 1e-300, "maximum": 10**400},
    "odd types": {"type": ["object", 1, None], "properties": [], "enum": {}, "required": "a"},
    "not an object": [1, 2],
    "false": False,
}
"""Schemas that the door lets in."""

LARGE_SCHEMAS: dict[str, Any] = {
    "enum": {"enum": [f"{i:x}" for i in range(60_000)]},
    "deep": _nested({}, 300),
    "references": {"allOf": [{"$ref": "#/$defs/a"}] * 6000, "$defs": {"a": {}}},
    "long text": {"description": "x" * 2**21},
    "properties": {"properties": {f"{i:x}": {"type": "string"} for i in range(30_000)}},
}
"""Schemas that the door refuses."""


def in_places(schema: Any) -> list[dict[str, Any]]:
    """Return the fields of chat requests that hold a schema."""
    function = {"name": "look", "description": "d", "parameters": schema}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    return [{"response_format": wanted}, {"tools": [{"type": "function", "function": function}]}]
