"""Multiple choice: do the samples pick the same option?"""

import asyncio
import re
from collections.abc import Iterator, Sequence

from proxy.cascade.confidence import result_words as lexicon
from proxy.cascade.confidence.doubt import declines
from proxy.cascade.confidence.result_words import alternatives
from proxy.cascade.confidence.values import LONGEST, QUICKLY_READ, plain
from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off
from proxy.cascade.detection import ALPHABETS, options
from proxy.cascade.types import Sample, Task

_ANY = ALPHABETS[0]  # for a request that a header calls "choice", with options in an unknown form
_SHORT = 80  # characters of an answer that has no room to discuss the options
_CIRCLED = str.maketrans(
    {0x2460 + i: f"({i + 1})" for i in range(20)} | {0x24B6 + i: f"({chr(65 + i)})" for i in range(26)}
)
_BIG, _SMALL = r"A-Z\u0410-\u042f\u0391-\u03a9", r"a-z\u0430-\u044f\u03b1-\u03c9"  # Latin, Cyrillic and Greek
_OTHER = "أابجدهوกขคงจฉאבגדהアイウエオカ가나다라마바ㄱㄴㄷㄹㅁकखगघङকখগঘঙ甲乙丙丁戊"
_CAPITAL = rf"(?-i:[{_BIG}])"  # the words around it are read in any case
# A letter can be a word. A capital letter counts if no word follows ("D'accord", "Answer: A man"). A small letter counts
# at the end of its line or in a parenthesis.
_LETTER = (
    rf"({_CAPITAL}(?![a-z0-9_'À-ӿ])"
    r"(?!(?<=[\s:][AEIO\u0410\u0412\u0418\u041a\u041e])[ ](?!because|since|as\b|with\b|or\b|and\b|is\scorrect)\w)"
    r"(?!(?<=[\s:].)[ ](?!because|since|as\b|with\b|which\b|or\b|and\b|is\s(?:the\s)?(?:correct|right))(?-i:[a-z]))"
    rf"|(?-i:[{_SMALL}])(?=[)\]]|[*_.\"'`]{{0,4}}[ \t]{{0,9}}$)"
    rf"|[{_OTHER}](?![^\W{_OTHER}])|\d{{1,2}}(?=[)\]*]|[*_.\"'`]{{0,4}}[ \t]{{0,9}}$))"
)
_MARKUP = r"[\s=*_\"'$(\[「『【”“—-]{0,9}"  # bounded, so that the gaps take no time
_ANSWER = (
    r"(?:\banswers?|antwort|antwoord|réponse|respuesta|risposta|resposta|odpowiedź(?:\s+to)?|cevap|ответ"
    rf"|الإجابة|الجواب|उत्तर|答案|正解|答え|回答|정답|답|{alternatives(lexicon.RESULT_SIGNS)}"
    rf"|(?<!\w)(?:{alternatives(lexicon.RESULT)}))(?:\s+(?:corr\w{{3,6}}|الصحيحة))?"
)
_SAYS = (
    rf"(?:(?:\s(?!not\b|nicht\b|pas\b|no\b|не\b)[^\W\d]{{1,12}}){{0,2}}?\s{{0,3}}(?:(?:{alternatives(lexicon.SAYS)}|must\sbe|should\sbe)(?!\w)|{alternatives(lexicon.SAYS_SIGNS)}|은|는|】)"
    rf"|[\s*_]{{0,4}}[:：=—-]|\s{{0,3}}(?=[*(\[「『“\"']))"
    rf"{_MARKUP}:?{_MARKUP}(?:(?:option|choice|letter|number|opción|вариант|选项|選項)\s?)?{_MARKUP}"
)
_GOOD = r"(?:the\s)?(?:correct|right|best|true)"
_STATED = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        rf"\\boxed\{{\s*+(?:\\text(?:bf|rm)?\s*+\{{)?\s*+\(?((?-i:[{_BIG}{_SMALL}{_OTHER}]|\d{{1,2}}))\)?[.:]?\s*+\}}",
        rf"{_ANSWER}{_SAYS}{_LETTER}",
        rf"{_GOOD}\s(?:choice|option|one|statement){_SAYS}{_LETTER}",
        rf"\b(?:option|choice)\s[(\[*]{{0,3}}({_CAPITAL}|\d{{1,2}})[)\]*.:]{{0,3}}\sis\s{_GOOD}(?!\w)",
        rf"(?:^|\s)[(\[*]{{0,3}}({_CAPITAL})[)\]*]{{0,3}}\sis\s{_GOOD}\s(?:answer|option|choice)",
        rf"odpowiedź(?:\s\w{{1,12}})?\sto{_MARKUP}{_LETTER}",
        rf"([{_BIG}])\s?(?:が|是|은|는|가|이)\s?(?:正解|正しい|正确|正確|答え|答案|정답)",
        rf"(?:选择|选|選擇|選|应选|故选)[:：]?\s?[(（]?([{_BIG}])(?![A-Za-z项項])",
        rf"\bI(?:'d|'ll|\swill|\swould)?\s(?:choose|pick|select|go\swith)\s(?:option\s)?{_MARKUP}{_LETTER}",
    )
)
_SECOND = re.compile(
    rf"[)\]*_.\s]{{0,4}}(?:,|/|&|\b(?:or|and|oder|und|ou|et|o|y|или|и)\b|或|和|と|または)\s*+(?:option\s)?[(\[*]{{0,3}}"
    rf"([{_BIG}]|\d{{1,2}})(?![\w'])"
)
_DENIED = re.compile(
    r"[)\]*_.\s]{0,4}(?:is|was|are|ist|est|es|can|seems|cannot)(?:n't|\s(?:not|wrong|incorrect|false|too|nicht|falsch|pas|no)(?!\w))"
)
_SYMBOL = rf"[{_BIG}{_SMALL}{_OTHER}]|\d{{1,2}}"
_ALONE = re.compile(
    rf"[\s*_\"'`$(\[【>-]*+(?:(?:option|choice|answer|选项|вариант)\s)?[\s*_\"'`$(\[]*+({_SYMBOL})[\s*_\"'`$)\].、。】]*+",
    re.IGNORECASE,
)
_MARKED = re.compile(
    rf"^[ \t>*_-]*+[(\[]?(?:([{_BIG}{_OTHER}]|\d{{1,2}})[)\].:、]|([{_SMALL}])[)\]])[*_]{{0,3}}(?![A-Za-z0-9_])",
    re.MULTILINE,
)
# The options of a line, and the Q of a dialogue, in which A: is no choice.
_INLINE = re.compile(rf"(?<![^\W_])(?:([{_BIG}])\)(?=\s)|Q(?=[.:]\s))")
_BOLD = re.compile(rf"\*\*[ \t]*+[(\[]?([{_BIG}{_OTHER}]|\d{{1,2}})[)\].:]?[ \t]*+(?:\*\*|[)\].:][ \t])")
_AT_END = re.compile(rf"[(\[]({_SYMBOL})[)\]][.*_\s]{{0,4}}\Z")


