"""What the stand-in stores: responses, and chat completions whose request says `store: true`.

Source: OpenAI API reference, "Responses" (retrieve, delete, cancel, input items, input tokens) and "Chat completions"
(list, retrieve, update, delete, messages).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.standin.replies import Answer, Response, prompt_words
from tests.support.standin.script import Json, Reply

RESPONSES, CHATS = "/v1/responses", "/v1/chat/completions"


class NotFoundError(Exception):
    """No object has this id. The message says so in OpenAI's words."""


@dataclass(frozen=True)
class Stored:
    """An object and the request that made it."""

    made: Json
    body: Json


@dataclass
class Store:
    """All stored objects. With `made_up` there is one for every id, as in the mock servers that SDKs are tested with."""

    made_up: bool = False
    objects: dict[str, dict[str, Stored]] = field(default_factory=lambda: {RESPONSES: {}, CHATS: {}})

    def keep(self, path: str, body: Json, made: Json) -> None:
        """Store an answer, unless its request forbids it."""
        if path in self.objects and body.get("store", path == RESPONSES):
            self.objects[path][made["id"]] = Stored(made, body)

    def find(self, path: str, id_: str) -> Stored:
        """Return an object."""
        if id_ not in self.objects[path]:
            if not self.made_up:
                kind = "Response" if path == RESPONSES else "Chat completion"
                raise NotFoundError(f"{kind} with id '{id_}' not found.")
            shape = Response if path == RESPONSES else Answer
            body: Json = {"model": "made-up", "messages": [{"role": "assistant", "content": "made up"}]}
            return Stored({**shape(0, body, Reply(), ["made up"]).completion(), "id": id_}, body)
        return self.objects[path][id_]

    def conversation(self, id_: str | None) -> list[Json]:
        """Return the input and the output of a response and of those that it continues."""
        if id_ is None or id_ not in self.objects[RESPONSES]:
            return []
        found = self.objects[RESPONSES][id_]
        given = found.body.get("input") or []
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        before = self.conversation(found.body.get("previous_response_id"))
        return [*before, *items, *found.made["output"]]

    def remove(self, path: str, id_: str) -> None:
        """Delete an object."""
        self.find(path, id_)
        self.objects[path].pop(id_, None)


class Routes:
    """The routes of the stored objects. A reset of the stand-in replaces `store`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all of them."""
        return (
            web.get(RESPONSES + "/{id}", self._response),
            web.delete(RESPONSES + "/{id}", self._delete_response),
            web.post(RESPONSES + "/{id}/cancel", self._cancel),
            web.get(RESPONSES + "/{id}/input_items", self._input_items),
            web.get(CHATS, self._completions),
            web.get(CHATS + "/{id}", self._completion),
            web.post(CHATS + "/{id}", self._update),
            web.delete(CHATS + "/{id}", self._delete_completion),
            web.get(CHATS + "/{id}/messages", self._messages),
        )

    async def _response(self, request: web.Request) -> web.StreamResponse:
        found = self.store.find(RESPONSES, request.match_info["id"])
        if request.query.get("stream") != "true":
            return web.json_response(found.made)
        after = int(request.query.get("starting_after", -1))
        shape = Response(0, found.body, Reply(), [_text(found.made)])
        events = [json.loads(event) for event in shape.events()]
        for event in events:
            if "response" in event:
                event["response"]["id"] = found.made["id"]
        shown = [e for e in events if e["sequence_number"] > after]
        text = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in shown)
        return web.Response(text=text, content_type="text/event-stream")

    async def _delete_response(self, request: web.Request) -> web.Response:
        self.store.remove(RESPONSES, request.match_info["id"])
        return web.json_response({"id": request.match_info["id"], "object": "response", "deleted": True})

    async def _cancel(self, request: web.Request) -> web.Response:
        found = self.store.find(RESPONSES, request.match_info["id"])
        if not self.store.made_up and not found.body.get("background"):
            raise ValueError("Cannot cancel a synchronous response.")
        return web.json_response({**found.made, "status": "cancelled"})

    async def _input_items(self, request: web.Request) -> web.Response:
        found = self.store.find(RESPONSES, request.match_info["id"])
        given = found.body.get("input") or []
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        listed = [_item(f"msg_{i}", item) for i, item in enumerate(items)]
        return web.json_response(_page(listed, request, "desc"))

    async def _completions(self, request: web.Request) -> web.Response:
        return web.json_response(
            _page([_labelled(s) for s in self.store.objects[CHATS].values()], request, "asc")
        )

    async def _completion(self, request: web.Request) -> web.Response:
        return web.json_response(_labelled(self.store.find(CHATS, request.match_info["id"])))

    async def _update(self, request: web.Request) -> web.Response:
        found = self.store.find(CHATS, request.match_info["id"])
        changed = Stored(found.made, {**found.body, "metadata": (await request.json())["metadata"]})
        self.store.objects[CHATS][found.made["id"]] = changed
        return web.json_response(_labelled(changed))

    async def _delete_completion(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        self.store.remove(CHATS, id_)
        return web.json_response({"object": "chat.completion.deleted", "id": id_, "deleted": True})

    async def _messages(self, request: web.Request) -> web.Response:
        found = self.store.find(CHATS, request.match_info["id"])
        listed = [
            {**message, "id": f"{found.made['id']}-{i}", "content_parts": None}
            for i, message in enumerate(found.body["messages"])
        ]
        return web.json_response(_page(listed, request, "asc"))


def input_tokens(body: Json) -> Json:
    """Return the count of a request's input."""
    return {"object": "response.input_tokens", "input_tokens": prompt_words(body)}


def _labelled(stored: Stored) -> Json:
    return {**stored.made, "metadata": stored.body.get("metadata") or {}}


def _text(made: Json) -> str:
    return "".join(part["text"] for item in made["output"] for part in item.get("content") or ())


def _item(name: str, item: Json) -> Json:
    content = item.get("content")
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    return {"id": name, "type": "message", "status": "completed", **item, "content": parts}


def _page(data: list[Json], request: web.Request, order: str) -> Json:
    ordered = data if request.query.get("order", order) == "asc" else data[::-1]
    ids = [element["id"] for element in ordered]
    after, limit = request.query.get("after"), int(request.query.get("limit", 20))
    start = ids.index(after) + 1 if after in ids else 0
    shown = ordered[start : start + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(ordered) > start + limit,
    }
