"""What the small model cannot do, told from the request alone."""

from proxy.cascade.types import Json

_LARGE_ONLY = {
    "audio": "audio output",
    "web_search_options": "web search",
    "prediction": "predicted output",
    "logit_bias": "logit_bias names the large model's token ids",
    "functions": "the functions parameter",
}
_SAMPLING_FIELDS = ("top_p", "stop", "presence_penalty", "frequency_penalty", "top_logprobs")
_ANSWER_FIELDS = ("response_format", "tools", "tool_choice", "parallel_tool_calls")


def unserved(body: Json, *, tools: bool) -> str | None:
    """Return why a request has to go straight to the large model; `None` when the small one can serve it.

    Args:
        body: the client's request.
        tools: whether the served small model can call tools.
    """
    for name, reason in _LARGE_ONLY.items():
        if body.get(name):
            return reason
    if (body.get("n") or 1) != 1:
        return "n > 1"
    if body.get("modalities") and body["modalities"] != ["text"]:
        return "audio output"
    if body.get("tools") and not tools:
        return "tools (small.tools is off)"
    for message in body["messages"]:
        if message.get("audio"):
            return "audio input"
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in ("text", "refusal"):
                return f"{kind} input"
    return None


def small_body(body: Json, max_tokens: int) -> dict[str, object]:
    """Return the fields of a request that hold for the small executor too.

    `seed` is left out on purpose: a seeded request among others kills vLLM's CPU engine.
    """
    out = {k: body[k] for k in (*_SAMPLING_FIELDS, *_ANSWER_FIELDS) if body.get(k) is not None}
    if isinstance(out.get("stop"), list):
        out["stop"] = out["stop"][:4]
    asked = body.get("max_completion_tokens") or body.get("max_tokens") or max_tokens
    return {**out, "max_tokens": min(asked, max_tokens), "logprobs": True}
