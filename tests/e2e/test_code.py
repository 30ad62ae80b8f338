"""Code through the front door: samples are run, and those that do the same agree."""

import pytest

from tests.support.wait import wait_until

ASKED = "Write a function to add one.\nYour code should pass this test:\nassert inc([1, 2])==[2, 3]"
RIGHT = (
    "```python\ndef inc(v):\n    return [x + 1 for x in v]\n```",
    "```python\ndef inc(v):\n    out = []\n    for x in v:\n        out.append(1 + x)\n    return out\n```",
    "```python\ninc = lambda v: list(map(lambda x: x + 1, v))\n```",
)
WRONG = "```python\ndef inc(v):\n    return v\n```"
ESCAPE = "```python\nimport os\nopen('/tmp/escaped', 'w').write('x')\nos.kill(os.getppid(), 9)\n```"


@pytest.fixture
def sandboxed(make_proxy):
    return make_proxy(sandbox={"enabled": True})


def ask(proxy):
    return proxy.client().chat.completions.create(model="cope", messages=[{"role": "user", "content": ASKED}])


def test_equal_behaviour_is_accepted(sandboxed, small_server):
    """Three ways to write it agree, which no comparison of text would see; nothing is paid."""
    small_server.say(*RIGHT)
    answer = ask(sandboxed)
    assert (answer.cope["stage"], answer.cope["task"], answer.cope["cost_usd"]) == (1, "code", "0")
    assert answer.cope["confidence"] >= 0.75


def test_failing_programs_are_rejected(sandboxed, small_server, large_server):
    """They agree word for word, and are wrong: the large model answers."""
    small_server.say(WRONG)
    large_server.say(RIGHT[0])
    answer = ask(sandboxed)
    assert answer.cope["stage"] == 3
    assert answer.choices[0].message.content == RIGHT[0]


def test_no_sandbox_compares_text(proxy, small_server):
    """The same program, word for word, is then enough."""
    small_server.say(WRONG)
    answer = ask(proxy)
    assert answer.cope["stage"] == 1


def test_attacking_answer_is_wrong(sandboxed, small_server, large_server, tmp_path):
    """It escapes nowhere, and the proxy lives on."""
    small_server.say(ESCAPE)
    large_server.say(RIGHT[0])
    assert ask(sandboxed).cope["stage"] == 3
    small_server.say(*RIGHT)
    assert ask(sandboxed).cope["stage"] == 1


def test_broken_audit_ends_nothing(make_proxy, small_server, large_server):
    """An answer of a shape that nobody foresaw cannot be compared, and the next audit is made."""
    proxy = make_proxy(
        sandbox={"enabled": True},
        audit={"share": 1.0, "budget_usd": 1},
        large={"max_output_tokens": 100},
    )
    small_server.say(*RIGHT)
    strange = {"index": 0, "message": {"role": "assistant", "content": 5}, "finish_reason": "stop"}
    large_server.script({"reply": [{"extra": {"choices": [strange]}}, {"content": RIGHT[0]}]})
    broken, audited = ask(proxy), ask(proxy)
    select = "SELECT request_id, agreed FROM audits"
    wait_until(lambda: len(proxy.rows(select)) == 2, "the second audit")
    verdicts = dict(row.values() for row in proxy.rows(select))
    assert verdicts == {broken.cope["request_id"]: None, audited.cope["request_id"]: 1}
    assert "add one" not in proxy.output()


def test_doctor_reports_the_sandbox(sandboxed, proxy):
    """An operator sees it without a request."""
    assert "ok    sandbox: passes its self-test" in sandboxed.cli("doctor").stdout
    assert "ok    sandbox: disabled" in proxy.cli("doctor").stdout
