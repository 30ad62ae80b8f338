r"""The results that a solution states, as opposed to the numbers that it mentions.

A result is stated by a box, a line "#### 42", a phrase such as "the answer is 42", an equation or a conclusion at the end,
or by a reply that says hardly more than the result. The last number of a long text states nothing: it may be a year, a
page, or the number of a list.
"""

import re
from collections.abc import Iterator

from proxy.cascade.confidence import result_words as lexicon
from proxy.cascade.confidence.closing import BOX, UnreadableError, closing, equation, last_sentence
from proxy.cascade.confidence.doubt import declines, hedged
from proxy.cascade.confidence.result_words import alternatives
from proxy.cascade.confidence.values import (
    AMOUNT,
    LONGEST,
    NOT,
    NUMBER,
    NUMBERS,
    SENTENCE_END,
    SPAN,
    content,
    is_value,
    plain,
    spans_joined,
    value_of,
    with_unit,
)

_FIRST, _LAST = 300, 800  # characters at the ends of a text, where one of its statements has to be
_SHORT_REPLY = 60
_MOST_PHRASES = 32
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")  # scripts without spaces between words
_WORKED = re.compile(r"<<[^<>\n]{0,200}>>")  # the calculator's notes of GSM8K
_LEAD = re.compile(
    rf"(?:[\s*_:`\"'“”‘’«≈~>】」|]|—|(?:{alternatives(lexicon.NEARLY)})(?!\w)"
    rf"|{alternatives(lexicon.NEARLY_SIGNS)}){{0,16}}+"
)
_PHRASE = re.compile(
    rf"(?:(?<!\w)(?:{alternatives(lexicon.RESULT)})(?!\w)|{alternatives(lexicon.RESULT_SIGNS)})"
    rf"(?:[^\n.!?。;=:：,，\d\\$*]{{0,40}}?"
    rf"(?:(?<=\s)(?:{alternatives(lexicon.SAYS)})(?!\w)|{alternatives(lexicon.SAYS_SIGNS)})[:：]?"
    rf"|[^\n.!?。;=:：,，\d\\$]{{0,40}}?[=:：】])",
    re.IGNORECASE,
)
_HEADING = re.compile(
    rf"^[ \t#>*_]*+(?:\w{{1,20}}[ \t]){{0,2}}"
    rf"(?:{alternatives(lexicon.RESULT)}|{alternatives(lexicon.RESULT_SIGNS)})[ \t*_]*+\n",
    re.IGNORECASE | re.MULTILINE,
)
_BEFORE = re.compile(
    rf"(?<![\w.])(?:{NUMBER})[^\n.,;:=\d]{{0,20}}?\s(?:is|ist|est|es|è|é)\s(?:the|die|das|la|le|il|a|o)\s"
    rf"(?:\w{{1,12}}\s){{0,2}}(?:{alternatives(lexicon.RESULT)})(?!\w)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(answer|result)>([^<]{1,400})</\1>", re.IGNORECASE)
_HASHES = re.compile(r"^####[ \t]*+([^\n]{1,200})$", re.MULTILINE)
_NUMBERED = re.compile(
    r"\s*+(?:\d++[.)]\s++\D|(?:page|chapter|step|section|figure|part|question|problem|version|level|line|item|table)\s++\d)",
    re.IGNORECASE,
)
_BOX_OPENED = re.compile(r"\\f?boxed\s*\{|\\fbox\s*\{")
_PLACEHOLDER = re.compile(
    r"[\s.?_…*-]*|(?:\\text\s*\{)?\s*(?:(?:the |your |final |my ){0,3}(?:answer|result|solution|number|value)(?: here)?"
    r"|unknown|none|n/?a|nan|null|error|ans|cannot be determined|not enough information|insufficient information"
    r"|i don'?t know)\s*\}?\.?",
    re.IGNORECASE,
)


def results(text: str) -> tuple[str, ...]:
    """Return all results that a text states, as written. It is empty if there is none, or if one cannot be read."""
    if len(text) > LONGEST:
        return ()
    text = _WORKED.sub("", plain(text.rpartition("</think>")[2])).strip()
    boxes = list(_boxes(text))
    if declines(text) or (not boxes and _BOX_OPENED.search(text)):
        return ()
    open_text = _without(text, boxes)
    found = [(begun, text[begun:end]) for begun, end in boxes]
    found += [(m.start(), m.group(2)) for m in _TAG.finditer(text)]
    found += [(m.start(), m.group(1)) for m in _HASHES.finditer(open_text) if is_value(m.group(1))]
    try:
        found += _phrases(open_text)
        last = last_sentence(open_text)
        if last is not None and not any(place >= len(text) - len(last) for place, _ in found):
            found += [(len(text), said) for said in [closing(open_text, last)] if said]
    except UnreadableError:
        return ()
    stated = [(place, said) for place, said in found if said.strip() and not _is_placeholder(said)]
    if not stated and not found:
        return (reply,) if (reply := _short_reply(text)) else ()
    near = any(place <= _FIRST or place >= len(text) - _LAST for place, _ in stated)
    return tuple(said for _, said in stated) if near else ()


