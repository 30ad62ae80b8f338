"""Read examples that write the call: `f(2) == 4`, `f(2) -> 4`, "f(2) should return 4"."""

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.cascade.confidence.specification.literals import Parser, closing, in_python, value_of
from proxy.cascade.confidence.specification.outcomes import outcome_after
from proxy.cascade.confidence.specification.records import Arguments, Example, Signature
from proxy.cascade.confidence.specification.signature import bound

_MOST_CALLS = 60
_CALL = re.compile(r"(?<![\w.])([A-Za-z_]\w*+)\(")
_IN_CODE = re.compile(r"(?:>>>|\.\.\.|\bassert\w*|\bdef|\bself\.)[^\n]*+$")
_FOLLOWED = re.compile(
    r"[`)]{0,3}+[ \t]{0,8}+(?:#[ \t]*+)?(?:={1,3}>?|-+>|→|⇒|➞|⟶|➜"
    r"|(?:returns?|should|gives?|equals?|yields?|evaluates|is)\b|返回)"
)


def stated_calls(text: str, signature: Signature, parser: Parser) -> Iterator[Example]:
    """Yield the calls of a function in a text, with the outcomes that it states."""
    matches = (m for m in _CALL.finditer(text) if m[1] == signature.name)
    for match in itertools.islice(matches, _MOST_CALLS):
        before = text[max(0, match.start() - 80) : match.start()].rpartition("\n")[2]
        if _IN_CODE.search(before):  # read elsewhere
            continue
        end = closing(text, match.end() - 1)
        if end < 0:
            continue
        source = in_python(text[match.start() : end])
        given = _arguments(source, parser)
        if given is None or not bound(signature, len(given.given), (n for n, _ in given.named)):
            continue
        if before.endswith("print(") and text[end : end + 1] == ")":
            end += 1
        outcome = outcome_after(text, end, parser)
        yield Example(given, check_of(source, outcome[0]) if outcome else "")


def called_in_text(text: str, parser: Parser) -> Iterator[str]:
    """Yield the names of calls that are followed by an outcome: the text may name its function only there."""
    for match in itertools.islice(_CALL.finditer(text), _MOST_CALLS):
        end = closing(text, match.end() - 1)
        if (
            end > 0
            and _FOLLOWED.match(text, end)
            and _arguments(in_python(text[match.start() : end]), parser) is not None
        ):
            yield match[1]


def calls_of_any(text: str, parser: Parser) -> Iterator[Arguments]:
    """Yield the arguments of the outermost calls in a text, whatever they call."""
    at = 0
    for match in itertools.islice(_CALL.finditer(text), _MOST_CALLS):
        end = closing(text, match.end() - 1) if match.start() >= at else -1
        if end > 0:
            at = end
            given = _arguments(in_python(text[match.start() : end]), parser)
            if given is not None:
                yield given


def check_of(call: str, wanted: Any) -> str:
    """Return the assertion that a call returns a value. A text states a float to the digits that it writes."""
    if isinstance(wanted, float):
        return f"assert math.isclose(\n{call}\n, {wanted!r}, rel_tol=1e-6, abs_tol=1e-9)"
    return f"assert (\n{call}\n) == (\n{wanted!r}\n)"


def arguments_of(call: ast.Call, values: Mapping[str, ast.expr] | None = None) -> Arguments | None:
    """Return the arguments of a call, or `None` if one of them is no literal and no name of one in `values`."""

    def read(node: ast.expr) -> tuple[Any] | None:
        return value_of((values or {}).get(node.id, node) if isinstance(node, ast.Name) else node)

    given = [read(a) for a in call.args]
    named = [(k.arg, read(k.value)) for k in call.keywords]
    if any(v is None for v in given) or any(k is None or v is None for k, v in named):
        return None
    return Arguments(
        tuple(v[0] for v in given if v is not None), tuple((k, v[0]) for k, v in named if k and v is not None)
    )


def _arguments(source: str, parser: Parser) -> Arguments | None:
    tree = parser.tree(source)
    if tree is None or len(tree.body) != 1:
        return None
    statement = tree.body[0]
    call = statement.value if isinstance(statement, ast.Expr) else None
    return arguments_of(call) if isinstance(call, ast.Call) else None
