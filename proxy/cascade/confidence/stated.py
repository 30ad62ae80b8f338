r"""The results that a solution states, as opposed to the numbers that it mentions.

A result is stated by a box, a line "#### 42", a phrase such as "the answer is 42", an equation or a conclusion at the end,
or by a reply that says hardly more than the result. The last number of a long text states nothing: it may be a year, a
page, or the number of a list.
"""

import re
import unicodedata
from collections.abc import Iterator

from proxy.cascade.confidence import result_words as lexicon
from proxy.cascade.confidence.doubt import declines, hedged
from proxy.cascade.confidence.result_words import alternatives

LONGEST = 32_000
"""The most characters of an answer that is read. A longer one states nothing: a part of it might contradict the rest."""
_FIRST, _LAST = 300, 800  # characters at the ends of a text, where one of its statements has to be
_SHORT_REPLY = 60
_BOX = "\x02"

NUMBER = (
    r"(?:[-+\u2212]\s?)?(?:\d{1,3}(?:\.\d{3}){1,8},\d++|\d{1,3}(?:[,' \u2019]\d{2,3}(?!\d)){0,8}[,' \u2019]\d{3}(?!\d)|\d++)(?:[.,]\d++)?"
    r"(?:\s?/\s?\d++)?|[-+]?\.\d++"
)
_MONEY = r"(?:US)?\\?[$€£¥₹₽₩฿৳]|US\$|USD|EUR|Rs\.?|INR|R\$"
_SPAN = re.compile(r"(?<!\\)\$\$?([^$]{1,400})(?<!\\)\$\$?|\\\(((?:(?!\\\)).){1,400})\\\)|\\\[((?:(?!\\\]).){1,400})\\\]", re.DOTALL)
_NUMBER = re.compile(NUMBER)
_AMOUNT = re.compile(rf"(?:(?:{_MONEY})\s?)?(?:{NUMBER})")
_WORKED = re.compile(r"<<[^<>\n]{0,200}>>")  # the calculator's notes of GSM8K
_LEAD = (
    rf"(?:[\s*_:`\"'“”‘’«≈~>】」|]|—|(?:{alternatives(lexicon.NEARLY)})(?!\w)|{alternatives(lexicon.NEARLY_SIGNS)}){{0,16}}+"
)
_PHRASE = re.compile(
    rf"(?:(?<!\w)(?:{alternatives(lexicon.RESULT)})(?!\w)|{alternatives(lexicon.RESULT_SIGNS)})"
    rf"(?:[^\n.!?。;=:：,，\d\\$*]{{0,40}}?(?:(?<=\s)(?:{alternatives(lexicon.SAYS)})(?!\w)|{alternatives(lexicon.SAYS_SIGNS)})[:：]?"
    rf"|[^\n.!?。;=:：,，\d\\$]{{0,40}}?[=:：】])",
    re.IGNORECASE,
)
_HEADING = re.compile(
    rf"^[ \t#>*_]*+(?:\w+[ \t]){{0,2}}(?:{alternatives(lexicon.RESULT)}|{alternatives(lexicon.RESULT_SIGNS)})[ \t*_]*+\n",
    re.IGNORECASE | re.MULTILINE,
)
_BEFORE = re.compile(
    rf"(?<![\w.])(?:{NUMBER})[^\n.,;:=\d]{{0,20}}?\s(?:is|ist|est|es|è|é)\s(?:the|die|das|la|le|il|a|o)\s(?:\w{{1,12}}\s){{0,2}}"
    rf"(?:{alternatives(lexicon.RESULT)})(?!\w)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(answer|result)>([^<]{1,400})</\1>", re.IGNORECASE)
