"""Detect the kind of a task from the chat request alone. The words by language are in `task_words`."""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import dropwhile, takewhile
from typing import Any

from proxy.cascade import task_words as lexicon
from proxy.cascade.task_words import alternatives
from proxy.cascade.types import Json, Task, TaskKind

ALPHABETS = ("ABCDEFGHIJ", "АБВГДЕЖЗИК")
_END = 4000
_HALFWIDTH = {0xFF01 + i: 0x21 + i for i in range(94)}  # full-width forms
_OPTION = re.compile(
    r"""^[ \t>*-]*\(?([A-Ja-jА-Ка-к])(?:[).:][ \t*]+\S|[).:、](?=[^\x00-\x7f]|\d)|\)(?=\w))
      | (?:(?<=\s)|(?<=[{*])|^)(?:\(([A-Ja-jА-Ка-к])\)|([A-JА-К])\))[ \t*}\\]+\S
    """,
    re.MULTILINE | re.VERBOSE,
)
_ASKS = re.compile(rf"\?|؟|\w\s*\Z|\b(?:{alternatives(lexicon.SENTENCE_LEFT_OPEN)})\s*:\s*\Z")
# Options at the end of a text finish a sentence that was left open, unless the sentence announces a list.
_OPTION_LINE = re.compile(r"[ \t>*-]*\(?([A-JА-К])[).、]|\s*\Z")
_LEFT_OPEN = re.compile(r"(?:[^\W_]|[\u0900-\u0963\u0e00-\u0e4e)\"”“$:…]|\.\.\.)\s*\Z")
_LISTED = re.compile(
    rf"""\A\W*(?:{alternatives(lexicon.LIST_VERBS)})\b
      | \b(?:{alternatives(lexicon.LIST_WORDS)})\b
      | {alternatives(lexicon.LIST_SIGNS)}
    """,
    re.VERBOSE,
)
_PICK = re.compile(
    rf"""__|\b(?:{alternatives(lexicon.PICK_VERBS)})
      | \bcorrect\s+(?:answer|option|choice|statement)
      | \b(?:{alternatives(lexicon.PICK_STEMS)}) | {alternatives(lexicon.PICK_SIGNS)}
    """,
    re.VERBOSE,
)

_CODE_SHOWN = re.compile(
    r"""^[ \t]*(?:async\s+)?def\s+\w+\s*\(.*$   # a signature
      | ^[ \t]*assert\s+\w+\s*\(                # a test
      | ^[ \t]*>>>\s
      | ^[ \t]*(?:public|private|static)\s+[\w<>\[\]]+\s+\w+
      | ^[ \t]*(?:function|func|fn)\s+\w+\s*\(
      | ^[ \t]*\#include\s*<
      | ```\s*(?:python|py|js|javascript|typescript|java|c|cpp|c\+\+|csharp|go|rust|sql|bash|sh|ruby|php)\b
      | \A\s*(?:sql|python|javascript|java|bash|regex)\s*:
    """,
    re.MULTILINE | re.VERBOSE,
)
_LANGUAGE = f"(?:{alternatives(lexicon.LANGUAGES)})"
# A sentence ends at its topic: 'an essay about a function' asks for a text, not for code.
_SENTENCE_END = re.compile(rf"[!?:;\n。।؟]|\.(?=\s)|\b(?:{alternatives(lexicon.TOPIC)})\b|关于")
# Verbs before their object (make), after it (made) or without one (edit), and the objects.
_WORD = re.compile(
    rf"""
    (?=\A|\b\w|[^\x00-\x7f])(?:   # nothing starts within a word of ASCII: this saves most of the time
    (?P<edit>(?:\A\W{{0,3}}|\b(?:please|you|bitte|mir)\s)(?:{alternatives(lexicon.EDIT_VERBS)})\b
      | \b(?:should|soll|sollte)\s+(?:i|we|ich|wir|man)\b
      | {alternatives(lexicon.EDIT_SIGNS)})
  | (?P<make>\A\W{{0,3}}(?:code|program|programme|programa)\b
      | \b(?:{alternatives(lexicon.MAKE_VERBS)})\b | {alternatives(lexicon.MAKE_SIGNS)})
  | (?P<made>\b(?:{alternatives(lexicon.MADE_VERBS)})\b | {alternatives(lexicon.MADE_SIGNS)})
  | (?P<how>\bhow\s+(?:(?:do|can|could|would)\s+(?:i|you|we)|to)\b | \bwie\s+\w+\s+(?:ich|man|wir)\b
      | \b(?:{alternatives(lexicon.HOW)})\b | {alternatives(lexicon.HOW_SIGNS)})
  | (?P<text>\b(?:{alternatives(lexicon.TEXT_NOUNS)})\b
        (?!\s+(?:\w+(?:ion|ing|er|or)\s+)?(?:function|script|class|regex|api|parser)\b)   # an email parser
      | {alternatives(lexicon.TEXT_SIGNS)})
  | (?P<code>\b(?:{alternatives(lexicon.CODE_NOUNS)})\b | {alternatives(lexicon.CODE_SIGNS)})
  | (?P<language>\b(?:{alternatives(lexicon.IN)})\s+{_LANGUAGE} | [用以]\s?{_LANGUAGE}
      | \b{_LANGUAGE}(?:[で으로']|\s?में|\s+ile\b) | ب?بايثون)
    )""",
    re.VERBOSE,
)

