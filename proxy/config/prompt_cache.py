"""Which fields of OpenAI's prompt cache an upstream's model knows."""

import re
from urllib.parse import urlsplit

from proxy.config.schema import Upstream
from proxy.records import PromptCache

_HOST = re.compile(r"(?:^|\.)api\.openai\.com$")
_MODEL = re.compile(r"(?:ft:)?gpt-(\d+)(?:\.(\d+))?(?:-|:|$)")
_FIRST_WITH_BREAKPOINTS = (5, 6)
"""Older models refuse breakpoints."""


def prompt_cache_of(upstream: Upstream, model: str) -> PromptCache:
    """Return the configured value, or the one that OpenAI documents for its own API. Others are sent nothing."""
    if upstream.prompt_cache is not None:
        return upstream.prompt_cache
    if upstream.api_version is not None or not _HOST.search(urlsplit(upstream.base_url).hostname or ""):
        return "off"
    found = _MODEL.match(model)
    if found is None:
        return "key"
    return "breakpoints" if (int(found[1]), int(found[2] or 0)) >= _FIRST_WITH_BREAKPOINTS else "key"
