"""Find the function that a request asks for: by its definition, by its tests, or by its name in the text."""

import ast
import builtins
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from proxy.cascade.confidence.specification.literals import Parser, closing
from proxy.cascade.confidence.specification.records import Parameter, Signature

_DEF = re.compile(r"^([ \t]*+)(async[ \t]++)?def[ \t]++(\w++)[ \t]*+\(", re.MULTILINE)
_CLASS = re.compile(r"^([ \t]*+)class[ \t]++(\w++)", re.MULTILINE)
_FUNCTION = (
    r"(?:function|method|procedure|def|[Ff]unktion|[Mm]ethode|fonction|méthode|función|método|funzione|metodo|função"
    r"|функци\w{0,3}+|метод\w{0,3}+|函数|方法|関数|メソッド|함수)"
)
_QUOTE = r"[`'\"*]{0,3}+"
_NAMED = (
    # function called `foo`, Funktion namens foo
    re.compile(
        _FUNCTION
        + r"[^.\n]{0,60}?(?:\b(?:called|named|namens|genannt|heißt|nommée|appelée|llamada|denominada"
        r"|chiamata|chamada|под названием|\u0441 именем)\b|名为|叫做|名前は)[ \t:]{0,3}+"
        + _QUOTE
        + r"([A-Za-z_]\w{0,60}+)"
    ),
    # function `foo(x)`, the method foo(x)
    re.compile(_FUNCTION + r"[ \t:]{0,3}+" + _QUOTE + r"([A-Za-z_]\w{0,60}+)" + _QUOTE + r"[ \t]{0,2}+\("),
    # function `foo` that, function foo_bar
    re.compile(
        _FUNCTION + r"[ \t:]{0,3}+(?:[`'\"*]{1,3}+([A-Za-z_]\w{0,60}+)[`'\"*]|([a-z]{1,30}+_\w{1,50}+))"
    ),
    # implement `foo(x)`, and a `foo` function
    re.compile(
        r"\b(?:[Ii]mplement|[Ww]rite|[Dd]efine|[Cc]reate|[Cc]omplete)(?: the)? {1,3}+`([A-Za-z_]\w{0,60}+)\("
        r"|`([A-Za-z_]\w{0,60}+)` {1,3}+function"
    ),
)
_FOREIGN = re.compile(
    r"(?<![\w#])(?:JavaScript|Javascript|javascript|TypeScript|Typescript|typescript|Java|java|[Cc]\+\+|C#|Golang|golang"
    r"|Rust|Ruby|ruby|PHP|php|Kotlin|Swift|Scala|Haskell|Perl|SQL|Bash|bash|shell script|HTML|CSS|Julia|Lua|Dart|MATLAB"
    r"|Objective-C|Node\.?js|jQuery|React|(?:in|using) (?:C|R|Go)\b|(?:C|Go|R) (?:function|program|code|script))(?![\w+#])"
    r"|^[ \t]{0,8}+(?:public|private|func|fn|fun|function|const|let|var|void|int|#include|using namespace|package|impl)\s"
    r"|```(?:java|js|ts|c|cpp|go|rust|php|rb|cs|kt|swift|sql|sh)\b",
    re.MULTILINE,
)
_PYTHON = re.compile(
    r"\bpython|\bpytest\b|^[ \t]*+(?:>>>|def \w|async def \w|assert\b|from \w+ import )",
    re.IGNORECASE | re.MULTILINE,
)
_ASKS = re.compile(
    _FUNCTION + r"|\bprogram\b|\bcode\b|\bpython\b|代码|程序|编写|Programm|programme|programa", re.IGNORECASE
)
_KNOWN = frozenset(dir(builtins)) | {"approx", "assertEqual", "isclose", "sqrt", "main", "solution_of"}
_MOST_CANDIDATES = 30


def foreign(text: str) -> bool:
    """Return True if a request asks for code in another language than Python."""
    return _PYTHON.search(text) is None and _FOREIGN.search(text) is not None


def asks_for_function(text: str) -> bool:
    """Return True if a request without a signature asks for a function, or at least for a program."""
    return _ASKS.search(text) is not None


def is_class(wanted: Signature, text: str) -> bool:
    """Return True if what a request names is a class, whose objects cannot be compared by one call."""
    name = wanted.name
    return wanted.at < 0 and name[:1].isupper() and name != name.upper() and "class" in text.lower()


