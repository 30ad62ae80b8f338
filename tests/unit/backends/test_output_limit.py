"""The name of the output limit: by host and model, and as refusals have shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.apis.openai import OpenAI
from proxy.backends.output_limit import OutputLimitName
from proxy.config.schema import Upstream
from proxy.formats.base import OUTPUT_LIMITS

NEW, OLD = OUTPUT_LIMITS
CHAT = "/chat/completions"
OWN = Upstream(base_url="http://localhost:8000/v1")
OPENAI_SAYS = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
REFUSALS = [
    (OLD, {"error": {"message": OPENAI_SAYS, "param": "max_tokens", "code": "unsupported_parameter"}}),
    (NEW, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted"}]}}),
    (NEW, {"object": "error", "message": "Extra inputs are not permitted"}),
    (NEW, {"error": {"message": "Unrecognized request argument supplied: max_completion_tokens"}}),
    (NEW, {"error": 'json: unknown field "max_completion_tokens"'}),
    (NEW, {"detail": "Unknown parameter: max_completion_tokens"}),
    (OLD, "max_tokens is no longer supported"),
]  # fmt: skip
OTHER_ERRORS = [
    {"error": {"message": "max_tokens is too large: 100000. This model supports at most 16384 completion tokens."}},
    {"error": {"message": "The model `x` does not exist."}},
    {"error": {"message": "Unsupported parameter: 'top_logprobs' is not supported with this model."}},
    {"error": {"message": "Invalid value for 'temperature'"}},
    "",
]  # fmt: skip


API = OpenAI(OWN, "sk-1")


def refusal(error, status=400):
    """Return the error of an upstream as the proxy reads it."""
    raw = (
        error
        if isinstance(error, bytes)
        else error.encode()
        if isinstance(error, str)
        else json.dumps(error).encode()
    )
    return API.error(status, {}, raw)


def body(name, model="m"):
    return {"model": model, "messages": [], "top_logprobs": 1, name: 5}


@pytest.mark.parametrize(
    ("base_url", "model", "name"),
    [
        ("https://api.openai.com/v1", "gpt-4o-mini", OLD),
        ("https://api.openai.com/v1", "gpt-4.1", OLD),
        ("https://api.openai.com/v1", "ft:gpt-4o:acme", OLD),
        ("https://api.openai.com/v1", "gpt-5-mini", NEW),
        ("https://eu.api.openai.com/v1", "o3", NEW),
        ("https://api.openai.com/v1", "ft:o4-mini:acme", NEW),
        ("https://api.openai.com/v1", "model-of-tomorrow", NEW),
        ("https://acme.openai.azure.com", "gpt-5", NEW),
        ("https://api.mistral.ai/v1", "mistral-large-latest", OLD),
        ("https://openrouter.ai/api/v1", "openai/gpt-5", OLD),
        ("https://not-openai.com/v1", "gpt-5", OLD),
        ("http://localhost:8000/v1", "gpt-5", OLD),
    ],
)
@pytest.mark.parametrize("given_name", OUTPUT_LIMITS)
def test_first_name(base_url, model, name, given_name):
    """Whatever name the client used, the model gets the one that it most likely takes."""
    sent = OutputLimitName(Upstream(base_url=base_url)).applied(CHAT, body(given_name, model))
    assert {n: sent[n] for n in OUTPUT_LIMITS if n in sent} == {name: 5}


def test_other_bodies_stay():
    """Other endpoints have one name, and a body without a limit gets none."""
    names = OutputLimitName(OWN)
    assert names.applied("/completions", body(OLD)) == body(OLD)
    assert names.applied("/responses", {"model": "m", "max_output_tokens": 5})["max_output_tokens"] == 5
    assert names.applied(CHAT, {"model": "m", OLD: None}) == {"model": "m"}
    assert names.applied(CHAT, {"model": "m", OLD: 9, NEW: 5}) == {"model": "m", OLD: 5}


@pytest.mark.parametrize(("refused", "error"), REFUSALS)
@pytest.mark.parametrize("status", [400, 422])
def test_refusals_are_read(refused, error, status):
    """The words of several vendors say that the upstream does not know the name."""
    read = refusal(error, status)
    names = OutputLimitName(OWN)
    other = names.renamed_after(CHAT, body(refused), read)
    assert other == body(NEW if refused == OLD else OLD)
    assert names.renamed_after(CHAT, body(refused), refusal(error, 500)) is None
    assert names.renamed_after("/completions", body(refused), read) is None
    fixed = OutputLimitName(Upstream(output_limit_field=OLD))
    assert fixed.renamed_after(CHAT, body(refused), read) is None


@pytest.mark.parametrize("error", OTHER_ERRORS)
def test_other_errors_stay(error):
    """An error about the value, the model or another field is the client's."""
    assert OutputLimitName(OWN).renamed_after(CHAT, body(OLD), refusal(error)) is None


@given(st.binary(max_size=5000), st.sampled_from(OUTPUT_LIMITS))
def test_any_error_is_read(raw, name):
    """No error body is a failure of the proxy."""
    OutputLimitName(OWN).renamed_after(CHAT, body(name), refusal(raw))


def test_refusals_are_remembered():
    """After two refusals in a row the other name is sent first, until that one is refused."""
    names = OutputLimitName(OWN)
    for first in (OLD, OLD, NEW):
        sent = names.applied(CHAT, body(OLD))
        assert first in sent
        if first == OLD:
            names.accepted(body(NEW), after_refusal=True)
    names.accepted(body(OLD), after_refusal=True)
    assert OLD in names.applied(CHAT, body(OLD))
    names.accepted({"model": "m"}, after_refusal=False)


def test_fixed_name():
    """The config decides, if it names one."""
    assert NEW in OutputLimitName(Upstream(output_limit_field=NEW)).applied(CHAT, body(OLD, "gpt-4o"))
