"""How right an answer is, by its task kind."""

import asyncio
import json

import pytest

from proxy.evals.grading import calls_accepted, fields_accepted, names_one, same_json, same_value


def call(name, arguments):
    return {"tool_calls": [{"function": {"name": name, "arguments": json.dumps(arguments)}}]}


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", True),
        ("The final answer is: 10 - 4 = 6", "6", True),
        ("The final answer is: 10 - 4 = 6", "10", False),
        ("so 2/2 = 1 bolt, and the total is 3 bolts.", "3", True),
        ("\\boxed{0.5}", "\\frac{1}{2}", True),
        ("I give up.", "3", False),
    ],
)
def test_values_are_graded(text, answer, right):
    """A solution is right when its final answer has the right value, however it is written."""
    assert asyncio.run(same_value(text, answer)) is right


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"where": "San Diego", "budget": {"min": 300000, "max": 400000}}, True),
        ({"where": "san diego", "budget": {"min": 300000}}, True),
        ({"where": "San Diego", "budget": {"min": 300000, "max": 1}}, False),
        ({"where": "San Diego", "budget": {"min": 300000, "more": 1}}, False),
        ({"where": "San Diego"}, False),
    ],
)
def test_accepted_argument_fields(arguments, right):
    """An argument that is an object is compared field by field; one with an empty string among its values may be missing."""
    accepted = {"where": ["San Diego"], "budget": [{"min": [300000], "max": [400000, ""]}]}
    assert calls_accepted(call("find", arguments), [{"find": accepted}]) is right


def test_documents_are_compared_by_value():
    """1.0 is 1, in the answer and in the label."""
    assert same_json('{"a": 1.0}', {"a": 1.0})
    assert same_json('{"a": 1}', {"a": 1.0})
    assert not same_json('{"a": 2}', {"a": 1.0})


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"city": "Paris", "days": 2}', True),
        ('{"city": "paris"}', True),
        ('{"city": "Paris", "days": 5}', False),
        ('{"city": "Paris", "hotel": "Ritz"}', False),
        ('{"days": 2}', False),
        ('["Paris"]', False),
        ("Paris, for two days", False),
    ],
)
def test_accepted_document_fields(text, right):
    """As an action's arguments do: an empty string among them says that the field may be missing."""
    assert fields_accepted(text, {"city": ["Paris"], "days": [2, ""]}) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("The capital is **Yaoundé**.", True),
        ("YAOUNDE", True),
        ("It is Douala, not Yaoundes.", False),
        ("首都はヤウンデです。", True),
        ("It is N'Djamena", True),
        ("It is N Djamenas", False),
        ("", False),
    ],
)
def test_accepted_names(text, right):
    """In any case, without accents and punctuation, and not as a part of another word."""
    assert names_one(text, ["Yaoundé", "ヤウンデ", "N'Djamena"]) is right


def test_single_and_empty_names():
    """An answer that is a string is not taken letter by letter, and nothing but punctuation is in no text."""
    assert names_one("It is Paris.", "Paris")
    assert not names_one("Berlin, a city", "Paris")
    assert not names_one("Примерно столько", ["—", "", "Рим"])
