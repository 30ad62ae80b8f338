"""Cut a text into one piece for each of its tokens, so that a stream can carry log-probabilities."""

from collections.abc import Iterator, Sequence

_FARTHEST = 16
"""The most characters between two tokens that both occur in the text. A character can be several tokens."""


def token_pieces(text: str, tokens: Sequence[str]) -> Iterator[str]:
    """Yield the piece of each token, and then the rest of the text if there is any. Together they are the text.

    A token may be a part of a character, or a sign that the server has cut off. It then has an empty piece, and the next
    token that occurs in the text also carries what comes before it.
    """
    at = 0
    for token in tokens:
        found = text.find(token, at, at + _FARTHEST + len(token)) if token else -1
        end = at if found < 0 else found + len(token)
        yield text[at:end]
        at = end
    if at < len(text):
        yield text[at:]
