"""Answers in the other form: a complete answer as the events of a stream, and a stream as a complete answer.

Some upstreams ignore `stream`, in either direction. The client gets what it has asked for nevertheless.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.cascade.types import Json
from proxy.formats.lenient import encode

_TEXTS = ("content", "refusal", "reasoning", "reasoning_content")
_ENDS = ("response.completed", "response.incomplete", "response.failed")


def as_events(path: str, answer: Json) -> Iterator[bytes]:
    """Yield a complete answer of an endpoint as the payloads of a stream, without the `[DONE]` at its end.

    An object that is no such answer has none.
    """
    if path != "/responses":
        yield from map(encode, _chunks(answer))
    elif isinstance(answer.get("output"), list) or answer.get("status") == "failed":
        yield from map(encode, _response_events(answer))


def as_complete(path: str, events: Sequence[Json]) -> dict[str, Any] | None:
    """Return the complete answer that a stream of an endpoint adds up to, or None if the stream has no end."""
    if path == "/responses":
        last = next((e for e in reversed(events) if e.get("type") in _ENDS), {})
        response = last.get("response")
        return dict(response) if isinstance(response, Mapping) else None
    whole = [e for e in events if _is_complete(e)]
    return dict(whole[-1]) if whole else _assembled(events)


def _is_complete(event: Json) -> bool:
    """Return True for an answer that is sent as the one event of a stream."""
    return event.get("object") in ("chat.completion", "list") or any(
        "message" in choice for choice in _dicts(event.get("choices"))
    )


def _chunks(answer: Json) -> Iterator[dict[str, Any]]:
    """Yield a chunk with the content of each choice, one with its end, and one with the usage."""
    head = {k: v for k, v in answer.items() if k not in ("choices", "usage")}
    if head.get("object") == "chat.completion":
        head["object"] = "chat.completion.chunk"
    for choice in _dicts(answer.get("choices")):
        rest = {k: v for k, v in choice.items() if k not in ("message", "finish_reason")}
        end: dict[str, Any] = {
            "index": choice.get("index", 0),
            "finish_reason": choice.get("finish_reason") or "stop",
        }
        if "text" in choice:
            yield {**head, "choices": [{**rest, "finish_reason": None}]}
            yield {**head, "choices": [{**end, "text": "", "logprobs": None}]}
        else:
            yield {
                **head,
                "choices": [{**rest, "delta": _delta(choice.get("message")), "finish_reason": None}],
            }
            yield {**head, "choices": [{**end, "delta": {}, "logprobs": None}]}
    if answer.get("usage"):
        yield {**head, "choices": [], "usage": answer["usage"]}


def _delta(message: Any) -> dict[str, Any]:
    delta = dict(message) if isinstance(message, Mapping) else {}
    if calls := _dicts(delta.get("tool_calls")):
        delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
    return delta


def _assembled(chunks: Sequence[Json]) -> dict[str, Any] | None:
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        answer |= {k: v for k, v in chunk.items() if k != "choices" and v is not None}
        for choice in _dicts(chunk.get("choices")):
            index = choice.get("index")
            number = index if isinstance(index, int) else 0
            _add(
                choices.setdefault(number, {"index": number, "finish_reason": None, "logprobs": None}), choice
            )
    if not choices or not all(choice["finish_reason"] for choice in choices.values()):
        return None
    if answer.get("object") == "chat.completion.chunk":
        answer["object"] = "chat.completion"
    return {**answer, "choices": [choices[number] for number in sorted(choices)]}


def _add(whole: dict[str, Any], choice: Json) -> None:
    """Add one chunk's choice to the complete choice."""
    if choice.get("finish_reason"):
        whole["finish_reason"] = choice["finish_reason"]
    found = choice.get("logprobs")
    if isinstance(found, Mapping):
        before = whole["logprobs"] or {}
        whole["logprobs"] = {
            k: [*before[k], *v] if isinstance(v, list) and isinstance(before.get(k), list) else v
            for k, v in found.items()
        }
    if isinstance(choice.get("text"), str):
        whole["text"] = whole.get("text", "") + choice["text"]
        return
    message = whole.setdefault("message", {"role": "assistant", "content": None})
    delta = choice.get("delta")
    for name, value in delta.items() if isinstance(delta, Mapping) else ():
        if name in _TEXTS and isinstance(value, str):
            before = message.get(name)
            message[name] = before + value if isinstance(before, str) else value
        elif name == "tool_calls":
            _add_calls(message, _dicts(value))
        elif value is not None:
            message[name] = value


def _add_calls(message: dict[str, Any], pieces: Sequence[Json]) -> None:
    calls: list[dict[str, Any]] = message.setdefault("tool_calls", [])
    for piece in pieces:
        index = piece.get("index")
        if not isinstance(index, int):  # Gemini sends each call complete and without an index
            index = len(calls) - 1 if calls and not piece.get("id") else len(calls)
        if not 0 <= index < len(calls):
            index = len(calls)
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[index], piece.get("function")
        call |= {k: v for k, v in piece.items() if k not in ("index", "function") and v}
        for name, value in function.items() if isinstance(function, Mapping) else ():
            if isinstance(value, str):
                call["function"][name] = call["function"].get(name, "") + value


def _response_events(answer: Json) -> Iterator[dict[str, Any]]:
    """Yield the events of a response: created, each item in one delta, and the end."""
    status = answer.get("status")
    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    plain: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for i, item in enumerate(_dicts(answer.get("output"))):
        plain += _item_events(i, item)
    end = status if status in ("incomplete", "failed") else "completed"
    plain.append({"type": f"response.{end}", "response": answer})
    for number, event in enumerate(plain):
        yield {**event, "sequence_number": number}


def _item_events(index: int, item: Json) -> Iterator[dict[str, Any]]:
    at: dict[str, Any] = {"item_id": item.get("id"), "output_index": index}
    begun = {**item, "status": "in_progress"}
    if "content" in item:
        begun["content"] = []
    if "arguments" in item:
        begun["arguments"] = ""
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    for i, part in enumerate(_dicts(item.get("content"))):
        if part.get("type") == "output_text":
            here = {**at, "content_index": i}
            text = part.get("text")
            yield {"type": "response.content_part.added", **here, "part": {**part, "text": ""}}
            yield {"type": "response.output_text.delta", **here, "delta": text, "logprobs": []}
            yield {"type": "response.output_text.done", **here, "text": text, "logprobs": []}
            yield {"type": "response.content_part.done", **here, "part": part}
    if item.get("type") == "function_call":
        text = item.get("arguments")
        yield {"type": "response.function_call_arguments.delta", **at, "delta": text}
        yield {
            "type": "response.function_call_arguments.done", **at, "name": item.get("name"), "arguments": text,
        }  # fmt: skip
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []
