"""The usage that an upstream reports, which may have gaps, and what is booked for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import ROUND_CEILING, Decimal

from proxy.pricing.prices import Usage

MOST_TOKENS = 100_000_000
"""No call has more. A larger count is an error of the upstream."""
_LONGEST_NUMBER = 9
_LONGEST_AMOUNT = 40
_Counts = Mapping[str, object]
_ANTHROPIC = ("cache_read_input_tokens", "cache_creation_input_tokens")
_OPEN_TIERS = frozenset({"", "auto", "null", "none"})
"""Words that name no tier. A response that has only begun repeats the "auto" of its request."""
_LONGEST_TIER = 16
_MOST_CHARGED = 10**15
"""A million USD. A higher charge for one call is an error of the upstream."""
_TICKS_PER_NANO = 10
"""xAI reports its charge in units of 10^-10 USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """The usable counts of a usage object, in tokens. `None` is a count that is missing or impossible."""

    prompt: int | None = None
    completion: int | None = None
    total: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    audio_prompt: int | None = None
    reasoning: int | None = None
    audio_completion: int | None = None
    cache_write_1h: int | None = None
    image_prompt: int | None = None
    image_completion: int | None = None
    charged: int | None = None
    tier: str | None = None

    @property
    def usage(self) -> Usage | None:
        """The usage of the call if it follows from the counts, else `None`.

        Two of prompt, completion and total are enough. Some vendors report reasoning beside the completion, or only in
        the total. It is output and belongs to the completion here.
        """
        if not (self.prompt or self.completion or self.total):
            return None  # servers that do not count report zeros
        prompt, completion = self.prompt, self._output
        if prompt is None and completion is not None and self.total is not None:
            prompt = self.total - completion
        elif prompt is not None and self.total is not None and self.total >= prompt:
            completion = max(completion or self.reasoning or 0, self.total - prompt)
        if prompt is None or prompt < 0 or completion is None:
            return None
        return self._usage(prompt, completion)

    def filled(self, prompt: int, completion: int, *, cut: bool) -> Usage:
        """Return the usage with the proxy's own counts in the gaps.

        Args:
            prompt: an upper limit of the prompt, in tokens.
            completion: the tokens of the generated text.
            cut: the answer broke off. A count that was reported before may then be too low.
        """
        known = self._output
        if self.prompt is None and known is None and self.total:
            output = min(self.total, max(completion, self.total - prompt))
            return self._usage(self.total - output, output)
        output = completion if known is None else max(known, completion) if cut else known
        return self._usage(prompt if self.prompt is None else self.prompt, output)

    def merged(self, later: "Reported") -> "Reported":
        """Return what two usages of one stream say together. Counts grow, and some vendors spread them over events."""
        if self == NOTHING_REPORTED:
            return later
        pairs = ((name, getattr(self, name), getattr(later, name)) for name in _COUNTS)
        counts = {name: a if b is None else max(a or 0, b) for name, a, b in pairs}
        return Reported(**counts, tier=later.tier or self.tier)

    def at_tier(self, tier: object) -> "Reported":
        """Return what an answer says together with the tier that it names beside its usage."""
        named = _tier(tier)
        return self if named is None or self.tier is not None else replace(self, tier=named)

    @property
    def _output(self) -> int | None:
        """The completion, with reasoning that cannot be part of it because it is more."""
        reasoning = self.reasoning or 0
        if self.completion is None or reasoning <= self.completion:
            return self.completion
        return self.completion + reasoning

    def _usage(self, prompt: int, completion: int) -> Usage:
        beside = 0 if self.completion is None else completion - self.completion
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=self.cached or 0,
            cache_write_tokens=self.cache_write or 0,
            audio_prompt_tokens=self.audio_prompt or 0,
            reasoning_tokens=min(completion, max(self.reasoning or 0, beside)),
            audio_completion_tokens=self.audio_completion or 0,
            cache_write_1h_tokens=self.cache_write_1h,
            image_prompt_tokens=self.image_prompt,
            image_completion_tokens=self.image_completion,
            tier=self.tier,
            charged=self.charged,
        )


NOTHING_REPORTED = Reported()
_COUNTS = tuple(field.name for field in fields(Reported) if field.name != "tier")


def read_usage(usage: object) -> Reported:
    """Read the `usage` of a chat completion, or of a response, which names input and output tokens. Nothing is an error.

    The names of the cache are OpenAI's, and those of Anthropic, LiteLLM, DeepSeek and Moonshot. `prompt` always contains
    what the cache has read and written, although Anthropic counts it beside the prompt. OpenRouter, Perplexity and xAI
    report their charge, and Anthropic the tier.
    """
    if not isinstance(usage, (dict, Mapping)):  # `dict` first: the check of a protocol is slow
        return NOTHING_REPORTED
    inputs = _objects(usage, "prompt_tokens_details", "input_tokens_details")
    outputs = _objects(usage, "completion_tokens_details", "output_tokens_details")
    cached = _first([*inputs, usage], "cached_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens")
    written, hour = _cache_writes(usage, inputs)
    completion, total = _first([usage], "completion_tokens", "output_tokens"), _first([usage], "total_tokens")
    prompt = _first([usage], "prompt_tokens", "input_tokens")
    if prompt is not None and any(name in usage and _count(usage[name]) for name in _ANTHROPIC):
        prompt = _with_cache(usage, prompt, (cached or 0) + (written or 0), completion, total)
    return Reported(
        prompt=prompt,
        completion=completion,
        total=total,
        cached=cached,
        cache_write=written,
        audio_prompt=_first(inputs, "audio_tokens"),
        reasoning=_first([*outputs, usage], "reasoning_tokens"),
        audio_completion=_first(outputs, "audio_tokens"),
        cache_write_1h=hour,
        image_prompt=_sum(inputs, "image_tokens", "video_tokens"),
        image_completion=_sum(outputs, "image_tokens", "video_tokens"),
        charged=_charged(usage),
        tier="fast" if usage.get("speed") == "fast" else _tier(usage.get("service_tier")),
    )


