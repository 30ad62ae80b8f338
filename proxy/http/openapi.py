"""The model endpoints in the proxy's own OpenAPI document, because Litestar does not describe raw ASGI routes.

The structs describe the members that the proxy itself reads. A body may have more members, as in OpenAI's API.
"""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Litestar
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    PathItem,
    RequestBody,
    Schema,
)
from msgspec import UNSET, Meta, Struct, UnsetType

from proxy.formats.checks import MOST_TOKENS
from proxy.http.control_headers import HEADERS
from proxy.http.stored_objects import OBJECTS

Tokens = Annotated[int, Meta(ge=1, le=MOST_TOKENS)]
TokensOrNone = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
Objects = list[dict[str, Any]]
Texts = str | Annotated[list[str], Meta(min_length=1)]


class Message(Struct):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Objects | UnsetType | None = UNSET


Messages = Annotated[list[Message], Meta(min_length=1)]


class ChatBody(Struct, kw_only=True):
    """Create a chat completion through the cascade."""

    model: str
    messages: Messages
    models: list[str] | UnsetType = UNSET
    stream: bool | UnsetType = UNSET
    n: Tokens | UnsetType = UNSET
    max_completion_tokens: TokensOrNone | UnsetType = UNSET
    tools: Objects | UnsetType = UNSET
    response_format: dict[str, Any] | UnsetType = UNSET
    stream_options: dict[str, Any] | UnsetType = UNSET


class ResponsesBody(Struct, kw_only=True):
    """Create a response through the cascade."""

    model: str | UnsetType | None = UNSET
    input: str | Messages | UnsetType | None = UNSET
    instructions: str | UnsetType = UNSET
    previous_response_id: str | UnsetType = UNSET
    stream: bool | UnsetType = UNSET
    store: bool | UnsetType = UNSET
    max_output_tokens: Tokens | UnsetType = UNSET
    tools: Objects | UnsetType = UNSET
    text: dict[str, Any] | UnsetType = UNSET


class CompletionsBody(Struct, kw_only=True):
    """Create a completion by the large model."""

    model: str
    prompt: Texts
    stream: bool | UnsetType = UNSET
    max_tokens: TokensOrNone | UnsetType = UNSET
    n: Tokens | UnsetType = UNSET


class EmbeddingsBody(Struct, kw_only=True):
    """Create embeddings by the large model."""

    model: str
    input: Texts


class CompactBody(Struct, kw_only=True):
    """Compact a conversation by the large model."""

    model: str
    input: str | Messages | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    previous_response_id: str | UnsetType | None = UNSET


class InputTokensBody(Struct, kw_only=True):
    """Count the input tokens of a response by the large model."""

    model: str | UnsetType | None = UNSET
    input: str | Messages | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    previous_response_id: str | UnsetType | None = UNSET
    tools: Objects | UnsetType | None = UNSET


BODIES: dict[str, type[Struct]] = {
    "/v1/chat/completions": ChatBody,
    "/v1/responses": ResponsesBody,
    "/v1/responses/compact": CompactBody,
    "/v1/responses/input_tokens": InputTokensBody,
    "/v1/completions": CompletionsBody,
    "/v1/embeddings": EmbeddingsBody,
}


class _JsonSchema(Schema):
    """A JSON schema that msgspec has made, in the place of one of Litestar's."""

    def __init__(self, schema: dict[str, Any]) -> None:
        super().__init__()
        self._schema = schema

    def to_schema(self) -> dict[str, Any]:
        return self._schema


def describe_model_endpoints(app: Litestar) -> None:
    """Add the model endpoints to the application's document."""
    schemas, components = msgspec.json.schema_components(
        BODIES.values(), ref_template="#/components/schemas/{name}"
    )
    document = app.openapi_schema
    document.components.schemas |= {name: _JsonSchema(schema) for name, schema in components.items()}
    paths = document.paths or {}
    for (path, body), schema in zip(BODIES.items(), schemas, strict=True):
        paths[path] = PathItem(post=_operation(path, str(body.__doc__), _JsonSchema(schema)))
    for template, methods in OBJECTS.items():
        path = template.replace("{id:str}", "{id}")
        item = paths.setdefault(path, PathItem())
        for method, serve in methods.items():
            setattr(item, method.lower(), _object_operation(path, method, str(serve.__doc__)))
    document.paths = paths


def _operation(path: str, summary: str, body: Schema) -> Operation:
    parameters = [
        Parameter(name=h.name, param_in="header", description=h.help, schema=h.values.schema, required=False)
        for h in HEADERS
    ]
    return Operation(
        operation_id=path.removeprefix("/v1/").replace("/", "_"),
        summary=summary.removesuffix("."),
        parameters=list(parameters),
        request_body=RequestBody(content={"application/json": OpenAPIMediaType(schema=body)}, required=True),
        responses={
            "200": OpenAPIResponse(description="OpenAI's answer, with a `cope` object beside `usage`"),
            "default": OpenAPIResponse(description="An error in OpenAI's shape"),
        },
    )


_QUERY = {
    "limit": Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=100),
    "order": Schema(type=OpenAPIType.STRING, enum=["asc", "desc"]),
    "after": Schema(type=OpenAPIType.STRING),
    "stream": Schema(type=OpenAPIType.BOOLEAN),
    "starting_after": Schema(type=OpenAPIType.INTEGER, minimum=0),
}


def _object_operation(path: str, method: str, summary: str) -> Operation:
    in_path = [Parameter(name="id", param_in="path", schema=Schema(type=OpenAPIType.STRING), required=True)]
    in_query = [
        Parameter(name=name, param_in="query", schema=schema, required=False)
        for name, schema in _QUERY.items()
    ]
    name = path.removeprefix("/v1/").replace("/", "_").replace("{id}", "id")
    return Operation(
        operation_id=f"{method.lower()}_{name}",
        summary=summary.partition("\n")[0].removesuffix("."),
        parameters=[*(in_path if "{id}" in path else ()), *(in_query if method == "GET" else ())],
        request_body=RequestBody(
            content={"application/json": OpenAPIMediaType(schema=_LABELS)}, required=True
        )
        if method == "POST" and path.endswith("{id}")
        else None,
        responses={
            "200": OpenAPIResponse(description="The object, a page of objects, or a stream"),
            "default": OpenAPIResponse(description="An error in OpenAI's shape"),
        },
    )


_TEXTS = Schema(
    type=OpenAPIType.OBJECT, additional_properties=Schema(type=OpenAPIType.STRING), max_properties=16
)
_LABELS = Schema(type=OpenAPIType.OBJECT, properties={"metadata": _TEXTS}, required=["metadata"])
