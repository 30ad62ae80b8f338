"""Values in texts: numbers in any notation, amounts with units, and formulas."""

import re
import unicodedata

from proxy.cascade.confidence import result_words as lexicon
from proxy.cascade.confidence.result_words import alternatives

LONGEST = 12_000
"""The most characters of an answer that is read. A longer one states nothing: a part of it might contradict the rest."""
QUICKLY_READ = 2_000
"""A longer answer is read in a thread, because that takes milliseconds."""
NUMBER = (
    r"(?:[-+\u2212]\s?)?(?:\d{1,3}(?:\.\d{3}){1,8},\d++"
    r"|\d{1,3}(?:[,' \u2019]\d{2,3}(?!\d)){0,8}[,' \u2019]\d{3}(?!\d)|\d++)(?:[.,]\d++)?"
    r"(?:\s?/\s?\d++)?|[-+]?\.\d++"
)
_MONEY = r"(?:US)?\\?[$€£¥₹₽₩฿৳]|US\$|USD|EUR|Rs\.?|INR|R\$"
SPAN = re.compile(
    r"(?<!\\)\$\$?([^$]{1,400})(?<!\\)\$\$?|\\\(((?:(?!\\\)).){1,400})\\\)|\\\[((?:(?!\\\]).){1,400})\\\]",
    re.DOTALL,
)
NUMBERS = re.compile(NUMBER)
AMOUNT = re.compile(rf"(?:(?:{_MONEY})\s?)?(?:{NUMBER})")
SENTENCE_END = re.compile(r"(?<=\S)[.!](?=[\s*_)\"”]|\Z)|[。！।]|\n")
_AFTERWARDS = re.compile(
    rf"(?<!\s)\s++\((?!mod)|[,;]\s(?!\d|and\b)|(?<!\s)\s++(?:{alternatives(lexicon.BECAUSE)})(?!\w)",
    re.IGNORECASE,
)
NOT = re.compile(
    rf"(?<!\w)(?:{alternatives(lexicon.NOT)})(?!\w)|n't(?!\w)|{alternatives(lexicon.NOT_SIGNS)}",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"\s*+(?:,|\band\b|\bor\b|\bund\b|\boder\b|\by\b|\bo\b|\bet\b|\bou\b|\bи\b|\bили\b|和|或|と)\s*+"
)
_SEVERAL = re.compile(rf"(?>{NUMBER})(?:(?:,? and |,? or |, ?)(?>{NUMBER})){{1,40}}+,?")
_MIXED = re.compile(r"[-+]?\d++\s++\d++\s?/\s?\d++")
_CALCULATION = re.compile(
    r"(?=[\d\s.,()$€£%=]*+[+\-*/\u00d7\u00b7\u00f7\u2212^xX])"
    r"[\d\s.,+\-*/\u00d7\u00b7\u00f7\u2212^()$€£%=xX]++"
)
_VARIABLE = re.compile(r"\s*+[A-Za-z](?:_?\{?\w\}?|\([A-Za-z]\))?\s*+")
_FORMULA = re.compile(
    r"[-+(]?(?:\d++|[A-Za-zπθ√∞]|\\[A-Za-z]{2,12})"
    r"(?:\s?[-+*/^(){},.\d\u221a]|\s?[A-Za-zπθ](?![A-Za-z])|\\[A-Za-z]{2,12}|\s?=){0,60}"
)
_UNIT_WORDS = r"(?:\s?%|\s?°\s?[CF]?|[\s-]?[^\W\d_][^\s\d=,;:!?()\[\]{}$\"]{0,20}){0,3}"
_VALUE = re.compile(rf"(?:{_MONEY})?\s?(?:{NUMBER})(?:\s?(?:{_MONEY}))?{_UNIT_WORDS}")


def last_number(text: str) -> str | None:
    """Return the last number of a text. It is a guess, for graders that know the right result."""
    found = NUMBERS.findall(plain(text[-LONGEST:]))
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


def spans_joined(rest: str, span: re.Match[str]) -> str:
    """Return the content of a formula, and of those that are joined to it."""
    found, joined = [_result_of(content(span))], _JOINED.match(rest, span.end())
    while joined and len(found) < 16:
        following = SPAN.match(rest, joined.end())
        if following is None:
            break
        found.append(_result_of(content(following)))
        joined = _JOINED.match(rest, following.end())
    return ",".join(found)


def _result_of(formula: str) -> str:
    """Return the right side of a calculation, and any other formula as it is."""
    before, equals, result = formula.rpartition("=")
    words = re.sub(r"\\(?:times|cdot|div|frac|dfrac|left|right)(?![A-Za-z])|[{}]|\\[,;:! ]", " ", before)
    return result if equals and _CALCULATION.fullmatch(words + "+") and re.search(r"\d", words) else formula


def content(span: re.Match[str]) -> str:
    """Return the formula of a match of `SPAN`."""
    return next(g for g in span.groups() if g is not None)


def value_of(sentence: str) -> str | None:
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
    if is_value(said):
        return said
    # Several parts, such as "5 hours 30 minutes": equal only if all of it is equal.
    if re.match(rf"(?:{_MONEY})?\s?\d", said) and len(said.split()) <= 8:
        return said
    return None


def is_value(said: str) -> bool:
    """Return True if a text is a number with at most a few words of its unit, or a formula."""
    said = said.strip(" *_`$.")
    if len(said) > 400:
        return False
    if _VALUE.fullmatch(said) or _MIXED.match(said) or _span_only(said):
        return True
    letters = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", said))
    return (
        bool(_FORMULA.fullmatch(said))
        and not letters
        and (len(said) == 1 or bool(re.search(r"[-+*/^\d\\=πθ∞√]", said)))
    )


def _span_only(said: str) -> bool:
    return SPAN.fullmatch(said) is not None


def with_unit(sentence: str, place: int) -> str:
    """Return the amount at a place, with the words after it if they end the sentence or a markup."""
    amount = AMOUNT.match(sentence, place)
    assert amount is not None
    unit = re.match(r"[*_]{0,4}(?:\s?%|[\s-]?[^\W\d_]{1,20})", sentence[amount.end() :])
    return (amount.group() + (unit.group() if unit else "")).replace("*", "")


def digits(number: str) -> str:
    """Return a number without separators of thousands and without zeros at its end."""
    whole = re.sub(r"[,' \u2019]", "", number)
    return whole.rstrip("0").rstrip(".") if "." in whole else whole
