"""The table of fields in the docs is what the code does, and misses none that the SDK knows."""

import re

from openai.types import chat
from openai.types.responses import response_create_params

from proxy.cascade.fields import FIELDS
from proxy.formats import responses_translate as responses
from tests.support.processes import ROOT

OURS = {"models"}


def test_chat_fields_are_known():
    """Nothing that the installed SDK can send is unknown here."""
    sdk = set(chat.completion_create_params.CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert sdk - set(FIELDS) == set()


def test_docs_match_table():
    """Row by row."""
    text = (ROOT / "docs/compatibility.md").read_text()
    table = dict(re.findall(r"^\| `(\w+)` \| (both|proxy|hint|large) \|", text, re.MULTILINE))
    assert table == FIELDS
    assert set(table) >= OURS


def test_responses_fields_are_known():
    """Likewise for responses: translated, a hint, or a reason to go straight."""
    sdk = set(response_create_params.ResponseCreateParamsBase.__annotations__) | {"stream"}
    known = responses.HINTS | responses.TRANSLATED | set(responses.LARGE_ONLY)
    assert sdk - known == set()
