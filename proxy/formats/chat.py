"""POST /v1/chat/completions. Source: OpenAI API reference, "Chat completions" and its "Streaming"."""

from collections.abc import Iterator
from itertools import takewhile, zip_longest
from typing import Any

import msgspec

from proxy.cascade import prompts
from proxy.cascade.types import Json
from proxy.errors import bad_request
from proxy.formats import checks, known_costs, prompt_cache
from proxy.formats.base import OUTPUT_LIMITS, CallLimits, LocalAnswer
from proxy.formats.chunked import ChunkedFormat, wants_usage
from proxy.formats.generated import shown_text
from proxy.formats.lenient import an_object, mended, objects
from proxy.formats.schemas import check_schemas
from proxy.formats.token_pieces import token_pieces
from proxy.pricing.bounds import body_bound
from proxy.pricing.prices import Price, Usage

WORDS_PER_CHUNK = 4
LEAST_USEFUL_OUTPUT = 64
"""The smallest output in tokens to which a budget may cut an answer."""
_PLANNER_FIELDS = (
    "messages", "tools", "parallel_tool_calls", "reasoning_effort", "verbosity", "user", "safety_identifier",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
)  # fmt: skip
"""What a guideline has from its request. A service tier is missing: a guideline is short, and is paid at the list price."""


