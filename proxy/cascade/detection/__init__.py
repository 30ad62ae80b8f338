"""Detect the kind of a task from the chat request alone: evidence in its structure, and a table of weights."""

from proxy.cascade.detection.conversation import halfwidth, prompt_hash, system_text, text_of
from proxy.cascade.detection.decide import detect, with_kind
from proxy.cascade.detection.listed import ALPHABETS, options
from proxy.cascade.detection.weights import shipped as load_weights

__all__ = [
    "ALPHABETS",
    "detect",
    "halfwidth",
    "load_weights",
    "options",
    "prompt_hash",
    "system_text",
    "text_of",
    "with_kind",
]
