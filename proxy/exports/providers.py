"""The names of providers: whose invoice the calls of a model are on."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.config.schema import Settings

SELF_HOSTED = "Self-hosted"
VENDORS = {
    "openai.com": "OpenAI",
    "anthropic.com": "Anthropic",
    "azure.com": "Microsoft",
    "openrouter.ai": "OpenRouter",
    "googleapis.com": "Google",
    "mistral.ai": "Mistral AI",
    "deepseek.com": "DeepSeek",
    "groq.com": "Groq",
}
"""By the end of the host name."""


@dataclass(frozen=True)
class Providers:
    """The providers of a config: of the default upstream, and by the names of the others."""

    default: str
    named: Mapping[str, str]
    small_model: str

    def of(self, model: str, tier: str | None) -> str:
        """Return the provider of a model. Without a tier, the name of the model tells it."""
        if tier == "small" or (tier is None and model == self.small_model):
            return SELF_HOSTED
        upstream, slash, _ = model.partition("/")
        return self.named.get(upstream, self.default) if slash else self.default


def providers_of(settings: Settings) -> Providers:
    """Return the providers of a config."""
    named = {name: provider_at(upstream.base_url) for name, upstream in settings.upstreams.items()}
    return Providers(provider_at(settings.large.base_url), named, settings.small.model)


def provider_at(base_url: str) -> str:
    """Return the vendor at a URL, or the host itself if it is no known vendor's."""
    host = (urlsplit(base_url).hostname or base_url).lower()
    return next((name for end, name in VENDORS.items() if host == end or host.endswith(f".{end}")), host)
