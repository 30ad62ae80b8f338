"""Audits: a share of the local answers is checked against the large model, from a budget of its own."""

import json
from decimal import Decimal

import pytest

from tests.support.audits import USAGE, WARNING, rows
from tests.support.cascade import MATH, ask
from tests.support.config import LARGE_MODEL, SMALL_MODEL
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow


def test_equal_answer_agrees(audited, small_server, large_server):
    """It is compared by value; the client has its answer at once and pays nothing for the audit."""
    small_server.say("\\boxed{42}")
    large_server.say("So it is 42.0.", usage=USAGE)
    answer = ask(audited.client(), user="ann", metadata={"team": "x"})
    assert (answer.cope["stage"], answer.cope["cost_usd"]) == (1, "0")
    (row,) = rows(audited, 1)
    assert (row["request_id"], row["task"], row["stage"], row["agreed"]) == (
        answer.cope["request_id"],
        "math",
        1,
        1,
    )
    story = wait_until(
        lambda: (r := audited.http().get(f"/v1/spend/requests/{row['id']}")).status_code == 200 and r.json(),
        "its row",
    )
    assert (story["request"]["mode"], story["request"]["cost"]) == ("audit", 1_250_000)
    sent = large_server.chats()[-1]["body"]
    assert sent["messages"] == [{"role": "user", "content": MATH}]
    assert not {"user", "metadata", "store"} & sent.keys()


def test_few_differences_may_be_chance(audited, small_server, large_server):
    """An interval around two of two is below 90 %, but one is looked at after each audit, so that some will be."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(2):
        ask(audited.client())
    rows(audited, 2)
    assert "below 90 %" not in audited.cli("audits").stdout
    audited.stop()
    assert WARNING not in audited.output()


def test_drift_warns_once_daily(audited, small_server, large_server):
    """Eight of eight differ: fewer agree than is expected, which the log says once and the command, too."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(8):
        ask(audited.client())
    rows(audited, 8)
    wait_until(lambda: WARNING in audited.output(), "the warning")
    assert "below 90 %" in audited.cli("audits").stdout
    (found,) = json.loads(audited.cli("audits", "--json").stdout)
    assert (found["task"], found["agreed"], found["differed"]) == ("math", 0, 8)
    audited.stop()
    audited.start()  # a worker that has just begun knows what has been told
    ask(audited.client())
    rows(audited, 9)
    audited.stop()
    assert audited.output().count(WARNING) == 1


def test_rejected_answers_are_audited(make_proxy, small_server, large_server):
    """All its samples are drawn, though two of four settle it; what refusing costs in vain is seen, and is no drift."""
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 100}, cascade={"samples": 4, "plans": "none"}
    )  # fmt: skip
    small_server.say(*(f"\\boxed{{{n}}}" for n in (42, 42, 42, 41, 40, 39, 38, 42)))
    large_server.say("\\boxed{42}")
    first = ask(proxy.client())
    rows(proxy, 1)
    second = ask(proxy.client())
    assert (first.cope["stages"][0]["drawn"], first.cope["stages"][0]["accepted"]) == (4, True)
    assert (second.cope["stage"], second.cope["stages"][0]["drawn"]) == (3, 4)
    found = [(r["stage"], r["confidence"], r["accepted"], r["agreed"]) for r in rows(proxy, 2)]
    assert found[0] == (1, 0.75, 1, 1)
    assert found[1][:3] == (1, 0.25, 0)
    shown = json.loads(proxy.cli("audits", "--json").stdout)
    assert [(a["accepted"], a["agreed"] + a["differed"]) for a in shown] == [(True, 1), (False, 1)]
    assert "fewer than the expected" not in proxy.output()


def test_every_stage_is_compared(make_proxy, small_server, large_server):
    """One answer of the large model serves both; an open answer is judged, each by a question of its own."""
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 300}, cascade={"samples": 4}
    )
    small_server.say("hm")
    large_server.say("\\boxed{42}")
    ask(proxy.client())
    stages = [(r["stage"], r["accepted"], r["agreed"]) for r in rows(proxy, 2)]
    assert stages == [(1, 0, 0), (2, 0, 0)]