def may_be_asked(wanted: Signature, text: str) -> bool:
    """Return True if a function has arguments that the small model can be asked for."""
    return wanted.parameters != () and bool(wanted.name or re.search(_FUNCTION, text))


def defined(text: str, parser: Parser) -> Signature | None:
    """Return the last function that a request defines, or the only public method of its class.

    Tests are skipped. Return `None` if there is none, or if a class has several public methods.
    """
    found = [m for m in _DEF.finditer(text) if not m[3].startswith("test")]
    outer = [m for m in found if not m[1]] or [m for m in found if not _in_class(text, m)]
    if outer:
        return _signature(text, outer[-1], parser, method=False)
    methods = [m for m in found if not m[3].startswith("_")]
    if len({m[3] for m in methods}) != 1:
        return None
    return _signature(text, methods[-1], parser, method=True)


def defines_class(text: str) -> bool:
    """Return True if a request shows a class of its own that is no test."""
    shown = (m for m in _CLASS.finditer(text) if not m[2].startswith("Test"))
    return any(_DEF.search(text, m.end()) for m in itertools.islice(shown, 1))


def named(text: str, parser: Parser) -> Signature | None:
    """Return the function that a request names in its text, with the parameters that it writes, or `None`."""
    for pattern in _NAMED:
        for match in itertools.islice(pattern.finditer(text), _MOST_CANDIDATES):
            name = next(g for g in match.groups() if g)
            if name in _KNOWN or name.startswith("test") or not name.isidentifier():
                continue
            if name in ("that", "which", "to", "a", "the", "in", "for", "with", "and", "as", "with"):
                continue
            return Signature(name=name, parameters=_written(text, name, parser))
    return None


def called(names: Iterable[str]) -> str | None:
    """Return the name that is called most, and that is no function of Python. Of equal ones, the first counts."""
    counts = Counter(n for n in names if n not in _KNOWN)
    return max(counts, key=counts.__getitem__, default=None)


def calls_in(tree: ast.AST) -> Iterator[str]:
    """Yield the names of the functions that a program calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def bound(signature: Signature, count: int, names: Iterable[str]) -> bool:
    """Return True if a function may be called with so many arguments by position, and others by name."""
    parameters = signature.parameters
    if parameters is None:
        return True
    known = [p.name for p in parameters]
    by_name = list(names)
    if count > sum(not p.by_name for p in parameters) or any(n not in known[count:] for n in by_name):
        return False
    return all(p.optional or p.name in by_name for p in parameters[count:])


def _in_class(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 4000) : match.start()]
    return any(len(c[1]) < len(match[1]) for c in _CLASS.finditer(before))


def _signature(text: str, match: re.Match[str], parser: Parser, *, method: bool) -> Signature:
    end = closing(text, match.end() - 1)
    given = text[match.end() : end - 1] if end > 0 else ""
    parameters = _parameters(given, parser) if end > 0 else None
    if method and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    return Signature(
        name=match[3], parameters=parameters, at=match.start(), adapted=method or match[2] is not None
    )


def _written(text: str, name: str, parser: Parser) -> tuple[Parameter, ...] | None:
    """Return the parameters of `name(xs: list, k)` in a text, or `None` if they are written nowhere."""
    for match in itertools.islice(re.finditer(r"(?<![\w.])([A-Za-z_]\w*+)\(", text), 4 * _MOST_CANDIDATES):
        if match[1] != name:
            continue
        end = closing(text, match.end() - 1)
        found = _parameters(text[match.end() : end - 1], parser) if end > 0 else None
        if found:
            return found
    return None


def _parameters(written: str, parser: Parser) -> tuple[Parameter, ...] | None:
    tree = parser.tree(f"def f({written}): pass")
    if tree is None or not isinstance(tree.body[0], ast.FunctionDef):
        return None
    arguments = tree.body[0].args
    if arguments.vararg or arguments.kwarg:
        return None
    by_place = [*arguments.posonlyargs, *arguments.args]
    required = len(by_place) - len(arguments.defaults)
    out = [
        Parameter(name=a.arg, annotation=_source(a.annotation), optional=i >= required)
        for i, a in enumerate(by_place)
    ]
    for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        out.append(
            Parameter(
                name=a.arg, annotation=_source(a.annotation), optional=default is not None, by_name=True
            )
        )
    return tuple(out)


def _source(annotation: ast.expr | None) -> str:
    if annotation is None:
        return ""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value[:400]
    try:
        return ast.unparse(annotation)[:400]
    except RecursionError:
        return ""
