"""All calls of a request and all turns of a conversation go to one server of the small tier, unless it is lost."""

import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.cascade import MATH, ask, goals_and
from tests.support.config import SMALL_MODEL
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def servers():
    """Three servers of the small tier."""
    with ExitStack() as stack:
        yield [stack.enter_context(StandIn([SMALL_MODEL])) for _ in range(3)]


@pytest.fixture
def spread(make_proxy, servers):
    """A proxy with these servers."""

    def start(count=3, **changes):
        return make_proxy(small={"base_url": [s.base_url for s in servers[:count]]}, **changes)

    return start


def sessions(servers):
    """Return, for each session that the servers have seen, the servers and how many calls each has got."""
    found = defaultdict(Counter)
    for i, server in enumerate(servers):
        for entry in server.chats():
            found[entry["headers"]["x-session-id"]][i] += 1
    return found


def turns(*texts):
    """Return a conversation: the user's texts, with answers between them."""
    messages = [{"role": "system", "content": "You do sums."}]
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "42"}]
    return messages[:-1]


def test_calls_of_a_request_share_a_server(spread, servers, large_server):
    """Goals, answers of stage 1 and answers of stage 2, for 40 requests at a time of which each needs all of them."""
    for server in servers:
        server.script(*goals_and("41", "42", "43", "44"))
    proxy = spread(cascade={"plans": "all", "early_stop": False})
    client = proxy.client()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: ask(client, f"{MATH} {i}"), range(40)))
    assert {answer.cope["stage"] for answer in answers} == {3}
    found = sessions(servers)
    assert len(found) == 40
    # 4 goals and 4 answers, and 4 answers under the guideline.
    assert {tuple(calls.values()) for calls in found.values()} == {(12,)}


def test_turns_of_a_conversation_share_a_server(spread, servers):
    """They are one session, however the client shows what belongs together."""
    client = spread(cascade={"samples": 2}).client()

    def chat(*texts, **extra):
        client.chat.completions.create(model="cope", messages=turns(*texts), **extra)

    def respond(text, **extra):
        return client.responses.create(model="cope", input=text, store=True, **extra).id

    chat("What is 1 plus 1?")
    chat("What is 1 plus 1?", "And 2 plus 2?")
    chat("What is 1 plus 1?", "And 2 plus 2?", "And 3 plus 3?")
    assert len(sessions(servers)) == 1
    for text in ("What is 5 plus 5?", "What is 6 plus 6?"):
        chat(text, extra_headers={"X-COPE-Session": "work"})
    assert len(sessions(servers)) == 2
    for text in ("What is 7 plus 7?", "What is 8 plus 8?"):
        chat(text, prompt_cache_key="work")
    assert len(sessions(servers)) == 3
    first = respond("What is 9 plus 9?")
    second = respond("And 10 plus 10?", previous_response_id=first)
    respond("And 11 plus 11?", previous_response_id=second)
    found = sessions(servers)
    assert len(found) == 4
    assert {len(calls) for calls in found.values()} == {1}


def test_sessions_are_digests_of_their_owner(spread, servers):
    """Two keys with the same session have nothing in common, and no header shows a text of the client."""
    proxy = spread(1)
    ann, bob = (proxy.cli("keys", "create", name, check=True).stdout.strip() for name in ("ann", "bob"))
    for key in (ann, bob):
        ask(proxy.client(key), extra_headers={"X-COPE-Session": "secret-project"})
        ask(proxy.client(key))
    calls = [entry["headers"] for entry in servers[0].chats()]
    assert len({call["x-session-id"] for call in calls}) == 4
    assert all(re.fullmatch("cope-[0-9a-f]{32}", call["x-session-id"]) for call in calls)
    # vLLM takes the id for its own, and two requests with one id disturb each other.
    ids = [call["x-request-id"] for call in calls]
    assert len(set(ids)) == len(ids)
    wait_until(
        lambda: set(ids) <= {row["id"] for row in proxy.rows("SELECT id FROM calls")}, "the ledger's rows"
    )
    assert "secret-project" not in str(calls)


def test_conversations_are_spread_evenly(spread, servers):
    """600 conversations over three servers: the busiest has at most 1.2 times the mean."""
    http = spread().http()

    def say(i):
        body = {"model": "small", "messages": [{"role": "user", "content": f"Say hello to guest {i}."}]}
        return http.post("/v1/chat/completions", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(say, range(600))) == {200}
    counts = [len(server.chats()) for server in servers]
    assert sum(counts) == 600
    assert max(counts) / 200 <= 1.2


@pytest.mark.parametrize("after", [0, 1], ids=["before an answer", "within an answer"])
def test_server_lost_in_the_middle_of_a_vote(spread, servers, large_server, after):
    """The vote goes on at the runner-up, with the verdict that it would have had. Nobody sees an error or pays."""
    goal = goals_and("42")[0]
    held = {"reply": {"contents": ["The product is \\boxed{42}"], "release": "vote", "release_after": after}}
    for server in servers[:2]:
        server.script(goal, held)
    proxy = spread(2, cascade={"early_stop": False})
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, proxy.client())
        lost = wait_until(lambda: waiting_at(servers[:2]), "a server with the whole vote")
        lost.kill()
        other = next(server for server in servers[:2] if server is not lost)
        other.open_gate("vote")
        answer = asked.result(timeout=30)
    assert answer.cope["stage"] == 1
    assert answer.cope["confidence"] == 1.0
    assert len(other.chats()) == 4
    assert large_server.chats() == []
    (request,) = proxy.http().get("/v1/spend/requests").json()["data"]
    calls = proxy.http().get(f"/v1/spend/requests/{request['id']}").json()["calls"]
    answers = [call for call in calls if call["role"] == "executor"]
    assert (
        sorted((call["error"] is None, call["vote"]) for call in answers)
        == [(False, None)] * 4 + [(True, "42")] * 4
    )


def waiting_at(servers):
    """Return the server at which four answers wait."""
    return next((s for s in servers if s.state()["waiting"].get("vote") == 4), None)


def test_server_that_returns_gets_its_conversations_back(spread, servers):
    """Meanwhile the other one has them. Its own conversations do not move."""
    proxy = spread(2, cascade={"samples": 1, "plans": "none"})
    client = proxy.client()

    def places():
        for server in servers[:2]:
            server.reset()
        for i in range(12):
            ask(client, f"Say hello to guest {i}.")
        found = [{e["headers"]["x-session-id"] for e in server.chats()} for server in servers[:2]]
        assert len(set.union(*found)) == 12
        return found

    before = places()
    assert all(before)
    servers[0].kill()
    servers[1].reset()
    for i in range(12):
        assert ask(client, f"Say hello to guest {i}.").cope["stage"] == 1
    assert {e["headers"]["x-session-id"] for e in servers[1].chats()} == set.union(*before)
    servers[0].start()
    wait_until(lambda: places() == before, "the server to be used again")
