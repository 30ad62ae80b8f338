"""Agents: do the samples agree on the next action?"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.cascade.confidence.canonical import conforms, dumps, parse, short
from proxy.cascade.confidence.documents import has_placeholder
from proxy.cascade.confidence.doubt import degenerate, refuses
from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off
from proxy.cascade.detection import detect
from proxy.cascade.protocols import Estimator
from proxy.cascade.types import Json, Sample, Task, TaskKind

_TEXT = "text: "
_READ = 8000
_BROKEN_CALL = re.compile(
    r"</?tool_calls?>|<function[=_]|<\|python_tag\|>|\[TOOL_CALLS\]|\"(?:arguments|parameters|tool_calls|function_call)\"\s{0,9}:"
)
_OF_CALLS = frozenset({"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"})


class AgentEstimator(VoteShare):
    """Confidence = vote share of the next action: tool names and arguments, or an answer in text.

    Texts are compared like answers to the same request without tools. Texts of a kind without votes are compared word by
    word. A refusal is no action, and neither is a call that is written so badly that nobody can make it.
    """

    default_thresholds = (0.85, 0.85)

    def __init__(self, of_texts: Mapping[TaskKind, Estimator]) -> None:
        self._of_texts = of_texts

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the action of a sample, or `None` if the action is invalid or not what the request demands."""
        if cut_off(sample):
            return None
        calls = _calls(sample.message)
        if not calls:
            said = sample.text.strip() and not _call_demanded(task.body)
            return await self._text(task, sample, groups) if said else None
        schemas = _offered(task.body)
        actions = [await _action(call, schemas) for call in calls]
        valid = sorted(a for a in actions if a is not None)
        return short("; ".join(valid)) if len(valid) == len(actions) else None

    async def _text(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        if _BROKEN_CALL.search(sample.text[:_READ]):
            return None
        asked = without_tools(task)
        estimator = self._of_texts.get(asked.kind)
        if estimator is None:
            if degenerate(sample.text) or refuses(sample.text):
                return None
            return _TEXT + short(" ".join(sample.text.split()))
        texts = tuple(group.removeprefix(_TEXT) for group in groups if is_text(group))
        label = await estimator.vote(asked, sample, texts)
        return None if label is None else _TEXT + label


def is_text(label: str | None) -> bool:
    """Return True if a vote is for an answer in text, not for calls."""
    return label is not None and label.startswith(_TEXT)


def without_tools(task: Task) -> Task:
    """Return the task that the same request would be without tools."""
    return detect({key: value for key, value in task.body.items() if key not in _OF_CALLS})


def _calls(message: Json) -> list[Any]:
    """Return the calls of a message, including the deprecated `function_call`."""
    calls = list(message.get("tool_calls") or ())
    legacy = message.get("function_call")
    return [*calls, {"type": "function", "function": legacy}] if legacy else calls


def _call_demanded(body: Json) -> bool:
    choice = body.get("tool_choice") or body.get("function_call")
    return choice == "required" or isinstance(choice, Mapping)


def _offered(body: Json) -> dict[str, Any]:
    """Return the parameter schema of each tool by name. It is `None` if a tool has none."""
    declared = [f for f in body.get("functions") or () if isinstance(f, Mapping)]
    for tool in body.get("tools") or ():
        if isinstance(tool, Mapping):
            inner = tool.get(str(tool.get("type", "function")))
            declared += [inner] if isinstance(inner, Mapping) else []
    return {str(f.get("name")): f.get("parameters") for f in declared}


async def _action(call: Any, schemas: Mapping[str, Any]) -> str | None:
    if not isinstance(call, Mapping):
        return None
    kind = str(call.get("type") or "function")
    inner = call.get(kind)
    if not isinstance(inner, Mapping) or inner.get("name") not in schemas:
        return None
    name = inner["name"]
    try:
        if kind != "function":  # a custom tool takes free text
            return f"{name}({dumps(inner.get('input'))})"
        arguments = parse(inner.get("arguments") or "{}")
        label = f"{name}({dumps(arguments)})"
    except (ValueError, TypeError, RecursionError):
        return None
    schema = schemas[name]
    said = isinstance(arguments, dict) and not has_placeholder(arguments, schema)
    valid = said and (schema is None or await conforms(arguments, schema))
    return label if valid else None