class Chat(ChunkedFormat):
    """See `proxy.formats.base.Format`."""

    path = "/chat/completions"
    is_conversation = True

    def check(self, body: Json) -> None:
        """Check the messages and the fields that limit the answer."""
        _check_messages(body.get("messages"))
        checks.positive(body, ("n",), checks.MOST_CHOICES)
        checks.positive(body, OUTPUT_LIMITS, least=0)
        checks.typed(body, stream=bool, stream_options=dict, response_format=dict)
        checks.tools(body)
        for i, tool in enumerate(body.get("tools") or ()):
            if not isinstance(tool.get(tool["type"]), dict | None):
                where = f"tools[{i}].{tool['type'][:40]}"
                raise bad_request(f"'{where}' has to be an object.", param=where, code="invalid_type")
        checks.objects(body, "functions")
        check_schemas(body)

    def prompt(self, body: Json) -> object:
        """Return the messages."""
        return body.get("messages")

    def as_chat(self, body: Json) -> dict[str, Any]:
        """Return the body itself."""
        return dict(body)

    def with_text(self, body: Json, text: str, *, apart: bool) -> dict[str, Any]:
        """Add a message, or extend the last one."""
        messages = body["messages"]
        own = {"role": "user", "content": text}
        return {**body, "messages": [*messages, own] if apart else prompts.appended(messages, text)}

    def with_breakpoints(self, body: Json, most: int) -> dict[str, Any]:
        """Mark the last part of each message that may be marked."""
        return {**body, "messages": prompt_cache.marked_messages(body["messages"], most)}

    def has_breakpoints(self, body: Json) -> bool:
        """Look into the messages."""
        return prompt_cache.any_marked(body["messages"])

    def opening(self, body: Json) -> object | None:
        """Return the instructions at the beginning, or else the first message."""
        messages = body["messages"]
        instructions = list(takewhile(lambda m: m["role"] in ("system", "developer"), messages))
        return instructions or messages[:1]

    def planner_body(self, body: Json, *, effort: str | None) -> tuple[dict[str, Any], bool]:
        """Keep the tools, which may not be called. A format of JSON is left out, because a guideline is plain text."""
        out = {name: body[name] for name in _PLANNER_FIELDS if body.get(name) is not None}
        if out.get("tools"):
            out["tool_choice"] = "none"
        if effort is not None:
            out.setdefault("reasoning_effort", effort)
        wanted = body.get("response_format")
        plain = wanted is None or wanted.get("type") == "text"
        return out | ({"response_format": wanted} if plain and wanted else {}), plain

    def written_text(self, answer: Json) -> str:
        """Read the first choice."""
        choices = objects(answer.get("choices"))
        return mended(shown_text(an_object(choices[0].get("message")).get("content"))) if choices else ""

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Ask for the usage of a stream, and remove output limits of 0. Upstreams disagree about what they mean."""
        sent = super().upstream_body(body)
        return {k: v for k, v in sent.items() if v != 0 or k not in OUTPUT_LIMITS}

    def unbounded_cost(self, body: Json, price: Price) -> str | None:
        """Name what is not in the tables."""
        return known_costs.unknown_in_chat(body, price)

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Apply the client's limit, or the default, to each of `n` choices. Of two limits, the smaller one holds."""
        asked = min((body[name] for name in OUTPUT_LIMITS if body.get(name)), default=default_output)
        choices = body.get("n") or 1
        least = min(asked, LEAST_USEFUL_OUTPUT) * choices
        return CallLimits(asked=asked * choices, least=least, field=OUTPUT_LIMITS[0], choices=choices)

    def count(self, model: str, body: Json, *, in_bytes: bool = False) -> int:
        """Count everything."""
        return body_bound(model, body, in_bytes=in_bytes)

    def render(self, body: Json, local: LocalAnswer) -> bytes:
        """Render a `chat.completion`."""
        choice = {
            "index": 0,
            "message": local.sample.message,
            "logprobs": local.sample.logprobs if body.get("logprobs") else None,
            "finish_reason": local.sample.finish_reason,
        }
        head = _head(local, "chat.completion")
        return msgspec.json.encode(
            {**head, "choices": [choice], "usage": _usage(local.usage), "cope": local.facts}
        )

    def events(self, body: Json, local: LocalAnswer) -> Iterator[bytes]:
        """Render `chat.completion.chunk`s: role, deltas, finish, usage if asked."""
        head = _head(local, "chat.completion.chunk")
        sample = local.sample
        wanted = wants_usage(body)

        def chunk(delta: object, finish: str | None = None, logprobs: object = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            return msgspec.json.encode({**head, "choices": [choice], **({"usage": None} if wanted else {})})

        yield chunk({"role": "assistant", "content": "" if sample.text else None, "refusal": None})
        if body.get("logprobs") and sample.logprobs:
            tokens = sample.logprobs["content"]
            cut = token_pieces(sample.text, [token["token"] for token in tokens])
            for piece, token in zip_longest(cut, tokens):
                of_piece = None if token is None else {"content": [token], "refusal": None}
                yield chunk({"content": piece} if sample.text else {}, logprobs=of_piece)
        else:
            for piece in pieces(sample.text):
                yield chunk({"content": piece})
        for i, call in enumerate(sample.message.get("tool_calls") or ()):
            yield chunk({"tool_calls": [{"index": i, **call}]})
        yield chunk({}, sample.finish_reason)
        if wanted:
            yield msgspec.json.encode(
                {**head, "choices": [], "usage": _usage(local.usage), "cope": local.facts}
            )


def pieces(text: str) -> Iterator[str]:
    """Cut a text into pieces of a few words."""
    words = text.split(" ")
    for i in range(0, len(words) if text else 0, WORDS_PER_CHUNK):
        yield ("" if i == 0 else " ") + " ".join(words[i : i + WORDS_PER_CHUNK])


def _head(local: LocalAnswer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{local.request_id}",
        "object": kind,
        "created": int(local.received_at.timestamp()),
        "model": local.model,
    }


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise bad_request("'messages' has to be a non-empty array.", param="messages", code="invalid_type")
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise bad_request(
                f"'{where}' has to be an object with a 'role'.", param=where, code="invalid_type"
            )
        content = message.get("content")
        if not (content is None or isinstance(content, (str, list))):
            raise bad_request(
                f"'{where}.content' has to be a string or an array of parts.",
                param=f"{where}.content",
                code="invalid_type",
            )
        if isinstance(content, list) and not all(isinstance(p, dict) for p in content):
            raise bad_request(
                f"'{where}.content' has to hold objects.", param=f"{where}.content", code="invalid_type"
            )
        _check_tool_calls(message.get("tool_calls"), where)


def _check_tool_calls(calls: Any, where: str) -> None:
    if calls is not None and not (isinstance(calls, list) and all(isinstance(c, dict) for c in calls)):
        raise bad_request(
            f"'{where}.tool_calls' has to be an array of objects.",
            param=f"{where}.tool_calls",
            code="invalid_type",
        )
