"""A client that leaves, at every phase: all work under way ends, and the ledger says what it cost."""

import json

import pytest

from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

QUESTION = "What is 6 times 7? Calculate the number."
BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": QUESTION}]},
    "/v1/responses": {"input": QUESTION},
}
GOAL = {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}}
UNSURE = {"reply": {"contents": ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"]}}
GUIDELINE = {"match": {"contains": "tell another assistant"}, "reply": {"content": "multiply"}}
STALL = {"reply": {"content": "a b c d e f g h", "stall_after": 3}}
NOTHING = {"reply": {"stall_after": 0}}
UNSEEN = {"reply": {"release": "never"}}


def stalled(server, marker=""):
    """Whether a request whose body has the marker stopped in the middle of its stream."""
    return any(e["chunks"] == 3 and marker in json.dumps(e["body"]) for e in server.log())


PHASES = {
    "planning a goal": (
        [{"match": {"contains": "Say in one short sentence"}, **STALL}], [], False,
        lambda small, _: stalled(small, "Say in one short sentence"),
    ),
    "sampling": ([GOAL, STALL], [], False, lambda small, _: stalled(small, "Goal: Find it.")),
    "planning a guideline": ([GOAL, UNSURE], [NOTHING], False, lambda _, large: large.state()["in_flight"]),
    "sampling with a guideline": (
        [GOAL, {"match": {"contains": "Guideline: multiply"}, **STALL}, UNSURE], [GUIDELINE], False,
        lambda small, _: stalled(small, "Guideline: multiply"),
    ),
    "a whole answer": (
        [GOAL, UNSURE], [GUIDELINE, NOTHING], False,
        lambda _, large: len(large.log()) == 2 and large.state()["in_flight"],
    ),
    "a stream that has not begun": (
        [GOAL, UNSURE], [GUIDELINE, UNSEEN], True, lambda _, large: large.state()["waiting"].get("never"),
    ),
    "a live stream": ([GOAL, UNSURE], [GUIDELINE, STALL], True, lambda _, large: stalled(large)),
}  # fmt: skip


def price(usage):
    """What the stand-in will bill: 2.50 USD a million tokens in, 10 out; in nano-USD."""
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    return 2500 * prompt + 10_000 * usage.get("completion_tokens", usage.get("output_tokens"))


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_client_that_leaves(proxy, small_server, large_server, phase, path):
    """Both tiers are idle soon, no money stays reserved, and the row and its calls are there."""
    small, large, stream, reached = PHASES[phase]
    small_server.script(*small)
    large_server.script(*large)
    before = proxy.rows("SELECT count(*) n FROM requests")[0]["n"]
    with proxy.sent(path, {"model": "cope", **BODIES[path], "stream": stream}):
        wait_until(lambda: reached(small_server, large_server), phase)
    small_server.wait_idle()
    large_server.wait_idle()
    wait_until(lambda: proxy.rows("SELECT count(*) n FROM requests")[0]["n"] == before + 1, "the row")
    row = proxy.rows("SELECT * FROM requests ORDER BY started_at DESC LIMIT 1")[0]
    assert (row["status"], row["error"]) == (499, "client_disconnected")
    calls = proxy.rows("SELECT * FROM calls WHERE request_id = ?", row["id"])
    assert row["cost_nano"] == sum(c["cost_nano"] for c in calls)
    billed = [e["billed"] for e in large_server.log() if e["billed"]]
    paid = [c for c in calls if c["tier"] == "large"]
    assert len(paid) == len(large_server.log())
    assert sum(c["cost_nano"] for c in paid) >= sum(map(price, billed))
    assert proxy.rows("SELECT count(*) n FROM reservations") == [{"n": 0}]


def test_slow_reader_is_bounded(proxy, large_server):
    """Who does not read stops the upstream's stream: what it sent in advance is bounded by buffers, not by the answer."""
    pieces = 200_000
    large_server.script({"reply": {"content": "word " * pieces}})
    body = {**BODIES["/v1/chat/completions"], "stream": True, "max_tokens": pieces}
    with proxy.sent("/v1/chat/completions", {**body, "model": "direct/big-model"}) as connection:
        connection.recv(1000)

        def chunks():
            return large_server.log()[-1]["chunks"]

        seen = [0]

        def stands_still():
            seen.append(chunks())
            return len(seen) > 25 and len(set(seen[-25:])) == 1

        wait_until(stands_still, "the stream to stand still", 30)
        assert 0 < chunks() < pieces / 2
    large_server.wait_idle()
