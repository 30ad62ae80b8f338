"""Audits: a share of the local answers is checked against the large model, from a budget of its own."""

import asyncio
import json
import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.ledger.audits import Audited, keep
from proxy.ledger.database import open_database
from tests.harness import wait_until

pytestmark = pytest.mark.slow

MATH = "What is 6 times 7? Calculate the number."
USAGE = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}  # 0.00125 USD


def ask(proxy, question=MATH, **extra):
    with proxy.client() as client:
        return client.chat.completions.create(
            model="cope", messages=[{"role": "user", "content": question}], **extra
        )


@pytest.fixture
def audited(make_proxy):
    return make_proxy(audit={"share": 1.0, "budget_usd": 1, "expect": 0.9}, large={"max_output_tokens": 100})


def rows(proxy, count):
    return wait_until(
        lambda: (
            (found := proxy.rows("SELECT * FROM audits ORDER BY created_at"))
            and len(found) == count
            and found
        ),
        f"{count} audits",
    )


def test_an_answer_that_the_large_model_gives_too_agrees(audited, small_server, large_server):
    """It is compared by value; the client has its answer at once and pays nothing for the audit."""
    small_server.say("\\boxed{42}")
    large_server.say("So it is 42.0.", usage=USAGE)
    answer = ask(audited, user="ann", metadata={"team": "x"})
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


def test_an_answer_that_the_large_model_does_not_give_differs_and_drift_is_told(
    audited, small_server, large_server
):
    """Three of three differ: fewer agree than is expected, which the log and the command say."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(3):
        ask(audited)
    rows(audited, 3)
    wait_until(lambda: "fewer than the expected 90 %" in audited.output(), "the warning")
    table = audited.cli("audits").stdout
    assert "below 90 %" in table
    (found,) = json.loads(audited.cli("audits", "--json").stdout)
    assert (found["task"], found["agreed"], found["differed"]) == ("math", 0, 3)


def test_a_refused_answer_is_audited_too(make_proxy, small_server, large_server):
    """All its samples are drawn, though two of four settle it; what refusing costs in vain is seen, and is no drift."""
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 100}, cascade={"samples": 4, "plans": "none"}
    )  # fmt: skip
    small_server.say(*(f"\\boxed{{{n}}}" for n in (42, 42, 42, 41, 40, 39, 38, 42)))
    large_server.say("\\boxed{42}")
    first = ask(proxy)
    rows(proxy, 1)
    second = ask(proxy)
    assert (first.cope["stages"][0]["drawn"], first.cope["stages"][0]["accepted"]) == (4, True)
    assert (second.cope["stage"], second.cope["stages"][0]["drawn"]) == (3, 4)
    found = [(r["stage"], r["confidence"], r["accepted"], r["agreed"]) for r in rows(proxy, 2)]
    assert found[0] == (1, 0.75, 1, 1)
    assert found[1][:3] == (1, 0.25, 0)
    shown = json.loads(proxy.cli("audits", "--json").stdout)
    assert [(a["accepted"], a["agreed"] + a["differed"]) for a in shown] == [(True, 1), (False, 1)]
    assert "fewer than the expected" not in proxy.output()


def test_each_stage_of_an_audited_request_is_compared(make_proxy, small_server, large_server):
    """One answer of the large model serves both; an open answer is judged, each by a question of its own."""
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 300}, cascade={"samples": 4}
    )
    small_server.say("hm")
    large_server.say("\\boxed{42}")
    ask(proxy)
    stages = [(r["stage"], r["accepted"], r["agreed"]) for r in rows(proxy, 2)]
    assert stages == [(1, 0, 0), (2, 0, 0)]


def test_audits_spend_no_more_than_their_budget(make_proxy, small_server, large_server):
    """When it is used up, answers go out as before and nothing more is asked."""
    proxy = make_proxy(audit={"share": 1.0, "budget_usd": Decimal("0.003")}, large={"max_output_tokens": 100})
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}", usage=USAGE)
    for _ in range(5):
        assert ask(proxy).cope["stage"] == 1
    wait_until(lambda: proxy.output().count("was not made") >= 3, "audits without money")
    assert len(rows(proxy, 2)) == len(large_server.chats()) == 2


def test_an_open_answer_is_judged(audited, small_server, large_server):
    """There is no value to compare: the large model says whether the answer is right."""
    small_server.say("Because of the sun.")
    large_server.say("No.")
    ask(audited, "Why is the sky blue in the morning?")
    (row,) = rows(audited, 1)
    assert (row["task"], row["agreed"]) == ("open", 0)
    assert "Because of the sun." in json.dumps(large_server.chats()[-1]["body"])


@pytest.mark.parametrize(
    "header", [{"X-COPE-Budget-USD": "0"}, {"X-COPE-Max-Stage": "1"}, {"X-COPE-Mode": "small"}]
)
def test_what_has_to_stay_local_is_not_audited(audited, small_server, large_server, header):
    """A client that lets nothing leave the machine is taken at its word; the next one's answer is audited."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}")
    ask(audited, extra_headers=header)
    ask(audited, "What is 5 times 5? Calculate the number.")
    rows(audited, 1)
    assert ["5 times 5" in json.dumps(e["body"]) for e in large_server.chats()] == [True]


