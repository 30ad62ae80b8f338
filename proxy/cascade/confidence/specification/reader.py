"""Read the specification of a function from a request."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from proxy.cascade.confidence.specification import bridge, shown_tests, signature
from proxy.cascade.confidence.specification.calls import called_in_text, calls_of_any, check_of, stated_calls
from proxy.cascade.confidence.specification.domain import Domain, domain_of
from proxy.cascade.confidence.specification.labelled import Pair, labelled, streams, table_rows
from proxy.cascade.confidence.specification.literals import Parser
from proxy.cascade.confidence.specification.probes import probes, written
from proxy.cascade.confidence.specification.prose import joined, lines, sentences
from proxy.cascade.confidence.specification.records import (
    LONGEST,
    MOST_CHECKS,
    Arguments,
    Example,
    Signature,
    Specification,
)
from proxy.cascade.confidence.specification.signature import bound
from proxy.cascade.confidence.specification.typed import made_inputs

_HEAD, _TAIL = 4000, 8000
"""How many characters at each end of a request are read."""
_MOST_ENDS = 16
_OTHER_FORMS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        "\u2212": "-",
        "\u2013": "-",
        "\uff08": "(",
        "\uff09": ")",
        "\uff0c": ", ",
        "\uff1a": ": ",
        "\uff1b": "; ",
        "\u3002": ". ",
        "\u00a0": " ",
        "\r": None,
        "\0": " ",
    }
)
"""Quotes, signs and punctuation of word processors and of Chinese texts, as a program writes them."""
_ESCAPED = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&"))
_IMPORT = re.compile(r"^(?:from [\w.]+ import [^\n(]+|import [\w., ]+)$", re.MULTILINE)
_LINKED = re.compile(r"\b(?:ListNode|TreeNode|Node)\b|\blinked list|\bbinary tree|链表|二叉树", re.IGNORECASE)
"""Values that no literal writes."""
_SEVERAL = re.compile(
    r"\b(?:in|with) any (?:valid )?order|also (?:a )?(?:valid|accepted|correct)|any (?:of them|valid|one of)"
    r"|multiple (?:valid )?(?:answers|solutions)|more than one (?:answer|solution)|不考虑.{0,8}顺序"
    r"|任意顺序|任意一|任何|也是.{0,12}(?:正确|有效|符合|满足)",
    re.IGNORECASE,
)
"""Words by which a right program may return something else than the example."""
_IN_PLACE = re.compile(r"in[- ]place|not return anything|原地|就地", re.IGNORECASE)


def specification(text: str) -> Specification | None:
    """Read a request. Return `None` if it asks for no function in Python that can be called with literals.

    Without probes, the request asks for a function and shows no arguments for it.
    """
    shown = text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n\n{text[-_TAIL:]}"
    return _specification(shown)


def asked_probes(wanted: Specification, written_calls: str) -> tuple[str, ...]:
    """Return the calls that the small model wrote when it was asked for inputs, and calls made from them.

    Whatever it writes beside the calls is skipped. Its arguments have to be literals.
    """
    parser = Parser()
    text = written_calls[:_HEAD].translate(_OTHER_FORMS)
    given = list(calls_of_any(text, parser))
    counts = Counter(len(a.given) + len(a.named) for a in given)
    usual = max(counts, key=counts.__getitem__, default=0)
    arguments = [a for a in given if usual and len(a.given) + len(a.named) == usual]
    rng = random.Random(text.encode(errors="surrogatepass"))  # noqa: S311
    return tuple(probes(wanted.entry, arguments, rng, Domain(None, True, ())))


@lru_cache(maxsize=512)
def _specification(shown: str) -> Specification | None:
    text = shown.translate(_OTHER_FORMS)
    for one, other in _ESCAPED:
        text = text.replace(one, other)
    parser = Parser()
    if signature.foreign(text):
        return None
    wanted = _wanted(text, parser)
    if wanted is None or _LINKED.search(text) or signature.is_class(wanted, text):
        return None
    examples = list(_examples(text, wanted, parser))
    rng = random.Random(shown.encode(errors="surrogatepass"))  # noqa: S311
    domain = domain_of(text)
    arguments = [e.arguments for e in examples if e.arguments is not None]
    if not arguments:
        arguments = list(made_inputs(wanted, text, domain, parser, rng))
    entry = _entry(wanted)
    calls = tuple(probes(entry, arguments, rng, domain))
    read = tuple(itertools.islice(streams(text), MOST_CHECKS)) if wanted.at < 0 else ()
    if not calls and not read and not signature.may_be_asked(wanted, text):
        return None
    checks = dict.fromkeys(e.check for e in examples if e.check and len(e.check) <= LONGEST)
    before, opened = _context(text, wanted, parser)
    return Specification(
        entry=entry,
        before=before,
        opened=opened,
        after=bridge.search(wanted.name) if entry == bridge.ADAPTED else f"\n{entry}",
        checks=tuple(f"import math\n{c}" for c in checks)[:MOST_CHECKS],
        probes=calls,
        streams=read,
    )


def _entry(wanted: Signature) -> str:
    return bridge.ADAPTED if wanted.adapted or not wanted.name else wanted.name


def _wanted(text: str, parser: Parser) -> Signature | None:
    """Return the function that is asked for: defined, tested, named, called, or without a name."""
    if found := signature.defined(text, parser):
        return found
    if signature.defines_class(text):
        return None
    tests = [name for tree, _, _ in shown_tests.tests_in(text, parser) for name in signature.calls_in(tree)]
    name = signature.called(tests)
    found = signature.named(text, parser)
    if name is None and found is not None:
        name = found.name
    name = name or signature.called(called_in_text(text, parser))
    if name is not None:
        same = found is not None and found.name == name
        found = found if same else Signature(name=name)
    elif signature.asks_for_function(text):
        return Signature(name="", adapted=True)
    return found


def _examples(text: str, wanted: Signature, parser: Parser) -> Iterator[Example]:
    """Yield the examples for a function, those in the strictest form first."""
    if wanted.name:
        direct = list(shown_tests.tests_of(text, wanted.name, parser))
        direct += stated_calls(text, wanted, parser)
        if wanted.adapted:
            direct = [_renamed(e, wanted) for e in direct]
        yield from direct
        if any(e.check for e in direct):
            return
    pairs: list[Pair] = []
    for read in (labelled, table_rows, sentences):
        pairs = list(itertools.islice(read(text, parser), 2 * MOST_CHECKS))
        if any(outcome for _, outcome in pairs):
            break
    else:
        bare = list(itertools.islice(lines(text, parser), 2 * MOST_CHECKS))
        # A name and its value on a line is data for a function without a signature, and code elsewhere.
        pairs += bare if any(o for _, o in bare) or wanted.parameters is None else []
        pairs = joined(pairs)
    several, in_place = bool(_SEVERAL.search(text)), bool(_IN_PLACE.search(text))
    for arguments, outcome in pairs:
        placed = _placed(arguments, wanted)
        call = written(_entry(wanted), placed) if placed else None
        if placed is not None and call is not None:
            yield Example(
                placed, _check(call, placed, outcome, in_place=in_place) if outcome and not several else ""
            )


def _check(call: str, arguments: Arguments, outcome: tuple[Any], *, in_place: bool) -> str:
    """Return the assertion for an example in prose. `in_place`: the outcome may be that of the first argument."""
    if in_place and isinstance(outcome[0], list) and arguments.given:
        changed = f"_given = {arguments.given!r}\n_value = {call.partition('(')[0]}(*_given)\n"
        return f"{changed}assert (_given[0] if _value is None else _value) == {outcome[0]!r}"
    return check_of(call, outcome[0])


def _renamed(example: Example, wanted: Signature) -> Example:
    """Return an example that calls the function by the name under which it is searched for."""
    return Example(example.arguments, example.check.replace(f"{wanted.name}(", f"{bridge.ADAPTED}("))


def _placed(arguments: Arguments, wanted: Signature) -> Arguments | None:
    """Return arguments as the function takes them, or `None` if they do not fit it.

    The names in an example are often those of the parameters. If not, the order counts.
    """
    names = [n for n, _ in arguments.named]
    values = [v for _, v in arguments.named]
    if wanted.parameters is None:
        return Arguments((*arguments.given, *values))
    if names and bound(wanted, len(arguments.given), names):
        known = [p.name for p in wanted.parameters if not p.by_name]
        by_name = dict(arguments.named)
        if set(names) == set(known[len(arguments.given) :][: len(names)]):
            return Arguments((*arguments.given, *(by_name[n] for n in known if n in by_name)))
        return arguments
    flat = Arguments((*arguments.given, *values))
    return flat if bound(wanted, len(flat.given), ()) else None


def _context(text: str, wanted: Signature, parser: Parser) -> tuple[str, str]:
    """Return the source before the function, and the unfinished program that a body completes."""
    if wanted.at < 0:
        return "", ""
    head, tail = text[: wanted.at], text[wanted.at :]
    whole = parser.parses(head)
    before = head if whole else "\n".join(i for i in _IMPORT.findall(head)[:40] if parser.parses(i)) + "\n"
    template = wanted.adapted and signature.defines_class(text)
    before = bridge.missing_imports(text, template=template) + before
    if template:
        return (before if not whole else bridge.FOR_TEMPLATES), ""
    rows = tail.splitlines()
    for end in range(len(rows), max(0, len(rows) - _MOST_ENDS), -1):
        begun = "\n".join(rows[:end])
        if parser.parses(begun) or parser.parses(begun + "\n    pass"):
            return before, (head if whole else "") + begun + "\n"
    return before, ""
