"""Labels of programs. Programs that differ only in names, comments and layout have the same label."""

import ast
import re
from collections.abc import Iterator

from proxy.cascade.confidence.worker import Worker
from proxy.cascade.types import digest

_LONGEST = 32_000
"""The most characters of an answer that is read. A small model's programs are far shorter."""

PROGRAMS = Worker("label", answer_seconds=1.0)

_FENCE = re.compile(
    r"^[ \t]*+```[ \t]*+([\w+#.-]*+)[^\n]*+\n(.*?)(?:^[ \t]*+```|\Z)", re.DOTALL | re.MULTILINE
)
_PYTHON = {"python", "py", "python3", "pycon"}
_LOOKS_PYTHON = re.compile(
    r"^[ \t]*(?:def \w+\(.*|class \w+.*:|from \w+ import .*|import \w+)\s*", re.MULTILINE
)
_STRING_OR_COMMENT = re.compile(
    r"""("(?:\\.|[^"\\\n]){0,1000}+"|'(?:\\.|[^'\\\n]){0,1000}+')|/\*.{0,1000}?\*/|//[^\n]*|<!--.{0,1000}?-->
      |(?m:^[ \t]*+\#(?!\w)[^\n]*)""",
    re.DOTALL | re.VERBOSE,
)

_Scope = ast.FunctionDef | ast.AsyncFunctionDef


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
    if not source.strip():
        return None
    tree = _parsed(source)
    if tree is not None:
        try:
            return f"{_title(tree)} {digest(normal_form(tree))}".strip()
        except RecursionError:
            return None
    if not language or language in _PYTHON or (language == "text" and _LOOKS_PYTHON.search(source)):
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
    """Return language and source of the longest fenced block. Python comes first, and the last of equal blocks is taken.

    The language is "" for an answer without fences, and "text" for a fence without a language.
    """
    blocks: list[tuple[str, str]] = [
        (m.group(1).lower() or "text", m.group(2)) for m in _FENCE.finditer(answer)
    ]
    if not blocks:
        return "", answer
    python = [b for b in blocks if b[0] in _PYTHON]
    language, source = max(reversed(python or blocks), key=lambda b: len(b[1]))
    return language, source


def _parsed(source: str) -> ast.Module | None:
    for text in (source, "def _():\n" + source):  # the second reading is a function body alone
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


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
