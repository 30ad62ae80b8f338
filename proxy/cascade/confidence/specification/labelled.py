"""Read examples with labels: "Input: nums = [2,7], target = 9, Output: [0,1]", in several languages, and tables."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

from proxy.cascade.confidence.specification.literals import Parser, arguments_at
from proxy.cascade.confidence.specification.outcomes import OUTPUT, stated_at
from proxy.cascade.confidence.specification.records import Arguments

_INPUT = (
    r"inputs?|given|arguments?|parameters?|Eingaben?|entrées?|entradas?|ingresso|invoer|wejście|girdi"
    r"|ввод|вход(?:ные данные)?|输入|輸入|参数|入力|引数|입력"
)
_LABEL = re.compile(
    rf"(?:(?P<line>^[ \t>#*\-•/|]{{0,12}}+)|(?<![\w`\"'\[(=.]))[`*_\"]{{0,3}}+"
    rf"(?:(?:sample|example|test|the|for|beispiel|exemple|ejemplo|样例|示例)[ \t_]{{1,2}}+)?"
    rf"(?:(?P<input>{_INPUT})|(?P<output>{OUTPUT}))(?:[ \t]?\d{{1,2}}+)?[`*_\"]{{0,3}}+"
    rf"(?:[ \t]{{0,3}}+\([^()\n]{{1,20}}+\))?[ \t]{{0,3}}+"
    rf"(?P<sign>[:=]|-{{1,2}}>|(?=\r?\n))[ \t]{{0,3}}+[`*_]{{0,3}}+",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE = re.compile(r"\s{0,20}+(?:```\w{0,12}+[ \t]*+\n?)?+\s{0,20}+[`*]{0,3}+")
_NAMED_RESULT = re.compile(r"[A-Za-z_]\w{0,40}+[ \t]{0,3}+=(?!=)[ \t]{0,3}+")
_BARE = re.compile(r"[\w][\w .,!?'\-]{0,80}+")
_ROW = re.compile(r"^[ \t]{0,8}+\|([^\n]{1,600}+)$", re.MULTILINE)
_RULE = re.compile(r"[\s|:\-]+")
_SAYS_OUTPUT = re.compile(rf"[`*_ ]*(?:the )?(?:{OUTPUT})\b", re.IGNORECASE)
_SAYS_NOTE = re.compile(
    r"[`*_ ]*(?:#|no\.?|nr\.?|case|test|example|explanation|description|notes?|reason|why|comment|erklärung|说明|解释)",
    re.IGNORECASE,
)
_LONGEST_INPUT = 1500
_MOST_LABELS, _MOST_ROWS = 60, 30


Pair = tuple[Arguments, tuple[Any] | None]
"""The arguments of an example and its outcome, in a tuple of one."""


def labelled(text: str, parser: Parser) -> Iterator[Pair]:
    """Yield the inputs with a label, each with the output that follows it if that can be read."""
    labels = list(itertools.islice(_LABEL.finditer(text), _MOST_LABELS))
    for here, following in itertools.zip_longest(labels, labels[1:]):
        if here is None or here["input"] is None:
            continue
        end = min(len(text), here.end() + _LONGEST_INPUT)
        paired = following is not None and following["output"] is not None and following.start() <= end
        stop = following.start() if following is not None and following.start() <= end else end
        arguments, bare = _input(text[here.end() : stop], parser, closed=paired)
        if arguments is None:
            continue
        outcome = _output(text, following.end(), parser, bare=bare) if paired and following else None
        if outcome is not None or (not bare and here["sign"]):
            yield arguments, outcome


def streams(text: str) -> Iterator[tuple[str, str]]:
    """Yield what a program reads and prints: the contents of blocks "Input" and "Output"."""
    labels = list(itertools.islice(_LABEL.finditer(text), _MOST_LABELS))
    for here, following in itertools.pairwise(labels):
        if here["input"] is None or following["output"] is None:
            continue
        read = _block(text[here.end() : following.start()])
        printed = _block(text[following.end() : following.end() + _LONGEST_INPUT].partition("\n\n")[0])
        if read and printed and len(read) < _LONGEST_INPUT and ("\n" in text[here.end() : following.start()]):
            yield f"{read}\n", printed


def table_rows(text: str, parser: Parser) -> Iterator[Pair]:
    """Yield the rows of tables that have a column for the output."""
    header: list[str] | None = None
    last = -2
    for match in itertools.islice(_ROW.finditer(text), _MOST_ROWS):
        cells = [c.strip() for c in match[1].rstrip("| \t").split("|")]
        adjacent = match.start() <= last + 2
        last = match.end()
        if not adjacent or header is None:
            header = cells
            continue
        if _RULE.fullmatch(match[1]) or len(cells) != len(header):
            continue
        outputs = [i for i, name in enumerate(header) if _SAYS_OUTPUT.match(name)]
        if len(outputs) != 1:
            continue
        inputs = [c for i, c in enumerate(cells) if i != outputs[0] and not _SAYS_NOTE.match(header[i])]
        found = [arguments_at(c, len(c) - len(c.lstrip("`* ")), parser) for c in inputs]
        wanted = stated_at(cells[outputs[0]].strip("`* "), 0, parser)
        if wanted is None or not found or any(f is None for f in found):
            continue
        parts = [f[0] for f in found if f is not None]
        given = tuple(v for p in parts for v in p.given)
        yield Arguments(given, tuple(n for p in parts for n in p.named)), (wanted[0],)


def _input(content: str, parser: Parser, *, closed: bool) -> tuple[Arguments | None, bool]:
    """Return the arguments in the text after a label, and whether they are bare words.

    `closed`: a label for the output follows, so that nothing but the arguments is expected in between.
    """
    start = _FENCE.match(content)
    at = start.end() if start else 0
    found = arguments_at(content, at, parser)
    if found is not None:
        rest = content[found[1] :].strip("`*_ \t\r\n,;.|-/#>")
        if not rest or (not closed and content[found[1] :].lstrip("`* \t.;,")[:1] in ("", "\n")):
            return found[0], False
        return None, False
    bare = content[at:].strip("`*_ \t\r\n|")
    return (Arguments((bare,)), True) if closed and _BARE.fullmatch(bare) else (None, False)


def _output(text: str, start: int, parser: Parser, *, bare: bool) -> tuple[Any] | None:
    fence = _FENCE.match(text, start)
    at = fence.end() if fence else start
    name = _NAMED_RESULT.match(text, at)
    found = stated_at(text, name.end() if name else at, parser)
    if found is not None:
        return (found[0],)
    if not bare:
        return None
    line = text[at : at + 100].partition("\n")[0].strip("`*_ \t\r|")
    return (line,) if _BARE.fullmatch(line) else None


def _block(content: str) -> str:
    lines = [line.strip() for line in content.strip().splitlines()]
    return "\n".join(line for line in lines if not line.startswith("```")).strip("`* \n")
