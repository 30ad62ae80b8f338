"""Hide an upstream's key in texts of that upstream: the key itself, and the parts of it that vendors echo."""

import re
from functools import cache
from urllib.parse import quote

MASK = "***"
SHORTEST_SECRET = 8
"""A shorter key, such as "EMPTY" for a server without keys, is hidden only where it is a word of its own."""
MOST_SEARCHED = 20_000
"""In a longer text, in characters, only the complete key is looked for: the rest takes time for each part of the key."""
_BEGINNING = 6
_PART = 12


def masked(text: str, key: str) -> str:
    """Return a text without the key, its beginning, any twelve characters of it, or a form such as "sk-a***xyz"."""
    if not key:
        return text
    if len(text) > MOST_SEARCHED:
        return _patterns(key)[0].sub(MASK, text)
    for pattern in _patterns(key):
        text = pattern.sub(MASK, text)
    if len(key) < SHORTEST_SECRET:
        return text
    hidden = bytearray(len(text))
    for i in range(max(1, len(key) - _PART + 1)):
        _hide(text, key, i, hidden)
    if not any(hidden):
        return text
    out: list[str] = []
    for i, character in enumerate(text):
        if not hidden[i]:
            out.append(character)
        elif i == 0 or not hidden[i - 1]:
            out.append(MASK)
    return "".join(out)


def _hide(text: str, key: str, start: int, hidden: bytearray) -> None:
    """Mark each place of the text that continues like the key from `start` on, for long enough."""
    piece = key[start : start + (_PART if start else _BEGINNING)]
    at = text.find(piece)
    while at >= 0:
        length = len(piece)
        while start + length < len(key) and text[at + length : at + length + 1] == key[start + length]:
            length += 1
        hidden[at : at + length] = b"\1" * length
        at = text.find(piece, at + length)


@cache
def _patterns(key: str) -> tuple[re.Pattern[str], ...]:
    """Return the patterns of the complete key, and of a key whose middle the vendor has replaced by stars or dots."""
    forms = "|".join(re.escape(form) for form in dict.fromkeys((key, quote(key, safe=""))))
    if len(key) < SHORTEST_SECRET:
        return (re.compile(rf"(?<!\w)(?:{forms})(?!\w)"),)
    cut = re.escape(key[:3])
    return (
        re.compile(forms),
        re.compile(rf"{cut}[\w-]{{0,61}}(?:[*•·]{{2}}|…|\.{{3,61}})[*•·…]{{0,61}}[\w-]{{0,8}}"),
        re.compile(rf"[*•·…]{{2,64}}[\w-]{{0,8}}{re.escape(key[-3:])}"),
    )