_HASHES = re.compile(r"^####[ \t]*+([^\n]{1,200})$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=\S)[.!](?=[\s*_)\"”]|\Z)|[。！।]|\n")
_AFTERWARDS = re.compile(
    rf"\s++\((?!mod)|[,;]\s(?!\d|and\b)|(?<!\s)\s++(?:{alternatives(lexicon.BECAUSE)})(?!\w)", re.IGNORECASE
)
_NOT = re.compile(rf"(?<!\w)(?:{alternatives(lexicon.NOT)})(?!\w)|n't(?!\w)|{alternatives(lexicon.NOT_SIGNS)}", re.IGNORECASE)
_JOINED = re.compile(r"\s*+(?:,|\band\b|\bor\b|\bund\b|\boder\b|\by\b|\bo\b|\bet\b|\bou\b|\bи\b|\bили\b|和|或|と)\s*+")
_SEVERAL = re.compile(rf"(?>{NUMBER})(?:(?:,? and |,? or |, ?)(?>{NUMBER})){{1,40}}+,?")
_MIXED = re.compile(r"[-+]?\d++\s++\d++\s?/\s?\d++")
_CALCULATION = re.compile(r"[\d\s.,+\-*/\u00d7\u00b7\u00f7\u2212^()$€£%=xX]*?[+\-*/\u00d7\u00b7\u00f7\u2212^xX][\d\s.,+\-*/\u00d7\u00b7\u00f7\u2212^()$€£%=xX]*")
_VARIABLE = re.compile(r"\s*+[A-Za-z](?:_?\{?\w\}?|\([A-Za-z]\))?\s*+")
_FORMULA = re.compile(r"[-+(]?(?:\d++|[A-Za-zπθ√∞]|\\[A-Za-z]{2,12})(?:\s?[-+*/^(){},.\d\u221a]|\s?[A-Za-zπθ](?![A-Za-z])|\\[A-Za-z]{2,12}|\s?=){0,60}")
_UNIT_WORDS = r"(?:\s?%|\s?°\s?[CF]?|[\s-]?[^\W\d_][^\s\d=,;:!?()\[\]{}$\"]{0,20}){0,3}"
_VALUE = re.compile(rf"(?:{_MONEY})?\s?(?:{NUMBER})(?:\s?(?:{_MONEY}))?{_UNIT_WORDS}")
_ARITHMETIC = re.compile(
    rf"(?:\d|\))[^=\n\d]{{0,20}}?(?:(?<=[\d\s)}}])[-+*/×÷·\u2212^xX]|\\times|\\cdot|\\div)[^=\n]{{1,80}}=\s*+(?:[^\s=\d\\]{{0,3}}|\\text)[\s$]*+({NUMBER})"
)
_NAMED_VALUE = re.compile(r"[A-Za-z]{2,}_[A-Za-z]|[\"'`;]|[=!<>:]=|\bvar\b|\blet\b|\bconst\b")
_FENCE = re.compile(r"^[ \t]*+(?:```|~~~)", re.MULTILINE)
_CODE = re.compile(r"[ \t]*+(?:```|~~~|def |class |import |from \w+ import|return\b|print\(|#include|function )")
_COPULA_END = re.compile(rf"(?:(?<!\w)(?:{alternatives(lexicon.SAYS)}|be)|{alternatives(lexicon.SAYS_SIGNS)}|[:：=])\s*+[$€£]?\Z", re.IGNORECASE)
_TOTAL = re.compile(rf"(?<!\w)(?:{alternatives(lexicon.TOTAL)})(?!\w)|{alternatives(lexicon.TOTAL_SIGNS)}", re.IGNORECASE)
_NUMBERED = re.compile(
    r"\s*+(?:\d++[.)]\s++\D|(?:page|chapter|step|section|figure|part|question|problem|version|level|line|item|table)\s++\d)",
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
    found += [(m.start(), m.group(1)) for m in _HASHES.finditer(open_text) if _is_value(m.group(1))]
    try:
        found += _phrases(open_text)
        last = _last_sentence(open_text)
        if last is not None and not any(place >= len(text) - len(last) for place, _ in found):
            found += [(len(text), said) for said in [_closing(open_text, last)] if said]
    except _UnreadableError:
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


def last_number(text: str) -> str | None:
    """Return the last number of a text. It is a guess, for graders that know the right result."""
    found = _NUMBER.findall(plain(text[-LONGEST:]))
    return found[-1] if found else None


def plain(text: str) -> str:
    """Return a text with digits of all scripts, full-width characters and special spaces as ASCII."""
    if text.isascii():
        return text
    table = {}
    for character in set(text):
        code = ord(character)
        if code > 127 and character.isdecimal():
            table[code] = str(unicodedata.decimal(character))
        elif 0xFF01 <= code <= 0xFF5E:
            table[code] = chr(code - 0xFEE0)
        elif code in (0xA0, 0x2007, 0x2009, 0x202F, 0x3000):
            table[code] = " "
        elif code == 0x2013:
            table[code] = "-"
        elif code in (0x200B, 0x200E, 0x200F, 0x2066, 0x2067, 0x2068, 0x2069, 0xFEFF):
            table[code] = ""
        elif unicodedata.decomposition(character).startswith("<fraction>"):
            table[code] = " " + unicodedata.normalize("NFKC", character).replace("\u2044", "/")
    return text.translate(table)


class _UnreadableError(Exception):
    """A text states a result in a form that cannot be read. Another statement beside it may differ."""


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
        yield from ((m.start(1), m.end(1)) for m in re.finditer(r"\\boxed\s+(\S{1,80}?)(?=[.,]?(?:[\s$]|$))", text))


def _without(text: str, boxes: list[tuple[int, int]]) -> str:
    """Return a text of the same length without the contents of its boxes."""
    for begun, end in boxes:
        text = text[:begun] + _BOX * (end - begun) + text[end:]
    return text


def _phrases(text: str) -> Iterator[tuple[int, str]]:
    """Yield the results that phrases state, with their places.

    Raises:
        _UnreadableError: a phrase states a result in a form that cannot be read.
    """
    for pattern in (_PHRASE, _HEADING):
        for phrase in pattern.finditer(text):
            said = _said(text, phrase.end())
            if said is not None:
                yield phrase.start(), said
    for before in _BEFORE.finditer(text):
        number = _NUMBER.match(before.group())
        if number and not _NOT.search(before.group()):
            yield before.start(), number.group()


def _said(text: str, place: int) -> str | None:
    """Return the result at a place after a phrase, or `None` if the phrase states none.

    Raises:
        _UnreadableError: there is one, which cannot be read.
    """
    rest = text[place : place + 500]
    lead = re.match(_LEAD, rest)
    rest = rest[lead.end() if lead else 0 :]
    span = _SPAN.match(rest)
    ended = _SENTENCE_END.search(rest, span.end() if span else 0)
    sentence = rest[: ended.start()] if ended else rest
    after = text[place:].partition(sentence)[2] if sentence else ""
    if _BOX in sentence or not re.search(r"\w", sentence):
        return None
    if hedged(_line_around(text, place)):
        raise _UnreadableError
    if span:
        return _spans(rest, span)
    value = _value_of(sentence)
    if value is not None:
        return value
    if not re.search(r"\d", sentence) or _NOT.search(sentence):
        return None
    numbers = set(_NUMBER.findall(sentence))
    if after.strip(" \n.*_`)\"”。!") == "" and len(numbers) == 1:  # the sentence ends the text
        return numbers.pop()
    if after.strip(" \n.*_`)\"”。!") == "":
        equation = _equation(sentence)
        if equation is None:
            raise _UnreadableError
        return equation
    return None


def _line_around(text: str, place: int) -> str:
    begun = max(text.rfind("\n", 0, place), text.rfind(". ", 0, place)) + 1
    end = text.find("\n", place)
    return text[max(begun, place - 200) : min(place + 200, end if end >= 0 else len(text))]


def _spans(rest: str, span: re.Match[str]) -> str:
    """Return the content of a formula, and of those that are joined to it."""
    found, joined = [_content(span)], _JOINED.match(rest, span.end())
    while joined and len(found) < 16:
        following = _SPAN.match(rest, joined.end())
        if following is None:
            break
        found.append(_content(following))
        joined = _JOINED.match(rest, following.end())
    return ",".join(found)


def _content(span: re.Match[str]) -> str:
    return next(g for g in span.groups() if g is not None)


def _value_of(sentence: str) -> str | None:
    """Return the value that a sentence begins with and says hardly more than, or `None`."""
    cut = _AFTERWARDS.search(sentence)
    said = (sentence[: cut.start()] if cut else sentence).strip(" *_`\"'”’.:;,")
    if not said:
        return None
    calculation, equals, result = said.rpartition("=")
    if equals and (_CALCULATION.fullmatch(calculation.strip()) or _VARIABLE.fullmatch(calculation)):
        said = result.strip(" $")
    if _SEVERAL.fullmatch(said):
        return re.sub(r",? (?:and|or) ", ", ", said)
    if _is_value(said):
        return said
    # Several parts, such as "5 hours 30 minutes": equal only if all of it is equal.
    if re.match(rf"(?:{_MONEY})?\s?\d", said) and len(said.split()) <= 8:
        return said
    return None


def _is_value(said: str) -> bool:
    said = said.strip(" *_`$.")
    if len(said) > 400:
        return False
    if _VALUE.fullmatch(said) or _MIXED.match(said) or _span_only(said):
        return True
    letters = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", said))
    return bool(_FORMULA.fullmatch(said)) and not letters and (len(said) == 1 or bool(re.search(r"[-+*/^\d\\=πθ∞√]", said)))


def _span_only(said: str) -> bool:
    return _SPAN.fullmatch(said) is not None


def _last_sentence(text: str) -> str | None:
    """Return the last sentence of a text, or `None` if it is part of a program or has a box."""
    line = text.rsplit("\n", 1)[-1]
    if len(_FENCE.findall(text)) % 2 or _CODE.match(line):
        return None
    if line.strip(" *_$") in ("\\]", ""):  # a formula in lines of its own
        spans = list(_SPAN.finditer(text[-_LAST:]))
        line = " ".join(spans[-1].group().split()) if spans else ""
    if len(line) > 2000 or _BOX in line:
        return None
    ends = [m.end() for m in _SENTENCE_END.finditer(line) if line[m.end() :].strip(" *_$)\"”")]
    return line[ends[-1] if ends else 0 :]


def _closing(text: str, sentence: str) -> str | None:
    """Return the result that the last sentence of a text concludes with, or `None`.

    Raises:
        _UnreadableError: it concludes with a possibility, or says what the result is not.
    """
    sentence = sentence.strip()
    alone = _SPAN.fullmatch(sentence.rstrip("."))
    if alone:
        sentence = "= " + _content(alone).strip().replace("\n", " ")
    concluded = _equation(sentence) or _concluded(text, sentence)
    if concluded and (hedged(sentence) or _NOT.search(sentence)):
        raise _UnreadableError
    return concluded


def _equation(sentence: str) -> str | None:
    """Return the right side of an equation that ends a sentence, or that a calculation in it leads to."""
    bare = sentence.rstrip(" $.*_)\\]!。")
    before, equals, result = bare.rpartition("=")
    if not equals:
        before, equals, result = bare.rpartition("≈")
    result = result.strip(" $*_")
    if equals and before.strip(" $*") and not _NAMED_VALUE.search(before[-80:]) and _is_value(_balanced(result)):
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
    spans = list(_SPAN.finditer(sentence))
    if spans and not re.search(r"\w", sentence[spans[-1].end() :]) and _COPULA_END.search(sentence[: spans[-1].start()].rstrip("*_")):
        return _content(spans[-1])
    clause = re.split(r"[,;]\s(?!\d)", sentence)[-1]
    said = list(_AMOUNT.finditer(clause))
    if len({m.group() for m in said}) != 1 or len(sentence) > 300:
        return None
    place = said[-1].start()
    copula = _COPULA_END.search(clause[:place].rstrip(" *_"))
    if copula and _TOTAL.search(clause) and _is_value(clause[place:]):
        return clause[place:].strip(" *_.")
    worked = _ARITHMETIC.findall(text)
    if not worked or clause != sentence or _digits(worked[-1]) != _digits(_NUMBER.findall(clause)[-1]):
        return None
    return _with_unit(clause, place)


def _with_unit(sentence: str, place: int) -> str:
    """Return the amount at a place, with the words after it if they end the sentence or a markup."""
    amount = _AMOUNT.match(sentence, place)
    assert amount is not None
    unit = re.match(r"[*_]{0,4}(?:\s?%|[\s-]?[^\W\d_]{1,20})", sentence[amount.end() :])
    return (amount.group() + (unit.group() if unit else "")).replace("*", "")


def _digits(number: str) -> str:
    whole = re.sub(r"[,' \u2019]", "", number)
    return whole.rstrip("0").rstrip(".") if "." in whole else whole


def _short_reply(text: str) -> str | None:
    """Return the value of a reply that says hardly more than it."""
    if len(text) > 400 or text.count("\n") > 2 or text.startswith(("{", "[", "<", "```")):
        return None
    if _SPAN.fullmatch(text.strip(" *_.")):
        return text.strip(" *_.")
    bare = " ".join(text.split()).strip(" *_`\"'“”.!。")
    if len(bare) <= 120 and not _NUMBERED.match(text) and _is_value(bare):
        return bare
    said = _value_of(bare)
    if said is not None and len(bare) <= 120 and "\n" not in text and not _NUMBERED.match(text) and not hedged(bare):
        return said
    spans = list(_SPAN.finditer(bare))
    numbers = _NUMBER.findall(bare)
    several = len(spans) != 1 if spans else len(set(numbers)) != 1
    if several or len(bare) > _SHORT_REPLY or len(bare.split()) > 7 or re.search(r"[.!?。]\s", bare):
        return None
    if _NUMBERED.match(text) or _NOT.search(bare) or hedged(bare) or (spans and len(numbers) > 1):
        return None
    if spans:
        return _content(spans[0])
    amount = _AMOUNT.search(bare)
    return _with_unit(bare, amount.start()) if amount else None


_BOX_OPENED = re.compile(r"\\f?boxed\s*\{|\\fbox\s*\{")
_PLACEHOLDER = re.compile(
    r"[\s.?_…*-]*|(?:\\text\s*\{)?\s*(?:(?:the |your |final |my )*(?:answer|result|solution|number|value)(?: here)?|unknown|none|n/?a|nan|null"
    r"|error|undefined variable|ans|cannot be determined|not enough information|insufficient information|i don'?t know)\s*\}?\.?",
    re.IGNORECASE,
)


def _is_placeholder(said: str) -> bool:
    return _PLACEHOLDER.fullmatch(said.strip(" *_$")) is not None
