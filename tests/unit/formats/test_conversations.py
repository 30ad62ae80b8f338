"""The formats that call themselves conversations have all that the cascade needs, and the others have not."""

import pytest

from proxy.formats.base import Conversation, Format, as_conversation
from proxy.http.model_endpoints import FORMATS

OWN = sorted(name for name in vars(Conversation) if not name.startswith("_") and name not in vars(Format))


@pytest.mark.parametrize("format_", FORMATS.values(), ids=list(FORMATS))
def test_flag_tells_the_truth(format_):
    """`as_conversation` returns a format if and only if it has every method of one."""
    has = [name for name in OWN if callable(getattr(format_, name, None))]
    assert has == (OWN if as_conversation(format_) is format_ else [])


def test_conversations_have_methods():
    """The comparison is about something, and there are formats of both sorts."""
    assert "as_chat" in OWN
    assert {as_conversation(format_) is None for format_ in FORMATS.values()} == {True, False}
