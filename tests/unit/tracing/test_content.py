"""Prompts and answers in spans: their form and their bounds."""

import json

import pytest

from proxy.tracing.content import MOST_CHARACTERS, input_messages, output_messages


def shown(prompt):
    """Return the roles and texts of a prompt as it is traced."""
    return [(m["role"], m["parts"][0]["content"]) for m in json.loads(input_messages(prompt))]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([{"role": "user", "content": "hi"}], [("user", "hi")]),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}],
                }
            ],
            [("user", "ab")],
        ),
        ({"instructions": "Be short.", "input": "hi"}, [("system", "Be short."), ("user", "hi")]),
        ("hi", [("user", "hi")]),
        (["a", "b"], [("user", "a"), ("user", "b")]),
        ([1, 2, 3], []),
        (None, []),
        ([{"role": 7, "content": "\ud800"}], [("user", "\ufffd")]),
    ],
)
def test_prompts_of_every_endpoint(prompt, expected):
    """They become messages with a role and a text. Images and numbers have none."""
    assert shown(prompt) == expected


def test_the_last_messages_stay():
    """A long conversation keeps its end, and the message that does not fit is cut."""
    prompt = [{"role": "user", "content": letter * 5000} for letter in "abc"]
    assert shown(prompt) == [("user", "b" * (MOST_CHARACTERS - 5000) + "..."), ("user", "c" * 5000)]


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        ("Paris", ["Paris"]),
        ('[{"message": {"role": "assistant", "content": "a"}}, {"message": {"content": "b"}}]', ["a", "b"]),
        ('[{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]', ["a"]),
        ('[{"text": "a"}]', ["a"]),
        ("[1, 2]", ["[1, 2]"]),
        ("[broken", ["[broken"]),
        ("", [""]),
    ],
)
def test_answers(answer, texts):
    """Each choice of a stored answer is a message. A text that only looks like choices stays as it is."""
    messages = json.loads(output_messages(answer))
    assert [m["parts"][0]["content"] for m in messages] == texts
    assert {m["role"] for m in messages} == {"assistant"}


def test_a_long_answer_is_cut():
    """Whatever it is."""
    for answer in ("x" * 10**6, json.dumps([{"message": {"content": "x" * 10**6}}])):
        (message,) = json.loads(output_messages(answer))
        assert len(message["parts"][0]["content"]) == MOST_CHARACTERS + 3
