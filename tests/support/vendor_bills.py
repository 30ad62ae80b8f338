"""Answers of vendors with every class of tokens and every tier, and what `genai-prices` says they cost.

The package reads the answers with its own rules, so it shares no code with the proxy. Sources of the answers' forms:
OpenAI's and Anthropic's API references, and the usage of OpenRouter and LiteLLM for models of Anthropic.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Usage as TheirUsage

Json = dict[str, Any]
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


@dataclass(frozen=True)
class VendorCall:
    """One answer of a vendor, on an endpoint of ours, at a time."""

    model: str
    answer: Json
    path: str = "/chat/completions"
    at: datetime = NOON
    reader: tuple[str, str] = ("openai", "chat")
    """The vendor and the API whose usage the package reads."""
    theirs: Json | None = None
    """The same answer in the vendor's own form, if the package does not read the compatible one."""
    context: Json | None = None
    """The condition of its price, if it is not the answer's `service_tier`."""


def nano_of(call: VendorCall) -> int:
    """Return what the package computes for a call, in nano-USD. Fractions are rounded up, as in all bookings."""
    vendor, api = call.reader
    read = get_snapshot().extract_usage(call.theirs or call.answer, vendor, None, api)
    tier = call.answer.get("service_tier")
    return nano_of_usage(
        call.model, read.usage, call.context or ({"service_tier": tier} if tier else {}), call.at
    )


def nano_of_usage(model: str, usage: TheirUsage, context: Json, at: datetime) -> int:
    """Return what the package computes for a usage, in nano-USD."""
    provider, info = get_snapshot().find_provider_model(model, None, None, None)
    found = info.calc_price(usage, provider, genai_request_timestamp=at, price_context=context)
    return int((found.total_price * 10**9).to_integral_value(ROUND_CEILING))


def chat(prompt: int, output: int, *, tier: str | None = None, **counts: int) -> Json:
    """Return a chat completion with a usage."""
    inputs = {
        name: counts[name]
        for name in ("cached_tokens", "cache_write_tokens", "audio_tokens")
        if name in counts
    }
    outputs = {"reasoning_tokens": counts.get("reasoning", 0), "audio_tokens": counts.get("spoken", 0)}
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": inputs,
            "completion_tokens_details": outputs,
        },
        **({"service_tier": tier} if tier else {}),
    }


def response(prompt: int, output: int, *, tier: str = "default", cached: int = 0, written: int = 0) -> Json:
    """Return a response with a usage."""
    return {
        "object": "response",
        "status": "completed",
        "output": [],
        "service_tier": tier,
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": output // 2},
            "total_tokens": prompt + output,
        },
    }


def claude(
    fresh: int, read: int, short: int, hour: int, output: int, *, tier: str = "standard"
) -> VendorCall:
    """Return a call of a model of Anthropic through an upstream that keeps Anthropic's names beside OpenAI's."""
    own = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output,
        "service_tier": tier,
    }
    prompt = fresh + read + short + hour
    usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    answer = chat(0, 0)
    answer["usage"] = {**own, **usage}
    context = {"processing": "batch"} if tier == "batch" else {}
    return VendorCall(
        "claude-sonnet-4-5", answer, reader=("anthropic", "default"), theirs={"usage": own}, context=context
    )


def _at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


CALLS: dict[str, VendorCall] = {
    "plain": VendorCall("gpt-4o", chat(1000, 100)),
    "fractions of a nano-dollar": VendorCall("gpt-4o-mini", chat(1003, 101, cached_tokens=1)),
    "cache read": VendorCall("gpt-4o", chat(12_345, 678, cached_tokens=10_240)),
    "cache write": VendorCall("gpt-5.6-sol", chat(20_000, 300, cache_write_tokens=20_000)),
    "read and write": VendorCall("gpt-5.6-sol", chat(21_000, 300, cached_tokens=19_000, cache_write_tokens=2000)),
    "reasoning": VendorCall("o4-mini", chat(500, 4000, reasoning=3800)),
    "priority": VendorCall("gpt-5.6-sol", chat(5000, 700, tier="priority", cached_tokens=1024)),
    "fast": VendorCall("gpt-5.2", chat(5000, 700, tier="fast")),
    "flex": VendorCall("gpt-5.6-terra", chat(5000, 700, tier="flex", cache_write_tokens=5000)),
    "flex of an old model": VendorCall("o3", chat(900, 3000, tier="flex", reasoning=2500, cached_tokens=512)),
    "default named": VendorCall("gpt-5", chat(5000, 700, tier="default")),
    "priority without the wish": VendorCall("gpt-4.1", chat(77_777, 1, tier="priority", cached_tokens=7)),
    "repeating decimals": VendorCall("gpt-4o-mini", chat(1001, 333, tier="priority", cached_tokens=101)),
    "batch": VendorCall("gpt-5.4", chat(5000, 700, tier="batch"), context={"processing": "batch"}),
    "at the border": VendorCall("gpt-5.6-sol", chat(272_000, 100)),
    "long": VendorCall("gpt-5.6-sol", chat(272_001, 100, cached_tokens=200_000, cache_write_tokens=72_001)),
    "long priority": VendorCall("gpt-5.6-sol", chat(300_000, 100, tier="priority", cache_write_tokens=300_000)),
    "long flex": VendorCall("gpt-5.6-luna", chat(300_000, 100, tier="flex")),
    "response": VendorCall(
        "gpt-5.6-sol", response(9000, 500, cached=8192, written=808), "/responses", reader=("openai", "responses")
    ),
    "priority response": VendorCall(
        "gpt-6.1-sol", response(9000, 500, tier="priority", cached=100), "/responses", reader=("openai", "responses")
    ),
    "spoken": VendorCall("gpt-audio", chat(900, 300, audio_tokens=600, spoken=250)),
    "heard by Gemini": VendorCall("gemini-2.5-flash", chat(3000, 40, audio_tokens=2500), reader=("google", "chat")),
    "Claude": claude(300, 0, 0, 0, 900),
    "Claude writes for five minutes": claude(12, 0, 20_000, 0, 900),
    "Claude writes for an hour": claude(12, 0, 0, 20_000, 900),
    "Claude reads and writes both": claude(12, 50_000, 3000, 7001, 900),
    "Claude in a batch": claude(12, 50_000, 3000, 7001, 900, tier="batch"),
    "Claude with a long prompt": VendorCall(
        "claude-sonnet-4-5", claude(1000, 250_000, 0, 30_000, 2000).answer, reader=("anthropic", "default"),
        theirs=claude(1000, 250_000, 0, 30_000, 2000).theirs,
    ),
    "before a price cut": VendorCall("gpt-5.6-sol", chat(5000, 700), at=_at("2026-08-20T23:59:59")),
    "after a price cut": VendorCall("gpt-5.6-sol", chat(5000, 700), at=_at("2026-08-21T00:00:00")),
    "before a rise": VendorCall("gemini-3.8-flash", chat(5000, 700), at=_at("2026-12-31T23:59:59"), reader=("google", "chat")),
    "after a rise": VendorCall("gemini-3.8-flash", chat(5000, 700), at=_at("2027-01-01T00:00:00"), reader=("google", "chat")),
    "cheap hours": VendorCall("deepseek-chat", chat(5000, 700), at=_at("2026-11-27T20:00:00")),
    "dear hours": VendorCall("deepseek-chat", chat(5000, 700), at=_at("2026-11-27T10:00:00")),
    "tier before it had a price": VendorCall("gpt-4.1", chat(5000, 700, tier="priority"), at=_at("2026-10-11T12:00:00")),
}  # fmt: skip
