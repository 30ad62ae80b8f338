"""The pause that an upstream asks for is read in the form of any vendor, and becomes a Retry-After."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.backends.apis import api_of
from proxy.backends.retry import RetryPolicy
from proxy.backends.retry_hints import LONGEST_S, asked_s, hinted_s, reset_s
from proxy.config.schema import Upstream

API = api_of(Upstream(base_url="http://localhost/v1"), "sk-proj-4Fq9zL0aVtUeW2xYb7nC")


def compact(s):
    """Write a length as OpenAI does."""
    return (
        f"{s // 3600}h{s % 3600 // 60}m{s % 60}s"
        if s >= 3600
        else f"{s // 60}m{s % 60}s"
        if s >= 60
        else f"{s}s"
    )


def spoken(s):
    return f"{s // 60} minutes and {s % 60} seconds" if s >= 60 else f"{s} second{'s' * (s != 1)}"


def google(delay):
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
        {"@type": "x.RetryInfo", "retryDelay": delay},
    ]
    return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota.", "details": details}}


def words(text):
    return {"error": {"message": text, "type": "tokens", "code": "rate_limit_exceeded"}}


def at(s):
    return datetime.now(UTC) + timedelta(seconds=s)


BODIES = {
    "google": lambda s: google(f"{s}s"),
    "google list": lambda s: [google(f"{s}.000000001s")],
    "protobuf": lambda s: google({"seconds": str(s), "nanos": 5}),
    "openai": lambda s: words(
        f"Rate limit reached. Limit 3, Used 3. Please try again in {compact(s)}. Visit x"
    ),
    "openai ms": lambda s: words(f"Please try again in {s * 1000}ms."),
    "azure": lambda s: words(
        f"Requests have exceeded the rate limit. Please retry after {s} seconds. Please go to x"
    ),
    "azure gateway": lambda s: {
        "statusCode": 429,
        "message": f"Rate limit is exceeded. Try again in {s} seconds.",
    },
    "gemini": lambda s: words(f"Quota exceeded.\nPlease retry in {s}.0000s."),
    "spoken": lambda s: words(f"Please wait for about {spoken(s)}, then send it again"),
    "plain text": lambda s: f"Too many requests, retry in {spoken(s)}",
    "member": lambda s: {"detail": "slow", "retry_after": s},
    "member ms": lambda s: {"error": {"message": "slow", "retry_after_ms": 1000 * s}},
    "camel": lambda s: {"error": {"message": "slow", "retryAfter": str(s)}},
    "openrouter": lambda s: {
        "error": {
            "message": "Rate limit exceeded: free-models-per-min.",
            "code": 429,
            "metadata": {
                "headers": {
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": str(int(at(s).timestamp() * 1000)),
                }
            },
        }
    },
}
HEADERS = {
    "openai": lambda s: {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": compact(s)},
    "azure": lambda s: {"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": str(s)},
    "draft": lambda s: {"RateLimit-Remaining": "0", "RateLimit-Reset": str(s)},
    "epoch": lambda s: {"x-ratelimit-reset": f"{at(s).timestamp():.0f}"},
    "epoch ms": lambda s: {"x-ratelimit-reset": f"{at(s).timestamp() * 1000:.0f}"},
    "anthropic": lambda s: {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": at(s).isoformat().replace("+00:00", "Z"),
    },
    "longest": lambda s: {
        "x-ratelimit-reset-requests": f"{s}s",
        "x-ratelimit-reset-tokens": "0s",
        "x-ratelimit-reset-images": "9h",
        "x-ratelimit-remaining-images": "3",
    },
}
SECONDS = st.integers(1, 86_400)


def error(body, headers=(), status=429):
    raw = body if isinstance(body, str) else json.dumps(body)
    return API.error(status, dict(headers), raw.encode())


@pytest.mark.parametrize("name", BODIES)
def test_bodies_name_pauses(name):
    """Each form of a body gives the client a Retry-After. A long one is no pause of the proxy."""

    @settings(deadline=None, max_examples=40)
    @given(seconds=SECONDS)
    def check(seconds):
        for status in (429, 503, 529):
            found = error(BODIES[name](seconds), status=status)
            assert seconds - 1 <= int(found.headers["retry-after"]) <= seconds + 1
            pause = RetryPolicy(max_retries=3).pause_s(0, found.headers)
            assert pause is None if seconds > 6 else pause is None or seconds - 1 <= pause <= seconds + 1
        assert "retry-after" not in error(BODIES[name](seconds), status=400).headers

    check()


@pytest.mark.parametrize("name", HEADERS)
def test_headers_name_resets(name):
    """So does each form of a reset, if its limit is used up."""

    @settings(deadline=None, max_examples=40)
    @given(seconds=SECONDS)
    def check(seconds):
        found = error(words("slow"), HEADERS[name](seconds))
        assert seconds - 1 <= int(found.headers["retry-after"]) <= seconds + 1
        assert "retry-after" not in error(words("slow"), HEADERS[name](seconds), status=503).headers

    check()


@settings(deadline=None)
@given(seconds=SECONDS, body=st.sampled_from(sorted(BODIES)))
def test_retry_after_comes_first(seconds, body):
    """The upstream's own Retry-After stays as it is, in all of its forms."""
    for given_ in (str(seconds), format_datetime(at(seconds), usegmt=True)):
        assert error(BODIES[body](9), {"Retry-After": given_}).headers["retry-after"] == given_
        assert seconds - 2 <= asked_s({"retry-after": given_}) <= seconds
    assert asked_s({"retry-after": f"{seconds}s"}) == seconds
    assert asked_s({"retry-after": format_datetime(at(-seconds), usegmt=True)}) == 0
    assert error(BODIES[body](9), {"retry-after": "soon"}).headers["retry-after"] in ("8", "9", "10")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("9" * 400),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "retryDelay",
                    "retry_after",
                    "details",
                    "metadata",
                    "headers",
                    "seconds",
                    "nanos",
                    "error",
                    "message",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(body=JSON, text=st.text(max_size=80), value=st.text(max_size=40) | st.floats().map(str))
def test_any_hint_is_bounded(body, text, value):
    """Nothing breaks the reader, and a pause has a limit."""
    names = (
        "x-ratelimit-reset",
        "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-tokens-reset",
        "ratelimit-reset",
    )
    layers = [body] if isinstance(body, dict) else []
    found = (hinted_s(layers, text), *(reset_s({name: value}) for name in names))
    assert all(pause is None or 0 <= pause <= LONGEST_S for pause in found)
    error(body, dict.fromkeys(("retry-after", "retry-after-ms", *names), value))
