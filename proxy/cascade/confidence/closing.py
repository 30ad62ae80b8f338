"""The result that the last sentence of a text concludes with."""

import re

from proxy.cascade.confidence import result_words as lexicon
from proxy.cascade.confidence.doubt import hedged
from proxy.cascade.confidence.result_words import alternatives
from proxy.cascade.confidence.values import (
    AMOUNT,
    NOT,
    NUMBER,
    NUMBERS,
    SENTENCE_END,
    SPAN,
    content,
    digits,
    is_value,
    with_unit,
)

BOX = "\x02"
"""Stands for the content of a box, which is read by itself."""
_LAST = 800
_ARITHMETIC = re.compile(
    rf"(?:\d|\))[^=\n\d]{{0,20}}?(?:(?<=[\d\s)}}])[-+*/×÷·\u2212^xX]|\\times|\\cdot|\\div)"
    rf"[^=\n]{{1,80}}=\s*+(?:[^\s=\d\\]{{0,3}}|\\text)[\s$]*+({NUMBER})"
)
_NAMED_VALUE = re.compile(r"[A-Za-z]{2}_[A-Za-z]|[\"'`;]|[=!<>:]=|\bvar\b|\blet\b|\bconst\b")
_FENCE = re.compile(r"^[ \t]*+(?:```|~~~)", re.MULTILINE)
_CODE = re.compile(
    r"[ \t]*+(?:```|~~~|def |class |import |from \w+ import|return\b|print\(|#include|function )"
)
_COPULA_END = re.compile(
    rf"(?:(?<!\w)(?:{alternatives(lexicon.SAYS)}|be)|{alternatives(lexicon.SAYS_SIGNS)}|[:：=])\s*+[$€£]?\Z",
    re.IGNORECASE,
)
_TOTAL = re.compile(
    rf"(?<!\w)(?:{alternatives(lexicon.TOTAL)})(?!\w)|{alternatives(lexicon.TOTAL_SIGNS)}", re.IGNORECASE
)


def last_sentence(text: str) -> str | None:
    """Return the last sentence of a text, or `None` if it is part of a program or has a box.

    Raises:
        UnreadableError: it stands in a block that is not closed.
    """
    line = text.rsplit("\n", 1)[-1]
    if len(_FENCE.findall(text)) % 2:
        raise UnreadableError
    if _CODE.match(line):
        return None
    if line.strip(" *_$") in ("\\]", ""):  # a formula in lines of its own
        spans = list(SPAN.finditer(text[-_LAST:]))
        line = " ".join(spans[-1].group().split()) if spans else ""
    if len(line) > 2000 or BOX in line:
        return None
    ends = [m.end() for m in SENTENCE_END.finditer(line) if line[m.end() :].strip(' *_$)"”')]
    return line[ends[-1] if ends else 0 :]


def closing(text: str, sentence: str) -> str | None:
    """Return the result that the last sentence of a text concludes with, or `None`.

    Raises:
        UnreadableError: it concludes with a possibility, or says what the result is not.
    """
    sentence = sentence.strip()
    alone = SPAN.fullmatch(sentence.rstrip("."))
    if alone:
        sentence = "= " + content(alone).strip().replace("\n", " ")
    concluded = equation(sentence) or _concluded(text, sentence)
    if concluded and (hedged(sentence) or NOT.search(sentence)):
        raise UnreadableError
    return concluded


def equation(sentence: str) -> str | None:
    """Return the right side of an equation that ends a sentence, or that a calculation in it leads to."""
    bare = sentence.rstrip(" $.*_)\\]!。")
    before, equals, result = bare.rpartition("=")
    if not equals:
        before, equals, result = bare.rpartition("≈")
    result = result.strip(" $*_")
    if (
        equals
        and before.strip(" $*")
        and not _NAMED_VALUE.search(before[-80:])
        and is_value(_balanced(result))
    ):
        return _balanced(result)
    worked = list(_ARITHMETIC.finditer(sentence))
    rest = sentence[worked[-1].end() :] if worked else "="
    # After a comma comes another clause, which may have another result.
    return worked[-1].group(1) if worked and not re.search(r"[\d=]|[,;]\s", rest) else None


def _balanced(result: str) -> str:
    """Return a result with the closing brackets that belong to it."""
    for opened, closed in ("()", "[]", "{}"):
        result += closed * min(3, result.count(opened) - result.count(closed))
    return result


def _concluded(text: str, sentence: str) -> str | None:
    spans = list(SPAN.finditer(sentence))
    if (
        spans
        and not re.search(r"\w", sentence[spans[-1].end() :])
        and _COPULA_END.search(sentence[: spans[-1].start()].rstrip("*_"))
    ):
        return content(spans[-1])
    clause = re.split(r"[,;]\s(?!\d)", sentence)[-1]
    said = list(AMOUNT.finditer(clause))
    if not said or len(sentence) > 300:
        return None
    place = said[-1].start()
    copula = _COPULA_END.search(clause[:place].rstrip(" *_"))
    if copula and _TOTAL.search(clause) and is_value(clause[place:]):
        return clause[place:].strip(" *_.")
    worked = _ARITHMETIC.findall(text)
    if (
        not worked
        or clause != sentence
        or len({m.group() for m in said}) > 1
        or digits(worked[-1]) != digits(NUMBERS.findall(clause)[-1])
    ):
        return None
    return with_unit(clause, place)


class UnreadableError(Exception):
    """A text states a result in a form that cannot be read. Another statement beside it may differ."""