def boxed(text: str) -> tuple[str, ...]:
    """Return the contents of the boxes of a text, in order."""
    text = text[-LONGEST:]
    return tuple(text[begun:end] for begun, end in _boxes(text))


def _boxes(text: str) -> Iterator[tuple[int, int]]:
    r"""Yield begin and end of the content of each complete \boxed{...} or \fbox{...}, but not of those inside another."""
    opened: list[int] = []
    boxes = {match.end() for match in re.finditer(r"\\f?boxed\s*\{|\\fbox\s*\{", text)}
    found = []
    for brace in re.finditer(r"[{}]", text):
        if brace.group() == "{":
            opened.append(brace.end())
        elif opened and (begun := opened.pop()) in boxes:
            found.append((begun, brace.start()))
    end = -1
    for begun, closed in sorted(found):
        if begun > end:
            yield begun, closed
            end = closed
    if not found:
        yield from (
            (m.start(1), m.end(1)) for m in re.finditer(r"\\boxed\s+(\S{1,80}?)(?=[.,]?(?:[\s$]|$))", text)
        )


def _without(text: str, boxes: list[tuple[int, int]]) -> str:
    """Return a text of the same length without the contents of its boxes."""
    for begun, end in boxes:
        text = text[:begun] + BOX * (end - begun) + text[end:]
    return text


def _phrases(text: str) -> Iterator[tuple[int, str]]:
    """Yield the results that phrases state, with their places.

    Raises:
        UnreadableError: a phrase states a result in a form that cannot be read.
    """
    for pattern in (_PHRASE, _HEADING):
        for count, phrase in enumerate(pattern.finditer(text)):
            if count >= _MOST_PHRASES:
                raise UnreadableError
            said = _said(text, phrase.end())
            if said is not None:
                yield phrase.start(), said
    for before in _BEFORE.finditer(text):
        number = NUMBERS.match(before.group())
        if number and not NOT.search(before.group()):
            yield before.start(), number.group()


def _said(text: str, place: int) -> str | None:
    """Return the result at a place after a phrase, or `None` if the phrase states none.

    Raises:
        UnreadableError: there is one, which cannot be read.
    """
    rest = text[place : place + 500]
    lead = _LEAD.match(rest)
    rest = rest[lead.end() if lead else 0 :]
    span = SPAN.match(rest)
    ended = SENTENCE_END.search(rest, span.end() if span else 0)
    sentence = rest[: ended.start()] if ended else rest
    after = text[place:].partition(sentence)[2] if sentence else ""
    if BOX in sentence or not re.search(r"\w", sentence):
        return None
    if hedged(_line_around(text, place)):
        raise UnreadableError
    if span:
        return spans_joined(rest, span)
    value = value_of(sentence)
    if value is not None:
        return value
    if not re.search(r"\d", sentence) or NOT.search(sentence):
        return None
    numbers: set[str] = set(NUMBERS.findall(sentence))
    if after.strip(' \n.*_`)"”。!'):
        return None  # only the last sentence of a text concludes
    if len(numbers) == 1:
        return numbers.pop()
    concluded = equation(sentence)
    if concluded is None:
        raise UnreadableError
    return concluded


def _line_around(text: str, place: int) -> str:
    """Return the part of a line, or of a sentence in it, that is around a place."""
    begun = max(text.rfind("\n", 0, place), text.rfind(". ", 0, place)) + 1
    end = text.find("\n", place)
    return text[max(begun, place - 200) : min(place + 200, end if end >= 0 else len(text))]


def _short_reply(text: str) -> str | None:
    """Return the value of a reply that says hardly more than it."""
    if len(text) > 400 or text.count("\n") > 2 or text.startswith(("{", "[", "<", "```")):
        return None
    if SPAN.fullmatch(text.strip(" *_.")):
        return text.strip(" *_.")
    bare = " ".join(text.split()).strip(" *_`\"'“”.!。")
    if len(bare) <= 120 and not _NUMBERED.match(text) and is_value(bare):
        return bare
    said = value_of(bare)
    if said is not None and len(bare) <= 120 and "\n" not in text:
        return None if _NUMBERED.match(text) or hedged(bare) else said
    spans = list(SPAN.finditer(bare))
    numbers = NUMBERS.findall(bare)
    several = len(spans) != 1 if spans else len(set(numbers)) != 1
    words = len(bare.split()) + len(_UNSPACED.findall(bare)) // 3
    if several or len(bare) > _SHORT_REPLY or words > 7 or re.search(r"[.!?。]\s", bare):
        return None
    if _NUMBERED.match(text) or NOT.search(bare) or hedged(bare) or (spans and len(numbers) > 1):
        return None
    if spans:
        return content(spans[0])
    amount = AMOUNT.search(bare)
    return with_unit(bare, amount.start()) if amount else None


def _is_placeholder(said: str) -> bool:
    """Return True if a text only marks the place of a result, or says that there is none."""
    return _PLACEHOLDER.fullmatch(said.strip(" *_$")) is not None
