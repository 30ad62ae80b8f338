"""Grading: the score of an answer, 0..1."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from proxy.cascade import prompts
from proxy.cascade.confidence.canonical import dumps, parse
from proxy.cascade.confidence.choice import letter
from proxy.cascade.confidence.mathematics import equivalent, likely_answer
from proxy.cascade.confidence.program import source_of
from proxy.cascade.confidence.quantities import normalised
from proxy.cascade.confidence.specification import specification
from proxy.cascade.detection import options
from proxy.cascade.protocols import Runner
from proxy.cascade.types import Json, Program, TaskKind
from proxy.errors import ConfigError
from proxy.evals.items import Item
from proxy.evals.tiers import Tiers
from proxy.pricing.tokens import hides_reasoning
from proxy.spending.planner import REASONING_ROOM

_JUDGED_TOKENS = 16  # without hidden reasoning
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u1100-\u11ff]"
)


class Graders:
    """Grades messages by the task kind of their item. It remembers each grade."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._known: dict[tuple[str, bytes], float] = {}

    async def grade(self, item: Item, message: Json) -> float:
        """Return the score of a message, 0..1.

        Raises:
            ConfigError: there is no sandbox to run its tests in.
            NoBudgetError, ApiError: the judge did not answer.
        """
        key = item.id, msgspec.json.encode([message.get("content"), message.get("tool_calls")])
        if key not in self._known:
            self._known[key] = await self._judge(item, message)
        return self._known[key]

    async def _judge(self, item: Item, message: Json) -> float:
        text = message.get("content") or ""
        match item.task:
            case TaskKind.MATH:
                return float(await same_value(text, str(item.answer)))
            case TaskKind.CHOICE:
                return float(letter(text, options(item.prompt) or "ABCDEFGHIJ") == item.answer)
            case TaskKind.CODE:
                return float(await passes(item, text, self._tiers.runner))
            case TaskKind.AGENT:
                return float(calls_accepted(message, item.answer))
            case TaskKind.STRUCTURED if item.meta.get("accepted"):
                return float(fields_accepted(text, item.answer))
            case TaskKind.STRUCTURED:
                return float(same_json(text, item.answer))
            case TaskKind.OPEN if item.answer:
                return float(names_one(text, item.answer))
            case TaskKind.OPEN:
                return await self._judged(item, text)

    async def _judged(self, item: Item, text: str) -> float:
        """Let the large model grade.

        Raises:
            ValueError: it wrote no grade.
        """
        known = item.meta.get("reference")
        reference = (
            f"A reference answer:\n\n{known[0] if isinstance(known, list) else known}\n\n" if known else ""
        )
        asked = prompts.GRADE.format(question=item.prompt, reference=reference, answer=text)
        body = {"messages": [{"role": "user", "content": asked}], "temperature": 0}
        room = REASONING_ROOM if hides_reasoning(self._tiers.large.id, body) else 0
        answer = await self._tiers.call_large(f"{item.id} judge", body, _JUDGED_TOKENS + room)
        found = re.search(r"(\d+(?:\.\d+)?)", answer.text)
        if found is None:
            raise ValueError(f"the judge wrote no grade but {answer.text[:80]!r}")
        return min(10.0, float(found.group(1))) / 10


async def same_value(text: str, answer: str) -> bool:
    """Return True if a solution's final answer has the right value."""
    found = likely_answer(text)
    return found is not None and await equivalent(found, normalised(answer))


async def passes(item: Item, text: str, runner: Runner | None) -> bool:
    """Return True if the program in an answer passes the item's tests.

    Raises:
        ConfigError: there is no sandbox.
    """
    if runner is None:
        raise ConfigError(["code can only be graded in the sandbox; `cope-proxy doctor` shows its problem"])
    source = source_of(text)
    if source is None:
        return False
    wanted = specification(item.prompt)
    sources = [f"{wanted.before if wanted else ''}\n{source}\n{item.entry_point or ''}"]
    if item.meta.get("style") == "complete":
        sources.append(f"{item.prompt}\n{source}\n")
    return (await runner.run(Program(tuple(sources), (item.tests or "",)))).passed


def calls_accepted(message: Json, answer: list[Mapping[str, Mapping[str, list[Any]]]]) -> bool:
    """Return True if a message makes each expected call once, with accepted values for every argument."""
    try:
        made = [
            (c["function"]["name"], parse(c["function"]["arguments"] or "{}"))
            for c in message.get("tool_calls") or ()
        ]
    except (ValueError, KeyError, TypeError):
        return False
    if len(made) != len(answer):
        return False
    left = list(answer)
    for name, arguments in made:
        fitting = next((a for a in left if name in a and _accepted(arguments, a[name])), None)
        if fitting is None:
            return False
        left.remove(fitting)
    return True


def _accepted(arguments: Any, expected: Mapping[str, list[Any]]) -> bool:
    if not isinstance(arguments, dict) or arguments.keys() - expected.keys():
        return False
    return all(
        _one_of(arguments[name], values) if name in arguments else "" in values
        for name, values in expected.items()
    )


def _one_of(value: Any, accepted: list[Any]) -> bool:
    return any(_plain(value) == _plain(one) or _object(value, one) for one in accepted)


def _object(value: Any, one: Any) -> bool:
    """Return True if an object has an accepted value in each field."""
    return isinstance(one, dict) and all(isinstance(v, list) for v in one.values()) and _accepted(value, one)


def _plain(value: Any) -> str:
    """Return a value as text in the form that the benchmark compares: lower case, without spaces and punctuation."""
    if isinstance(value, str):
        return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"')
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{_plain(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def fields_accepted(text: str, answer: Mapping[str, list[Any]]) -> bool:
    """Return True if a text is a JSON object with an accepted value in each field."""
    try:
        return _accepted(parse(text), answer)
    except (ValueError, RecursionError):
        return False


def names_one(text: str, accepted: str | Iterable[str]) -> bool:
    """Return True if a text contains one of the names as whole words. Case and accents do not matter."""
    said = _unaccented(text)
    names = filter(None, map(_unaccented, [accepted] if isinstance(accepted, str) else accepted))
    # Scripts without spaces have no word boundaries.
    return any(
        name in said if _UNSPACED.search(name) else re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said)
        for name in names
    )


def _unaccented(text: str) -> str:
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[\W_]+", " ", letters.casefold()).split())


def same_json(text: str, answer: Any) -> bool:
    """Return True if a text is the right JSON value."""
    try:
        return dumps(parse(text)) == dumps(parse(dumps(answer)))
    except (ValueError, RecursionError):
        return False
