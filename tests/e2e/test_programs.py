"""Mathematics through the front door, where every second sample is a program that computes the result."""

import json

import pytest

from tests.support.cascade import MATH, ask
from tests.support.evals import GOAL, GUIDELINE, ITEMS, evaluate, report
from tests.support.proxy_process import ProxyProcess

PROGRAM = "```python\ndef solve():\n    return 6 * 7\n```"
OTHER = "```python\ndef solve():\n    return 6 + 7\n```"
CONSTANT = "```python\ndef solve():\n    return 42\n```"
ESCAPE = "```python\nimport os\ndef solve():\n    os.kill(os.getppid(), 9)\n    return 6 * 7\n```"


@pytest.fixture(scope="module")
def proxies(small_server, large_server, tmp_path_factory):
    """One proxy with programs, which accepts what the test asks for by header."""
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"),
        small_server.base_url,
        large_server.base_url,
        sandbox={"enabled": True},
        cascade={"plans": "none", "samples": 4},
    ) as process:
        yield process


def script(server, program, *texts, words="no"):
    """Let the small model write this program when it is asked for one, and these texts in turn."""
    server.script(
        {"match": {"contains": "solve()"}, "reply": {"content": program}},
        {"match": {"contains": "The result is"}, "reply": {"content": words}},
        {"reply": {"contents": list(texts)}},
    )


def answered(proxy, **headers):
    return ask(proxy.client(), MATH, extra_headers=headers)


CASES = {
    "both agree": (PROGRAM, ("\\boxed{42}",), 1),
    "texts alone agree": (OTHER, ("\\boxed{42}",), 3),
    "programs alone agree": (PROGRAM, ("\\boxed{41}", "\\boxed{43}"), 3),
    "a constant is no vote": (CONSTANT, ("\\boxed{42}", "\\boxed{41}"), 3),
    "an attack is no vote": (ESCAPE, ("\\boxed{42}", "\\boxed{41}"), 3),
    "a text is no program": ("\\boxed{42}", ("\\boxed{42}", "\\boxed{41}"), 3),
}


@pytest.mark.parametrize("case", CASES)
def test_agreement_decides(proxies, small_server, large_server, case):
    """The answer is free only if a text and a program agree. The client gets the text."""
    program, texts, stage = CASES[case]
    script(small_server, program, *texts)
    large_server.say("It is 42.")
    answer = answered(proxies)
    assert (answer.cope["task"], answer.cope["stage"]) == ("math", stage)
    assert answer.choices[0].message.content == ("\\boxed{42}" if stage == 1 else "It is 42.")


@pytest.mark.parametrize(("words", "stage"), [("That makes \\boxed{42}.", 1), ("That makes \\boxed{41}.", 3)])
def test_computed_result_in_words(proxies, small_server, large_server, words, stage):
    """If programs alone are enough, one more small call words their result. Other words are never returned for free."""
    script(small_server, PROGRAM, "\\boxed{40}", "\\boxed{43}", words=words)
    large_server.say("It is 42.")
    answer = answered(proxies, **{"X-COPE-Threshold": "0.25"})
    assert answer.cope["stage"] == stage
    assert answer.choices[0].message.content == (words if stage == 1 else "It is 42.")


def test_clients_get_texts(proxies, small_server):
    """Where the large model may not answer, the best text is returned, though the programs agree."""
    script(small_server, PROGRAM, "\\boxed{40}", "\\boxed{43}")
    answer = answered(proxies, **{"X-COPE-Max-Stage": "1"})
    assert answer.choices[0].message.content == "\\boxed{40}"
    assert answer.cope["degraded"] == "max_stage"


@pytest.mark.parametrize("off", [{"cascade": {"programs": False}}, {"sandbox": {"enabled": False}}], ids=str)
def test_without_programs(make_proxy, small_server, off):
    """Switched off, or without a sandbox, all samples are texts, and their share decides."""
    proxy = make_proxy(**({"sandbox": {"enabled": True}} | off))
    small_server.say("\\boxed{42}")
    answer = answered(proxy)
    assert (answer.cope["stage"], answer.cope["confidence"]) == (1, 0.75)
    assert not any("solve()" in str(chat) for chat in small_server.chats())


def test_eval_holds_the_same_votes(make_proxy, small_server, large_server, tmp_path):
    """A run asks for programs as the proxy does, and its single answers are the texts."""
    data = tmp_path / "sums.jsonl"
    data.write_text(json.dumps(ITEMS[0]) + "\n")
    proxy = make_proxy(sandbox={"enabled": True})
    small_server.script(
        GOAL,
        {"match": {"contains": "solve()"}, "reply": {"content": "def solve():\n    return 1 + 1"}},
        {"reply": {"content": "\\boxed{2}"}},
    )
    large_server.script(GUIDELINE, {"reply": {"content": "\\boxed{2}"}})
    done = evaluate(proxy, data)
    assert done.returncode == 0, done.stderr
    modes, _ = report(proxy)
    assert (modes["small alone"]["score"], modes["cascade, no plans"]["stages"]) == (1.0, [1.0, 0.0, 0.0])