def _cache_writes(usage: _Counts, inputs: list[_Counts]) -> tuple[int | None, int | None]:
    """Return what was written into the cache, and the part for an hour. `None` for a part that is not told apart.

    Anthropic has the parts in an object of the usage, and LiteLLM among the details of the prompt.
    """
    names = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
    written = _most([*inputs, usage], *names)
    parts = _objects(usage, "cache_creation")
    parts += [part for place in inputs for part in _objects(place, "cache_creation_token_details")]
    hour = _first(parts, "ephemeral_1h_input_tokens")
    if hour is not None:
        written = max(written or 0, hour + (_first(parts, "ephemeral_5m_input_tokens") or 0))
    return written, hour


def _charged(usage: Mapping[str, object]) -> int | None:
    """Return the charge for the call in nano-USD, rounded up, if the upstream reports one.

    OpenRouter's `cost` is only its own fee if the vendor bills another account of the same customer.
    """
    ticks = _count_up_to(usage.get("cost_in_usd_ticks"), _TICKS_PER_NANO * _MOST_CHARGED)
    if ticks is not None:
        return -(-ticks // _TICKS_PER_NANO)
    cost = usage.get("cost")
    own = _nano(cost.get("total_cost") if isinstance(cost, Mapping) else cost)
    details = usage.get("cost_details")
    if own is None or usage.get("is_byok") is not True or not isinstance(details, Mapping):
        return own
    return own + (_nano(details.get("upstream_inference_cost")) or 0)


def _nano(usd: object) -> int | None:
    """Read an amount of USD as nano-USD, rounded up. `None` if it is none."""
    if isinstance(usd, bool) or not isinstance(usd, int | float | str):
        return None
    if isinstance(usd, str) and len(usd) > _LONGEST_AMOUNT:
        return None
    try:
        # A float is as exact as the text that the upstream has written.
        nano = Decimal(repr(usd) if isinstance(usd, float) else usd).scaleb(9)
    except ArithmeticError:
        return None
    if not nano.is_finite() or not 0 <= nano <= _MOST_CHARGED:
        return None
    return int(nano.to_integral_value(ROUND_CEILING))


def _tier(name: object) -> str | None:
    """Return the name of a tier in lower case, or None."""
    if not isinstance(name, str) or not name.isascii() or not name.isprintable() or len(name) > _LONGEST_TIER:
        return None
    name = name.strip().lower()
    return None if name in _OPEN_TIERS else name


def _with_cache(
    usage: Mapping[str, object], prompt: int, cache: int, completion: int | None, total: int | None
) -> int:
    """Return the whole prompt of a usage with Anthropic's names. In doubt it is the larger one.

    Anthropic's `input_tokens` does not contain the cache. LiteLLM's `prompt_tokens` and OpenAI's `input_tokens`, which has
    details, contain it. They do not if it is more than they are, or if the total has room for it.
    """
    beside = "prompt_tokens" not in usage and not isinstance(usage.get("input_tokens_details"), Mapping)
    room = total is not None and completion is not None and total - prompt - completion >= cache
    return prompt + cache if beside or cache > prompt or room else prompt


def _objects(usage: _Counts, *names: str) -> list[_Counts]:
    return [value for name in names if isinstance(value := usage.get(name), dict)]


# Both are plain loops: they run for each answer, and usages have few of all these names.


def _most(places: list[_Counts], *names: str) -> int | None:
    """Return the largest usable count, or None."""
    most = None
    for place in places:
        for name in names:
            if name in place and (count := _count(place[name])) is not None:
                most = count if most is None else max(most, count)
    return most


def _first(places: list[_Counts], *names: str) -> int | None:
    """Return the first usable count, or None."""
    for place in places:
        for name in names:
            if name in place and (count := _count(place[name])) is not None:
                return count
    return None


def _sum(places: list[_Counts], *names: str) -> int | None:
    """Return the sum of the usable counts of several names, or None if there is none."""
    found = [count for name in names if (count := _first(places, name)) is not None]
    return sum(found) if found else None


def _count(value: object) -> int | None:
    if type(value) is int:  # as almost always
        return value if 0 <= value <= MOST_TOKENS else None
    return _count_up_to(value, MOST_TOKENS)


def _count_up_to(value: object, most: int) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _LONGEST_NUMBER:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        return None  # NaN fails this comparison too
    return math.ceil(value)
