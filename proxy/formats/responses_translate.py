"""Requests of `/v1/responses` as chat requests."""

from collections.abc import Mapping
from typing import Any

from proxy.cascade.types import Json
from proxy.formats.base import NotServedError

LARGE_ONLY = (
    "conversation", "prompt", "context_management", "moderation", "top_logprobs", "image", "access_programs",
)  # fmt: skip
"""Only the upstream supports these fields, so a request with one goes to the large model."""
HINTS = frozenset(
    {
        "max_tool_calls", "metadata", "model", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options", "truncation", "user",
        "background", "background_options", "models",
    }
)  # fmt: skip
"""A local answer does not depend on these fields."""
TRANSLATED = frozenset(
    {
        "input", "instructions", "tools", "tool_choice", "text", "temperature", "top_p", "max_output_tokens",
        "parallel_tool_calls", "include", "previous_response_id",
    }
)  # fmt: skip
"""These fields exist in chat completions too."""
_HARMLESS_INCLUDES = frozenset({"reasoning.encrypted_content"})


def as_chat(body: Json) -> dict[str, Any]:
    """Return a request as a chat completion.

    Raises:
        NotServedError: only the large model can answer it.
    """
    for name in LARGE_ONLY:
        if body.get(name):
            raise NotServedError(name)
    if set(body.get("include") or ()) - _HARMLESS_INCLUDES:
        raise NotServedError("include")
    if body.get("previous_response_id"):
        raise NotServedError("previous_response_id")
    unknown = next((k for k, v in body.items() if v is not None and k not in HINTS | TRANSLATED), None)
    if unknown is not None:
        raise NotServedError(f"unknown parameter {unknown[:40]!r}")
    chat: dict[str, Any] = {"model": body["model"], "messages": _messages(body)}
    if body.get("tools"):
        chat["tools"] = [_tool(t) for t in body["tools"]]
        chat["tool_choice"] = _tool_choice(body.get("tool_choice"))
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        named = {k: v for k, v in wanted.items() if k != "type"}
        chat["response_format"] = {"type": "json_schema", "json_schema": named}
    elif wanted.get("type") not in (None, "text"):
        chat["response_format"] = wanted
    same = {"temperature": "temperature", "top_p": "top_p", "parallel_tool_calls": "parallel_tool_calls"}
    same["max_output_tokens"] = "max_completion_tokens"
    return chat | {there: body[here] for here, there in same.items() if body.get(here) is not None}


def input_items(body: Json) -> list[dict[str, Any]]:
    """Return a request's input as items. It may have none."""
    given = body.get("input")
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given or ())


def _messages(body: Json) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if body.get("instructions"):
        out.append({"role": "system", "content": body["instructions"]})
    for item in input_items(body):
        kind = item.get("type", "message")
        if kind == "message":
            out.append({"role": item["role"], "content": _text(item["content"])})
        elif kind == "function_call":
            function = {"name": str(item.get("name")), "arguments": str(item.get("arguments"))}
            call = {"id": str(item.get("call_id")), "type": "function", "function": function}
            if out and out[-1].get("tool_calls"):
                out[-1]["tool_calls"].append(call)
            else:
                out.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            out.append(
                {
                    "role": "tool",
                    "tool_call_id": str(item.get("call_id")),
                    "content": _text(item.get("output")),
                }
            )
        elif kind != "reasoning":  # the small model does not need the large model's reasoning
            raise NotServedError(f"{kind[:40]} input")
    if not any(m["role"] == "user" for m in out):
        raise NotServedError("input without a user's message")
    return out


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in ("input_text", "output_text", "refusal"):
            raise NotServedError(f"{str(kind)[:40]} input")
        texts.append(str(part.get("refusal" if kind == "refusal" else "text") or ""))
    return "".join(texts)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise NotServedError(f"the tool {str(tool.get('type'))[:40]!r}")
    return {
        "type": "function",
        "function": {
            k: tool[k] for k in ("name", "description", "parameters", "strict") if tool.get(k) is not None
        },
    }


def _tool_choice(choice: Any) -> Any:
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    raise NotServedError("tool_choice")
