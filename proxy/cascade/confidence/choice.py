"""Multiple choice: do the samples pick the same letter?"""

import re
from collections.abc import Sequence

from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off
from proxy.cascade.detection import ALPHABETS, halfwidth, options
from proxy.cascade.types import Sample, Task

_READ = 8000  # characters at the end of an answer, where its choice is
_ANY = ALPHABETS[0]  # for a request that a header calls "choice", with options in an unknown form
_BIG, _SMALL = r"A-Z\u0410-\u041a", r"a-j\u0430-\u043a"  # Latin and Cyrillic
_CAPITAL = rf"(?-i:[{_BIG}])"  # the words around it are read in any case
# A letter can be a word. A capital letter counts if no word follows ("D'accord", "Answer: A man"). A small letter counts
# at the end of its line or in a parenthesis.
_LETTER = (
    rf"({_CAPITAL}(?![a-z0-9_'À-ӿ])(?!(?<=:[ ][AE\u0410\u0412\u0418\u041a])[ ](?!because|since)\w)"
    rf"|(?-i:[{_SMALL}])(?=\)|[*_.\"'`]{{0,4}}[ \t]{{0,9}}$))"
)
_ANSWER = (
    r"(?:answer|antwort|antwoord|réponse|respuesta|risposta|resposta|odpowiedź(?:\s+to)?|cevap|ответ"
    r"|الإجابة|الجواب|उत्तर|答案|正解|答え|回答|정답|답)(?:\s+(?:corr\w{3,6}|الصحيحة))?"
)
_GAP = r"[\s:=*_\"'$(\[—-]{0,9}"  # bounded, so that the gaps take no time
_SAYS = (
    rf"{_GAP}(?:is|are|ist|lautet|est|es|è|é|هي|هو|是|为|為|は|은|는)?{_GAP}(?:(?:option|choice)\s)?{_GAP}"
)
_STATED = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        rf"\\boxed\{{\s*+(?:\\text(?:bf|rm)?\s*+\{{)?\s*+\(?({_CAPITAL})\)?[.:]?\s*+\}}",
        rf"{_ANSWER}{_SAYS}{_LETTER}",
        rf"(?:choice|option){_SAYS}{_LETTER}",
        rf"\*\*\s*\(?({_CAPITAL})[).:]?\s*(?:\*\*|[).:])",
    )
)
_NAMED = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rf"^[ \t]*\(?([{_BIG}](?=[).:、])|[{_SMALL}](?=\)))[).:、](?![A-Za-z0-9_])",
        rf"(?<!\w)\(([{_BIG}{_SMALL}])\)",
    )
)
_BARE = re.compile(rf"[\s*_\"'`$(\[]*([{_BIG}{_SMALL}])[\s*_\"'`$)\].:。]*")


class ChoiceEstimator(VoteShare):
    """Confidence = vote share of the letter."""

    default_thresholds = (0.75, 0.5)

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the letter of a sample, or `None` if it names none of the options."""
        return None if cut_off(sample) else letter(sample.text, options(task.text) or tuple(_ANY))


def letter(text: str, offered: Sequence[str]) -> str | None:
    """Return the option that an answer settles on, or `None` if that is unclear or not on offer."""
    found = _found(halfwidth(text[-_READ:]))
    return found.upper() if found and found.upper() in offered else None


def _found(text: str) -> str | None:
    bare = _BARE.fullmatch(text)
    if bare:
        return bare.group(1)
    for stated in _STATED:
        letters = stated.findall(text)
        if letters:
            return str(letters[-1])
    for named in _NAMED:
        letters = named.findall(text)
        if letters:  # an answer that discusses several options settles on none of them
            return str(letters[0]) if len(set(letters)) == 1 else None
    return None
