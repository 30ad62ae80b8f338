"""Find the options of a question, in any marking: A), (A), [A], A., A:, **A**, 1) and their full-width forms."""

import re
from dataclasses import dataclass
from itertools import takewhile

from proxy.cascade.detection.conversation import ends

ALPHABETS = ("ABCDEFGHIJ", "АБВГДЕЖЗИК")
_READ = 4000
_OPTION = re.compile(
    r"""^[ \t>*-]*\(?([A-Ja-jА-Ка-к])(?:[).:][ \t*]+\S|[).:、](?=[^\x00-\x7f]|\d)|\)(?=\w))
      | (?:(?<=\s)|(?<=[{*])|^)(?:\(([A-Ja-jА-Ка-к])\)|([A-JА-К])\))[ \t*}\\]+\S
    """,
    re.MULTILINE | re.VERBOSE,
)
_MARK = re.compile(
    r"""(?:(?<=[\s,;:({*）)|/。？?])|(?<=[^\x00-\x7f])|^)       # not within a word
        (?:[\[({【]([A-Ja-jА-Ка-к])[\])}】] | ([A-JА-К])[ ]?[).:、,](?=\s?[\S]) | ([a-jа-к])[).](?=[ ]?\S))
    """,
    re.MULTILINE | re.VERBOSE,
)
_ARABIC_MARK = re.compile(r"^[ \t*]*(?:([أبجدهـ])|([১-৫])|([กขคง]))[).:\-][ \t]*\S", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t>*-]*[(\[]?([1-9])[).\]:][ \t]+\S", re.MULTILINE)
_BULLETED = re.compile(
    r"\b(?:choices|options)[ ]?:\s{0,3}[-*•][ \t]*\S[^\n]*\n\s{0,3}[-*•][ \t]*\S", re.IGNORECASE
)
_ARABIC = ("أبجده", "১২৩৪৫", "กขคง")


@dataclass(frozen=True, slots=True)
class Listing:
    """Options in a text: their marks and the text before the first and after the last of them."""

    marks: str
    stem: str
    after: str
    numbered: bool = False


def options(text: str) -> tuple[str, ...]:
    """Return the letters of the options in a question: A, B, ... without a gap. A single option does not count."""
    text = ends(text, _READ)
    strict = {letter.upper() for match in _OPTION.findall(text) for letter in match}
    listed = (tuple(takewhile(strict.__contains__, alphabet)) for alphabet in ALPHABETS)
    found = next((letters for letters in listed if len(letters) > 1), ())
    if found:
        return found
    marked = _in_order(text)
    return tuple(marked.marks) if marked and len(marked.marks) > 2 and marked.marks[0] in "AА" else ()


def listing(text: str) -> Listing | None:
    """Return the last list of marked options in a text, or None. The first ones may be outside of the part read."""
    return _in_order(text) or _bulleted(text) or _numbered(text)


def _in_order(text: str) -> Listing | None:
    found = [(m.group(m.lastindex or 0).upper(), m) for m in _MARK.finditer(text)]
    for alphabet in ALPHABETS:
        run = _run(found, alphabet)
        if run:
            return _listing(text, run)
    others = [(m.group(m.lastindex or 0), m) for m in _ARABIC_MARK.finditer(text)]
    return next((_listing(text, run) for run in (_run(others, marks) for marks in _ARABIC) if run), None)


def _numbered(text: str) -> Listing | None:
    run = _run([(m[1], m) for m in _NUMBERED.finditer(text)], "123456789")
    return _listing(text, run, numbered=True) if run else None


def _bulleted(text: str) -> Listing | None:
    found = _BULLETED.search(text)
    return Listing("---", text[: found.start()], "") if found else None


def _run(found: list[tuple[str, re.Match[str]]], alphabet: str) -> list[tuple[str, re.Match[str]]]:
    """Return the last marks that follow each other: from A at least two, else at least three of a list cut off."""
    best: list[tuple[str, re.Match[str]]] = []
    run: list[tuple[str, re.Match[str]]] = []
    for mark, match in found:
        place = alphabet.find(mark)
        if place < 0:
            continue
        follows = run and place == alphabet.find(run[-1][0]) + 1
        run = [*run, (mark, match)] if follows else [(mark, match)]
        if len(run) > 1 and (run[0][0] == alphabet[0] or len(run) > 2) and len(run) >= min(len(best), 4):
            best = run
    return best


def _listing(text: str, run: list[tuple[str, re.Match[str]]], *, numbered: bool = False) -> Listing:
    first, last = run[0][1].start(), run[-1][1].end()
    tail = text[last:].split("\n", 1)
    return Listing("".join(mark for mark, _ in run), text[:first], tail[1] if len(tail) > 1 else "", numbered)
