"""`cope-proxy eval` and `calibrate` as an operator runs them, over real sockets."""

import json
import re
import signal

import pytest

from proxy.evals import items
from tests.support.config import LARGE_MODEL
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

ITEMS = [
    {"id": f"sum-{i}", "task": "math", "prompt": f"What is {i} + {i}?", "answer": str(2 * i)}
    for i in range(1, 9)
]
GOAL = {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find the sum."}}
GUIDELINE = {"match": {"contains": "tell another assistant"}, "reply": {"content": "Add."}}


def right(numbers):
    """Rules that answer these items rightly."""
    return [
        {"match": {"contains": f"What is {i} + {i}?"}, "reply": {"content": f"\\boxed{{{2 * i}}}"}}
        for i in numbers
    ]


def at_length(rules):
    """The same answers, reasoned over 200 tokens."""
    usage = {"prompt_tokens": 20, "completion_tokens": 200, "total_tokens": 220}
    return [{**rule, "reply": {**rule["reply"], "usage": usage}} for rule in rules]


@pytest.fixture
def bench(small_server, large_server, tmp_path):
    """A configured proxy that is not running, and a data set: the small model knows the first six, the large all."""
    small_server.script(GOAL, *right(range(1, 7)), {"reply": {"content": "I do not know."}})
    large_server.script(GUIDELINE, *at_length(right(range(1, 9))))
    data = tmp_path / "sums.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    return ProxyProcess(
        tmp_path, small_server.base_url, large_server.base_url, large={"max_output_tokens": 256}
    ), data


def report(proxy):
    whole = json.loads((proxy.folder / "run" / "report.json").read_text())
    return {line["mode"]: line for line in whole["modes"]}, whole


def evaluate(proxy, data, *options):
    return proxy.cli("eval", str(data), "--out", "run", *options)


def test_all_modes_are_compared(bench):
    """Six ways, their quality and their cost, in a table, as JSON and as a plot."""
    proxy, data = bench
    done = evaluate(proxy, data)
    assert done.returncode == 0, done.stderr
    modes, whole = report(proxy)
    assert [modes[m]["score"] for m in ("small, voting", "large alone", "full cascade")] == [0.75, 1.0, 1.0]
    assert modes["small alone"]["score"] == 0.75
    assert modes["cascade, no plans"]["cost_share"] == pytest.approx(0.25, abs=0.05)
    assert modes["full cascade"]["stages"] == [0.75, 0.0, 0.25]
    assert modes["large, own plan"]["cost"] > modes["large alone"]["cost"] > modes["full cascade"]["cost"] > 0
    assert next(c for c in whole["confidences"] if c["vote"] == "stage 1")["auroc"] == 1.0
    assert {p.name for p in (proxy.folder / "run").iterdir()} >= {
        "report.md",
        "plot.svg",
        "plot.png",
        "trials.jsonl",
    }
    drawn = (proxy.folder / "run" / "plot.svg").read_text()
    assert all(f"<!-- {mode} -->" in drawn for mode in modes)
    assert "full cascade" in (proxy.folder / "run" / "report.md").read_text()


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
    done = evaluate(proxy, data, "--max-usd", "0.003")
    assert len(large_server.chats()) == 1
    assert "left out" in done.stderr
    assert done.returncode == 1


def test_no_guideline_means_large(bench, large_server):
    """There is no second stage then, neither in the modes nor among the confidences."""
    proxy, data = bench
    large_server.script({**GUIDELINE, "reply": {"content": "None."}}, *at_length(right(range(1, 9))))
    assert evaluate(proxy, data).returncode == 0
    modes, whole = report(proxy)
    assert modes["full cascade"]["stages"] == [0.75, 0.0, 0.25]
    assert modes["full cascade"]["score"] == 1.0
    assert {c["vote"] for c in whole["confidences"]} == {"no plans", "stage 1"}


def test_failed_items_are_named(bench, large_server):
    """The others are reported all the same."""
    proxy, data = bench
    broken = {
        "match": {"contains": "What is 3 + 3?"},
        "reply": {"status": 400, "error": {"message": "no threes"}},
    }
    large_server.script(broken, GUIDELINE, *at_length(right(range(1, 9))))
    done = evaluate(proxy, data)
    assert "sum-3: left out" in done.stderr
    assert report(proxy)[0]["large alone"]["items"] == 7


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "sums.jsonl:9"),
        ('{"id": "x", "task": "magic", "prompt": "?"}', "magic"),
        (json.dumps(ITEMS[0]), "more than once"),
    ],
)
def test_bad_data_names_its_line(bench, line, problem):
    """Nothing is asked before all of it was read."""
    proxy, data = bench
    data.write_text(data.read_text() + line + "\n")
    done = evaluate(proxy, data)
    assert done.returncode == 2
    assert problem in done.stderr