def test_an_audit_that_fails_harms_nobody(audited, small_server, large_server):
    """The upstream is down: the client notices nothing, and the audit is not on record."""
    small_server.say("\\boxed{42}")
    large_server.script({"reply": {"status": 400, "error": {"message": "no"}}})
    assert ask(audited).cope["stage"] == 1
    wait_until(lambda: "was not made" in audited.output(), "the failed audit")
    assert not audited.rows("SELECT * FROM audits")


def test_without_a_share_nothing_is_audited(proxy, small_server, large_server):
    """That is the default."""
    small_server.say("\\boxed{42}")
    ask(proxy)
    assert not large_server.chats()
    assert "nothing is audited" in proxy.cli("audits").stderr


def test_thresholds_are_calibrated_from_audits(audited, small_server, large_server):
    """Three audits that differ certify nothing: the file says never, and so does the proxy that applies it."""
    assert "no audits in 30 days" in audited.cli("calibrate", "--audited", "--quality", "0.95").stderr
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(3):
        ask(audited)
    rows(audited, 3)
    done = audited.cli("calibrate", "--audited", "--quality", "0.95", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    assert (
        (audited.folder / "found.toml").read_text().endswith('[math]\nstage1 = "never"\nstage2 = "never"\n')
    )
    assert "math: no audits tell of stage 2 behind this stage 1" in done.stdout
    assert "quality alone" in audited.cli("calibrate", "--audited", "--max-usd-per-1000", "1").stderr


def kept(proxy, found):
    """Put audits on record as the proxy does."""

    async def keep_all():
        engine = open_database(f"sqlite+aiosqlite:///{proxy.database}")
        for i, (request, stage, confidence, accepted, agreed) in enumerate(found):
            await keep(
                engine,
                Audited(f"a{i}", request, datetime.now(UTC), "math", stage, confidence, accepted, agreed),
            )
        await engine.dispose()

    asyncio.run(keep_all())


def from_audits(proxy, *options):
    done = proxy.cli("calibrate", "--audited", "--quality", "0.9", "--out", "found.toml", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout, (proxy.folder / "found.toml").read_text()


def test_stage_2_is_calibrated_behind_the_new_stage_1(audited):
    """Stage 1 may accept from 0.5 on; on the hard requests that it then leaves, stage 2 is always wrong."""
    hard = [(f"h{i}", stage, 0.25 * stage, False, False) for i in range(40) for stage in (1, 2)]
    easy = [(f"e{i}", stage, 0.5 * stage, stage == 2, True) for i in range(300) for stage in (1, 2)]
    kept(audited, random.Random(1).sample(hard + easy, len(hard + easy)))
    said, text = from_audits(audited)
    assert text.endswith('[math]\nstage1 = 0.5\nstage2 = "never"\n')
    assert "no audits tell" not in said


def test_the_lot_that_halves_audits_has_a_seed(audited):
    """Few audits at the border: other halves come to other thresholds."""
    lot = random.Random(2)
    sure = [lot.choice((0.5, 0.75, 1.0)) for _ in range(120)]
    kept(audited, [(f"r{i}", 1, c, True, lot.random() < 0.9 + c / 10) for i, c in enumerate(sure)])
    assert from_audits(audited, "--seed", "0")[1] != from_audits(audited, "--seed", "1")[1]
