"""The questions of the demo.

They were chosen by measuring candidates with the bundled model of 135 million parameters: some that it answers rightly, and
some that it does not. It is wrong on many others. Questions that it answered wrongly for free were left out.
"""

from dataclasses import dataclass
from typing import Any

from proxy.cli.demo.grading import Check, fields, name, program, value


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, the JSON that its answer has to be (if any) and a check of the answer.

    An answer that is cut off counts as wrong, unless only the explanation after its program can be missing.
    """

    text: str
    check: Check
    response_format: Any = None
    may_be_cut: bool = False


def _schema(**properties: Any) -> dict[str, Any]:
    """Return a response format: a JSON object with these fields."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}

QUESTIONS = (
    Question(
        text='Extract the name and the age: "Peter is 34 years old and works as a nurse."',
        response_format=_schema(name=_TEXT, age=_WHOLE),
        check=fields(name="Peter", age=34),
    ),
    Question(
        text='Extract the order number and the customer: "Order 4711 was placed by Tom Baker."',
        response_format=_schema(order=_WHOLE, customer=_TEXT),
        check=fields(order=4711, customer="Tom Baker"),
    ),
    Question(
        text='Extract the room number: "The meeting is on Monday in room 512."',
        response_format=_schema(room=_WHOLE),
        check=fields(room=512),
    ),
    Question(
        text='Which language is this? "Guten Morgen, wie geht es dir?"',
        response_format=_schema(
            language={"type": "string", "enum": ["English", "French", "German", "Spanish"]}
        ),
        check=fields(language="German"),
    ),
    Question(
        text='Is this review positive or negative? "I waited an hour and the soup was cold."',
        response_format=_schema(sentiment={"type": "string", "enum": ["positive", "negative"]}),
        check=fields(sentiment="negative"),
    ),
    Question(
        text='Is this review positive or negative? "The battery died after one day. Very disappointing."',
        response_format=_schema(sentiment={"type": "string", "enum": ["positive", "negative"]}),
        check=fields(sentiment="negative"),
    ),
    Question(
        text="Write a Python function `is_even(n)` that returns True if n is even.",
        may_be_cut=True,
        check=program(
            "def is_even(n): return n % 2 == 0",
            "def is_even(n):\n    if n % 2 == 0:\n        return True\n    else:\n        return False",
            "def is_even(n):\n    if n % 2 == 0:\n        return True\n    return False",
        ),
    ),
    Question(
        text="Write a Python function `area(width, height)` that returns the area of a rectangle. For example, "
        "area(2, 3) returns 6.",
        may_be_cut=True,
        check=program(
            "def area(width, height): return width * height",
            "def area(width, height):\n    area = width * height\n    return area",
        ),
    ),
    Question(
        text="Write a Python function `shout(s)` that returns s in upper case. For example, shout('hi') returns 'HI'.",
        may_be_cut=True,
        check=program("def shout(s): return s.upper()"),
    ),
    Question(text="What is the capital of France?", check=name("Paris")),
    Question(text="What is 2 + 3?", check=value("5")),
    Question(
        text="A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts does it take in total?",
        check=value("3"),
    ),
)
