"""A vendor that bills everything it receives, at its dearest rules. It shares no code with the proxy's own counting.

Sources: OpenAI's price list and its guides to vision, audio, files, caching and tools; Anthropic's prices of cache writes.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import cache
from typing import Any

import tiktoken

Json = dict[str, Any]

CONTEXT = 128_000
"""Tokens behind anything that is named by an id or an address."""
FEE = Decimal("0.05")
"""USD for a search, a container, or a field that nobody knows yet."""
HARMLESS = frozenset(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "store",
        "reasoning",
        "reasoning_effort",
        "verbosity",
        "parallel_tool_calls",
        "response_format",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "service_tier",
        "modalities",
        "audio",
        "input",
        "instructions",
        "text",
        "include",
        "max_tool_calls",
        "truncation",
        "prompt",
        "suffix",
        "echo",
        "best_of",
        "dimensions",
        "encoding_format",
    ]
)
"""Fields that have no price of their own. `prompt` is harmless as the text of a completion only."""
OWN_TOOLS = ("function", "custom", "namespace")
MESSAGE = frozenset(
    [
        "role",
        "content",
        "name",
        "refusal",
        "tool_calls",
        "tool_call_id",
        "function_call",
        "reasoning_content",
        "type",
    ]
)
IDS = ("file_id", "vector_store_ids", "container_id", "connector_id")


@dataclass(frozen=True)
class Rates:
    """USD per million tokens."""

    input: Decimal
    output: Decimal
    audio_input: Decimal = Decimal(100)
    audio_output: Decimal = Decimal(200)
    cache_write: Decimal | None = None
    long_above: int | None = None
    long_factor: tuple[Decimal, Decimal] = (Decimal(1), Decimal(1))
    project: str | None = None
    """The tier of requests that name none."""
    bytes_as_tokens: bool = False
    """Whether each byte is a token, as in the worst of all tokenizers."""


@dataclass(frozen=True)
class Bill:
    """What one call costs, and the usage that the vendor reports."""

    usd: Decimal
    prompt: int
    output: int
    audio_in: int
    audio_out: int
    written: int
    for_an_hour: bool = False
    tier: str | None = None

    @property
    def nano(self) -> int:
        """The bill in nano-USD, rounded up."""
        return int((self.usd * 10**9).to_integral_value(ROUND_CEILING))


def bill(path: str, body: Json, rates: Rates) -> Bill:
    """Return the bill for a body. The model writes as much as it is allowed to."""
    seen = _Seen(rates.bytes_as_tokens)
    seen.walk(body, "body")
    texts = body.get("prompt" if path == "/completions" else "input")
    if path in ("/completions", "/embeddings"):
        seen.tokens += _ids(texts)
    seen.tokens += 3 + 3 * len(body.get("messages") or ())
    seen.tokens += 12 * bool(body.get("tools")) + 7 * len(body.get("tools") or ())
    for name, value in body.items():
        if value not in (None, False) and (
            name not in HARMLESS or (name == "prompt" and path != "/completions")
        ):
            seen.fees += FEE
    output = _output(path, body)
    spoken = output if "audio" in (body.get("modalities") or ()) else 0
    prompt = seen.tokens + seen.images + seen.audio
    factors = (
        rates.long_factor if rates.long_above and prompt > rates.long_above else (Decimal(1), Decimal(1))
    )
    write = rates.cache_write or (2 if seen.cached else 1) * rates.input
    if seen.cached_long:
        write = 2 * rates.input
    written = seen.tokens if rates.cache_write or seen.cached else 0
    usd = (
        (written * write + (prompt - written - seen.audio) * rates.input) * factors[0]
        + seen.audio * rates.audio_input
        + ((output - spoken) * rates.output) * factors[1]
        + spoken * rates.audio_output
    ) / 10**6 + seen.fees
    asked = body.get("service_tier")
    tier = rates.project if asked in (None, "auto") else str(asked)
    usd *= {"priority": 2, "fast": 2, "scale": 3}.get(str(tier), 1)
    return Bill(usd, prompt, output, seen.audio, spoken, written, seen.cached_long, tier)


class _Seen:
    """All that is billed of a prompt."""

    def __init__(self, bytes_as_tokens: bool) -> None:
        self._bytes = bytes_as_tokens
        self.tokens = self.images = self.audio = 0
        self.fees = Decimal(0)
        self.cached = self.cached_long = False

    def walk(self, value: Any, place: str) -> None:
        """Bill a value and all that is below it."""
        if isinstance(value, str):
            self.tokens += len(value.encode()) if self._bytes else count(value)
        elif isinstance(value, list):
            for inner in value:
                self.walk(inner, place)
        elif isinstance(value, dict):
            self._walk_object(value, place)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self.tokens += 0 if place in ("prompt", "input") else count(str(value))

    def _walk_object(self, value: Json, place: str) -> None:
        kind = value.get("type")
        if place == "tools" and kind not in OWN_TOOLS:
            self.fees += FEE
        if place in ("messages", "input"):
            self._bill_item(value)
        if place == "content" and isinstance(kind, str) and self._bill_part(kind, value):
            return
        for name, inner in value.items():
            self.walk(name, "name")
            named = place != "other" and name in IDS  # in the schema of a tool, it is only a name
            if inner is not None and (named or (name == "audio" and place == "messages")):
                self.tokens += CONTEXT
            if name == "cache_control" and isinstance(inner, dict):
                self.cached = True
                self.cached_long |= inner.get("ttl") == "1h"
            below = {"messages": "messages", "input": "input", "tools": "tools", "prompt": "prompt"}.get(name)
            in_item = place in ("messages", "input") and name in ("content", "output")
            in_tool = {"function": "function", "custom": "function", "tools": "tools"}.get(name)
            below = (
                below if place == "body" else "content" if in_item else in_tool if place == "tools" else None
            )
            self.walk(inner, below or "other")

    def _bill_item(self, item: Json) -> None:
        kind = item.get("type")
        if kind in (
            "item_reference",
            "image_generation_call",
            "web_search_call",
            "file_search_call",
            "mcp_list_tools",
        ):
            self.tokens += CONTEXT
        if kind == "reasoning" and not item.get("encrypted_content"):
            self.tokens += 100_000
        unknown = item.keys() - MESSAGE if "role" in item and kind in (None, "message") else ()
        self.tokens += CONTEXT * sum(item[name] is not None for name in unknown if name != "id")

    def _bill_part(self, kind: str, part: Json) -> bool:
        """Bill an attachment. Return False for a text."""
        if kind in (
            "text",
            "input_text",
            "output_text",
            "refusal",
            "summary_text",
            "reasoning_text",
            "thinking",
        ):
            return False
        if part.get("cache_control"):
            self.cached = True
        self.tokens += CONTEXT * ("file_id" in str(part))
        if kind in ("image_url", "input_image", "computer_screenshot"):
            self.images += 2833 + 5667 * 8  # gpt-4o-mini's largest image
        elif kind == "input_audio":
            self.audio += CONTEXT
        elif kind in ("file", "input_file"):
            self.tokens += CONTEXT
        else:
            self.tokens += CONTEXT
            self.fees += FEE
        return True


def _output(path: str, body: Json) -> int:
    if path == "/embeddings":
        return 0
    if path == "/responses":
        return body["max_output_tokens"] if body.get("max_output_tokens") else CONTEXT
    named = [
        body[n]
        for n in ("max_tokens", "max_completion_tokens", "max_output_tokens")
        if body.get(n) is not None
    ]
    each = max(named) if named else (16 if path == "/completions" else CONTEXT)
    choices = max(body.get("n") or 1, body.get("best_of") or 1)
    if path == "/completions":
        prompts = body.get("prompt")
        if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
            choices *= len(prompts)
    predicted = count(str(body["prediction"])) if body.get("prediction") else 0
    return int(each * choices + predicted)


def _ids(value: Any) -> int:
    if isinstance(value, list):
        return sum(_ids(inner) for inner in value)
    return int(isinstance(value, int))


def count(text: str) -> int:
    """Count the tokens of a text in o200k_base."""
    return len(_encoding().encode_ordinary(text))


@cache
def _encoding() -> tiktoken.Encoding:
    from proxy.pricing.tokens import count_text

    count_text("gpt-4o", "")  # lets tiktoken find its files without a net
    return tiktoken.get_encoding("o200k_base")
