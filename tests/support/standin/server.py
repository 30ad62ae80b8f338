"""The stand-in's routes: the model API under /v1, and the control API of the tests under /control."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from json import dumps
from weakref import WeakSet

import msgspec
from aiohttp import web

from tests.support.standin.faults import abort, error, error_body, scripted_fault, sse
from tests.support.standin.prompt_cache import CachedPrompt, PromptCache, RefusedError, Way
from tests.support.standin.replies import Answer, Compaction, Completion, Response, prompt_words
from tests.support.standin.script import Json, Reply, Rule, Turn
from tests.support.standin.stored import NotFoundError, Routes, Store, input_tokens

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SHAPES: dict[str, type[Answer]] = {
    "/v1/chat/completions": Answer,
    "/v1/completions": Completion,
    "/v1/responses": Response,
    "/v1/responses/compact": Compaction,
}
MOST_CHOICES = 128


@dataclass(frozen=True)
class Options:
    """What this server serves. `max_model_len` (in words) makes it a vLLM. `made_up` lets it serve any model and id.

    With a `prompt_cache`, usages count the tools too, and say what was read from the cache and written into it. Prompts of
    fewer than `least_cached` tokens are not cached.
    """

    models: tuple[str, ...]
    max_model_len: int | None
    require_key: str | None
    made_up: bool = False
    prompt_cache: Way | None = None
    least_cached: int = 1024


@dataclass
class Entry:
    """A request that was received."""

    seq: int
    method: str
    path: str
    headers: dict[str, str]
    body: Json | None = None
    status: int | None = None
    usage: Json | None = None  # what the client was told
    billed: Json | None = None  # what it will have to pay for, whether it was told or not
    chunks: int = 0  # sent of a stream
    finished: bool = False  # the whole answer was handed over
    disconnected: bool = False  # the client went away before that
    reused: bool = False  # it came on a connection that was kept alive


@dataclass
class State:
    """All that a reset puts back."""

    turns: list[Turn] = field(default_factory=list)
    log: list[Entry] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    waiting: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    peak: int = 0

    def gate(self, name: str) -> asyncio.Event:
        """Return a gate, closed at first."""
        return self.gates.setdefault(name, asyncio.Event())


class StandInServer:
    """One stand-in and its state."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._state = State()
        self._in_flight = 0
        self._known: WeakSet[asyncio.BaseTransport] = WeakSet()
        self._stored = Routes(Store(options.made_up))
        self._cache = self._empty_cache()
        self._numbers = count(1)  # a reset does not begin again: an id is never given twice

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._note], client_max_size=2**26)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._chat),
                web.post("/v1/responses", self._chat),
                web.post("/v1/responses/compact", self._chat),
                web.post("/v1/responses/input_tokens", self._input_tokens),
                *self._stored.routes(),
                web.post("/v1/embeddings", self._embeddings),
                web.get("/v1/models", self._models),
                web.get("/v1/models/{id:.+}", self._model),
                web.delete("/v1/models/{id:.+}", self._delete_model),
                web.get("/health", self._health),
                web.put("/control/script", self._script),
                web.put("/control/gate/{name}", self._open),
                web.get("/control/log", self._log),
                web.get("/control/state", self._show),
                web.delete("/control", self._reset),
            ]
        )
        return app

    @web.middleware
    async def _note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/control"):
            return await handler(request)
        state = self._state
        request["reused"] = request.transport in self._known
        if request.transport is not None and request.transport not in self._known:
            self._known.add(request.transport)
            state.connections += 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        entry = Entry(len(state.log) + 1, request.method, request.path, headers, reused=request["reused"])
        state.log.append(entry)
        request["entry"] = entry
        try:
            response = self._refusal(request) or await handler(request)
        except asyncio.CancelledError:
            entry.disconnected = not entry.finished
            raise
        except NotFoundError as e:
            return error(404, str(e))
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            return error(400, f"The body is not what this endpoint takes: {e!r:.200}")
        except ConnectionError:  # found out by writing to it
            entry.disconnected = not entry.finished
            return web.Response()
        entry.status, entry.finished = response.status, True
        return response

    def _refusal(self, request: web.Request) -> web.Response | None:
        required, given = self._options.require_key, request.headers.get("authorization", "")
        if required is None or request.path == "/health" or given == f"Bearer {required}":
            return None
        key = given.removeprefix("Bearer ")
        if not key:
            return error(401, "You didn't provide an API key.", type="invalid_request_error")
        echo = f"{key[:8]}{'*' * max(3, len(key) - 12)}{key[-4:]}"
        return error(401, f"Incorrect API key provided: {echo}.", code="invalid_api_key")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        entry: Entry = request["entry"]
        try:
            body = entry.body = await request.json()
            shape = SHAPES[request.path]
            choices = shape.choices(body)
        except (ValueError, AttributeError):
            return error(400, "We could not parse the JSON body of your request.")
        if not 1 <= choices <= MOST_CHOICES:
            return error(400, f"n has to be in 1..{MOST_CHOICES}.", param="n")
        if shape is Compaction and "stream" in body:
            return error(400, "Unknown parameter: 'stream'.", param="stream", code="unknown_parameter")
        if not self._serves(body.get("model")):
            return error(404, f"The model `{body.get('model')}` does not exist.", code="model_not_found")
        if (refusal := self._too_long(body)) is not None:
            return refusal
        taken = (turn.take(body, choices) for turn in self._state.turns)
        reply, texts = next((t for t in taken if t is not None), (Reply(), ["ok"] * choices))
        try:
            prompt = None if reply.status >= 400 else self._cached(request.path, body)
        except RefusedError as e:
            return error(400, str(e), param=e.param, code="unknown_parameter")
        answer = shape(next(self._numbers), body, reply, list(texts), prompt)
        if reply.status < 400 and reply.raw_body is None:
            self._stored.store.keep(request.path, body, answer.completion())
        async with self._counted():
            return await self._answer(request, reply, answer)

    async def _answer(self, request: web.Request, reply: Reply, answer: Answer) -> web.StreamResponse:
        entry: Entry = request["entry"]
        await asyncio.sleep(reply.delay_s)
        streamed = bool(entry.body and entry.body.get("stream")) != reply.other_form
        if reply.release and not (streamed and reply.release_after):
            await self._wait(reply.release)
        if reply.status < 400 and reply.raw_body is None:
            entry.billed = answer.billed(0 if streamed else None)
        if reply.close_reused and request["reused"]:
            return abort(request)
        if reply.break_after == 0 or (reply.break_after is not None and not streamed):
            return abort(request)
        if reply.stall_after is not None and not streamed:
            await asyncio.Event().wait()
        headers = {"x-request-id": f"req_standin_{entry.seq}", **reply.headers}
        if (fault := scripted_fault(reply, headers, streamed=streamed)) is not None:
            return fault
        if streamed:
            return await self._stream(request, reply, answer, headers)
        completion = answer.completion()
        entry.usage = completion.get("usage")
        return web.json_response(completion, status=reply.status, headers=headers)

    async def _stream(
        self, request: web.Request, reply: Reply, answer: Answer, headers: dict[str, str]
    ) -> web.StreamResponse:
        entry: Entry = request["entry"]
        response = web.StreamResponse(status=reply.status, headers=headers)
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        await response.prepare(request)
        for event in answer.events():
            if entry.chunks == reply.error_after:
                await response.write(
                    sse(dumps(error_body(reply.status, "The stand-in broke off.", **reply.error)))
                )
                break
            if entry.chunks == reply.break_after:
                return abort(request)
            if entry.chunks == reply.stall_after:
                await asyncio.Event().wait()
            if reply.release and entry.chunks and entry.chunks == reply.release_after:
                await self._wait(reply.release)
            await asyncio.sleep(reply.chunk_delay_s if entry.chunks else 0)
            await response.write(sse(event, answer.name(event)))
            entry.chunks += 1
            entry.billed = answer.billed(entry.chunks)
            if event != "[DONE]":
                entry.usage = answer.reported(msgspec.json.decode(event)) or entry.usage
        entry.finished = True  # a client may hang up at [DONE]
        await response.write_eof()
        return response

    def _empty_cache(self) -> PromptCache | None:
        options = self._options
        if options.prompt_cache is None:
            return None
        return PromptCache(options.prompt_cache, options.least_cached)

    def _cached(self, path: str, body: Json) -> CachedPrompt | None:
        if self._cache is None or SHAPES[path] not in (Answer, Response):
            return None
        return self._cache.use(path, body, self._stored.store.conversation(body.get("previous_response_id")))

    def _too_long(self, body: Json) -> web.Response | None:
        limit = self._options.max_model_len
        asked = prompt_words(body) + (body.get("max_completion_tokens") or body.get("max_tokens") or 0)
        if limit is None or asked <= limit:
            return None
        message = (
            f"This model's maximum context length is {limit} tokens. However, you requested {asked} tokens."
        )
        return error(400, message, type="BadRequestError", param="input_tokens", code=400)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self._in_flight += 1
        self._state.peak = max(self._state.peak, self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1

    async def _wait(self, name: str) -> None:
        state = self._state
        state.waiting[name] += 1
        try:
            await state.gate(name).wait()
        finally:
            state.waiting[name] -= 1

    def _card(self, name: str) -> Json:
        card: Json = {"id": name, "object": "model", "created": 1700000000, "owned_by": "stand-in"}
        limit = self._options.max_model_len
        return card if limit is None else {**card, "root": name, "parent": None, "max_model_len": limit}

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [self._card(name) for name in self._options.models]}
        )

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if not self._serves(name):
            return error(404, f"The model '{name}' does not exist", code="model_not_found", param="model")
        return web.json_response(self._card(name))

    async def _delete_model(self, _: web.Request) -> web.Response:
        return error(403, "You have insufficient permissions for this operation. Missing scopes: api.delete.")

    def _serves(self, model: object) -> bool:
        return self._options.made_up or model in self._options.models

    async def _input_tokens(self, request: web.Request) -> web.Response:
        body = request["entry"].body = await request.json()
        if not self._serves(body.get("model")):
            return error(404, f"The model `{body.get('model')}` does not exist.", code="model_not_found")
        return web.json_response(input_tokens(body))

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = request["entry"].body = await request.json()
        taken = (turn.take(body, 1) for turn in self._state.turns)
        reply = next((t[0] for t in taken if t is not None), Reply())
        if (fault := scripted_fault(reply, reply.headers, streamed=False)) is not None:
            return fault
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": i, "embedding": [float(len(str(t))), 1.0]}
            for i, t in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _script(self, request: web.Request) -> web.Response:
        try:
            rules = msgspec.json.decode(await request.read(), type=list[Rule])
        except msgspec.ValidationError as e:
            return error(400, f"bad rule: {e}")
        self._state.turns = [Turn(rule) for rule in rules]
        return web.json_response({"rules": len(rules)})

    async def _open(self, request: web.Request) -> web.Response:
        self._state.gate(request.match_info["name"]).set()
        return web.json_response({})

    async def _log(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(entry) for entry in self._state.log])

    async def _show(self, _: web.Request) -> web.Response:
        state = self._state
        counts = {
            "in_flight": self._in_flight,
            "peak_in_flight": state.peak,
            "connections_opened": state.connections,
        }
        return web.json_response({**counts, "waiting": +state.waiting})

    async def _reset(self, _: web.Request) -> web.Response:
        for gate in self._state.gates.values():
            gate.set()
        self._state = State(peak=self._in_flight)
        self._stored.store = Store(self._options.made_up)
        self._cache = self._empty_cache()
        return web.json_response({})
