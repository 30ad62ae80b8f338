"""A text in one piece for each token: the pieces are the text, whatever the tokens are."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.formats.token_pieces import token_pieces


@pytest.mark.parametrize(
    ("text", "tokens", "pieces"),
    [
        ("fine day", ["fine", " day"], ["fine", " day"]),
        ("fine 😀", ["fine ", "\ufffd", "\ufffd"], ["fine ", "", "", "😀"]),
        ("😀 ok", ["\ufffd", "\ufffd", " ok"], ["", "", "😀 ok"]),
        ("done", ["done", "<|im_end|>", ""], ["done", "", ""]),
        ("", ["a"], [""]),
        ("rest", [], ["rest"]),
        ("x" * 40 + "end", ["end"], ["", "x" * 40 + "end"]),
    ],
)
def test_pieces_of_tokens(text, tokens, pieces):
    """A token that is a part of a character has an empty piece, and the next one carries the character."""
    assert list(token_pieces(text, tokens)) == pieces


@given(st.text(max_size=30), st.lists(st.text(max_size=4), max_size=12))
def test_pieces_are_text(text, tokens):
    """Any tokens at all leave the text as it is, with a piece for each of them."""
    pieces = list(token_pieces(text, tokens))
    assert "".join(pieces) == text
    assert len(pieces) in (len(tokens), len(tokens) + 1)


@given(st.text(min_size=1, max_size=30), st.data())
def test_tokens_of_bytes(text, data):
    """Tokens that cut the bytes of a text anywhere, also within characters, leave it as it is."""
    raw = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw)), max_size=8)) | {0, len(raw)})
    tokens = [raw[a:b].decode("utf-8", "replace") for a, b in itertools.pairwise(cuts)]
    assert "".join(token_pieces(text, tokens)) == text
