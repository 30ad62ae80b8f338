"""How each field of a chat request is treated, and which requests the small model cannot serve."""

from typing import Literal

from proxy.cascade.schemas import unserved_schema
from proxy.cascade.types import Json

Treatment = Literal["both", "proxy", "hint", "large"]
"""The treatment of a field.

`both`: it is sent to both models. `proxy`: the proxy itself acts on it. `hint`: it is sent to the upstream, but a local
answer is as good without it. `large`: the request goes straight to the large model.
"""

FIELDS: dict[str, Treatment] = {
    "audio": "large",
    "frequency_penalty": "both",
    "function_call": "large",
    "functions": "large",
    "logit_bias": "large",
    "logprobs": "both",
    "max_completion_tokens": "both",
    "max_tokens": "both",
    "messages": "both",
    "metadata": "hint",
    "modalities": "proxy",
    "model": "proxy",
    "models": "proxy",
    "moderation": "large",
    "n": "proxy",
    "parallel_tool_calls": "both",
    "prediction": "large",
    "presence_penalty": "both",
    "prompt_cache_key": "hint",
    "prompt_cache_options": "hint",
    "prompt_cache_retention": "hint",
    "reasoning_effort": "hint",
    "response_format": "both",
    "safety_identifier": "hint",
    "seed": "hint",
    "service_tier": "hint",
    "stop": "both",
    "store": "hint",
    "stream": "proxy",
    "stream_options": "proxy",
    "temperature": "hint",
    "tool_choice": "both",
    "tools": "both",
    "top_logprobs": "both",
    "top_p": "both",
    "user": "hint",
    "verbosity": "hint",
    "web_search_options": "large",
}
"""The fields of OpenAI's chat completions (August 2026) and our own `models`. Any other field is "large".

docs/compatibility.md gives the reasons.
"""

LONGEST_PROMPT = 2**20
"""The most characters of all messages. It is more than any small model reads, and each sample sends them again."""

_REASONS = {
    "audio": "audio output",
    "web_search_options": "web search",
    "prediction": "predicted output",
    "logit_bias": "logit_bias names the large model's token ids",
    "functions": "the functions parameter",
}
_SAMPLING_FIELDS = ("top_p", "stop", "presence_penalty", "frequency_penalty", "top_logprobs")
_ANSWER_FIELDS = ("response_format", "tools", "tool_choice", "parallel_tool_calls")


def unserved(body: Json, *, tools: bool) -> str | None:
    """Return why a request must go straight to the large model, or `None` if the small one can serve it.

    Args:
        body: the client's request.
        tools: True if the small model can call tools.
    """
    for name, value in body.items():
        if value and FIELDS.get(name) == "large":
            return _REASONS.get(name, name)
        if value is not None and name not in FIELDS:
            return f"unknown parameter {name[:40]!r}"
    if (body.get("n") or 1) != 1:
        return "n > 1"
    if body.get("modalities") and body["modalities"] != ["text"]:
        return "audio output"
    if body.get("tools") and not tools:
        return "tools (small.tools is off)"
    if any(t.get("type", "function") != "function" for t in body.get("tools") or ()):
        return "custom tools"
    return _unserved_message(body) or unserved_schema(body)


def _unserved_message(body: Json) -> str | None:
    left = LONGEST_PROMPT
    for message in body["messages"]:
        if message.get("audio"):
            return "audio input"
        if message.get("function_call") or message["role"] == "function":
            return "the functions parameter"
        content = message.get("content")
        left -= len(content) if isinstance(content, str) else 0
        for part in content if isinstance(content, list) else ():
            kind = part.get("type")
            if kind not in ("text", "refusal"):
                return f"{str(kind)[:40]} input"
            left -= len(part.get("text") or "") if isinstance(part.get("text"), str) else 0
        if left < 0:
            return f"a prompt of more than {LONGEST_PROMPT} characters"
    return None


def small_body(body: Json, max_tokens: int) -> dict[str, object]:
    """Return the fields of a request that are sent to the small model too.

    `seed` is not among them, because a seeded request among others crashes the CPU engine of vLLM.
    """
    out = {k: body[k] for k in (*_SAMPLING_FIELDS, *_ANSWER_FIELDS) if body.get(k) is not None}
    if isinstance(out.get("stop"), list):
        out["stop"] = out["stop"][:4]
    limits = (body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name))
    return {**out, "max_tokens": min([max_tokens, *limits]), "logprobs": True}
