"""What a run of `cope-proxy eval` may spend, and what counts as spent."""

import json
import re

import pytest

from tests.support.evals import GUIDELINE, ITEMS, at_length, evaluate, report, right
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow


def test_runs_keep_their_limit(bench, large_server):
    """The worst case of each call fits into what is left, or the run ends with what it has."""
    proxy, data = bench
    done = evaluate(proxy, data, "--max-usd", "0.012", "--at-once", "1")
    asked = len(large_server.chats())
    assert 0 < asked < 3 * len(ITEMS)
    assert "may spend 0.012 USD" in done.stderr
    assert done.returncode == 0
    assert re.search(r"\d of 8 items", (proxy.folder / "run" / "report.md").read_text())


def test_what_earlier_runs_paid_counts(bench, large_server):
    """The cap is the folder's: other items, asked later, find what the first ones have left."""
    proxy, data = bench
    assert evaluate(proxy, data, "--limit", "4").returncode == 0
    asked = len(large_server.chats())
    done = evaluate(proxy, data, "--seed", "3", "--max-usd", "0.017")
    assert "may spend 0.017 USD" in done.stderr
    assert len(large_server.chats()) == asked


def test_unpaid_guideline_skips_item(bench, small_server, large_server):
    """It would look like one that needs no guideline."""
    proxy, data = bench
    data.write_text(json.dumps(ITEMS[0]) + "\n")
    done = evaluate(proxy, data, "--max-usd", "0.0033")
    assert len(large_server.chats()) == 1
    assert "left out" in done.stderr
    assert done.returncode == 1


def test_killed_calls_count_as_paid(bench, large_server):
    """The upstream may bill a call whose answer nobody has seen: it counts at its worst case."""
    proxy, data = bench
    data.write_text(json.dumps(ITEMS[0]) + "\n")
    hanging = {"reply": {"content": "2", "release": "never"}}
    large_server.script(GUIDELINE, hanging)
    with proxy.begun_cli("eval", str(data), "--out", "run") as running:
        wait_until(lambda: large_server.state()["waiting"].get("never"), "the large answer", 60)
        running.kill()
    large_server.script(GUIDELINE, *at_length(right([1])))
    for out, fits in (("run", False), ("other", True)):
        before = len(large_server.chats())
        proxy.cli("eval", str(data), "--out", out, "--max-usd", "0.0045")
        assert (len(large_server.chats()) > before) is fits


def test_broken_answers_count_as_paid(bench, large_server):
    """At its worst case, against the cap of this run and of later ones."""
    proxy, data = bench
    data.write_text(json.dumps(ITEMS[0]) + "\n")
    large_server.script({"reply": {"break_after": 0}})
    assert "sum-1: left out" in evaluate(proxy, data).stderr
    before = len(large_server.chats())
    assert "may spend 0.0045 USD" in evaluate(proxy, data, "--max-usd", "0.0045").stderr
    assert len(large_server.chats()) == before


def test_equal_questions_are_paid_once(bench, large_server):
    """Two items that ask alike, at the same time: one answer serves both."""
    proxy, data = bench
    twins = [{**ITEMS[0], "id": name} for name in ("one", "other")]
    data.write_text("".join(json.dumps(item) + "\n" for item in twins))
    assert evaluate(proxy, data).returncode == 0
    assert report(proxy)[0]["large alone"]["items"] == 2
    asked = [json.dumps(e["body"], sort_keys=True) for e in large_server.chats()]
    assert len(asked) == len(set(asked))


def test_run_waits_for_reservations(bench, large_server):
    """The worst case of all items at once does not fit, what they cost does: short answers."""
    proxy, data = bench
    large_server.script(GUIDELINE, *right(range(1, 9)))
    done = evaluate(proxy, data, "--max-usd", "0.015", "--at-once", "8")
    assert report(proxy)[0]["large alone"]["items"] == 8, done.stderr
