"""Mathematics: do the samples arrive at equivalent final answers?"""

import re
from collections.abc import Sequence
from fractions import Fraction

from proxy.cascade.confidence.canonical import short
from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off
from proxy.cascade.confidence.worker import Worker
from proxy.cascade.types import Sample, Task

_LONGEST_COMPARED = 80  # `short` keeps labels of this length
_READ = 8000  # characters at the end of a solution, where the answer is
_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?|[-+]?\.\d+"
_SAID = re.compile(
    r"(?:answer|antwort|lösung|ergebnis|réponse|résultat|respuesta|resultado)\b"
    r"(?:\s*+(?:is|are|ist|lautet|est|es)\b)?+\s*+[:=]?+\**+\s*+(\S[^\n]*)",
    re.IGNORECASE,
)
_SPAN = re.compile(r"(?<!\\)\$\$?(.{1,400}?)(?<!\\)\$\$?|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
_CALCULATION = re.compile(r"[\d\s.,+\-*/\u00d7\u00b7\u00f7()$€%=]+")
_EQUATION_AT_END = re.compile(r"=\s*+([^=\n]{1,80}+)$")
# A tower of powers or a factorial can occupy the algebra for ever, so it is compared as text.
_ENDLESS = re.compile(r"\^\s*+\{?+[^{}^]*+\^|\^\s*+\{?+\s*+\d{5}|\d{3}\s*!|\\sum|\\prod|\\int")
_SEVERAL = re.compile(rf"(?>{_NUMBER})(?:(?:,? and |, ?)(?>{_NUMBER}))++,?")
_FORMULA_WORDS = {"pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "frac", "infty", "mod", "or", "and"}

ALGEBRA = Worker("equal")


class MathEstimator(VoteShare):
    """Confidence = share of the largest group of equivalent final answers."""

    default_thresholds = (0.75, 0.75)

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the group with an equivalent answer, else a new one, or `None` if the sample has no answer."""
        answer = None if cut_off(sample) else final_answer(sample.text)
        if answer is None:
            return None
        label = short(answer)
        if label in groups:
            return label
        for group in groups:
            if await equivalent(label, group):
                return group
        return label


async def equivalent(one: str, other: str) -> bool:
    """Return True if two normalised answers are the same number or expression."""
    if one == other:
        return True
    a, b = number(one), number(other)
    if a is not None and b is not None:
        return a == b
    if max(len(one), len(other)) > _LONGEST_COMPARED or _ENDLESS.search(one) or _ENDLESS.search(other):
        return False
    if one.isalpha() and other.isalpha():
        return one.casefold() == other.casefold()
    return await ALGEBRA.ask(min(one, other), max(one, other)) is True


def final_answer(text: str) -> str | None:
    """Return the normalised final answer of a solution, or `None` if it has none."""
    text = text[-_READ:]
    for find in (_boxed, _after_hashes, _after_phrase, _equation_at_end, _last_number):
        found = find(text)
        answer = normalised(found) if found else ""
        if answer:
            return answer
    return None


def number(answer: str) -> Fraction | None:
    """Return the exact value of a plain number, decimal or fraction, or `None` for anything else."""
    plain = re.sub(r"^([-+]?)\\frac\{(\d+)\}\{(\d+)\}$", r"\1\2/\3", answer)
    if not re.fullmatch(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:/\d+)?", plain) or len(plain) > _LONGEST_COMPARED:
        return None
    above, _, below = plain.partition("/")
    return Fraction(above) / int(below or 1) if int(below or 1) else None


def normalised(answer: str) -> str:
    """Remove markup, units, thousands separators and spaces, which do not change an answer's value."""
    out = _unwrapped(answer)
    for pattern, written in _REWRITES:
        out = pattern.sub(written, out)
    if not re.search(r"[()\[\]{}]", out):  # inside brackets a comma separates
        out = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", lambda m: m.group().replace(",", ""), out)
    measured = re.fullmatch(
        r"([-+]?(?:\d++(?:\.\d++)?+|\.\d++)(?:/\d++)?+)\s*+((?:[^\W\d_]| ){2,}+)(?:\^\{?\d\}?)?", out
    )
    if measured and not set(measured.group(2).split()) & _FORMULA_WORDS:
        out = measured.group(1)
    out = out.strip(" .,;:")
    return out if re.fullmatch(r"[A-Za-z ]+", out) else re.sub(r"\s+", "", out)


_REWRITES = tuple(
    (re.compile(pattern), written)
    for pattern, written in (
        (r"\\[dt]frac", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\!", ""),
        (r"\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])|(?<!\\)\\[,;: ]|~", " "),
        (r"(?<=[\d}])\s*\\(?:text|mathrm|mbox|textrm)\s*\{[^{}]*\}(?:\^\{?\d\}?)?\s*$", ""),  # a unit
        (r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}", r"\1"),
        (r"\^\s*+\{?+\s*+\\circ\s*+\}?|\\degree|°", ""),
        (r"\\?%|\\?[$€£]|\*\*|`", ""),
        (r"^\s*+[A-Za-z](?:\([A-Za-z]\))?\s*+=\s*+(?=[^=]++$)", ""),
        ("\u2212", "-"),  # the minus sign of typography
        (r"\s+", " "),
    )
)


def _unwrapped(answer: str) -> str:
    """Remove the delimiters around a formula and the full stop after it."""
    out, before = answer.strip(), ""
    while out != before:
        before = out
        if out.startswith("$") and out.endswith("$"):
            out = out.strip("$").strip()
        for opened, closed in (("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("", ".")):
            if len(out) > len(opened + closed) and out.startswith(opened) and out.endswith(closed):
                out = out[len(opened) : -len(closed)].strip()
    return out


def _boxed(text: str) -> str | None:
    r"""Return the content of the last complete \boxed{...} or \fbox{...}."""
    opened: list[int] = []
    found = (-1, -1)
    boxes = {match.end() for match in re.finditer(r"\\f?boxed\s*\{|\\fbox\s*\{", text)}
    for brace in re.finditer(r"[{}]", text):
        if brace.group() == "{":
            opened.append(brace.end())
        elif opened and (begun := opened.pop()) in boxes:
            found = max(found, (begun, brace.start()))
    if found[0] >= 0:
        return text[slice(*found)]
    bare = re.findall(r"\\boxed\s+(\S+?)[.,]?(?=[\s$]|$)", text)
    return bare[-1] if bare else None


def _after_hashes(text: str) -> str | None:
    found = re.findall(r"####\s*([^\n]+)", text)
    return _core(found[-1]) if found else None


def _after_phrase(text: str) -> str | None:
    found = _SAID.findall(text)
    return _core(found[-1]) if found else None


def _equation_at_end(text: str) -> str | None:
    last = text.rstrip().rsplit("\n", 1)[-1].rstrip(" $.*\\])")
    found = _EQUATION_AT_END.search(last)
    # After a comma comes another clause, which may contain another number.
    return _core(found.group(1)) if found and not re.search(r"[,;]\s", found.group(1)) else None


def _last_number(text: str) -> str | None:
    found = re.findall(_NUMBER, text)
    return found[-1] if found else None


def _core(said: str) -> str | None:
    """Reduce the words after "the answer is" to the answer: a formula, a number, or a few words."""
    span = _SPAN.search(said)
    if span:
        return next(g for g in span.groups() if g is not None)
    sentence = re.split(
        r"(?<=\S)\.(?=\s|$)|,\s(?!\d|and\b)|(?<!\s)\s++(?:because|since|weil|car|porque)\b", said
    )[0]
    calculation, equals, result = sentence.rpartition("=")
    if equals and _CALCULATION.fullmatch(calculation):
        sentence = result.strip()
    if _SEVERAL.fullmatch(sentence):
        return re.sub(r",? and ", ", ", sentence)
    if len(sentence.split()) <= 3 and not re.search(r"\d\s+[A-Za-z]{2}", sentence):
        return sentence
    found = re.findall(_NUMBER, sentence)
    return found[0] if found else (sentence if len(sentence.split()) <= 3 else None)