_NUMBER = re.compile(
    rf"""\b(?:{alternatives(lexicon.YEAR)})\s+[12]\d{{3}}\b   # a year is not a quantity
      | ((?<!\d)\d[\d.,]*(?!\d|st\b|nd\b|rd\b|th\b|年) | \bnumber\s+of\s+(?:ways|degrees)\b
        |\b(?:{alternatives(lexicon.NUMBER_WORDS)})\b
        |[两三四五六七八九十百])
    """,
    re.VERBOSE,
)
_WHAT = rf"\b(?:{alternatives(lexicon.WHAT)})\b[^.?!\n]{{0,60}}?\b"
# One number is enough to ask for an exact value.
_EXACT = re.compile(
    rf"""\b(?:{alternatives(lexicon.CALCULATE)})\b
      | \bwhat(?:'s|\s+is)\s+\d[\d.,]*\s?(?:[-+*/^×÷%]|of\b|plus\b|minus\b|times\b|divided\b)
      | {alternatives(lexicon.CALCULATE_SIGNS)}
      | (?:{_WHAT}|\b(?:determine|find|express|estimate|round|give|state)\b[^.?!\n]{{0,40}}?\b)
        (?:{alternatives(lexicon.EXACT_NOUNS)})\b
    """,
    re.VERBOSE,
)
# Two numbers are needed to ask for an amount: with one, the question may be about a fact or an opinion.
_AMOUNT = re.compile(
    rf"""\b(?:{alternatives(lexicon.HOW_MUCH)})\b
      | {alternatives(lexicon.HOW_MUCH_SIGNS)}
      | \bwhat\s+will\b[^.?!\n]{{0,40}}?\bbe\b
      | {_WHAT}(?:{alternatives(lexicon.AMOUNT_NOUNS)})\b
    """,
    re.VERBOSE,
)
_OF_FORMULA = re.compile(
    r"\?|\b(?:find|evaluate|determine|express|convert|enter|write|factor|let|suppose|if|estimate|round|give|graph|solve)\b"
)
_FORMULA = re.compile(
    r"""\\(?:frac|dfrac|sqrt|sum|int|prod|lim|cdot|times|le|ge|leq|geq|pi|theta|angle|triangle|left|begin|overline
        |log|sin|cos|tan|binom|boxed|mathbb|\[|\()(?![a-z])
      | \$(?=\S)[^$\n]{1,200}(?<=\S)\$(?!\d)   # not "$5 or $6"
      | (?:[\d)]|(?<![a-z])[xyz])\s*[+*^=<>×÷\u2212]\s*(?:[\d(|-]|[xyz](?![a-z]))   # 3 + 4, x = 2z, 2^n
      | \d\s+[-/]\s+\d | \b[a-z]\(\w\)\s*=
    """,
    re.VERBOSE,
)
_BARE_ARITHMETIC = re.compile(
    r"(?:what(?:'s|\s+is)\s+)?[-+\d(](?=[\d\s.,()=]*+[+\-*/^\u00d7÷])[\d\s.,+\-*/^()\u00d7÷=]*+\??"
)


def detect(body: Json) -> Task:
    """Return the request as a task of the detected kind. No model is called."""
    text = text_of(body)
    return Task(_kind(body, text), body, text)


def with_kind(task: Task, kind: TaskKind) -> Task:
    """Return the same task with the kind that the client named."""
    return replace(task, kind=kind)


def text_of(body: Json) -> str:
    """Return the last user message as plain text, without parts of other types."""
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list | tuple) else ()):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return _plain(message.get("content"))
    return ""


