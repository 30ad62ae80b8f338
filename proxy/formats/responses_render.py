"""The answers and events of `/v1/responses`."""

from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.cascade.types import Json
from proxy.formats.base import LocalAnswer
from proxy.formats.chat import pieces


def response(body: Json, local: LocalAnswer) -> dict[str, Any]:
    """Return a local answer as a `response` object."""
    cut = local.sample.finish_reason == "length"
    usage, wanted = local.usage, body.get("text") or {}
    return {
        "id": f"resp_{local.request_id}",
        "object": "response",
        "created_at": int(local.received_at.timestamp()),
        "completed_at": int(local.received_at.timestamp()),
        "status": "incomplete" if cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata") or {},
        "model": local.model,
        "output": output_items(local),
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": local.stored,
        "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
        "text": {"format": wanted.get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "truncation": body.get("truncation") or "disabled",
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
        **({"user": body["user"]} if body.get("user") else {}),
        "cope": local.facts,
    }


def response_events(body: Json, local: LocalAnswer) -> Iterator[bytes]:
    """Yield the events of a streamed response: created, the pieces of each item, completed."""
    return events_of(response(body, local))


def events_of(done: dict[str, Any]) -> Iterator[bytes]:
    """Yield the events that stream a complete local response."""
    begun = {k: v for k, v in done.items() if k not in ("cope", "usage", "completed_at")}
    begun |= {"status": "in_progress", "output": [], "incomplete_details": None}
    plain = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *(e for i, item in enumerate(done["output"]) for e in _item_events(i, item)),
        {"type": f"response.{done['status']}", "response": done},
    ]
    for number, event in enumerate(plain):
        yield msgspec.json.encode({**event, "sequence_number": number})


def output_items(local: LocalAnswer) -> list[dict[str, Any]]:
    """Return the output items of a local answer: a message if there is text, then the calls."""
    sample, name = local.sample, local.request_id
    state = "incomplete" if sample.finish_reason == "length" else "completed"
    calls = sample.message.get("tool_calls") or ()
    items: list[dict[str, Any]] = []
    if sample.text or not calls:
        part = {"type": "output_text", "text": sample.text, "annotations": [], "logprobs": []}
        items.append(
            {"id": f"msg_{name}", "type": "message", "status": state, "role": "assistant", "content": [part]}
        )
    for i, call in enumerate(calls):
        items.append(
            {
                "id": f"fc_{name}_{i}",
                "type": "function_call",
                "status": state,
                "call_id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
            }
        )
    return items


def _item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    at: dict[str, Any] = {"item_id": item["id"], "output_index": index}
    added = {"type": "response.output_item.added", "output_index": index}
    if item["type"] == "message":
        part = item["content"][0]
        yield {**added, "item": {**item, "status": "in_progress", "content": []}}
        at["content_index"] = 0
        yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **at, "part": part}
    else:
        text = item["arguments"]
        yield {**added, "item": {**item, "status": "in_progress", "arguments": ""}}
        yield {"type": "response.function_call_arguments.delta", **at, "delta": text}
        named = {"name": item["name"], "arguments": text}
        yield {"type": "response.function_call_arguments.done", **at, **named}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}
