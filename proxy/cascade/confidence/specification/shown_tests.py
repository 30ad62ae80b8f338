"""Read the tests in a request: asserts, doctests, unittest methods and parametrized tests of pytest."""

import ast
import builtins
import itertools
import re
from collections.abc import Iterator

from proxy.cascade.confidence.specification.calls import arguments_of, check_of
from proxy.cascade.confidence.specification.literals import Parser, closing, value_at
from proxy.cascade.confidence.specification.records import Arguments, Example

_ASSERT = re.compile(r"^[ \t>*`]*+(assert[ (][^\n]++)", re.MULTILINE)
_METHOD = re.compile(
    r"self\.assert(Equals?|True|False|IsNone|AlmostEqual|ListEqual|DictEqual|TupleEqual|SetEqual|CountEqual)\("
)
_PARAMETRIZE = re.compile(r"parametrize\(\s{0,20}+")
_PROMPT = re.compile(r"^[ \t#*]*+(>>>|In \[\d+\]:)[ \t]?+([^\n]*+)\n?", re.MULTILINE)
_MORE = re.compile(r"[ \t#*]*+\.\.\.[ \t]?([^\n]*+)\n?")
_ENDS_WANT = re.compile(r"[ \t#*]*+(?:$|>>>|In \[|```|\"\"\"|''')")
_RESULT_NAME = re.compile(r"expected|result|output|want|answer|out$|exp$|ret$|sol", re.IGNORECASE)
_ALLOWED = frozenset(dir(builtins)) | {"math"}
_ASSIGNED = re.compile(r"[A-Za-z_]\w{0,40}+ {0,2}+=(?!=)")
_MOST_ASSIGNED = 6
_MOST_TESTS, _MOST_LINES = 24, 30


def tests_in(text: str, parser: Parser) -> Iterator[tuple[ast.Module, str, str]]:
    """Yield each test as its syntax tree, its source, and statements to run before it."""
    yield from _asserts(text, parser)
    yield from _methods(text, parser)
    yield from _doctests(text, parser)


def tests_of(text: str, entry: str, parser: Parser) -> Iterator[Example]:
    """Yield the tests of one function. A test that needs other names than it and Python's own is no check."""
    for tree, source, before in tests_in(text, parser):
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _is(n, entry)]
        if not calls:
            continue
        check = source if source.startswith("assert") and _closed(tree, entry, before, parser) else ""
        values = _values(before, parser)
        arguments = [arguments_of(c, values) for c in calls]
        yield Example(arguments[0], f"{before}{check}" if check else "")
        for more in arguments[1:]:
            yield Example(more)
    yield from _parametrized(text, entry, parser)


def _asserts(text: str, parser: Parser) -> Iterator[tuple[ast.Module, str, str]]:
    for match in itertools.islice(_ASSERT.finditer(text), _MOST_TESTS):
        line = match[1].rstrip(" `*")
        tree = parser.tree(line)
        if tree is None and "(" in line:  # it may go on in the next lines, up to its last bracket
            end = _complete(text, match.start(1), match.end(1))
            line = text[match.start(1) : end].strip()
            tree = parser.tree(line) if end > 0 else None
        if tree is not None and len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert):
            yield tree, line, _assigned_before(text, match.start(), parser)


def _assigned_before(text: str, at: int, parser: Parser) -> str:
    """Return the assignments in the lines right before a test, such as those of a test function."""
    out: list[str] = []
    for line in reversed(text[max(0, at - 1000) : at].splitlines()[-_MOST_ASSIGNED:]):
        stripped = line.strip()
        if not _ASSIGNED.match(stripped) or not parser.parses(stripped):
            break
        out.append(stripped)
    return "".join(f"{line}\n" for line in reversed(out))


def _complete(text: str, start: int, end: int) -> int:
    """Return the end of the line in which all brackets of the statement are closed, or 0."""
    opened = next((i for i in range(start, end) if text[i] in "([{"), -1)
    while opened >= 0:
        close = closing(text, opened)
        if close < 0:
            return 0
        line_end = text.find("\n", close)
        line_end = len(text) if line_end < 0 else line_end
        if close > end:
            opened = next((i for i in range(close, line_end) if text[i] in "([{"), -1)
            end = line_end
        else:
            opened = next((i for i in range(close, end) if text[i] in "([{"), -1)
    return end


