"""What a request may contain while a budget applies: things that cost no more than the tokens counted for them.

`pricing/bounds.py` counts the text of everything that goes out. Some things cost more than their text: a search has a fee,
a stored file is long although its id is short, and a service tier has other prices. Nobody can know what a field of tomorrow
costs. So only the names in these tables are accepted. A field whose value is null counts as absent.
"""

from collections.abc import Container, Iterator, Mapping
from typing import Any, TypeGuard

from proxy.cascade.types import Json
from proxy.pricing.prices import Price

PASSIVE = frozenset(
    {
        # how the answer is drawn
        "temperature", "top_p", "top_k", "top_a", "min_p", "typical_p", "tfs", "seed", "random_seed", "stop",
        "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens", "skip_special_tokens",
        "spaces_between_special_tokens", "frequency_penalty", "presence_penalty", "repetition_penalty",
        "length_penalty", "logit_bias", "logprobs", "top_logprobs", "bad_words", "allowed_token_ids",
        # what it looks like
        "stream", "stream_options", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
        "structured_outputs", "verbosity", "parallel_tool_calls", "usage",
        # how long the model thinks: its output limit includes this
        "reasoning_effort", "reasoning", "include_reasoning",
        # labels
        "model", "models", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "store",
    }
)  # fmt: skip
"""Fields of every endpoint that cost nothing beyond their own text, at OpenAI and at other vendors."""

_CHAT = PASSIVE | {
    "messages", "tools", "tool_choice", "functions", "function_call", "response_format", "n", "max_tokens",
    "max_completion_tokens", "service_tier", "modalities", "audio", "prompt_cache_options",
}  # fmt: skip
_RESPONSES = PASSIVE | {
    "input", "instructions", "tools", "tool_choice", "text", "include", "max_output_tokens", "max_tool_calls",
    "truncation", "service_tier", "previous_response_id", "prompt_cache_options",
}  # fmt: skip
"""The answer to `previous_response_id` is in our store, or `spending/limits.py` refuses it."""
_COMPLETIONS = PASSIVE | {"prompt", "suffix", "echo", "best_of", "n", "max_tokens", "service_tier"}
_EMBEDDINGS = PASSIVE | {"input", "dimensions", "encoding_format"}

_MESSAGE = frozenset(
    {
        "role", "content", "name", "refusal", "tool_calls", "tool_call_id", "function_call", "id", "status", "phase",
        "reasoning", "reasoning_content", "reasoning_details", "thinking_blocks", "annotations", "parsed", "prefix",
        "partial", "provider_specific_fields", "extra_content", "cache_control",
    }
)  # fmt: skip
"""Members of a chat message. An `audio` is missing: its id names a recording of the upstream."""

_PLAIN_MESSAGE = _MESSAGE - {"cache_control"}

_ITEMS = frozenset(
    {
        "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning",
        "compaction", "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output",
        "apply_patch_call", "apply_patch_call_output", "computer_call", "computer_call_output",
    }
)  # fmt: skip
"""Types of input items that hold their own text. The others name things that the upstream keeps, or ask it for work."""
_ITEM = frozenset(
    {
        "type", "id", "status", "role", "content", "phase", "name", "namespace", "call_id", "arguments", "input",
        "output", "summary", "encrypted_content", "action", "actions", "operation", "acknowledged_safety_checks",
        "pending_safety_checks", "max_output_length", "caller",
    }
)  # fmt: skip