class ChoiceEstimator(VoteShare):
    """Confidence = vote share of the option."""

    default_thresholds = (0.75, 0.5)

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the letter of a sample, or `None` if it commits to none of the options, or to several."""
        if cut_off(sample):
            return None
        offered = options(task.text) or tuple(_ANY)
        if len(sample.text) <= QUICKLY_READ:
            return letter(sample.text, offered)
        return await asyncio.to_thread(letter, sample.text, offered)


def letter(text: str, offered: Sequence[str]) -> str | None:
    """Return the option that an answer commits to, or `None` if that is unclear or not on offer.

    An answer that discusses the options, or mentions one, commits to none of them.
    """
    if len(text) > LONGEST or declines(text):
        return None
    text = plain(text.rpartition("</think>")[2].translate(_CIRCLED)).strip()
    found = {symbol.upper() for symbol in _commitments(text)}
    names = {name.upper(): name for name in offered}
    return names.get(found.pop()) if len(found) == 1 else None


def _commitments(text: str) -> Iterator[str]:
    """Yield each option that a text commits to."""
    bare = _ALONE.fullmatch(text)
    if bare:
        yield bare.group(1)
        return
    for stated in _STATED:
        for said in stated.finditer(text):
            if _DENIED.match(text, said.end(1)):
                continue
            yield said.group(1)
            second = _SECOND.match(text, said.end(1))
            if second:
                yield second.group(1)
    lines = text.split("\n")
    # A letter alone after a greeting is a name.
    signed = len(lines) > 1 and "\n".join(lines[:-1]).rstrip().endswith(",")
    ends = lines[:1] if signed else [lines[0], lines[-1]]
    for line in ends:
        if alone := _ALONE.fullmatch(line):
            yield alone.group(1)
    # Marks at several lines, or several in bold, discuss the options.
    marked = {one or other for one, other in _MARKED.findall(text)} | set(_INLINE.findall(text))
    at_ends = [m.group(1) or m.group(2) for m in map(_MARKED.match, ends) if m]
    if at_ends and len(marked) == 1:
        yield at_ends[0]
    in_bold = [(line, m) for line in ends for m in _BOLD.finditer(line)]
    bold = {m.group(1) for line, m in in_bold if m.start() < 3 or m.end() > len(line) - 3}
    if len(bold) == 1 and len(marked) <= 1:
        yield bold.pop()
    if len(text) <= _SHORT and (end := _AT_END.search(text)):
        yield end.group(1)
