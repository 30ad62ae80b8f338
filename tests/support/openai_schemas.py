"""The types of OpenAI's SDK, and its OpenAPI document if `COPE_OPENAI_SPEC` names it or it lies in ../shared."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import openai.types as sdk
from jsonschema import Draft202012Validator
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.support.processes import ROOT
from tests.support.wait import Json

SPEC = Path(os.environ.get("COPE_OPENAI_SPEC") or ROOT.parent / "shared" / "openai-openapi.json")
SDK_TYPES: dict[str, Any] = {
    "CreateChatCompletionResponse": sdk.chat.ChatCompletion,
    "CreateChatCompletionStreamResponse": sdk.chat.ChatCompletionChunk,
    "CreateCompletionResponse": sdk.Completion,
    "CreateEmbeddingResponse": sdk.CreateEmbeddingResponse,
    "Response": Response,
    "ResponseStreamEvent": ResponseStreamEvent,
}


def problems(kind: str, answer: Json) -> list[str]:
    """Return what is wrong with an answer of a kind, as both sources see it."""
    found = []
    try:
        _adapter(kind).validate_python(answer)
    except ValueError as e:
        found.append(f"SDK: {e}")
    if SPEC.exists():
        found += [f"{list(e.absolute_path)}: {e.message[:300]}" for e in _validator(kind).iter_errors(answer)]
    return found


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(SDK_TYPES[kind])


@cache
def _validator(kind: str) -> Draft202012Validator:
    components = _without_nullable(json.loads(SPEC.read_text(encoding="utf-8"))["components"])
    return Draft202012Validator({"$ref": f"#/components/schemas/{kind}", "components": components})


def _without_nullable(value: Any) -> Any:
    """Say in JSON Schema what OpenAPI 3.0 says by `nullable`, which the document still has here and there."""
    if isinstance(value, list):
        return [_without_nullable(v) for v in value]
    if not isinstance(value, dict):
        return value
    plain = {k: _without_nullable(v) for k, v in value.items() if k != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if value.get("nullable") is True else plain