_CACHED = frozenset({"type", "cache_control", "prompt_cache_breakpoint"})
_PARTS: Mapping[str, frozenset[str]] = {
    kind: _CACHED | names
    for kind, names in {
        "text": {"text", "annotations", "citations", "logprobs"},
        "input_text": {"text"},
        "output_text": {"text", "annotations", "logprobs"},
        "refusal": {"refusal"},
        "summary_text": {"text"},
        "reasoning_text": {"text"},
        "thinking": {"thinking", "signature", "closed"},
        "image_url": {"image_url", "detail"},
        "input_image": {"image_url", "detail"},
        "computer_screenshot": {"image_url", "detail"},
        "input_audio": {"input_audio"},
        "file": {"file"},
        "input_file": {"file_data", "filename", "file_url", "detail"},
    }.items()
}
"""Types of content parts, and the members of each. A `file_id` is missing: the upstream keeps that file."""
_INNER: Mapping[str, frozenset[str]] = {
    "image_url": frozenset({"url", "detail"}),
    "input_audio": frozenset({"data", "format"}),
    "file": frozenset({"file_data", "filename"}),
    "function": frozenset({"name", "description", "parameters", "strict", "cache_control"}),
    "custom": frozenset({"name", "description", "format"}),
}
"""Members of the object that a part or a tool of chat completions has under its own type."""
_SHELL_OUTPUT = frozenset({"stdout", "stderr", "outcome", "created_by"})

_TOOLS: Mapping[str, frozenset[str]] = {
    "function": frozenset(
        {"type", "function", "name", "description", "parameters", "strict", "cache_control", "output_schema"}
    ),
    "custom": frozenset({"type", "custom", "name", "description", "format", "cache_control"}),
    "namespace": frozenset({"type", "name", "description", "tools"}),
}
"""Types of tools that the client runs itself, and their members. Hosted tools have fees and call the model again."""
_CHOICES = frozenset({"function", "custom", "allowed_tools", "auto", "none", "any", "required", "tool"})
_TIERS = frozenset({"auto", "default", "flex", "standard", "standard_only"})
"""Service tiers that cost at most the list price, or that a reservation covers at every price."""
_FOR_AN_HOUR = "1h"


def unknown_in_chat(body: Json, price: Price) -> str | None:
    """Return the first part of a chat request without a known limit of its cost, or None."""
    return next(_in_chat(body, price), None)


def unknown_in_responses(body: Json, price: Price) -> str | None:
    """Return the first part of a Responses request without a known limit of its cost, or None."""
    return next(_in_responses(body, price), None)


def unknown_in_completions(body: Json, price: Price) -> str | None:
    """Return the first field of a completion without a known limit of its cost, or None."""
    return next(_fields(body, _COMPLETIONS, price), None)


def unknown_in_embeddings(body: Json, price: Price) -> str | None:
    """Return the first field of a request for embeddings without a known limit of its cost, or None."""
    return next(_fields(body, _EMBEDDINGS, price), None)


def asks_for_an_hour(body: Json) -> bool:
    """Whether a request asks for a cache write that is kept for an hour. It uses no recursion: bodies may be deep."""
    rest: list[object] = [body]
    while rest:
        value = rest.pop()
        if isinstance(value, Mapping):
            if value.get("ttl") == _FOR_AN_HOUR:
                return True
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return False


def _in_chat(body: Json, price: Price) -> Iterator[str]:
    yield from _fields(body, _CHAT, price)
    yield from _caching(body, "", price)
    modes = body.get("modalities") or []
    for mode in modes if isinstance(modes, list) else (modes,):
        if mode not in ("text", "audio") or (mode == "audio" and not price.speaks):
            yield f"modalities {str(mode)[:40]!r}"
    if body.get("audio") is not None and not price.speaks:
        yield "audio"
    for i, message in enumerate(body.get("messages") or ()):
        if isinstance(message.get("content"), str) and message.keys() <= _PLAIN_MESSAGE:
            continue  # most messages are so, and a body may have many
        where = f"messages[{i}]"
        yield from _names(message, _MESSAGE, where)
        yield from _caching(message, f"{where}.", price)
        yield from _parts(message.get("content"), f"{where}.content", price)
    yield from _tools(body.get("tools"), "tools", price)
    yield from _choice(body.get("tool_choice"))


