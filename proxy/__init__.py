"""cope-proxy: an OpenAI-compatible proxy that pays for the large model only when it is needed."""

__version__ = "0.1.0"
