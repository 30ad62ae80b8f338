"""Conversations that a client continues by `previous_response_id` (OpenAI's Responses API)."""

import logging
from typing import Any

from proxy.cascade.types import Json
from proxy.errors import bad_request, database_unavailable
from proxy.ids import now
from proxy.ledger.database import DatabaseError
from proxy.ledger.kept_responses import Kept, find, keep
from proxy.pricing.tokens import LONGEST_CONTEXT
from proxy.service.request import ModelRequest
from proxy.service.state import AppState

log = logging.getLogger(__name__)

OURS = "resp_req_"


async def recall(state: AppState, request: ModelRequest) -> tuple[Json, int]:
    """Return the request's body with its whole conversation in it, and the tokens that the upstream will add.

    Raises:
        ApiError: 400 for a response that is not known here, or another key's; 503 without a database.
    """
    body = request.body
    if request.format.path != "/responses":
        return body, 0
    unseen = LONGEST_CONTEXT if body.get("conversation") or body.get("prompt") else 0
    previous = body.get("previous_response_id")
    if not previous:
        return body, unseen
    try:
        kept = await find(state.database, previous)
    except (OSError, DatabaseError) as e:
        raise database_unavailable() from e
    theirs = kept is not None and kept.key_id != request.key_id
    if theirs or (kept is None and previous.startswith(OURS)):
        raise bad_request(
            f"Previous response with id {previous[:100]!r} not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    if kept is None:
        return body, LONGEST_CONTEXT
    if kept.items is None:
        return body, unseen + kept.context_tokens
    rest = {k: v for k, v in body.items() if k != "previous_response_id"}
    return {**rest, "input": [*kept.items, *input_items(body)]}, unseen


def input_items(body: Json) -> list[dict[str, Any]]:
    """Return a request's input as items."""
    given = body["input"]
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given)


async def remember(
    state: AppState,
    request: ModelRequest,
    response_id: str,
    *,
    context: int = 0,
    items: list[dict[str, Any]] | None = None,
) -> bool:
    """Keep a response for those to come; say whether it can be continued.

    What the client sends with `store: false` is not kept, nor is a local conversation for longer than
    `ledger.responses_retention_hours`.
    """
    hours = state.settings.ledger.responses_retention_hours
    if request.body.get("store") is False or (items is not None and not hours):
        return False
    try:
        await keep(state.database, Kept(response_id, request.key_id, now(), context, items))
    except (OSError, DatabaseError) as e:
        log.warning("%s cannot be continued: it was not kept (%s)", response_id, type(e).__name__)
        return False
    return True
