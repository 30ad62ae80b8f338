"""Detect the kind of a task: hard evidence first, then the weights. A kind in doubt is open, which costs money only."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxy.cascade.detection.announced import announces_list
from proxy.cascade.detection.conversation import conversation, text_of
from proxy.cascade.detection.evidence import (
    asks_for_query,
    bare_arithmetic,
    continues_in_language,
    demands_json,
    only_json,
    signs,
)
from proxy.cascade.detection.listed import Listing, listing
from proxy.cascade.detection.weights import shipped
from proxy.cascade.types import Json, Task, TaskKind

_LEAST = {TaskKind.MATH: 0.8, TaskKind.CHOICE: 0.5, TaskKind.CODE: 0.75}
"""The least probability of a kind that may lead to a free answer."""
_CODE_SHOWN_LEAST = 0.1
_FOLLOW_UP_CHARACTERS, _SURELY_OPEN = 80, 0.93


def detect(body: Json) -> Task:
    """Return the request as a task of the detected kind. No model is called."""
    return Task(_kind(body), body, text_of(body))


def with_kind(task: Task, kind: TaskKind) -> Task:
    """Return the same task with the kind that the client or the operator named."""
    return replace(task, kind=kind)


def _kind(body: Json) -> TaskKind:
    if _may_call(body):
        return TaskKind.AGENT
    if _format(body) in ("json_object", "json_schema"):
        return TaskKind.STRUCTURED
    talk = conversation(body)
    system = talk.system.lower()
    if demands_json(system):
        return TaskKind.STRUCTURED
    return _of_turns(talk.turns, system)


def _of_turns(turns: tuple[str, ...], system: str) -> TaskKind:
    """Return the kind of the newest turn. A short one that does not tell its kind has that of the turn before it."""
    if not turns:
        return TaskKind.OPEN
    text, *before = turns
    words = text.lower()
    short = bool(before) and len(text) <= _FOLLOW_UP_CHARACTERS
    if short and continues_in_language(words):
        return TaskKind.CODE
    kind, surely_open = _of_text(text, words, system)
    if kind is TaskKind.OPEN and short and not surely_open:
        return _of_turns(tuple(before), system)
    return kind


def _of_text(text: str, words: str, system: str) -> tuple[TaskKind, bool]:
    """Return the kind of a text, and if it is open whatever came before."""
    if bare_arithmetic(words):
        return TaskKind.MATH, False
    listed = listing(text)
    if listed is not None and announces_list(listed.stem.lower(), len(listed.marks)):
        # The list is to be worked on. What is to be done with it stands before it.
        words, listed = listed.stem.lower() or words, None
    found = all_signs(words, listed)
    shares = shipped().shares(words, found)
    if asks_for_query(system, words):
        return TaskKind.CODE, False
    if only_json(words) and shares[TaskKind.CODE] < _LEAST[TaskKind.CODE]:
        return TaskKind.STRUCTURED, False
    best = max(shares, key=shares.__getitem__)
    if "#code" in found and shares[TaskKind.CODE] >= _CODE_SHOWN_LEAST:
        best = TaskKind.CODE
    elif shares[best] < _LEAST.get(best, 0) or (best is TaskKind.CHOICE and listed is None):
        best = TaskKind.OPEN
    return best, shares[TaskKind.OPEN] >= _SURELY_OPEN


def all_signs(words: str, listed: Listing | None) -> list[str]:
    """Return the signs of a lower-case text and of its list of options."""
    found = signs(words)
    if listed is not None:
        stem = listed.stem.rstrip()
        sort = "numbered" if listed.numbered else "lettered"
        found += [
            f"#{sort}",
            f"#{sort}{min(len(listed.marks), 5)}",
            f"#{sort}-then-{'nothing' if not listed.after.strip() else 'more'}",
            f"#{sort}-after-{'?' if stem[-1:] in '?？؟' else 'word' if stem[-1:].isalnum() else stem[-1:]}",
        ]
    return found


def _may_call(body: Json) -> bool:
    by_tools = body.get("tools") and body.get("tool_choice") != "none"
    by_functions = body.get("functions") and body.get("function_call") != "none"
    return bool(by_tools or by_functions)


def _format(body: Json) -> Any:
    wanted = body.get("response_format")
    return wanted.get("type") if isinstance(wanted, Mapping) else None
