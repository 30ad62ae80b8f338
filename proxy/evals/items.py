"""Data sets: one labelled task a line."""

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from proxy.cascade.prompts import ANSWER_FORM
from proxy.cascade.types import Json, TaskKind
from proxy.errors import ConfigError

FORM = {
    **ANSWER_FORM,
    "code": "Write the whole function, with its imports, in one Python code block, and nothing else.",
}
"""What is asked of every model alike about the form of an answer, so that it can be graded."""


class Item(msgspec.Struct, frozen=True):
    """One labelled task.

    Attributes:
        id: unique over all data sets of a run.
        task: the task kind that it is.
        prompt: what the user asks.
        answer: the right one: a value (`math`), a letter (`choice`), calls by name with the accepted values of each
            argument (`agent`), a JSON value (`structured`), names of which one has to be in the text (`open`; without them
            the large model judges).
        tests: Python source which passes when it exits 0 after the candidate (`code`).
        entry_point: the function that the tests call.
        meta: `messages`, `tools` and `response_format` where the request is more than the prompt; `reference` for a judge;
            `accepted` where a `structured` answer has the accepted values of each field.
    """

    id: str
    task: TaskKind
    prompt: str
    answer: Any = None
    tests: str | None = None
    entry_point: str | None = None
    meta: Mapping[str, Any] = {}

    def request(self) -> Json:
        """Return the chat request that asks for this item's answer."""
        form = FORM.get(self.task)
        asked = f"{self.prompt}\n\n{form}" if form else self.prompt
        messages = self.meta.get("messages") or [{"role": "user", "content": asked}]
        named = {name: self.meta[name] for name in ("tools", "response_format") if self.meta.get(name)}
        return {"messages": messages, **named}


def load(paths: Iterable[Path]) -> list[Item]:
    """Read data sets.

    Raises:
        ConfigError: one line for each that cannot be read, or is no item.
    """
    items: list[Item] = []
    problems: list[str] = []
    for path in paths:
        try:
            lines = path.read_bytes().splitlines()
        except OSError as e:
            problems.append(f"{path}: cannot be read ({e.strerror})")
            continue
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                items.append(msgspec.json.decode(line, type=Item))
            except (msgspec.ValidationError, msgspec.DecodeError) as e:
                problems.append(f"{path}:{number}: {e}")
    twice = {item.id for item in items} if len({i.id for i in items}) < len(items) else set()
    if twice:
        problems.append("some ids occur more than once; give every item its own")
    if problems:
        raise ConfigError(problems[:20])
    return items


def chosen(items: list[Item], limit: int | None, seed: int) -> list[Item]:
    """Return at most `limit` items of each task kind, drawn by lot and in an order that a higher limit continues."""
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
