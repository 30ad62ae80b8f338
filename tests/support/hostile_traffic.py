"""Hostile texts as prompts, answers, schemas and tools of requests through the front door."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

from tests.support.hostile import LARGE_SCHEMAS, SCHEMAS, in_places, texts
from tests.support.monitor import Monitor
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn

_AT_ONCE = 4
_ENDS = ("st",)
_LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
_QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "math": ("What is 6 times 7? Calculate the number.", {}),
    "code": ("Write a Python function f(x).\ndef f(x):\n    pass\n", {}),
    "choice": ("Which one is it?\nA) one\nB) two\nC) three", {}),
    "agent": ("Look.", {"tools": [_LOOK]}),
    "structured": ("Look.", {"response_format": {"type": "json_object"}}),
}

Case = tuple[str, dict[str, Any]]


def _asked(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "cope", "messages": [{"role": "user", "content": text}], "max_tokens": 50, **fields}


def prompts(sizes: list[int]) -> Iterator[Case]:
    """Yield a request for each hostile text."""
    for size in sizes:
        for name, text in texts(size, _ENDS).items():
            yield f"prompt {size} {name}", _asked(text)


def schemas() -> Iterator[Case]:
    """Yield requests with hostile schemas, as a response format and in tools."""
    for name, schema in {**SCHEMAS, **LARGE_SCHEMAS}.items():
        for fields in in_places(schema):
            yield f"schema {name} {list(fields)}", _asked("Give a=1 as JSON.", **fields)


def answers(small: StandIn, size: int) -> Iterator[Case]:
    """Let the small model give each hostile text as an answer. Yield the questions, of each kind in turn."""
    said = {name: text for name, text in texts(size, _ENDS).items() if _is_unicode(text)}
    numbered = {f"[{i}]": text for i, text in enumerate(said.values())}
    small.script(
        *({"match": {"contains": mark}, "reply": {"content": text}} for mark, text in numbered.items())
    )
    for name, mark, (kind, (question, fields)) in zip(
        said, numbered, cycle(_QUESTIONS.items()), strict=False
    ):
        yield f"answer to {kind} {name}", _asked(f"{mark} {question}", **fields)


def send(proxy: ProxyProcess, cases: Iterator[Case]) -> tuple[dict[str, str], Monitor]:
    """Send requests, four at a time. Return the bad answers by case, and the monitor of the proxy meanwhile."""
    client = proxy.http(headers={"content-type": "application/json"})

    def post(case: Case) -> tuple[str, str]:
        name, body = case
        response = client.post("/v1/chat/completions", content=json.dumps(body))
        return name, "" if response.status_code < 500 else response.text[:300]

    with Monitor(proxy.port) as monitor, ThreadPoolExecutor(_AT_ONCE) as threads:
        bad = {name: problem for name, problem in threads.map(post, cases) if problem}
    return bad, monitor


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
