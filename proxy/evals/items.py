"""Data sets: one labelled task a line."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from proxy.cascade.detection import ALPHABETS, halfwidth, options
from proxy.cascade.kinds import KINDS
from proxy.cascade.types import Json, TaskKind
from proxy.errors import ConfigError

FORM: dict[str, str] = {
    **{kind: row.answer_form for kind, row in KINDS.items()},
    "code": "Write the whole function, with its imports, in one Python code block, and nothing else.",
}
"""The form of an answer that every prompt asks for, so that the answer can be graded."""
_LETTER = re.compile(r"[\s*(\[]*([^\W\d_])[\s*)\].:]*")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One labelled task.

    Attributes:
        id: unique over all data sets of a run.
        task: the task kind.
        prompt: the user's message.
        answer: the right answer. `math` has a value and `choice` a letter. `agent` has calls by name, with the accepted
            values of each argument. `structured` has a JSON value. `open` has names, one of which has to be in the text.
            Without names, the large model judges.
        tests: Python source that exits with 0 after a right program (`code`).
        entry_point: the function that the tests call.
        meta: `messages`, `tools` and `response_format` extend the request. `reference` is for a judge. With `accepted`,
            a `structured` answer has the accepted values of each field.
    """

    id: str
    task: TaskKind
    prompt: str
    answer: Any = None
    tests: str | None = None
    entry_point: str | None = None
    meta: Mapping[str, Any] = {}

    def request(self) -> Json:
        """Return the item as a chat request."""
        form = FORM.get(self.task)
        asked = f"{self.prompt}\n\n{form}" if form else self.prompt
        messages = self.meta.get("messages") or [{"role": "user", "content": asked}]
        named = {name: self.meta[name] for name in ("tools", "response_format") if self.meta.get(name)}
        return {"messages": messages, **named}


def load(paths: Iterable[Path]) -> list[Item]:
    """Read data sets.

    Raises:
        ConfigError: a file cannot be read, or an item cannot be graded. There is one line for each problem.
    """
    items: list[Item] = []
    problems: list[str] = []
    for path in paths:
        try:
            lines = path.read_bytes().splitlines()
        except OSError as e:
            problems.append(f"{path}: cannot be read ({e.strerror})")
            continue
        numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        if not numbered:
            problems.append(f"{path}: has no item; write one JSON object a line")
        for number, line in numbered:
            try:
                item = _in_form(msgspec.json.decode(line, type=Item))
            except msgspec.DecodeError as e:
                problems.append(f"{path}:{number}: {e}")
            except UnicodeDecodeError as e:
                problems.append(f"{path}:{number}: is no UTF-8 ({e.reason}); save the file as UTF-8")
            else:
                items.append(item)
                problems += [f"{path}:{number}: {problem}" for problem in _lacking(item)]
    twice = {item.id for item in items} if len({i.id for i in items}) < len(items) else set()
    if twice:
        problems.append("some ids occur more than once; give every item its own")
    if problems:
        raise ConfigError(problems[:20])
    return items


def _in_form(item: Item) -> Item:
    """Return an item with its letter in the form of the grader: "B" for "(b)"."""
    if item.task is not TaskKind.CHOICE or not isinstance(item.answer, str):
        return item
    written = _LETTER.fullmatch(halfwidth(item.answer))
    return msgspec.structs.replace(item, answer=written[1].upper()) if written else item


def _lacking(item: Item) -> Iterator[str]:
    """Yield the problems of an item that cannot be graded, because every answer or no answer would be right."""
    meta = item.meta
    if not item.prompt.strip() and not meta.get("messages"):
        yield "prompt: is empty; write a prompt, or all messages as meta.messages"
    for name in ("messages", "tools"):
        if not _objects(meta.get(name)):
            yield f"meta.{name}: must be a list of objects, as in a chat request"
    if not isinstance(meta.get("response_format"), dict | None):
        yield "meta.response_format: must be an object, as in a chat request"
    if item.task is TaskKind.AGENT and not meta.get("tools"):
        yield "meta.tools: must list the functions that may be called"
    if item.task is TaskKind.CODE:
        if not (item.tests or "").strip():
            yield "tests: must be Python source that fails if the function is wrong"
        return
    form, fits = _form(item)
    if not fits(item.answer):
        given = "" if item.answer is None else f", not {msgspec.json.encode(item.answer).decode()[:60]}"
        yield f"answer: must be {form}{given}"


def _form(item: Item) -> tuple[str, Callable[[Any], bool]]:
    """Return a description of a valid label for an item, and a check for it."""
    match item.task:
        case TaskKind.MATH:
            return "the right value, as text or a number", _value
        case TaskKind.CHOICE:
            letters = options(item.prompt) or tuple(ALPHABETS[0])
            return f"the letter of an option ({', '.join(letters)})", letters.__contains__
        case TaskKind.AGENT:
            return 'a list of calls, {"name": {"argument": [each accepted value]}}', _calls
        case TaskKind.STRUCTURED if item.meta.get("accepted"):
            return "an object that has a list of accepted values for each field (meta.accepted)", _fields
        case TaskKind.STRUCTURED:
            return "the right JSON value", lambda answer: answer is not None
        case _:
            return "a name or a list of names, or missing, so that the large model judges", _names


def _value(answer: Any) -> bool:
    return bool(answer.strip()) if isinstance(answer, str) else type(answer) in (int, float)


def _calls(answer: Any) -> bool:
    return isinstance(answer, list) and all(
        isinstance(call, dict) and call and all(map(_fields, call.values())) for call in answer
    )


def _fields(answer: Any) -> bool:
    return isinstance(answer, dict) and all(isinstance(values, list) and values for values in answer.values())


def _names(answer: Any) -> bool:
    names: Sequence[Any] = answer if isinstance(answer, list) else [answer]
    if not answer:
        return answer in (None, "", [])
    # A name without a letter or digit is in no text.
    return all(isinstance(n, str) for n in names) and any(c.isalnum() for n in names for c in n)


def _objects(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(one, dict) for one in value))


def chosen(items: list[Item], limit: int | None, seed: int) -> list[Item]:
    """Return at most `limit` random items of each task kind. A higher limit only adds items at the end."""
    order = random.Random(seed).sample(items, len(items))  # noqa: S311
    if limit is None:
        return order
    taken: dict[str, int] = {}
    out = []
    for item in order:
        taken[item.task] = taken.get(item.task, 0) + 1
        if taken[item.task] <= limit:
            out.append(item)
    return out