def _in_responses(body: Json, price: Price) -> Iterator[str]:
    yield from _fields(body, _RESPONSES, price)
    yield from _caching(body, "", price)
    given = body.get("input")
    for i, item in enumerate(given if isinstance(given, list) else ()):
        where = f"input[{i}]"
        kind = item.get("type", "message")
        if not _is_one_of(kind, _ITEMS):
            yield f"{where} of type {str(kind)[:40]!r}"
        yield from _names(item, _ITEM, where)
        for name in ("content", "output", "summary"):
            yield from _parts(item.get(name), f"{where}.{name}", price)
    yield from _tools(body.get("tools"), "tools", price)
    yield from _choice(body.get("tool_choice"))


def _fields(body: Json, allowed: frozenset[str], price: Price) -> Iterator[str]:
    if body.get("background") is False:
        body = {name: value for name, value in body.items() if name != "background"}
    yield from _names(body, allowed, "")
    tier = body.get("service_tier")
    if tier is not None and not (_is_one_of(tier, _TIERS) or any(name == tier for name, _ in price.tiers)):
        yield f"service_tier {str(tier)[:40]!r}"


def _is_one_of(value: object, names: Container[str]) -> TypeGuard[str]:
    return isinstance(value, str) and value in names


def _names(value: Json, allowed: frozenset[str], where: str) -> Iterator[str]:
    for name, inner in value.items():
        if inner is not None and name not in allowed:
            yield f"{where}.{name[:40]}" if where else name[:40]


def _parts(content: object, where: str, price: Price) -> Iterator[str]:
    parts = content if isinstance(content, list) else [content]
    for i, part in enumerate(parts):
        if not isinstance(part, dict):
            continue
        at, kind = f"{where}[{i}]", part.get("type")
        if kind is None and where.endswith(".output"):  # the output of a shell has no types, and is all text
            yield from _names(part, _SHELL_OUTPUT, at)
        elif not _is_one_of(kind, _PARTS):
            yield f"{at} of type {str(kind)[:40]!r}"
        else:
            yield from _part(part, kind, at, price)


def _part(part: Mapping[str, Any], kind: str, where: str, price: Price) -> Iterator[str]:
    yield from _names(part, _PARTS[kind], where)
    yield from _caching(part, f"{where}.", price)
    if kind == "input_audio" and not price.hears:
        yield f"{where} of type 'input_audio'"
    yield from _inner(part, kind, where)


def _tools(tools: object, where: str, price: Price) -> Iterator[str]:
    for i, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not _is_one_of(kind, _TOOLS):
            yield f"the tool {str(kind)[:40]!r}"
            return
        yield from _names(tool, _TOOLS[kind], f"{where}[{i}]")
        yield from _inner(tool, kind, f"{where}[{i}]")
        yield from _caching(tool, f"{where}[{i}].", price)
        yield from _tools(tool.get("tools"), f"{where}[{i}].tools", price)


def _inner(value: Json, kind: str, where: str) -> Iterator[str]:
    inner = value.get(kind)
    if isinstance(inner, dict):
        yield from _names(inner, _INNER.get(kind, frozenset()), f"{where}.{kind}")


def _choice(choice: object) -> Iterator[str]:
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind is not None and not _is_one_of(kind, _CHOICES):
        yield f"tool_choice of type {str(kind)[:40]!r}"


def _caching(value: Mapping[str, Any], where: str, price: Price) -> Iterator[str]:
    """Name a wish to write into the cache if its price is unknown."""
    for name in ("cache_control", "prompt_cache_breakpoint", "prompt_cache_options"):
        wish = value.get(name)
        lasts = wish.get("ttl") if isinstance(wish, dict) else None
        known = price.writes_cache_for_an_hour if lasts == _FOR_AN_HOUR else lasts in (None, "5m", "30m")
        if wish is not None and not (price.writes_cache and known):
            yield f"{where}{name}"
