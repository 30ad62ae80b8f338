"""The questions of the demo.

They were chosen by measuring many candidates with the bundled model of 135 million parameters: kinds that it can do, and
kinds that it cannot. docs/measurements.md has the candidates that were left out.
"""

from dataclasses import dataclass
from typing import Any

from proxy.cli.demo.grading import Check, fields, name, program


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, the JSON that its answer has to be (if any) and a check of the answer."""

    text: str
    check: Check
    response_format: Any = None


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
_LANGUAGE = _schema(language={"type": "string", "enum": ["English", "French", "German", "Spanish"]})
_SENTIMENT = _schema(sentiment={"type": "string", "enum": ["positive", "negative"]})

QUESTIONS = (
    Question(
        text='Extract the name and the city: "My name is Anna and I live in Berlin."',
        response_format=_schema(name=_TEXT, city=_TEXT),
        check=fields(name="Anna", city="Berlin"),
    ),
)
