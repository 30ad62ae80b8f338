"""Runs of `cope-proxy eval` that are interrupted, resumed, or meet an outage."""

import json
import signal

import pytest

from proxy.evals import items
from tests.support.evals import GUIDELINE, at_length, evaluate, report, right
from tests.support.proxy_process import ProxyProcess
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow


def test_runs_resume(bench, small_server, large_server):
    """A second run of the same asks nobody; one with more items asks only for these; a torn line is mended."""
    proxy, data = bench
    assert evaluate(proxy, data, "--limit", "4").returncode == 0
    first = len(large_server.chats())
    calls = proxy.folder / "run" / "calls.jsonl"
    calls.write_bytes(calls.read_bytes() + b'{"key": "torn')
    small_server_before = len(small_server.chats())
    assert evaluate(proxy, data, "--limit", "4").returncode == 0
    assert (len(large_server.chats()), len(small_server.chats())) == (first, small_server_before)
    assert evaluate(proxy, data).returncode == 0
    assert len(large_server.chats()) == 2 * first


def test_earlier_run_goes_on(bench, small_server, large_server):
    """The folder of an earlier version has fewer fields and files. Its answers are not paid again, and get all tables."""
    proxy, data = bench
    assert evaluate(proxy, data, "--limit", "4").returncode == 0
    folder = proxy.folder / "run"
    for made in folder.iterdir():
        if made.name != "calls.jsonl":
            made.unlink()
    calls = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    first = ("key", "item", "tier", "message", "finish_reason", "usage", "cost")
    kept = [{name: call[name] for name in first if call.get(name) is not None} for call in calls]
    (folder / "calls.jsonl").write_text("".join(json.dumps(call) + "\n" for call in kept))
    asked = len(large_server.chats()), len(small_server.chats())
    done = evaluate(proxy, data, "--limit", "4")
    assert done.returncode == 0, done.stderr
    assert (len(large_server.chats()), len(small_server.chats())) == asked
    assert f"{len(calls)} calls of an earlier run" in done.stderr
    _, whole = report(proxy)
    assert {a["mode"] for a in whole["accepted"]} == {
        "cascade, no plans",
        "cascade, goals only",
        "full cascade",
    }
    assert "## Accepted answers" in (folder / "report.md").read_text()


def test_interrupted_run_reports(bench, large_server):
    """Ctrl-C: the finished items are in the report, the exit code says why, and the same command goes on."""
    proxy, data = bench
    last = items.chosen(items.load([data]), None, seed=0)[-1]
    hanging = {"match": {"contains": last.prompt}, "reply": {"content": "4", "release": "end"}}
    large_server.script(hanging, GUIDELINE, *at_length(right(range(1, 9))))
    with proxy.begun_cli("eval", str(data), "--out", "run", "--at-once", "1") as running:
        wait_until(lambda: large_server.state()["waiting"].get("end"), "the last item's large answer", 60)
        running.send_signal(signal.SIGINT)
        said = ""
        for line in running.stderr:
            said += line
            if "paid calls in progress" in line:
                large_server.open_gate("end")
    assert running.returncode == 130
    assert "the same command goes on from here" in said
    assert report(proxy)[0]["large alone"]["items"] == 7
    assert evaluate(proxy, data).returncode == 0
    assert report(proxy)[0]["large alone"]["items"] == 8
    # Each call in progress has been paid for once.
    asked = [json.dumps(e["body"], sort_keys=True) for e in large_server.chats()]
    assert len(asked) == len(set(asked))


def impatient(bench, small_server, large_server, **large):
    """The same files, with an upstream that is given up at the second failure, for a moment."""
    quick = {
        "max_output_tokens": 256,
        "max_retries": 0,
        "breaker_failures": 2,
        "breaker_cooldown_s": 1,
        **large,
    }
    return ProxyProcess(bench[0].folder, small_server.base_url, large_server.base_url, large=quick)


def test_short_outage_loses_nothing(bench, small_server, large_server):
    """The large model is waited for; nothing is left out."""
    proxy, data = bench
    down = [{"match": {"nth": i}, "reply": {"status": 503}} for i in range(1, 6)]
    large_server.script(*down, GUIDELINE, *at_length(right(range(1, 9))))
    done = evaluate(impatient(bench, small_server, large_server), data)
    assert (done.returncode, "left out" in done.stderr) == (0, False), done.stderr
    assert "does not answer; the run waits for it" in done.stderr
    assert report(proxy)[0]["large alone"]["items"] == 8


def test_long_outage_ends_the_run(bench, small_server, large_server):
    """Not item for item: what is done is reported, and the exit code tells."""
    proxy, data = bench
    last = items.chosen(items.load([data]), None, seed=0)[-1]
    down = {"match": {"contains": last.prompt}, "reply": {"status": 503}}
    large_server.script(down, GUIDELINE, *at_length(right(range(1, 9))))
    done = evaluate(impatient(bench, small_server, large_server, timeout_s=2), data, "--at-once", "1")
    assert done.returncode == 1
    assert "the large model was unavailable; the same command goes on from here" in done.stderr
    assert report(proxy)[0]["large alone"]["items"] == 7