def options(text: str) -> tuple[str, ...]:
    """Return the letters of the options in a question: A, B, ... without a gap. A single option does not count."""
    found = {letter.upper() for match in _OPTION.findall(_folded(text)) for letter in match}
    listed = (tuple(takewhile(found.__contains__, alphabet)) for alphabet in ALPHABETS)
    return next((letters for letters in listed if len(letters) > 1), ())


def halfwidth(text: str) -> str:
    """Return a text with full-width characters replaced by plain ones at the same positions."""
    return text if text.isascii() else text.translate(_HALFWIDTH)


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = [p.get("text") for p in parts if isinstance(p, Mapping) and p.get("type") == "text"]
    return "\n".join(t for t in texts if isinstance(t, str))


def _kind(body: Json, text: str) -> TaskKind:
    if _may_call(body):
        return TaskKind.AGENT
    if _format(body) in ("json_object", "json_schema"):
        return TaskKind.STRUCTURED
    text = _folded(text)
    words, wanted = text.lower(), _wanted(text.lower())
    if options(text) and _to_choose(text, wanted):
        return TaskKind.CHOICE
    if wanted == "code" or _CODE_SHOWN.search(words):
        return TaskKind.CODE
    return TaskKind.MATH if not wanted and _asks_for_value(words) else TaskKind.OPEN


def _folded(text: str) -> str:
    """Return the beginning and the end of a long text, where the request is, with plain characters."""
    text = text if len(text) <= 2 * _END else f"{text[:_END]}\n{text[-_END:]}"
    return halfwidth(text)


def _wanted(words: str) -> str:
    """Return "text" or "code" for the first sentence that asks for one of them, else an empty string."""
    wanted = (_object([m.lastgroup for m in _WORD.finditer(part)]) for part in _SENTENCE_END.split(words))
    return next(filter(None, wanted), "")


def _object(words: list[str | None]) -> str:
    """Return the object of a sentence's verb: the first noun after it, else the last noun before it."""
    follows = dropwhile(lambda word: word not in ("make", "edit"), words)
    precedes = words[: words.index("made")] if "made" in words else []
    things = [word for word in (*follows, *reversed(precedes)) if word in ("text", "code")]
    if things:
        return things[0] or ""
    if "edit" in words:
        return "text"
    return "code" if "language" in words and {"make", "made", "how"} & set(words) else ""


def _may_call(body: Json) -> bool:
    by_tools = body.get("tools") and body.get("tool_choice") != "none"
    by_functions = body.get("functions") and body.get("function_call") != "none"
    return bool(by_tools or by_functions)


def _format(body: Json) -> Any:
    wanted = body.get("response_format")
    return wanted.get("type") if isinstance(wanted, Mapping) else None


def _to_choose(text: str, wanted: str) -> bool:
    """Return True if the text asks the reader to choose: by a question, a verb or a sentence for the options to finish.

    Outlines and dialogues have none of these.
    """
    if _PICK.search(text.lower()):
        return True
    if wanted == "text":
        return False
    stem = text[: next(_OPTION.finditer(text)).start()]
    return bool(_ASKS.search(stem)) or (not wanted and _to_finish(text))


def _to_finish(text: str) -> bool:
    """Return True if the options at the end finish the sentence before them, or list the values that it asks for."""
    lines = text.rstrip().split("\n")
    closing = [match[1] or "" for match in takewhile(bool, map(_OPTION_LINE.match, reversed(lines))) if match]
    letters = "".join(reversed(closing))
    stem = "\n".join(lines[: len(lines) - len(closing)]).rstrip()
    if len(letters) < 3 or not letters.startswith(tuple(alphabet[: len(letters)] for alphabet in ALPHABETS)):
        return False
    last = re.split(r"[.?!。।]\s", stem.lower())[-1]
    if _LISTED.search(last):
        return False
    whole = not last.isascii() or len(last.split()) > 4  # not "French, please:"
    return bool(whole and _LEFT_OPEN.search(stem)) or (not stem.endswith(":") and _asks_for_value(last))


def _asks_for_value(words: str) -> bool:
    if len(words) < 200 and _BARE_ARITHMETIC.fullmatch(words.strip()):
        return True
    exact = _EXACT.search(words)
    if _FORMULA.search(words) and (exact or _AMOUNT.search(words) or _OF_FORMULA.search(words)):
        return True
    numbers = sum(map(bool, _NUMBER.findall(words)))
    return bool((exact and numbers) or (numbers > 1 and _AMOUNT.search(words)))
