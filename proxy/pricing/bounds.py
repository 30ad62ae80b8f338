"""Upper limits of prompts: everything that goes out is counted, with room for what a server adds around it.

Source of the rules: OpenAI's cookbook, "How to count tokens with tiktoken", and its guides to vision, audio and files.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Literal

from proxy.pricing.published import published_context
from proxy.pricing.tokens import byte_length, count_text, has_known_encoding

TOKENS_PER_NODE = 2
"""Around each member of an object or an array, for what a server writes between them."""
TOKENS_PER_TOOL = 32
TOKENS_PER_REQUEST = 32
TOKENS_OF_TOOL_RULES = 600
"""What vendors with a tokenizer of their own write before the tools. Anthropic documents up to 530 tokens."""
TOKENS_PER_IMAGE = 100_000
"""The upper limit of one image. Its bytes do not determine its tokens."""
TOKENS_OF_KEPT_REASONING = 128_000
"""The longest output of a model, for reasoning that a request names by its id."""
LONGEST_CONTEXT = 1_050_000
"""The longest context that OpenAI offers: the limit of a file or a recording if the context of the model is unknown."""
MARGIN = 1.05
_SHORT = 24
"""The longest text, in characters, whose count is kept."""

Place = Literal["body", "items", "item", "parts", "part", "data", "other"]

# Where the value of a key stands. An image is an image only in the content of a message. In other places, such as the
# schema of a tool, an object of the same form is text.
_BELOW: Mapping[tuple[Place, str], Place] = {
    ("body", "messages"): "items",
    ("body", "input"): "items",
    ("item", "content"): "parts",
    ("item", "output"): "parts",
}
_MEMBERS: Mapping[Place, Place] = {"items": "item", "parts": "part"}
IMAGES = frozenset({"image_url", "input_image", "computer_screenshot"})
RECORDINGS = frozenset({"input_audio"})
FILES = frozenset({"file", "input_file"})
_ATTACHED = IMAGES | RECORDINGS | FILES


def body_bound(model: str, body: Mapping[str, Any], *, in_bytes: bool = False) -> int:
    """Return an upper limit of the prompt tokens that an upstream bills for a body. It counts all names and texts.

    If the encoding of the model is unknown, or `in_bytes` is true, count UTF-8 bytes. That is never less than the count in
    tokens. A byte-level tokenizer begins with one token for each byte, and each of its steps joins two tokens to one.
    Everything but the texts counts the same in both ways.
    """
    texts = others = 0
    for piece in _pieces(model, body):
        if isinstance(piece, str):
            texts += byte_length(piece) if in_bytes else text_bound(model, piece)
        else:
            others += piece
    return int(texts * MARGIN) + others + _extra(model, body)


def texts_bound(
    model: str, texts: Sequence[str | int], rest: Mapping[str, Any], *, in_bytes: bool = False
) -> int:
    """Return an upper limit for plain texts, and for the other members of their body. See `body_bound`.

    A number stands for a text of that many tokens.
    """
    count = byte_length if in_bytes else partial(text_bound, model)
    total = sum(t if isinstance(t, int) else count(t) for t in texts)
    others = body_bound(model, rest, in_bytes=in_bytes)
    return int(total * MARGIN) + TOKENS_PER_NODE * len(texts) + others


def text_bound(model: str, text: str) -> int:
    """Return an upper limit of the tokens of one text."""
    return _short_bound(model, text) if len(text) <= _SHORT else _text_bound(model, text)


def _text_bound(model: str, text: str) -> int:
    return count_text(model, text) if has_known_encoding(model) else byte_length(text)


@lru_cache(maxsize=4096)
def _short_bound(model: str, text: str) -> int:  # most of the texts of a body are names such as "role"
    return _text_bound(model, text)


def _extra(model: str, body: Mapping[str, Any]) -> int:
    given = [body.get(name) for name in ("tools", "functions")]
    tools = sum(len(value) for value in given if isinstance(value, list))
    rules = TOKENS_OF_TOOL_RULES if tools and not has_known_encoding(model) else 0
    return TOKENS_PER_REQUEST + TOKENS_PER_TOOL * tools + rules


def _pieces(model: str, body: Mapping[str, Any]) -> Iterator[str | int]:
    """Yield every name and text of a body, and tokens for everything else. It uses no recursion: bodies may be deep."""
    rest: list[tuple[object, Place]] = [(body, "body")]
    while rest:
        value, place = rest.pop()
        if isinstance(value, str):
            if place != "data":
                yield value
        elif value is None or isinstance(value, int | float):
            yield _scalar_bound(value)
        elif isinstance(value, (dict, Mapping)):  # `dict` first: the check of a protocol is slow
            kind = value.get("type")
            attached = place in ("part", "parts") and isinstance(kind, str) and kind in _ATTACHED
            if attached:
                yield _attachment_bound(model, str(kind))
            elif place == "item" and keeps_reasoning(value):
                yield TOKENS_OF_KEPT_REASONING
            for name, inner in value.items():
                yield name
                yield TOKENS_PER_NODE
                rest.append((inner, _place(place, name, inner, attached=attached)))
        else:
            assert isinstance(value, list | tuple)
            yield TOKENS_PER_NODE * len(value)
            rest += [(inner, _MEMBERS.get(place, "other")) for inner in value]


def _place(place: Place, name: str, value: object, *, attached: bool) -> Place:
    if not attached and place != "data":
        return _BELOW.get((place, name), "other")
    if isinstance(value, (dict, Mapping)):  # such as {"url": ...} and {"data": ..., "format": ...}
        return "data"
    if name in ("file_data", "data") or (isinstance(value, str) and value.startswith("data:image/")):
        return "data"
    return "other"


def keeps_reasoning(item: Mapping[str, Any]) -> bool:
    """Return True for a reasoning item that has no content of its own: the upstream knows it by its id."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def _attachment_bound(model: str, kind: str) -> int:
    if kind in IMAGES:
        return TOKENS_PER_IMAGE
    return max(TOKENS_PER_IMAGE, published_context(model) or LONGEST_CONTEXT)


def _scalar_bound(value: object) -> int:
    if isinstance(value, int):
        return value.bit_length() // 3 + 2  # at least its digits
    return 25 if isinstance(value, float) else 1