def test_proxy_applies_a_calibration(bench, small_server, large_server):
    """Too few items certify nothing; what the file says is what the proxy then does, and the config's own tables win."""
    proxy, data = bench
    assert evaluate(proxy, data).returncode == 0
    done = proxy.cli_without_config("calibrate", "run", "--quality", "0.9", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    assert "large model alone" in done.stdout
    assert "skip = true" in (proxy.folder / "found.toml").read_text()
    changed = ProxyProcess(
        proxy.folder,
        small_server.base_url,
        large_server.base_url,
        cascade={"calibration": str(proxy.folder / "found.toml")},
    )
    with changed:
        answer = changed.client().chat.completions.create(
            model="cope", messages=[{"role": "user", "content": "What is 1 + 1?"}]
        )
        assert (answer.cope["stage"], answer.cope["model"]) == (3, LARGE_MODEL)
        assert answer.cope["reason"] == "math goes to the large model (cascade.thresholds.math.skip)"
        by_name = changed.client().chat.completions.create(
            model="cope",
            messages=[{"role": "user", "content": "What is 1 + 1?"}],
            extra_headers={"X-COPE-Mode": "cascade"},
        )
        assert by_name.cope["stage"] == 1


def test_unreachable_cost_stays_local(bench, small_server, large_server):
    """Nothing is free but the small model: it answers whatever it votes for, at the n of the run."""
    proxy, data = bench
    assert evaluate(proxy, data, "--samples", "2").returncode == 0
    done = proxy.cli_without_config("calibrate", "run", "--max-usd-per-1000", "0", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    changed = ProxyProcess(
        proxy.folder,
        small_server.base_url,
        large_server.base_url,
        cascade={"calibration": str(proxy.folder / "found.toml")},
    )
    with changed:
        answer = changed.client().chat.completions.create(
            model="cope", messages=[{"role": "user", "content": "What is 8 + 8?"}]
        )
    assert (answer.cope["stage"], answer.cope["cost_usd"]) == (1, "0")
    assert answer.cope["stages"][0]["of"] == 2


def test_duplicate_runs_are_refused(bench):
    """Its items would be counted as new evidence."""
    proxy, data = bench
    assert evaluate(proxy, data).returncode == 0
    done = proxy.cli_without_config("calibrate", "run", "run", "--quality", "0.9")
    assert done.returncode != 0
    assert "math: 8 items occur twice" in done.stderr


def test_one_target_is_needed(bench):
    """Without one, or with two, the command says what to name."""
    proxy, _ = bench
    (proxy.folder / "run").mkdir()
    assert "name one target" in proxy.cli_without_config("calibrate", "run").stderr
    done = proxy.cli_without_config("calibrate", "run", "--quality", "1")
    assert "no run of `cope-proxy eval`" in done.stderr


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
            if "paid calls under way" in line:
                large_server.open_gate("end")
    assert running.returncode == 130
    assert "the same command goes on from here" in said
    assert report(proxy)[0]["large alone"]["items"] == 7
    assert evaluate(proxy, data).returncode == 0
    assert report(proxy)[0]["large alone"]["items"] == 8
    # What was under way has been paid for once.
    asked = [json.dumps(e["body"], sort_keys=True) for e in large_server.chats()]
    assert len(asked) == len(set(asked))


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


def test_reasoning_models_get_room(bench, small_server):
    """OpenAI's reasoning models answer 400 to a temperature, and think before they write a grade."""
    proxy, data = bench
    data.write_text(json.dumps({"id": "o", "task": "open", "prompt": "Why is the sky blue?"}) + "\n")
    grade = {"match": {"contains": "Grade it from 1"}, "reply": {"content": "Grade: 8"}}
    with StandIn(["o3"]) as thinker:
        thinker.script(grade, GUIDELINE, {"reply": {"content": "Light is scattered."}})
        upstreams = {
            "thinker": {"base_url": thinker.base_url, "api_key_env": "OPENAI_API_KEY", "models": ["o3"]}
        }
        prices = {"thinker/o3": {"input_per_mtok": 2, "output_per_mtok": 8}}
        reasons = ProxyProcess(
            proxy.folder, small_server.base_url, thinker.base_url, large={"model": "thinker/o3"}, prices=prices,
            upstreams=upstreams,
        )  # fmt: skip
        done = evaluate(reasons, data)
        bodies = [e["body"] for e in thinker.chats()]
    assert done.returncode == 0, done.stderr
    assert report(proxy)[0]["large alone"]["score"] == 0.8
    assert not any("temperature" in body or "stop" in body for body in bodies)
    assert min(b["max_completion_tokens"] for b in bodies if "Grade it" in json.dumps(b)) > 1000


def test_missing_grade_skips_item(bench, large_server):
    """It is no 0."""
    proxy, data = bench
    data.write_text(json.dumps({"id": "o", "task": "open", "prompt": "Why is the sky blue?"}) + "\n")
    grade = {"match": {"contains": "Grade it from 1"}, "reply": {"content": "Hard to say."}}
    large_server.script(grade, GUIDELINE, {"reply": {"content": "Light is scattered."}})
    assert (
        "o: left out: ValueError: the judge wrote no grade but 'Hard to say.'" in evaluate(proxy, data).stderr
    )


def test_missing_logprobs_skip_items(bench, small_server):
    """They are left out by name, the others are reported."""
    proxy, data = bench
    asked = {"id": "o", "task": "open", "prompt": "Why is the sky blue?", "answer": ["light"]}
    data.write_text(data.read_text() + json.dumps(asked) + "\n")
    small_server.script(GOAL, *right(range(1, 9)), {"reply": {"content": "Light.", "logprob": None}})
    done = evaluate(proxy, data)
    assert "o: left out: MissingLogprobs" in done.stderr
    assert report(proxy)[0]["large alone"]["items"] == 8


def test_the_small_models_price_counts(bench, small_server, large_server):
    """In every mode that asks it, as it does when the proxy serves."""
    proxy, data = bench
    priced = ProxyProcess(
        proxy.folder, small_server.base_url, large_server.base_url, large={"max_output_tokens": 256},
        small={"price": {"input_per_mtok": 1, "output_per_mtok": 2}},
    )  # fmt: skip
    assert evaluate(priced, data).returncode == 0
    modes, _ = report(proxy)
    assert 0 < 3 * modes["small alone"]["cost"] < modes["small, voting"]["cost"]
    assert modes["full cascade"]["cost"] > modes["small, voting"]["cost"]
