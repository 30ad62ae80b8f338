"""Normal forms of results: markup, notation and units, which do not change a value."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from proxy.cascade.confidence.units import Unit, unit_of
from proxy.cascade.confidence.values import NUMBER, plain

_LONGEST = 80
_LARGEST_EXPONENT = 60
_FORMULA_WORDS = {
    "pi",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "log",
    "ln",
    "exp",
    "frac",
    "infty",
    "mod",
    "or",
    "and",
    "to",
    "x",
    "y",
    "e",
    "i",
}
_MONEY_WORDS = {"$": "dollars", "€": "euros", "£": "GBP", "¥": "yen", "₹": "rupees", "₽": "RUB"}
_NUMERIC = rf"(?:\d++\s\d++/\d++|{NUMBER})"
_MEASURED = re.compile(
    rf"(?P<sign>[-+]\s?)?(?P<money>(?:US)?[$€£¥₹₽]\s?)?(?P<number>{_NUMERIC})\s*+"
    r"(?P<words>(?:%|[$€£¥₹₽¢]|[^\W\d_])(?:[^\d=,;:(){}\[\]\\<>]|(?<=[A-Za-z])\^?\{?[23]\}?(?!\d)){0,60})?"
)
_SCIENTIFIC = re.compile(
    r"([-+]?\d{1,40}(?:\.\d{1,40})?)(?:[eE]|(?:\\times|\\cdot|[×·*x])\s?10\s?\^)\{?([-+]?\d{1,4})\}?"
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit. Without a unit, the number may be one of any unit."""

    value: Fraction
    unit: Unit | None

    def __eq__(self, other: object) -> bool:
        """Compare by value. Units are converted, and a missing one fits all."""
        if not isinstance(other, Quantity):
            return NotImplemented
        if self.unit is None or other.unit is None:
            return self.value == other.value
        same_dimension = self.unit[0] == other.unit[0]
        return same_dimension and self.value * self.unit[1] == other.value * other.unit[1]

    __hash__ = None  # type: ignore[assignment]  # equality is not transitive


def quantity(answer: str) -> Quantity | None:
    """Return the exact value of a normalised number with or without a unit, or `None` for anything else."""
    number, _, words = answer.partition(" ")
    value = _value(number)
    if value is None:
        return None
    unit = unit_of(words) if words else None
    return None if words and unit is None else Quantity(value, unit)


def normalised(answer: str) -> str:
    """Return an answer without markup, separators of thousands, spaces, and words that are no unit.

    A number has the form "1234.5" or "1234.5 km".
    """
    out = plain(_unwrapped(answer))
    formula = out = _rewritten(out, _REWRITES)
    out = _rewritten(out, _TEXTS).strip()
    measured = _MEASURED.fullmatch(out.rstrip(" .,;:!"))
    words = (measured["words"] or "").strip() if measured else ""
    if (
        measured
        and not set(words.split()) & _FORMULA_WORDS
        and not (len(words) == 1 and words in "abcdnkpqrtuvwz")
    ):
        number = (measured["sign"] or "").strip() + _written(measured["number"])
        money = (measured["money"] or "").strip().removeprefix("US")
        named = _MONEY_WORDS.get(money) or (words if unit_of(words) else "")
        first = _MONEY_WORDS.get(named[:1], named)
        return f"{number.removeprefix('+')} {first}".strip()
    out = _rewritten(formula, (*_OF_FORMULAS, *_TEXTS)).strip(" .,;:")
    return out if re.fullmatch(r"[A-Za-z ]+", out) else re.sub(r"\s+", "", out)


_REWRITES = tuple(
    (re.compile(pattern), written)
    for pattern, written in (
        (r"\\[dt]frac", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\!", ""),
        (r"\{,\}", ","),
        (r"\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])|(?<!\\)\\[,;: ]|~", " "),
        (r"\^\s*+\{?+\s*+\\circ\s*+\}?|\\degree|°", " "),
        (r"\\([%$€£])|\*\*|`", r"\1"),
        (r"^\s*+[A-Za-z](?:\([A-Za-z]\))?\s*+=\s*+(?=[^=]++$)", ""),
        ("\u2212", "-"),  # the minus sign of typography
        ("²", "^2"),
        ("³", "^3"),
        (r"^([-+]?\d+)\s*\\frac\{(\d+)\}\{(\d+)\}(?!\d)", r"\1 \2/\3"),
        (r"^([-+]?)\\frac\{(\d+)\}\{(\d+)\}", r"\1\2/\3"),
        (r"\s+", " "),
    )
)
_TEXTS = tuple(
    (re.compile(pattern), written)
    for pattern, written in (
        (r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{\s*([^{}]*?)\s*\}", r" \1"),
        (r"\s+", " "),
    )
)
_OF_FORMULAS = tuple(
    (re.compile(pattern), written)
    for pattern, written in (
        (r"\\?%|[$€£]", ""),
        (r"(?<=[\d}])\s*\\(?:text|mathrm|mbox|textrm)\s*\{[^{}]*\}(?:\^\{?\d\}?)?\s*$", ""),  # a unit
    )
)


def _rewritten(text: str, rewrites: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, written in rewrites:
        text = pattern.sub(written, text)
    return text


def _written(number: str) -> str:
    """Return a number in the notation "1234.5", whatever separates its thousands and its decimals."""
    mixed = re.fullmatch(r"(\d++)\s(\d++)/(\d++)", number)
    if mixed and len(number) < _LONGEST and int(mixed[3]):
        return str(int(mixed[1]) + Fraction(int(mixed[2]), int(mixed[3])))
    above, slash, below = (part.strip() for part in number.partition("/"))
    above = re.sub(r"(?<=\d)[ '\u2019](?=\d)|(?<=[-+])\s", "", above)
    comma, dot = above.rfind(","), above.rfind(".")
    if comma >= 0 and dot >= 0:
        thousands, decimal = (",", ".") if comma < dot else (".", ",")
        above = above.replace(thousands, "").replace(decimal, ".")
    elif re.fullmatch(r"[-+]?\d{1,3}(?:,\d{2,3}){0,20},\d{3}", above):
        above = above.replace(",", "")
    elif re.fullmatch(r"[-+]?(?:\d++,\d\d|0,\d++)", above):
        above = above.replace(",", ".")
    elif above.count(".") > 1:
        above = above.replace(".", "")
    return above + slash + below


def _value(number: str) -> Fraction | None:
    if len(number) > _LONGEST:
        return None
    power = _SCIENTIFIC.fullmatch(number)
    if power:
        exponent = int(power[2])
        return Fraction(power[1]) * Fraction(10) ** exponent if abs(exponent) <= _LARGEST_EXPONENT else None
    if not re.fullmatch(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:/\d+)?", number):
        return None
    above, _, below = number.partition("/")
    return Fraction(above) / int(below or 1) if int(below or 1) else None


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
