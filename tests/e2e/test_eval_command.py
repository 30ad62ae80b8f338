"""`cope-proxy eval` as an operator runs it, over real sockets."""

import json

import pytest

from tests.support.evals import GOAL, GUIDELINE, ITEMS, at_length, evaluate, report, right
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn

pytestmark = pytest.mark.slow


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
    taken = {(a["mode"], *a["stages"]): a for a in whole["accepted"]}
    assert {key for key, a in taken.items() if a["configured"]} == {
        ("full cascade", *s) for s in ([1], [2], [1, 2])
    }
    both = taken["full cascade", 1, 2]
    assert (both["items"], both["accepted"]) == (8, 6)
    # Six right answers of six leave room for four wrong ones of ten.
    assert (
        both["wrong"]
        == both["regret"]
        == {"count": 0, "share": 0, "interval": [0, pytest.approx(0.459, abs=1e-3)]}
    )
    assert taken["full cascade", 2]["wrong"] == {"count": 0, "share": None, "interval": [0, 1]}
    assert {p.name for p in (proxy.folder / "run").iterdir()} >= {
        "report.md",
        "plot.svg",
        "plot.png",
        "trials.jsonl",
    }
    # It has answers, which others may not read.
    made = [proxy.folder / "run", *(proxy.folder / "run").iterdir()]
    assert [p.name for p in made if p.stat().st_mode & 0o077] == []
    drawn = (proxy.folder / "run" / "plot.svg").read_text()
    assert all(f"<!-- {mode} -->" in drawn for mode in modes)
    assert "full cascade" in (proxy.folder / "run" / "report.md").read_text()


def test_live_requests_come_first(bench, small_server, large_server, tmp_path):
    """`small.eval_priority` is sent with all calls of the run, and all calls of an item are one session. Live calls have none."""
    _, data = bench
    with ProxyProcess(
        tmp_path, small_server.base_url, large_server.base_url, small={"eval_priority": 5}
    ) as proxy:
        assert evaluate(proxy, data).returncode == 0
        calls = small_server.chats()
        assert {call["body"]["priority"] for call in calls} == {5}
        assert len({call["headers"]["x-session-id"] for call in calls}) == len(ITEMS)
        small_server.reset()
        proxy.client().chat.completions.create(model="small", messages=[{"role": "user", "content": "Hi."}])
        assert "priority" not in small_server.chats()[0]["body"]


def test_regret_is_reported(bench, small_server):
    """The small model is sure of two sums that it gets wrong, and the large one has them right."""
    proxy, data = bench
    small_server.script(GOAL, *right(range(1, 7)), {"reply": {"content": "\\boxed{5}"}})
    assert evaluate(proxy, data).returncode == 0
    _, whole = report(proxy)
    found = [a for a in whole["accepted"] if 1 in a["stages"]]
    assert {(a["accepted"], a["wrong"]["count"], a["regret"]["count"]) for a in found} == {(8, 2, 2)}
    assert "| 2: 25.0 % (3.2 to 65.1) |" in (proxy.folder / "run" / "report.md").read_text()


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
    assert min(b["max_tokens"] for b in bodies if "Grade it" in json.dumps(b)) > 1000


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


def test_separate_planner_is_compared(bench, small_server, large_server):
    """Both planners write guidelines, each at its price. What an earlier run has paid is not paid again."""
    proxy, data = bench
    sure = [
        {
            "match": {"contains": [f"What is {i} + {i}?", "Guideline: Carry."]},
            "reply": {"content": f"\\boxed{{{2 * i}}}"},
        }
        for i in (7, 8)
    ]
    small_server.script(GOAL, *sure, *right(range(1, 7)), {"reply": {"content": "I do not know."}})
    assert evaluate(proxy, data).returncode == 0
    first, _ = report(proxy)
    before = len(large_server.chats())
    with StandIn(["planner"]) as mini:
        mini.say("Carry.", usage={"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55})
        planned = ProxyProcess(
            proxy.folder, small_server.base_url, large_server.base_url, large={"max_output_tokens": 256},
            cascade={"planner": "mini/planner"},
            upstreams={"mini": {"base_url": mini.base_url, "api_key_env": "OPENAI_API_KEY", "models": ["planner"]}},
            prices={"mini/planner": {"input_per_mtok": 0.1, "output_per_mtok": 0.4}},
        )  # fmt: skip
        done = evaluate(planned, data)
        assert done.returncode == 0, done.stderr
        assert len(mini.chats()) == 8
    assert len(large_server.chats()) == before + 8  # only stage 3 under the other guideline
    modes, whole = report(proxy)
    assert {name: modes[name] for name in first} == first
    apart = modes["full cascade, separate planner"]
    assert (apart["stages"], apart["score"]) == ([0.75, 0.25, 0.0], 1.0)
    assert apart["cost"] == 1000 * 2 * (50 * 100 + 5 * 400) // 8
    assert {a["mode"] for a in whole["accepted"] if a["configured"]} == {"full cascade, separate planner"}
    assert "with guidelines of mini/planner: 8 of 8 items" in whole["heading"]
    assert [c["vote"] for c in whole["confidences"]][-1] == "stage 2, separate planner"
