"""Read the specification of a function from a request: its name, its examples and inputs to try."""

import ast
import doctest
import itertools
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MOST_CHECKS = 12
MOST_PROBES = 20
_LONGEST = 4000
# Limits on the search for examples, because it runs on the event loop.
_MOST_CALLS, _LONGEST_LINE, _MOST_EQUALS, _MOST_ENDS = 40, 400, 4, 16
_SIGNATURE = re.compile(r"^(?:async )?def (\w+)\s*\(", re.MULTILINE)
_ASSERT = re.compile(r"^[ \t]*(assert\s+.+)$", re.MULTILINE)
_EQUAL = (
    r"(?:(?<!\s)\s++)?(?:={2,}>?|=>|->|\u279e|\u2192|\u27f6|#\s*=>|(?:should |will |must )?returns?:?|=)\s*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """The specification of a Python function in a request.

    Attributes:
        entry: the name of the function.
        before: the source before the function in the request (imports, helpers).
        opened: the unfinished source in the request, to which a body-only answer is appended.
        checks: assertions that a correct program passes.
        probes: calls by which programs are compared. Those of the request's examples come first.
    """

    entry: str
    before: str
    opened: str
    checks: tuple[str, ...]
    probes: tuple[str, ...]


def specification(text: str) -> Specification | None:
    """Read a request. Return `None` if it names no Python function, or shows no arguments for it."""
    return _specification(text[-2 * _LONGEST :])


@lru_cache(maxsize=512)
def _specification(shown: str) -> Specification | None:
    signatures = list(_SIGNATURE.finditer(shown))
    asserts = [s for s in _ASSERT.findall(shown) if _parses(s)]
    entry = signatures[-1].group(1) if signatures else _called(asserts)
    if entry is None:
        return None
    examples = [*asserts, *_doctests(shown), *_stated(shown, entry)]
    usable = [e for e in dict.fromkeys(examples) if len(e) <= _LONGEST and _entry_calls(e, entry)]
    checks = tuple(f"import math\n{e}" for e in usable if e.startswith("assert"))[:MOST_CHECKS]
    arguments = [a for example in usable for a in _arguments(example, entry)]
    opened = _opened(shown, signatures[-1]) if signatures else ""
    if not arguments:
        arguments = list(itertools.islice(_by_annotations(opened), 3))
    probes = tuple(_probes(entry, arguments, seed=shown))
    if not probes:
        return None
    before = _before(shown, signatures[-1]) if signatures else ""
    return Specification(entry=entry, before=before, opened=opened, checks=checks, probes=probes)


def _parses(source: str) -> bool:
    try:
        ast.parse(source.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _called(asserts: list[str]) -> str | None:
    names = (
        node.func.id
        for source in asserts
        for node in ast.walk(ast.parse(source.strip()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    known = {
        "len",
        "set",
        "sorted",
        "list",
        "tuple",
        "round",
        "str",
        "abs",
        "sum",
        "isinstance",
        "all",
        "any",
        "dict",
    }
    return next((name for name in names if name not in known), None)


def _doctests(text: str) -> Iterator[str]:
    try:
        # The quotes at the end of a docstring also end the output of an example.
        found = doctest.DocTestParser().get_examples(re.sub(r'"{3}|\'{3}', "\n", text))
    except ValueError:  # wrong indentation
        return
    for example in found:
        want = example.want.strip()
        if want and _literal(want) and _parses(example.source):
            yield f"assert (\n{example.source.strip()}\n) == (\n{want}\n)"


def _stated(text: str, entry: str) -> Iterator[str]:
    """Yield an assertion for each example in the form of `f(1) == 2`, `f(1) -> 2` or `f(1) returns 2`."""
    called = re.finditer(rf"(?<![\w.]){re.escape(entry)}\(", text)
    for match in itertools.islice(called, _MOST_CALLS):
        line = text[match.start() : match.start() + _LONGEST_LINE].partition("\n")[0]
        before = text[: match.start()].rsplit("\n", 1)[-1]
        if ">>>" in before or "assert" in before or "def " in before:  # read elsewhere
            continue
        for equal in itertools.islice(re.finditer(_EQUAL, line), _MOST_EQUALS):
            call, want = line[: equal.start()].strip(), line[equal.end() :].strip().rstrip(".,;`'\"")
            if not _is_call(call, entry):
                continue
            want = want.split(f"{entry}(")[0].strip(" ,;.`'\"") if f"{entry}(" in want else want
            said = (want, line[equal.end() :].strip(), want.split("#")[0].strip(), want.split("(")[0].strip())
            values = (value for text in said if (value := _as_python(text)) is not None)
            wanted = next(values, None)
            # An example with an unreadable outcome still shows arguments for the function.
            yield call if wanted is None else f"assert (\n{call}\n) == (\n{wanted}\n)"
            break


def _as_python(text: str) -> str | None:
    """Return a literal in Python's form, also one of another language, or `None` if the text is not a literal."""
    named = {"true": "True", "false": "False", "none": "None", "null": "None"}
    written = named.get(text.lower(), text)
    return written if _literal(written) else None


def _literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _is_call(source: str, entry: str) -> bool:
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == entry


def _entry_calls(source: str, entry: str) -> list[ast.Call]:
    return [
        node
        for node in (ast.walk(ast.parse(source.strip())) if _parses(source) else ())
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry
    ]


def _arguments(example: str, entry: str) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of each call of the function, if all of them are literals."""
    for call in _entry_calls(example, entry):
        if call.keywords:
            continue
        try:
            given = tuple(ast.literal_eval(a) for a in call.args)
        except (ValueError, TypeError, MemoryError, RecursionError):
            continue
        if _written(entry, given) is not None:
            yield given


def _opened(text: str, signature: re.Match[str]) -> str:
    """Return the unfinished program in a request, up to the end of the last function's docstring."""
    tail = text[signature.start() :]
    source = text[: signature.start()] if _parses(text[: signature.start()]) else ""
    lines = tail.splitlines()
    for end in range(len(lines), max(0, len(lines) - _MOST_ENDS), -1):
        begun = "\n".join(lines[:end])
        if _parses(begun):
            return source + begun + "\n"
        if _parses(begun + "\n    pass"):
            return source + begun + "\n"
    return ""


def _before(text: str, signature: re.Match[str]) -> str:
    head = text[: signature.start()]
    if _parses(head):
        return head
    imports = re.findall(r"^(?:from [\w.]+ import [^\n(]+|import [\w., ]+)$", head, re.MULTILINE)
    return "\n".join(i for i in imports if _parses(i)) + "\n"


def _probes(entry: str, arguments: list[tuple[Any, ...]], seed: str) -> Iterator[str]:
    """Yield calls with the given arguments, then with changed ones. The same request always gives the same calls."""
    rng = random.Random(seed.encode(errors="surrogatepass"))  # noqa: S311
    seen: set[str] = set()
    candidates = itertools.chain(
        arguments, (_changed(rng.choice(arguments), rng) for _ in range(4 * MOST_PROBES) if arguments)
    )
    for given in candidates:
        call = _written(entry, given)
        if call is not None and call not in seen and len(call) <= _LONGEST:
            seen.add(call)
            yield call
        if len(seen) == MOST_PROBES:
            return


def _written(entry: str, given: tuple[Any, ...]) -> str | None:
    """Return a call as source, or `None` if an argument has no literal, as an infinity and a huge number have none."""
    try:
        return f"{entry}({', '.join(map(repr, given))})" if _literal(repr(given)) else None
    except (ValueError, RecursionError):
        return None


def _changed(arguments: tuple[Any, ...], rng: random.Random) -> tuple[Any, ...]:
    if not arguments:
        return arguments
    out = list(arguments)
    for index in rng.sample(range(len(out)), rng.randint(1, len(out))):
        out[index] = _mutated(out[index], rng)
    return tuple(out)


def _mutated(value: Any, rng: random.Random) -> Any:
    """Return a value of the same type, near the given one or at a limit of its type."""
    match value:
        case bool():
            return not value
        case int():
            return rng.choice([value + 1, value - 1, -value, 0, 1, value * 2, value + 10, abs(value) // 2])
        case float():
            return rng.choice([value + 0.5, -value, 0.0, value * 2, round(value), value / 3])
        case str():
            return rng.choice(_strings(rng))(value)
        case list() | tuple():
            return type(value)(_resized(list(value), rng))
        case set() | frozenset():
            return type(value)(_resized(sorted(value, key=repr), rng))
        case dict():
            return {
                k: (_mutated(v, rng) if rng.random() < 0.5 else v)
                for k, v in value.items()
                if rng.random() < 0.8
            }
        case _:
            return value


def _strings(rng: random.Random) -> list[Callable[[str], str]]:
    return [
        lambda s: s[::-1],
        lambda s: s + s,
        lambda _: "",
        str.swapcase,
        lambda s: s[: len(s) // 2],
        lambda s: "".join(rng.sample(s, len(s))),
        lambda s: s + rng.choice("abc XYZ019,"),
    ]


def _resized(values: list[Any], rng: random.Random) -> list[Any]:
    match rng.randrange(6):
        case 0:
            return values[::-1]
        case 1:
            return values[: len(values) // 2]
        case 2:
            return values + values
        case 3:
            return rng.sample(values, len(values))
        case 4:
            return []
        case _:
            return [_mutated(v, rng) if rng.random() < 0.5 else v for v in values]


_SEEDS: dict[str, list[Any]] = {
    "int": [3, 10, -1],
    "float": [1.5, 0.25, -2.0],
    "str": ["abcab", "Hello World", "12321"],
    "bool": [True, False, True],
    "list": [[3, 1, 2], [1], [5, 5, 0, -1]],
    "dict": [{"a": 1}, {"b": 2, "c": 3}, {}],
    "tuple": [(1, 2), (3, 4), (0, 0)],
}


def _by_annotations(opened: str) -> Iterator[tuple[Any, ...]]:
    """Yield arguments made from the annotations of the last function. Yield none if one is missing or unknown."""
    try:
        functions = [n for n in ast.parse(opened + "    pass\n").body if isinstance(n, ast.FunctionDef)]
    except (SyntaxError, ValueError):
        return
    if not functions or not functions[-1].args.args:
        return
    kinds = [_of_annotation(a.annotation) for a in functions[-1].args.args]
    if any(k is None for k in kinds):
        return
    for i in range(3):
        yield tuple(k[i] for k in kinds if k is not None)


def _of_annotation(annotation: ast.expr | None) -> list[Any] | None:
    match annotation:
        case ast.Name(id=name):
            return _SEEDS.get(name.lower())
        case ast.Subscript(value=ast.Name(id=("List" | "list")), slice=inner):
            of = _of_annotation(inner)
            return None if of is None else [of, of[:1], [*of, *of[::-1]]]
        case ast.Subscript(value=ast.Name(id=name)):
            return _SEEDS.get(name.lower())
        case _:
            return None
