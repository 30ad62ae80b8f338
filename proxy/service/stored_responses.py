"""Read, delete and cancel responses that an earlier request has made (OpenAI's Responses API).

Local answers come from the ledger. Other responses come from the upstream that made them.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.config.schema import LargeModel
from proxy.errors import bad_request, database_unavailable
from proxy.formats.responses_render import events_of
from proxy.ledger.database import DatabaseError
from proxy.ledger.kept_responses import KeptResponse, delete_response, find_response
from proxy.service.conversations import LOCAL_ID_PREFIX
from proxy.service.objects import (
    ObjectRequest,
    ask_upstream,
    find_stored,
    relay_stream,
    unknown_object,
)
from proxy.service.pages import Query, one, page_of, page_query, whole_number
from proxy.service.reply import Reply
from proxy.service.state import AppState

_KIND = "Response"
_PASSED_ON = (
    "include",
    "include[]",
    "stream",
    "starting_after",
    "include_obfuscation",
    "after",
    "limit",
    "order",
)
"""The parameters that the upstream gets too."""


async def retrieve(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Send a response, or its events after `starting_after` if the query says `stream=true`."""
    kept, model = await _find(state, request)
    streams = one(request.query, "stream") == "true"
    after = whole_number(request.query, "starting_after")
    if kept is None or kept.answer is None:
        path = f"/responses/{request.id}"
        if streams:
            await relay_stream(state, model, path, _passed_on(request.query), reply)
        else:
            await reply.json(*await _ask(state, request, model, "GET", path))
    elif streams:
        await reply.open({})
        for number, event in enumerate(events_of(kept.answer)):
            if after is None or number > after:
                await reply.events([(event, str(msgspec.json.decode(event)["type"]))])
        await reply.close()
    else:
        await reply.json(200, {}, msgspec.json.encode(kept.answer))


async def delete(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Delete a response here, and at the upstream that made it."""
    kept, model = await _find(state, request)
    gone = msgspec.json.encode({"id": request.id, "object": "response", "deleted": True})
    answer: tuple[int, Mapping[str, str], bytes] = (200, {}, gone)
    if kept is None or kept.answer is None:
        answer = await _ask(state, request, model, "DELETE", f"/responses/{request.id}")
    if kept is not None:
        try:
            await delete_response(state.database, request.id)
        except (OSError, DatabaseError) as e:
            raise database_unavailable() from e
    await reply.json(*answer)


async def cancel(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Cancel a background response of the upstream. A local answer is never one."""
    kept, model = await _find(state, request)
    if kept is not None and kept.answer is not None:
        raise bad_request("Cannot cancel a synchronous response.")
    await reply.json(*await _ask(state, request, model, "POST", f"/responses/{request.id}/cancel"))


async def input_items(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Send a page of the items that a response answers, newest first."""
    kept, model = await _find(state, request)
    if kept is None or kept.answer is None:
        path = f"/responses/{request.id}/input_items"
        await reply.json(*await _ask(state, request, model, "GET", path))
    else:
        page = page_query(request.query, default_order="desc")
        await reply.json(200, {}, page_of(_listed_items(kept), page))


async def _find(state: AppState, request: ObjectRequest) -> tuple[KeptResponse | None, LargeModel]:
    found = await find_stored(
        state,
        request,
        find_response,
        kind=_KIND,
        local_prefix=LOCAL_ID_PREFIX,
        is_local=lambda kept: kept.items is not None,
    )
    kept, _ = found
    if kept is not None and kept.items is not None and kept.answer is None:
        raise unknown_object(_KIND, request.id)  # of an old version, which kept only the conversation
    return found


async def _ask(
    state: AppState, request: ObjectRequest, model: LargeModel, method: str, path: str
) -> tuple[int, Mapping[str, str], bytes]:
    query = _passed_on(request.query)
    return 200, *await ask_upstream(state, model, method, path, query=query)


def _passed_on(query: Query) -> Query:
    return {name: query[name] for name in _PASSED_ON if name in query}


def _listed_items(kept: KeptResponse) -> list[dict[str, Any]]:
    """Return the items before the answer's own, as OpenAI lists them: each with an id, a type and parts."""
    assert kept.items is not None
    assert kept.answer is not None
    given = kept.items[: len(kept.items) - len(kept.answer["output"])]
    return [_listed_item(f"{kept.id.removeprefix('resp_')}_{i}", item) for i, item in enumerate(given)]


def _listed_item(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item.get("type") or "message"
    made = {"id": f"{'msg' if kind == 'message' else 'item'}_{name}", "status": "completed"}
    listed = {**made, **{k: v for k, v in item.items() if v is not None}, "type": kind}
    content = listed.get("content")
    if isinstance(content, str):
        if listed.get("role") == "assistant":
            listed["content"] = [{"type": "output_text", "text": content, "annotations": [], "logprobs": []}]
        else:
            listed["content"] = [{"type": "input_text", "text": content}]
    return listed
