"""Upstreams that know only one name of the output limit are served, whatever name the client used."""

import openai
import pytest

from tests.support.config import LARGE_MODEL
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

NAMES = ("max_tokens", "max_completion_tokens")
QUESTION = [{"role": "user", "content": "What is 12 * 13? Compute it."}]


def refusing(name, *more):
    """Return rules of an upstream that does not know this name."""
    error = {"message": f"Unknown parameter: '{name}'.", "param": name, "code": "unknown_parameter"}
    return {"match": {"has": name}, "reply": {"status": 400, "error": error}}, *more


def sent_names(large_server):
    return [next(n for n in NAMES if n in entry["body"]) for entry in large_server.chats()]


@pytest.mark.parametrize("unknown", NAMES)
def test_either_name_is_served(make_proxy, small_server, large_server, unknown):
    """Planner and executor, streamed and not, with each name and with none: an answer, and nothing paid twice."""
    large_server.script(*refusing(unknown, {"reply": {"content": "\\boxed{156}"}}))
    small_server.script({"reply": {"contents": ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"]}})
    proxy = make_proxy(cascade={"thresholds": {"math": {"plans": "all"}}})
    chat = proxy.client().chat.completions
    for model in ("cope", f"direct/{LARGE_MODEL}"):
        for given in (
            {},
            {"max_tokens": 50},
            {"max_completion_tokens": 50},
            {"max_tokens": 50, "max_completion_tokens": 60},
        ):
            answer = chat.create(model=model, messages=QUESTION, **given)
            assert answer.choices[0].message.content == "\\boxed{156}"
            chunks = list(chat.create(model=model, messages=QUESTION, stream=True, **given))
            assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "\\boxed{156}"
    refusals = [entry for entry in large_server.chats() if entry["status"] == 400]
    assert len(refusals) == (2 if unknown == "max_tokens" else 0)
    assert {max(e["body"].get(n) or 0 for n in NAMES) for e in large_server.chats()} >= {50}
    expected = len(large_server.chats()) - len(refusals)
    rows = "SELECT role FROM calls WHERE tier = 'large'"
    wait_until(lambda: len(proxy.rows(rows)) == expected, "the rows of all calls")
    paid = proxy.rows(rows)
    assert {"planner", "executor"} == {row["role"] for row in paid}


def test_both_names_refused(make_proxy, large_server):
    """An upstream that refuses both gets two requests, and the client reads the first error."""
    large_server.script(*refusing("max_tokens"), *refusing("max_completion_tokens"))
    proxy = make_proxy()
    with pytest.raises(openai.BadRequestError, match="'max_tokens'"):
        proxy.client().chat.completions.create(model=f"direct/{LARGE_MODEL}", messages=QUESTION)
    assert sent_names(large_server) == list(NAMES)


def test_configured_name(make_proxy, large_server):
    """The config can fix the name."""
    proxy = make_proxy(large={"output_limit_field": "max_completion_tokens"})
    proxy.client().chat.completions.create(model=f"direct/{LARGE_MODEL}", messages=QUESTION, max_tokens=7)
    assert [e["body"].get("max_completion_tokens") for e in large_server.chats()] == [7]
