"""Which models are sent the fields of the prompt cache."""

import pytest

from proxy.config.prompt_cache import prompt_cache_of
from proxy.config.schema import Upstream

AZURE = {"base_url": "https://a.openai.azure.com", "api_version": "2024-10-21"}


@pytest.mark.parametrize(
    ("upstream", "model", "found"),
    [
        ({}, "gpt-4o-mini", "key"),
        ({}, "gpt-5", "key"),
        ({}, "gpt-5.5-pro", "key"),
        ({}, "gpt-5.6-sol", "breakpoints"),
        ({}, "gpt-5.10", "breakpoints"),
        ({}, "gpt-6", "breakpoints"),
        ({}, "ft:gpt-6.1-sol:me", "breakpoints"),
        ({}, "gpt-4o-2024-08-06", "key"),
        ({}, "gpt-oss-120b", "key"),
        ({}, "o3", "key"),
        ({"base_url": "https://eu.api.openai.com/v1"}, "gpt-6", "breakpoints"),
        ({"base_url": "https://api.openai.com.example/v1"}, "gpt-6", "off"),
        ({"base_url": "https://notapi.openai.com/v1"}, "gpt-6", "off"),
        ({"base_url": "http://127.0.0.1:8000/v1"}, "gpt-6", "off"),
        ({"base_url": "no url"}, "gpt-6", "off"),
        (AZURE, "gpt-6", "off"),
        ({**AZURE, "prompt_cache": "breakpoints"}, "gpt-4o", "breakpoints"),
        ({"prompt_cache": "off"}, "gpt-6", "off"),
    ],
)
def test_fields_by_upstream_and_model(upstream, model, found):
    """OpenAI's own API gets what its models know, and others get what the config says."""
    assert prompt_cache_of(Upstream(**upstream), model) == found
