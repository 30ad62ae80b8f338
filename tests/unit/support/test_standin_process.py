"""The stand-in as a process: gates, departures, its log, its start and its end."""

import json
import subprocess
import sys
import threading

import pytest

from tests.support.config import SMALL_MODEL
from tests.support.posting import ASK, only, posting
from tests.support.processes import ROOT
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until


def test_gate_holds_replies(large_server):
    """Replies wait for their gate, so concurrency is seen without sleeping."""
    large_server.say("a", "b", release="go")
    client, got = large_server.client(), []
    threads = [
        threading.Thread(
            target=lambda: got.append(client.chat.completions.create(**ASK).choices[0].message.content)
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    large_server.wait_waiting("go", 2)
    assert got == []
    assert large_server.state()["in_flight"] == 2
    large_server.open_gate("go")
    for thread in threads:
        thread.join(10)
    assert sorted(got) == ["a", "b"]
    assert large_server.state() == {
        "in_flight": 0,
        "peak_in_flight": 2,
        "connections_opened": 2,
        "waiting": {},
    }


def test_gate_inside_a_stream(large_server):
    """A stream can stop at a gate after some chunks."""
    large_server.say("a b", release="go", release_after=2)
    with large_server.client().chat.completions.create(**ASK, stream=True) as stream:
        assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "a "]
        large_server.wait_waiting("go", 1)
        large_server.open_gate("go")
        assert next(stream).choices[0].delta.content == "b"


@pytest.mark.parametrize("stream", [False, True])
def test_departure_is_noticed(large_server, stream):
    """A client that hangs up before the end is in the log as such."""
    large_server.say("a b c", stall_after=2)
    with posting(large_server, {**ASK, "stream": stream}):
        wait_until(lambda: [e for e in large_server.chats() if e["chunks"] == 2 * stream], "the request")
        assert large_server.state()["in_flight"] == 1
    wait_until(lambda: only(large_server.chats())["disconnected"], "the departure to be noticed")
    large_server.wait_idle()


def test_finished_answer_is_no_disconnect(large_server):
    """Closing the connection after the last byte does not count."""
    with posting(large_server, {**ASK, "stream": True}) as connection:
        connection.getresponse().read()
    wait_until(lambda: only(large_server.chats())["finished"], "the end")
    assert only(large_server.chats())["disconnected"] is False


def test_log_has_each_request(large_server):
    """The log has bodies, headers and the usage that was told, in order of arrival."""
    client = large_server.client()
    client.chat.completions.create(**ASK)
    client.models.list()
    first, second = large_server.log()
    assert (first["seq"], first["path"], second["path"]) == (1, "/v1/chat/completions", "/v1/models")
    assert first["body"] == ASK
    assert first["headers"]["authorization"] == "Bearer sk-upstream-secret"
    assert first["usage"]["total_tokens"] == 4
    assert large_server.state()["connections_opened"] == 1
    large_server.reset()
    assert large_server.log() == []


def test_restart_keeps_the_port():
    """A server can go away and come back under its address."""
    server = StandIn()
    with server:
        port = server.port
        client = server.client()
        assert client.chat.completions.create(**{**ASK, "model": SMALL_MODEL}).choices
    with server:
        assert server.port == port
        assert server.client().models.list().data


def test_ends_with_its_parent():
    """The server ends when its stdin is closed, which the system does for a dead parent."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.standin"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert json.loads(process.stdout.readline())["port"] > 0
        process.stdin.close()
        assert process.wait(10) == 0
