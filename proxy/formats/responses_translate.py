"""Requests of `/v1/responses` as chat requests."""

from collections.abc import Mapping
from typing import Any

from proxy.cascade.types import Json
from proxy.formats.base import NotServedError


def _messages(body: Json) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if body.get("instructions"):
        out.append({"role": "system", "content": body["instructions"]})
    given = body["input"]
    if isinstance(given, str):
        return [*out, {"role": "user", "content": given}]
    for item in given:
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
        elif kind != "reasoning":  # what the large model thought before is no business of the small one
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
