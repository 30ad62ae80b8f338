"""The task of a request: the kind that the client names, else the one that the operator has fixed, else the detected one."""

from collections.abc import Mapping

from proxy.cascade import detection
from proxy.cascade.guard import Report, safe_detect
from proxy.cascade.types import Json, Task, TaskKind
from proxy.formats.base import NotServedError, as_conversation
from proxy.service.exchange import Exchange


def task_of(exchange: Exchange, report: Report) -> Task:
    """Return the task of a request.

    Raises:
        NotServedError: the endpoint has no conversations, or the small model cannot serve this one.
    """
    format_ = as_conversation(exchange.request.format)
    if format_ is None:
        raise NotServedError(f"{exchange.request.format.path[1:]} go to the large model")
    chat = format_.as_chat(exchange.body)
    fixed = exchange.request.controls.task or _fixed(exchange, chat)
    task = safe_detect(chat, report)
    return task if fixed is None else detection.with_kind(task, fixed)


def _fixed(exchange: Exchange, chat: Json) -> TaskKind | None:
    """Return the kind that the config has for the system prompt, else for the model, else for the key."""
    kinds, key = exchange.state.settings.cascade.kinds, exchange.request.key
    if not kinds:
        return None
    names = [f"model={exchange.body.get('model')}", *([f"key={key.id}", f"key={key.name}"] if key else [])]
    return _of_prompt(kinds, chat) or next((kinds[name] for name in names if name in kinds), None)


def _of_prompt(kinds: Mapping[str, TaskKind], chat: Json) -> TaskKind | None:
    """Return the kind of the longest entry that begins the hash of the system prompt."""
    text = detection.system_text(chat)
    found = "" if text is None else f"system={detection.prompt_hash(text)}"
    starts = sorted(filter(found.startswith, kinds), key=len)
    return kinds[starts[-1]] if starts else None
