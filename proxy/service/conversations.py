"""Continue conversations by `previous_response_id` (OpenAI's Responses API)."""

import logging
from typing import Any

from proxy.cascade.types import Json
from proxy.errors import ApiError, bad_request, database_unavailable
from proxy.formats.responses_translate import input_items
from proxy.ids import now
from proxy.ledger.database import DatabaseError
from proxy.ledger.kept_responses import KeptResponse, find_response, store_response
from proxy.pricing.bounds import LONGEST_CONTEXT
from proxy.service.request import ModelRequest
from proxy.service.state import AppState

log = logging.getLogger(__name__)

LOCAL_ID_PREFIX = "resp_req_"
"""Begins the id of every response that the small model answered."""


async def recall(state: AppState, request: ModelRequest) -> tuple[Json, int]:
    """Return the request's body with its conversation filled in, and the tokens that the upstream will add.

    Raises:
        ApiError: 400 if the response is unknown here or belongs to another key, 503 without a database.
    """
    body = request.body
    if not request.format.path.startswith("/responses"):
        return body, 0
    upstream_context = LONGEST_CONTEXT if body.get("conversation") or body.get("prompt") else 0
    previous = body.get("previous_response_id")
    if not previous:
        return body, upstream_context
    try:
        kept = await find_response(state.database, previous)
    except (OSError, DatabaseError) as e:
        raise database_unavailable() from e
    of_another_key = kept is not None and kept.key_id != request.key_id
    # The upstream keeps responses longer than their owners are known here.
    of_nobody = kept is None and (request.key is not None or previous.startswith(LOCAL_ID_PREFIX))
    if of_another_key or of_nobody:
        raise _not_found(previous)
    if kept is None:
        return body, LONGEST_CONTEXT
    if kept.items is None:
        return body, upstream_context + kept.context_tokens
    rest = {k: v for k, v in body.items() if k != "previous_response_id"}
    return {**rest, "input": [*kept.items, *input_items(body)]}, upstream_context


def _not_found(previous: str) -> ApiError:
    return bad_request(
        f"Previous response with id {previous[:100]!r} not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


async def remember(
    state: AppState,
    request: ModelRequest,
    response_id: str,
    *,
    model: str | None = None,
    context_tokens: int = 0,
    items: list[dict[str, Any]] | None = None,
    answer: dict[str, Any] | None = None,
) -> bool:
    """Keep a response for later requests. Return True if it is kept.

    `model` names the large model that made it. A local answer comes with its `answer` and its `items`. Requests with
    `store: false` are not kept. Local conversations are not kept if `ledger.responses_retention_hours` is 0.
    """
    hours = state.settings.ledger.responses_retention_hours
    if not request.stored or (items is not None and not hours):
        return False
    try:
        await store_response(
            state.database,
            KeptResponse(
                id=response_id,
                key_id=request.key_id,
                created_at=now(),
                context_tokens=context_tokens,
                items=items,
                model=model,
                answer=answer,
            ),
        )
    except (OSError, DatabaseError) as e:
        log.warning("%s cannot be continued: it was not stored (%s)", response_id, type(e).__name__)
        return False
    return True