def test_audits_keep_their_budget(make_proxy, small_server, large_server):
    """When it is used up, answers go out as before and nothing more is asked."""
    proxy = make_proxy(audit={"share": 1.0, "budget_usd": Decimal("0.003")}, large={"max_output_tokens": 100})
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}", usage=USAGE)
    for _ in range(5):
        assert ask(proxy.client()).cope["stage"] == 1
    wait_until(lambda: proxy.output().count("was not made") >= 3, "audits without money")
    assert len(rows(proxy, 2)) == len(large_server.chats()) == 2


@pytest.mark.parametrize(
    "header", [{"X-COPE-Budget-USD": "0"}, {"X-COPE-Max-Stage": "1"}, {"X-COPE-Mode": "small"}]
)
def test_local_requests_are_not_audited(audited, small_server, large_server, header):
    """A client that lets nothing leave the machine is taken at its word; the next one's answer is audited."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}")
    ask(audited.client(), extra_headers=header)
    ask(audited.client(), "What is 5 times 5? Calculate the number.")
    rows(audited, 1)
    assert ["5 times 5" in json.dumps(e["body"]) for e in large_server.chats()] == [True]


def test_failed_audit_is_harmless(audited, small_server, large_server):
    """The upstream is down: the client notices nothing, and the audit is not on record."""
    small_server.say("\\boxed{42}")
    large_server.script({"reply": {"status": 400, "error": {"message": "no"}}})
    assert ask(audited.client()).cope["stage"] == 1
    wait_until(lambda: "was not made" in audited.output(), "the failed audit")
    assert not audited.rows("SELECT * FROM audits")


def test_zero_share_audits_nothing(proxy, small_server, large_server):
    """That is the default."""
    small_server.say("\\boxed{42}")
    ask(proxy.client())
    assert not large_server.chats()
    assert "nothing is audited" in proxy.cli("audits").stderr


def test_audit_names_its_models(audited, small_server, large_server):
    """A client may ask for another n than the config's."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}")
    ask(audited.client(), extra_headers={"X-COPE-Samples": "3"})
    (row,) = rows(audited, 1)
    assert (row["small_model"], row["large_model"], row["samples"]) == (SMALL_MODEL, LARGE_MODEL, 3)
    ask(audited.client())
    rows(audited, 2)
    (found,) = json.loads(audited.cli("audits", "--json").stdout)
    assert (found["small_model"], found["large_model"], found["samples"]) == (
        SMALL_MODEL,
        LARGE_MODEL,
        [3, 4],
    )


def test_audit_records_costs(make_proxy, small_server, large_server):
    """The large model's own answer by what it was billed; each stage by its calls, stage 2's guideline among them."""
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": 1},
        large={"max_output_tokens": 300},
        small={"price": {"input_per_mtok": 1, "output_per_mtok": 1}},
        cascade={"samples": 4, "early_stop": False},
    )
    small_server.say("hm", usage={"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20})
    large_server.say("\\boxed{42}", usage=USAGE)
    answer = ask(proxy.client())
    first, second = rows(proxy, 2)
    each = 20_000  # of the small model, for a goal or a sample
    assert (first["spent_nano"], second["spent_nano"]) == (8 * each, 4 * each + 1_250_000)
    assert first["large_nano"] == second["large_nano"] == 1_250_000
    assert Decimal(answer.cope["cost_usd"]) * 10**9 == 12 * each + 2 * 1_250_000


def test_audit_records_client_price(make_proxy, small_server, large_server):
    """Its prompt was cached by the client's own request a moment ago; and an answer that its budget cuts has no price."""
    cached = {**USAGE, "prompt_tokens_details": {"cached_tokens": 100}}
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": Decimal("0.0028")}, large={"max_output_tokens": 210}
    )
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}", usage=cached, finish_reason="length")
    for _ in range(2):
        ask(proxy.client())
    whole, cut = rows(proxy, 2)
    assert (whole["large_nano"], cut["large_nano"]) == (1_250_000, None)
    assert large_server.chats()[-1]["body"]["max_tokens"] < 210