def _methods(text: str, parser: Parser) -> Iterator[tuple[ast.Module, str, str]]:
    for match in itertools.islice(_METHOD.finditer(text), _MOST_TESTS):
        end = closing(text, match.end() - 1)
        tree = parser.tree(f"f{text[match.end() - 1 : end]}") if end > 0 else None
        call = tree.body[0].value if tree and isinstance(tree.body[0], ast.Expr) else None
        if not isinstance(call, ast.Call) or not call.args:
            continue
        sources = [ast.unparse(a) for a in call.args[:2]]
        match match[1]:
            case "True":
                source = f"assert {sources[0]}"
            case "False":
                source = f"assert not {sources[0]}"
            case "IsNone":
                source = f"assert ({sources[0]}) is None"
            case "AlmostEqual" if len(sources) > 1:
                source = f"assert round(({sources[0]}) - ({sources[1]}), 7) == 0"
            case "CountEqual" if len(sources) > 1:
                source = f"assert sorted({sources[0]}) == sorted({sources[1]})"
            case _ if len(sources) > 1:
                source = f"assert ({sources[0]}) == ({sources[1]})"
            case _:
                continue
        made = parser.tree(source)
        if made is not None:
            yield made, source, ""


def _doctests(text: str, parser: Parser) -> Iterator[tuple[ast.Module, str, str]]:
    before, last = "", -1
    for match in itertools.islice(_PROMPT.finditer(text), _MOST_TESTS):
        source, at = match[2].rstrip(), match.end()
        while more := _MORE.match(text, at):
            source, at = f"{source}\n{more[1]}", more.end()
        want, end = _want(text, at)
        if match.start() != last:
            before = ""
        last = end
        tree = parser.tree(source)
        if tree is None:
            continue
        expression = tree.body[0] if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else None
        if not want or expression is None:
            before = "" if expression is not None else f"{before}{source}\n"
            if expression is not None:
                yield tree, source, ""
            continue
        call = expression.value
        if isinstance(call, ast.Call) and _is(call, "print") and len(call.args) == 1 and not call.keywords:
            source = f"assert str({ast.unparse(call.args[0])}) == {want!r}"
        elif (value := parser.literal(want)) is not None:
            source = check_of(source.strip(), value[0])
        made = parser.tree(source)
        if made is not None:
            yield made, source, before


def _want(text: str, at: int) -> tuple[str, int]:
    """Return the output below a prompt, and the offset after it."""
    out: list[str] = []
    for _ in range(_MOST_LINES):
        end = text.find("\n", at)
        line = text[at : end if end >= 0 else len(text)]
        if at >= len(text) or _ENDS_WANT.match(line):
            break
        out.append(line.strip().removeprefix("# "))
        at = end + 1 if end >= 0 else len(text)
        quoted = min((i for q in ('"""', "'''") if (i := out[-1].find(q)) > 0), default=-1)
        if quoted > 0:  # the docstring ends on the line of the output
            out[-1] = out[-1][:quoted].strip()
            break
    return "\n".join(out), at


def _parametrized(text: str, entry: str, parser: Parser) -> Iterator[Example]:
    for match in itertools.islice(_PARAMETRIZE.finditer(text), 4):
        names = value_at(text, match.end(), parser)
        if names is None:
            continue
        known = _names(names[0])
        rows = value_at(text, names[1] + (text[names[1] : names[1] + 1] == ","), parser)
        if rows is None or len(known) < 2 or not _RESULT_NAME.search(str(known[-1])):
            continue
        for row in list(rows[0])[:_MOST_TESTS] if isinstance(rows[0], list | tuple) else ():
            if isinstance(row, tuple | list) and len(row) == len(known):
                given = Arguments(tuple(row[:-1]))
                call = f"{entry}({', '.join(map(repr, row[:-1]))})"
                yield Example(given, check_of(call, row[-1]))


def _values(before: str, parser: Parser) -> dict[str, ast.expr]:
    tree = parser.tree(before) if before else None
    assigned = [n for n in tree.body if isinstance(n, ast.Assign)] if tree else []
    return {t.id: n.value for n in assigned for t in n.targets if isinstance(t, ast.Name)}


def _is(call: ast.Call, name: str) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == name


def _closed(tree: ast.AST, entry: str, before: str, parser: Parser) -> bool:
    """Return True if a test uses no names but the function, Python's own, and those that were set before."""
    nodes = list(ast.walk(tree))
    earlier = parser.tree(before) if before else None
    nodes += list(ast.walk(earlier)) if earlier is not None else []
    used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    made = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    given = {n.arg for n in nodes if isinstance(n, ast.arg)}
    return used <= _ALLOWED | {entry} | made | given


def _names(value: object) -> list[object]:
    """Return the names of the parameters: one text with commas, or a list."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else []
