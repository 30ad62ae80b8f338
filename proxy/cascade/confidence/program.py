"""Labels of programs. Programs that differ only in names, comments and layout have the same label."""

import ast
import re
from collections.abc import Iterator

from proxy.cascade.confidence.worker import Worker
from proxy.cascade.types import digest

_LONGEST = 32_000
"""The most characters of an answer that is read. A small model's programs are far shorter."""

_LONG_PROSE = 600
_MUCH_PROSE = 15  # characters of prose for one of code

PROGRAMS = Worker("label", answer_seconds=1.0)

_FENCE = re.compile(
    r"^[ \t]*+```[ \t]*+([\w+#.-]*+)[^\n]*+\n(.*?)(?:^[ \t]*+```|\Z)", re.DOTALL | re.MULTILINE
)
_FENCE_MARK = re.compile(r"^[ \t]*+```[ \t]*+(\S?)", re.MULTILINE)
_MUCH_LONGER = 2
_PYTHON = {"python", "py", "python3", "pycon"}
_LOOKS_PYTHON = re.compile(
    r"^[ \t]*(?:def \w+\(.*|class \w+.*:|from \w+ import .*|import \w+)\s*", re.MULTILINE
)
_STRING_OR_COMMENT = re.compile(
    r"""("(?:\\.|[^"\\\n]){0,1000}+"|'(?:\\.|[^'\\\n]){0,1000}+')|/\*.{0,1000}?\*/|//[^\n]*|<!--.{0,1000}?-->
      |(?m:^[ \t]*+\#(?!\w)[^\n]*)""",
    re.DOTALL | re.VERBOSE,
)

_BODY = "_"  # the name of a function of which an answer is the body
_Scope = ast.FunctionDef | ast.AsyncFunctionDef
_DOES = (
    *(
        ast.Assign,
        ast.AugAssign,
        ast.Return,
        ast.Import,
        ast.ImportFrom,
        ast.ClassDef,
        ast.For,
        ast.While,
        ast.With,
    ),
    *(ast.Call, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Subscript),
    *(ast.Raise, ast.Assert, ast.Delete, ast.Try),
)


async def vote_of(answer: str) -> str | None:
    """Return `program_label` of an answer, from a worker process.

    It is `None` too if the answer is too long or takes too long.
    """
    if len(answer) > _LONGEST:
        return None
    label = await PROGRAMS.ask(answer)
    return label if isinstance(label, str) else None


def program_label(answer: str) -> str | None:
    """Return a label for the program in an answer, or `None` if there is no program or it does not parse."""
    language, source = _extract(answer)
    if not source.strip() or _is_aside(answer, source):
        return None
    tree = _parsed(source)
    if not language and tree is None:
        return None
    if language in ("", "text") and tree is not None and not _is_program(tree):
        return None  # prose, of which a word or two can be read as an expression
    if tree is not None:
        try:
            return f"{_title(tree)} {digest(normal_form(tree))}".strip()
        except RecursionError:
            return None
    if language in _PYTHON or (language == "text" and _LOOKS_PYTHON.search(source)):
        return None
    return digest(_plain(source))


def source_of(answer: str) -> str | None:
    """Return the Python program in an answer, or `None` if there is none."""
    if len(answer) > _LONGEST:
        return None
    language, source = _extract(answer)
    foreign = language and language != "text" and language not in _PYTHON
    return None if foreign or not source.strip() else source


def normal_form(tree: ast.Module) -> str:
    """Dump a syntax tree without docstrings and annotations. Local names are replaced by numbers."""
    for node in ast.walk(tree):
        _strip(node)
    for function in _outermost_functions(tree):
        _number_locals(function)
    return ast.dump(tree)


def _extract(answer: str) -> tuple[str, str]:
    """Return language and source of the longest fenced block, the last of equal ones.

    Python comes first, if it is no aside beside a longer program. The language is "" for an answer without fences, and
    "text" for a fence without a language. There is no source if it is unclear where blocks begin and end.
    """
    blocks: list[tuple[str, str]] = [
        (m.group(1).lower() or "text", m.group(2)) for m in _FENCE.finditer(answer)
    ]
    if not blocks:
        return "", answer
    marks = _FENCE_MARK.findall(answer)
    if (len(marks) > 1 and len(marks) % 2) or any(
        marks[1::2]
    ):  # a mark that closes a block names no language
        return "", ""
    longest = max(reversed(blocks), key=lambda b: len(b[1]))
    python = max((b for b in reversed(blocks) if b[0] in _PYTHON), key=lambda b: len(b[1]), default=longest)
    named = longest[0] not in ("text", *_PYTHON)
    return longest if named and len(longest[1]) > _MUCH_LONGER * len(python[1]) else python


def _parsed(source: str) -> ast.Module | None:
    for text in (source, f"def {_BODY}():\n{source}"):  # the second reading is a function body alone
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _is_aside(answer: str, source: str) -> bool:
    """Return True if an answer is about something else than the line or two of code in it."""
    prose = len(answer) - len(source)
    return prose > _LONG_PROSE and prose > _MUCH_PROSE * len(source.strip())


def _is_program(tree: ast.Module) -> bool:
    """Return True if a tree does something. Names, constants and sums of them may be the words of a text."""
    nodes = list(ast.walk(tree))
    return any(isinstance(n, _DOES) or (isinstance(n, _Scope) and n.name != _BODY) for n in nodes)


def _title(tree: ast.Module) -> str:
    named = [n.name for n in tree.body if isinstance(n, _Scope | ast.ClassDef)]
    return named[-1][:40] if named else ""


def _strip(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | _Scope):
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            node.body = node.body[1:] or [ast.Pass()]
    if isinstance(node, ast.Module):
        node.body = [n for n in node.body if not (isinstance(n, ast.ImportFrom) and n.module == "typing")]
    if isinstance(node, _Scope):
        node.returns = None
    if isinstance(node, ast.arg):
        node.annotation = None


def _outermost_functions(tree: ast.AST) -> Iterator[_Scope]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, _Scope):
            yield child
        else:
            yield from _outermost_functions(child)


def _number_locals(function: _Scope) -> None:
    """Rename the local names of a function in order of appearance. Nested functions share its scope.

    Distinct names stay distinct, so programs that differ in more than names stay different.
    """
    inside = [n for part in (function.args, *function.body) for n in ast.walk(part)]
    shared = {name for n in inside if isinstance(n, ast.Global) for name in n.names}
    numbers: dict[str, str] = {}
    for node in inside:
        for field in _binding_fields(node):
            name = getattr(node, field)
            if name is not None and name not in shared:
                numbers.setdefault(name, f"${len(numbers)}")
    for node in inside:
        for field in (*_binding_fields(node), *(("id",) if isinstance(node, ast.Name) else ())):
            name = getattr(node, field)
            setattr(node, field, numbers.get(name, name))
        if isinstance(node, ast.Nonlocal):
            node.names = [numbers.get(name, name) for name in node.names]


def _binding_fields(node: ast.AST) -> tuple[str, ...]:
    match node:
        case ast.arg():
            return ("arg",)
        case ast.Name(ctx=ast.Store()):
            return ("id",)
        case (
            ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar() | ast.FunctionDef() | ast.AsyncFunctionDef()
        ):
            return ("name",)
        case ast.MatchMapping():
            return ("rest",)
        case _:
            return ()


def _plain(source: str) -> str:
    bare = _STRING_OR_COMMENT.sub(lambda m: m.group(1) or " ", source)
    return " ".join(bare.split())
