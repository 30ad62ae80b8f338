"""What has cost more than it saved is left out, through the front door."""

import pytest

from proxy.service.worth import WINDOW
from tests.harness import LARGE_MODEL

pytestmark = pytest.mark.slow

MATH = "What is 6 times 7? Calculate the number."
CHEAP = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
UNSURE = {"reply": {"contents": [f"\\boxed{{{n}}}" for n in range(97)]}}
"""No two samples of a request agree."""


def ask(proxy, count, **extra):
    with proxy.client() as client:
        return [
            client.chat.completions.create(
                model="cope", messages=[{"role": "user", "content": MATH}], **extra
            ).cope
            for _ in range(count)
        ]


def stages(answers):
    return [len(a["stages"]) for a in answers]


def test_guidelines_that_do_not_pay_are_bought_no_more(make_proxy, small_server, large_server):
    """Stage 2 is never sure; after many guidelines in vain the rest go on without, and then without stage 1."""
    proxy = make_proxy()
    small_server.script(UNSURE)
    large_server.say("\\boxed{42}")
    assert stages(ask(proxy, WINDOW)) == [2] * WINDOW
    later = ask(proxy, WINDOW + 50)
    assert stages(later).count(2) < 50
    unguided = [a for a in later if len(a["stages"]) == 1]
    assert {a["reason"] for a in unguided} == {
        "guidelines for math tasks have saved nothing of late (cascade.skip_losses)"
    }
    assert all(a["cost_usd"] == a["baseline_usd"] for a in unguided)
    direct = [a for a in ask(proxy, 60) if not a["stages"]]
    assert len(direct) > 10
    assert {(a["stage"], a["model"], a["reason"]) for a in direct} == {
        (3, LARGE_MODEL, "local answers to math tasks have saved nothing of late (cascade.skip_losses)")
    }
    limited = ask(proxy, 20, extra_headers={"X-COPE-Budget-USD": "0"})
    assert all(a["stage"] in {1, 2} for a in limited)
    assert stages(ask(proxy, 20, extra_headers={"X-COPE-Mode": "cascade"})) == [2] * 20
    proxy.stop()
    assert f"guidelines for math tasks, before {LARGE_MODEL}, cost 0." in proxy.output()


def test_guidelines_that_pay_are_bought_for_ever(make_proxy, small_server, large_server):
    """Stage 2 saves an answer of the large model each time, which costs more than the guideline."""
    proxy = make_proxy()
    sure = {"match": {"contains": "GUIDE"}, "reply": {"content": "\\boxed{42}"}}
    small_server.script(sure, UNSURE)
    large_server.say("Follow the GUIDE.", usage=CHEAP)
    answers = ask(proxy, WINDOW + 20)
    assert {(a["stage"], a["reason"]) for a in answers} == {(2, None)}
    assert len(large_server.chats()) == WINDOW + 20


def test_an_answer_for_nothing_is_no_loss(make_proxy, small_server, large_server):
    """A large model without a price: there is nothing to save, so nothing is left out."""
    proxy = make_proxy(prices={LARGE_MODEL: {"input_per_mtok": 0, "output_per_mtok": 0}})
    small_server.script(UNSURE)
    large_server.say("\\boxed{42}")
    assert stages(ask(proxy, WINDOW + 20)) == [2] * (WINDOW + 20)
