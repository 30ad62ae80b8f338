"""What is booked for a usage: the counts that are usable, wherever a vendor reports them."""

import math
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.pricing.prices import Usage
from proxy.pricing.reported import MOST_TOKENS, NOTHING_REPORTED, read_usage

counts = st.integers(1, 10**6)
ODD = st.sampled_from(
    [
        None,
        True,
        "",
        "many",
        -1,
        -0.5,
        math.nan,
        math.inf,
        10**40,
        MOST_TOKENS + 1,
        [],
        [7],
        {},
        {"a": 1},
        "\ud83d",
        "٣",
    ]
)
ANY = (
    ODD
    | counts
    | st.floats()
    | st.text()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.integers())
)
NAMES = [
    "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "reasoning_tokens",
    "prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details",
    "cache_creation_input_tokens", "cache_read_input_tokens", "cached_tokens", "prompt_cache_hit_tokens",
]  # fmt: skip
DETAILS = st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "reasoning_tokens"]), ANY)


@given(counts, counts, counts, counts)
def test_usage_of_both_endpoints(prompt, completion, cached, reasoning):
    """Chat completions and responses name the same counts differently."""
    reasoning = min(reasoning, completion)
    expected = Usage(
        prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, reasoning_tokens=reasoning
    )
    chat_usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    response_usage = {
        "input_tokens": prompt,
        "output_tokens": completion,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }
    assert read_usage(chat_usage).usage == read_usage(response_usage).usage == expected


@given(st.dictionaries(st.sampled_from(NAMES), ANY | DETAILS) | ANY, counts, counts, st.booleans())
def test_any_usage(reported, prompt, completion, cut):
    """Any value is read to possible counts, and gaps are filled with the proxy's own."""
    read = read_usage(reported)
    for usage in (read.usage, read.filled(prompt, completion, cut=cut)):
        counts = [] if usage is None else [n for n in astuple(usage) if n is not None]
        assert all(isinstance(n, int) and 0 <= n <= 3 * MOST_TOKENS for n in counts)


@given(counts, counts, ODD)
def test_one_gap_is_computed(prompt, completion, odd):
    """Two of the three counts give the third."""
    total = prompt + completion
    whole = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    for name in whole:
        for gap in ({k: v for k, v in whole.items() if k != name}, {**whole, name: odd}):
            assert read_usage(gap).usage == Usage(prompt_tokens=prompt, completion_tokens=completion), gap


@given(counts, counts, counts)
def test_reasoning_beside_completion(prompt, completion, reasoning):
    """Reasoning that only the total contains is output, whether it is named or not."""
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion + reasoning,
    }
    named = {**usage, "completion_tokens_details": {"reasoning_tokens": reasoning}}
    expected = (prompt, completion + reasoning)
    for reported in (usage, named):
        read = read_usage(reported).usage
        assert (read.prompt_tokens, read.completion_tokens) == expected
        assert read.reasoning_tokens == reasoning


@given(counts, counts, st.integers(1, 10**6), st.booleans())
def test_reasoning_beyond_completion(prompt, completion, more, nested):
    """Reasoning that is more than the completion cannot be a part of it, whatever the total says."""
    reasoning = {"reasoning_tokens": completion + more}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    usage |= {"completion_tokens_details": reasoning} if nested else reasoning
    assert read_usage(usage).usage.completion_tokens == 2 * completion + more


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"prompt_tokens": 11.0, "completion_tokens": 6.5}, (11, 7)),
        ({"prompt_tokens": "11", "completion_tokens": "7"}, (11, 7)),
        ({"prompt_tokens": None, "input_tokens": 11, "output_tokens": 7}, (11, 7)),
        ({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 5}, (11, 7)),
        ({"prompt_tokens": 100, "completion_tokens": 0, "total_tokens": 100}, (100, 0)),
    ],
)
def test_usable_counts(reported, expected):
    """Floats, numbers in texts and other names are counts, and a total that is too low says nothing."""
    usage = read_usage(reported).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == expected


@pytest.mark.parametrize(
    "reported",
    [
        None,
        [],
        {},
        {"total_tokens": 18},
        {"prompt_tokens": 11},
        {"completion_tokens": 7},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 11, "completion_tokens": None, "total_tokens": 4},
    ],
)
def test_gaps(reported):
    """One count is not enough, and zeros are the sign of a server that does not count."""
    assert read_usage(reported).usage is None


@pytest.mark.parametrize(
    ("reported", "cut", "expected"),
    [
        ({}, False, (20, 5)),
        ({"completion_tokens": 3}, False, (20, 3)),
        ({"completion_tokens": 3}, True, (20, 5)),
        ({"completion_tokens": 9}, True, (20, 9)),
        ({"prompt_tokens": 11}, False, (11, 5)),
        ({"total_tokens": 18}, False, (13, 5)),
        ({"total_tokens": 40}, False, (20, 20)),
        ({"total_tokens": 3}, False, (0, 3)),
    ],
)
def test_filled_gaps(reported, cut, expected):
    """The proxy's own counts fill the gaps. A total is divided so that the output is not too low."""
    usage = read_usage(reported).filled(20, 5, cut=cut)
    assert (usage.prompt_tokens, usage.completion_tokens) == expected


@given(st.lists(st.tuples(counts, counts), min_size=1))
def test_usages_of_one_stream(usages):
    """Counts grow within a stream, also if they are spread over events or end with zeros."""
    merged = NOTHING_REPORTED
    for prompt, completion in usages:
        merged = merged.merged(read_usage({"prompt_tokens": prompt}))
        merged = merged.merged(read_usage({"completion_tokens": completion, "prompt_tokens": 0}))
    assert (merged.prompt, merged.completion) == tuple(map(max, zip(*usages, strict=True)))


