"""The usage that an upstream reports, which may have gaps, and what is booked for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from proxy.pricing.prices import Usage

MOST_TOKENS = 100_000_000
"""No call has more. A larger count is an error of the upstream."""
_LONGEST_NUMBER = 9
_Counts = Mapping[str, object]
_ANTHROPIC = ("cache_read_input_tokens", "cache_creation_input_tokens")


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
        return Reported(**{name: a if b is None else max(a or 0, b) for name, a, b in pairs})

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
        )


NOTHING_REPORTED = Reported()
_COUNTS = tuple(field.name for field in fields(Reported))


def read_usage(usage: object) -> Reported:
    """Read the `usage` of a chat completion, or of a response, which names input and output tokens. Nothing is an error.

    The names of the cache are OpenAI's, and those of Anthropic, LiteLLM, DeepSeek and Moonshot. `prompt` always contains
    what the cache has read and written, although Anthropic counts it beside the prompt.
    """
    if not isinstance(usage, (dict, Mapping)):  # `dict` first: the check of a protocol is slow
        return NOTHING_REPORTED
    inputs = _objects(usage, "prompt_tokens_details", "input_tokens_details")
    outputs = _objects(usage, "completion_tokens_details", "output_tokens_details")
    cached = _first([*inputs, usage], "cached_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens")
    written = _most(
        [*inputs, usage], "cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"
    )
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
    )


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


def _count(value: object) -> int | None:
    if type(value) is int:  # as almost always
        return value if 0 <= value <= MOST_TOKENS else None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _LONGEST_NUMBER:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None  # NaN fails this comparison too
    return math.ceil(value)
