"""Runs in the sandbox, in front of a program of a model: what does the program compute?

`computed` sends the source text of this module into the sandbox, so it imports nothing of the proxy.
"""

import ast
import contextlib
import io
import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

_NAMED = "solve"
_MOST_PARTS = 20
_MOST_CHARACTERS, _MOST_WORDS = 80, 3
_ROUNDED = 1e-12
"""Floats that differ by less, as a share, are one value: 0.1 + 0.2 is 0.3."""
_MOST_BELOW = 1000
"""The largest denominator that is read from a float: 33.333333333333336 is 100/3."""
_LEAST = 0.001
"""Smaller floats than this are no results if they are no such fractions. Formulas are compared by six decimals."""
# A call of these with constants writes a value and computes none.
_WRITES = {
    *("Fraction", "Decimal", "int", "float", "complex", "str", "bool", "tuple", "list", "set", "frozenset"),
    *("print", "round", "abs"),
}
_DEFINES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
_WORKS = (
    *(ast.AugAssign, ast.Compare, ast.BoolOp, ast.For, ast.While, ast.comprehension),
    *(ast.Subscript, ast.Lambda),
)


def calculated(source: str) -> str | None:
    """Run a program and return the text of its value. It is `None` if it computes nothing, or no result.

    The program defines `solve()`. A function with another name counts if it is the last one that can be called so. If it
    returns nothing, the one line that it prints is its value.

    Raises:
        Exception: whatever the program raises.
    """
    tree = ast.parse(source)
    if not computes(tree):
        return None
    namespace: dict[str, Any] = {"__name__": "candidate"}
    # Models append calls and checks with made-up results, which must not end the program.
    definitions = ast.Module([node for node in tree.body if isinstance(node, _DEFINES)], [])
    exec(compile(definitions, "candidate.py", "exec"), namespace)  # noqa: S102  (this is the sandbox)
    functions = [
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not _required(node.args)
    ]
    name = _NAMED if _NAMED in functions else next(reversed(functions), None)
    if name is None:
        return None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        value = namespace[name]()
    return written(printed.getvalue() if value is None else value)


def computes(tree: ast.Module) -> bool:
    """Return True if a program computes anything. The value of one that only writes a constant was guessed."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return any(_works(node, own) for node in ast.walk(tree))


def _works(node: ast.AST, own: set[str]) -> bool:
    if isinstance(node, ast.BinOp):
        # 3/4 and 1+2j are written values.
        constant = isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)
        return not (constant and isinstance(node.op, ast.Div | ast.Add | ast.Sub) and _literal(node))
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return called not in own | _WRITES
    return isinstance(node, _WORKS)


def _literal(node: ast.BinOp) -> bool:
    imaginary = isinstance(node.right, ast.Constant) and isinstance(node.right.value, complex)
    return imaginary or isinstance(node.op, ast.Div)


def _required(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    return positional > len(arguments.defaults) or None in arguments.kw_defaults


def written(value: object) -> str | None:
    """Return the text of a result, as an answer in words would state it, or `None` if it is no result.

    Equal values have equal texts: 2.0 is 2. Exact types keep their value. Floats lose what rounding adds to them.
    """
    match value:
        case bool():
            return str(value)
        case int():
            return str(value)
        case float():
            return _of_float(value)
        case Decimal():
            return _plain(value) if value.is_finite() else None
        case Fraction():
            return str(value)
        case complex():
            return _of_complex(value)
        case str():
            return _of_text(value)
        case tuple() | list():
            return _of_parts([written(part) for part in value], ordered=isinstance(value, tuple))
        case set() | frozenset():
            return _of_parts(sorted(written(part) or "" for part in value), ordered=False)
        case _:
            return None


def _of_float(value: float) -> str | None:
    if not math.isfinite(value):
        return None
    near = Fraction(value).limit_denominator(_MOST_BELOW)
    if abs(near - Fraction(value)) > abs(value) * _ROUNDED:
        return _plain(Decimal(f"{value:.12g}")) if abs(value) >= _LEAST else None
    below = near.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return str(near) if below > 1 else _plain(Decimal(near.numerator) / Decimal(near.denominator))


def _plain(value: Decimal) -> str:
    """Write a decimal number without an exponent and without zeros at its end."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _of_complex(value: complex) -> str | None:
    real, imaginary = _of_float(value.real), _of_float(value.imag)
    if real is None or imaginary is None or imaginary == "0":
        return real if imaginary == "0" else None
    sign = "" if imaginary.startswith("-") else "+"
    return f"{imaginary}i" if real == "0" else f"{real}{sign}{imaginary}i"


def _of_text(value: str) -> str | None:
    """Return a result that a program wrote as text, with Python's powers in the form of mathematics."""
    text = value.strip().replace("**", "^")
    short = 0 < len(text) <= _MOST_CHARACTERS and len(text.split()) <= _MOST_WORDS
    return text if short and "\n" not in text else None


def _of_parts(parts: Sequence[str | None], *, ordered: bool) -> str | None:
    """Return a tuple in round brackets, and other collections as a set. One part stands for itself."""
    known = [part for part in parts if part]
    if not known or len(known) < len(parts) or len(known) > _MOST_PARTS:
        return None
    if len(known) == 1:
        return known[0]
    inner = ",".join(known)
    return f"({inner})" if ordered else rf"\{{{inner}\}}"