@given(plain=counts, read=counts, written=counts, output=counts)
def test_caches_of_all_vendors(plain, read, written, output):
    """Each vendor's usage is booked as the same tokens: the prompt contains the cache, once."""
    whole = plain + read + written
    cache = {"cache_creation_input_tokens": written, "cache_read_input_tokens": read}
    chat = {"prompt_tokens": whole, "completion_tokens": output, "total_tokens": whole + output}
    usages = {
        "anthropic": {"input_tokens": plain, "output_tokens": output, **cache},
        "litellm": {
            **chat,
            **cache,
            "prompt_tokens_details": {"cached_tokens": read, "cache_creation_tokens": written},
        },
        "litellm without details": {**chat, **cache},
        "gateway": {
            "prompt_tokens": plain,
            "completion_tokens": output,
            "total_tokens": whole + output,
            **cache,
        },
        "openrouter": {
            **chat,
            "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        },
        "responses": {
            "input_tokens": whole,
            "output_tokens": output,
            "total_tokens": whole + output,
            "input_tokens_details": {"cached_tokens": read},
            **cache,
        },
    }
    expected = Usage(
        prompt_tokens=whole, completion_tokens=output, cached_tokens=read, cache_write_tokens=written
    )
    for name, usage in usages.items():
        assert read_usage(usage).usage == expected, name
    hits = {"prompt_cache_hit_tokens": read, "prompt_cache_miss_tokens": whole - read}
    for usage in ({**chat, **hits}, {**chat, "cached_tokens": read}):
        assert read_usage(usage).usage == Usage(
            prompt_tokens=whole, completion_tokens=output, cached_tokens=read
        )


@given(prompt=counts, read=counts, written=counts, output=counts, total=st.none() | counts)
def test_cache_never_lowers_bill(prompt, read, written, output, total):
    """Whatever the vendor's rule is, all tokens of a usage with a cache are booked."""
    cache = {"cache_creation_input_tokens": written, "cache_read_input_tokens": read}
    given = {"completion_tokens": output, "total_tokens": total, **cache}
    for name in ("prompt_tokens", "input_tokens"):
        booked = read_usage({name: prompt, **given}).usage
        assert booked.prompt_tokens >= max(prompt, read + written)
        assert booked.completion_tokens >= output
        assert (booked.cached_tokens, booked.cache_write_tokens) == (read, written)


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        ({"cost": 0.95}, 950_000_000),
        ({"cost": 1e-10}, 1),
        ({"cost": 0.0041234560000000001}, 4_123_456),
        ({"cost": 0.00041234567890123456}, 412_346),
        ({"cost": 10**5000}, None),
        ({"cost": 0}, 0),
        ({"cost": "0.0041"}, 4_100_000),
        ({"cost": 0.0014, "cost_details": {"upstream_inference_cost": 0.0014}, "is_byok": False}, 1_400_000),
        ({"cost": 0.0001, "cost_details": {"upstream_inference_cost": 0.002}, "is_byok": True}, 2_100_000),
        ({"cost": {"total_cost": 0.006, "request_cost": 0.005}}, 6_000_000),
        ({"cost_in_usd_ticks": 37_756_001}, 3_775_601),
        ({"cost": -1}, None),
        ({"cost": math.nan}, None),
        ({"cost": math.inf}, None),
        ({"cost": "much"}, None),
        ({"cost": "0." + 50 * "1"}, None),
        ({"cost": True}, None),
        ({"cost": 10**9}, None),
        ({"cost": None}, None),
        ({}, None),
    ],
)
def test_charge_of_the_upstream(usage, charged):
    """OpenRouter, Perplexity and xAI report what a call has cost. It is read exactly, and rounded up."""
    counts = {"prompt_tokens": 10, "completion_tokens": 5}
    assert read_usage({**counts, **usage}).usage.charged == charged


@pytest.mark.parametrize(
    ("beside", "inside", "tier"),
    [
        ("priority", None, "priority"),
        ("Flex", None, "flex"),
        ("auto", None, None),
        (None, "batch", "batch"),
        ("default", "priority", "priority"),
        (None, None, None),
        (7, [], None),
        ("x" * 40, "\n", None),
    ],
)
def test_tier_of_an_answer(beside, inside, tier):
    """OpenAI names the tier beside the usage, and Anthropic in it. The "auto" of a request is no tier."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "service_tier": inside}
    assert read_usage(usage).at_tier(beside).usage.tier == tier


def test_stream_keeps_tier_and_charge():
    """Later usages of a stream may lack what earlier ones have told."""
    first = read_usage({"prompt_tokens": 10, "service_tier": "priority", "cost": 0.1})
    last = read_usage({"prompt_tokens": 10, "completion_tokens": 5})
    assert first.merged(last).usage == Usage(
        prompt_tokens=10, completion_tokens=5, tier="priority", charged=10**8
    )


@pytest.mark.parametrize(
    "usage",
    [
        {"cache_creation_input_tokens": 900, "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 700}},
        {"cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 700}},
        {"prompt_tokens_details": {"cache_creation_tokens": 900, "cache_creation_token_details": {
            "ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 700}}},
    ],
    ids=["Anthropic", "parts only", "LiteLLM"],
)  # fmt: skip
def test_cache_writes_by_their_time(usage):
    """Writes for five minutes and for an hour are told apart, wherever the vendor reports them."""
    read = read_usage({"prompt_tokens": 1000, "completion_tokens": 5, **usage}).usage
    assert (read.prompt_tokens, read.cache_write_tokens, read.cache_write_1h_tokens) == (1000, 900, 700)
