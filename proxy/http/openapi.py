"""The model endpoints in our own OpenAPI document: raw ASGI routes say nothing about themselves."""

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

from proxy.cascade.types import TaskKind

TEXT = Schema(type=OpenAPIType.STRING)
FLAG = Schema(type=OpenAPIType.BOOLEAN)
POSITIVE = Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=2**31)
OBJECT = Schema(type=OpenAPIType.OBJECT)
OBJECTS = Schema(type=OpenAPIType.ARRAY, items=OBJECT)
TEXTS = Schema(one_of=[TEXT, Schema(type=OpenAPIType.ARRAY, items=TEXT, min_items=1)])
MESSAGE = Schema(
    type=OpenAPIType.OBJECT,
    required=["role"],
    properties={
        "role": Schema(
            type=OpenAPIType.STRING, enum=["system", "developer", "user", "assistant", "tool", "function"]
        ),
        "content": Schema(one_of=[TEXT, OBJECTS, Schema(type=OpenAPIType.NULL)]),
    },
)
USD = Schema(type=OpenAPIType.STRING, pattern=r"^\d{1,6}(\.\d{1,9})?$")
CONFIDENCES = Schema(type=OpenAPIType.STRING, pattern=r"^0\.\d{1,6}(,0\.\d{1,6})?$")
VISIBLE = Schema(type=OpenAPIType.STRING, pattern=r"^[!-~]{1,128}$")
CONTROLS: dict[str, tuple[str, Schema]] = {
    "X-COPE-Budget-USD": ("Most that this request may spend upstream; 0: local only", USD),
    "X-COPE-Session": ("Groups requests", VISIBLE),
    "X-COPE-Session-Budget-USD": ("Most that this session may spend; needs X-COPE-Session", USD),
    "X-COPE-On-Budget": ("What to do when money runs out", Schema(type=OpenAPIType.STRING, enum=["degrade", "fail"])),
    "X-COPE-Mode": ("Which tiers answer", Schema(type=OpenAPIType.STRING, enum=["cascade", "small", "large"])),
    "X-COPE-User": ("End user, when the body names none", VISIBLE),
    "X-COPE-Max-Stage": ("1 sends nothing upstream", Schema(type=OpenAPIType.STRING, enum=["1", "2", "3"])),
    "X-COPE-Task": ("The kind of task", Schema(type=OpenAPIType.STRING, enum=["auto", *TaskKind])),
    "X-COPE-Threshold": ("One confidence, or stage1,stage2", CONFIDENCES),
    "X-COPE-Samples": ("Small answers a stage", Schema(type=OpenAPIType.STRING, pattern=r"^[1-9]$")),
}  # fmt: skip
BODIES: dict[str, tuple[str, Schema]] = {
    "/v1/chat/completions": (
        "Create a chat completion through the cascade",
        Schema(
            type=OpenAPIType.OBJECT,
            required=["model", "messages"],
            properties={
                "model": TEXT,
                "messages": Schema(type=OpenAPIType.ARRAY, items=MESSAGE, min_items=1),
                "models": Schema(type=OpenAPIType.ARRAY, items=TEXT),
                "stream": FLAG,
                "n": POSITIVE,
                "max_completion_tokens": POSITIVE,
                "tools": OBJECTS,
                "response_format": OBJECT,
                "stream_options": OBJECT,
            },
        ),
    ),
    "/v1/responses": (
        "Create a response through the cascade",
        Schema(
            type=OpenAPIType.OBJECT,
            required=["model", "input"],
            properties={
                "model": TEXT,
                "input": Schema(one_of=[TEXT, Schema(type=OpenAPIType.ARRAY, items=MESSAGE, min_items=1)]),
                "instructions": TEXT,
                "previous_response_id": TEXT,
                "stream": FLAG,
                "store": FLAG,
                "max_output_tokens": POSITIVE,
                "tools": OBJECTS,
                "text": OBJECT,
            },
        ),
    ),
    "/v1/completions": (
        "Create a completion by the large model",
        Schema(
            type=OpenAPIType.OBJECT,
            required=["model", "prompt"],
            properties={
                "model": TEXT,
                "prompt": TEXTS,
                "stream": FLAG,
                "max_tokens": POSITIVE,
                "n": POSITIVE,
            },
        ),
    ),
    "/v1/embeddings": (
        "Create embeddings by the large model",
        Schema(
            type=OpenAPIType.OBJECT,
            required=["model", "input"],
            properties={"model": TEXT, "input": TEXTS},
        ),
    ),
}


def describe_model_endpoints(app: Litestar) -> None:
    """Add the model endpoints to the application's document; bodies may hold more, as OpenAI's do."""
    parameters = [
        Parameter(name=name, param_in="header", description=text, schema=schema, required=False)
        for name, (text, schema) in CONTROLS.items()
    ]
    error = OpenAPIResponse(description="An error in OpenAI's shape")
    paths = app.openapi_schema.paths or {}
    for path, (summary, body) in BODIES.items():
        media = OpenAPIMediaType(schema=body)
        paths[path] = PathItem(
            post=Operation(
                operation_id=path.removeprefix("/v1/").replace("/", "_"),
                summary=summary,
                parameters=list(parameters),
                request_body=RequestBody(content={"application/json": media}, required=True),
                responses={
                    "200": OpenAPIResponse(
                        description="As OpenAI answers, with a `cope` object beside `usage`"
                    ),
                    "default": error,
                },
            )
        )
    app.openapi_schema.paths = paths
