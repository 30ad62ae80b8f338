"""Multiple choice: do the samples pick the same letter?"""

import re
from collections.abc import Sequence

from proxy.cascade.confidence.votes import cut_off, share_standing, votes_needed, votes_wanted
from proxy.cascade.tasks import options
from proxy.cascade.types import Ballot, Sample, Standing, Task

_ANY = "ABCDEFGHIJ"  # when a header says "choice" and the options are in a form we do not read
_LETTER = r"((?-i:[A-Z]))"  # the words around it are read in any case
_SAYS = r"\b\s*(?:is|are|ist|lautet|est|es|:)*[\s:*_\"'$]*(?:option\s+|choice\s+)?[*_\"'$(\[]*"
_STATED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\\boxed\{{\s*(?:\\text(?:bf|rm)?\s*\{{)?\s*\(?{_LETTER}\)?[.:]?\s*\}}",
        rf"(?:answer|antwort|réponse|respuesta){_SAYS}{_LETTER}(?![\w'])",
        rf"(?:choice|option){_SAYS}{_LETTER}(?![\w'])",
        rf"\*\*\s*\(?{_LETTER}[).:]?\s*(?:\*\*|[).:])",
    )
)
_NAMED = tuple(re.compile(p, re.MULTILINE) for p in (r"^[ \t]*\(?([A-Z])[).:](?!\w)", r"\(([A-Z])\)"))
_BARE = re.compile(r"[\s*_\"'`$(\[]*([A-Za-z])[\s*_\"'`$)\].:]*")


class ChoiceEstimator:
    """Confidence = vote share of the letter."""

    usual = (0.75, 0.5)

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Label a sample with its letter; `None` when it names none of the options."""
        return None if cut_off(sample) else letter(sample.text, options(task.text) or tuple(_ANY))

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`."""
        return share_standing(ballot, total)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.needed`."""
        return votes_needed(threshold, total, inclusive=inclusive)

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`."""
        return votes_wanted(ballot, total, threshold, inclusive=inclusive)


def letter(text: str, offered: Sequence[str]) -> str | None:
    """Return the option that an answer settles on; `None` when that is unclear, or none of those offered."""
    found = _found(text)
    return found if found in offered else None


def _found(text: str) -> str | None:
    bare = _BARE.fullmatch(text)
    if bare:
        return bare.group(1).upper()
    for stated in _STATED:
        letters = stated.findall(text)
        if letters:
            return str(letters[-1])
    for named in _NAMED:
        letters = named.findall(text)
        if letters:  # an answer that goes through several options settles on none of them
            return str(letters[0]) if len(set(letters)) == 1 else None
    return None
