"""Any text and any number of a record is written, and every report of it works."""

import asyncio
from typing import Literal, get_args, get_origin

import msgspec
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from proxy.cli.main import main
from proxy.ledger import reports
from proxy.ledger.audits import Models, agreements
from proxy.ledger.budgets import list_budgets, remaining
from proxy.ledger.journal import REJECTED
from proxy.ledger.keys import create_key, find_key, list_keys, revoke_key
from proxy.ledger.rebuild import rebuild
from proxy.ledger.requests import RequestFilter, get_request, list_requests
from proxy.ledger.reservations import reservation_row
from proxy.ledger.rows import request_row
from proxy.ledger.tables import Base
from proxy.ledger.unsettled import list_unsettled, mark_expired, resolve, unsettled_sum
from proxy.ledger.wide_sums import MOST_SUM
from proxy.pricing.prices import Price, Usage
from proxy.records import (
    LONGEST_NAME,
    MOST,
    CallRecord,
    PlanRecord,
    RequestRecord,
    Settlement,
    StageRecord,
    storable,
    storable_name,
    storable_text,
)
from tests.support.ledger import NOW, UTC_ZONE, budget, call, request, reservation, reserve, run, writing

SPECIAL = [
    "\0",
    "\ud800",
    "\udfff",
    "\ud83d\ude00",
    "\u202e",
    "\ufeff",
    "\x1b[2J",
    "[/red]",
    "[bold]",
    "\n",
    "\\u0000",
    "😀",
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(SPECIAL) | st.text(max_size=5), max_size=6).map("".join),
    st.text(st.characters(codec=None), max_size=20),
)
NUMBERS = st.integers(-(2**70), 2**70) | st.sampled_from([-(2**63), 2**31, 2**63 - 1, 2**63, 2**64, 10**40])
AT_ONCE = settings(max_examples=40, deadline=None)


def odd(kind, **given) -> SearchStrategy:
    """Return records that have any text and any number in every field that is not given."""
    fields = {f.name: f for f in msgspec.structs.fields(kind)}
    return st.builds(
        kind, **{name: given[name] if name in given else _odd(f.type) for name, f in fields.items()}
    )


def _odd(type_) -> SearchStrategy:
    if type_ is Usage:
        counts = dict.fromkeys(Usage.__dataclass_fields__, NUMBERS)
        return st.builds(Usage, **counts | {"tier": st.none() | TEXTS})
    if type_ is Price:
        return st.builds(Price, input=NUMBERS, output=NUMBERS, cached_input=NUMBERS, source=TEXTS)
    if type_ == tuple[str, ...]:
        return st.lists(TEXTS, max_size=3).map(tuple)
    if get_origin(type_) is Literal:
        return st.sampled_from(get_args(type_))
    if options := get_args(type_):
        return st.one_of([_odd(option) for option in options])
    return _PLAIN[type_]


_PLAIN = {
    str: TEXTS, int: NUMBERS, float: st.floats(), bool: st.booleans(), type(None): st.none(),
}  # fmt: skip
_TIMES = st.just(NOW)
STAGES = odd(StageRecord, stage=st.just(1)).map(lambda stage: (stage,))
REQUESTS = odd(RequestRecord, id=st.just("r"), key_id=st.none(), started_at=_TIMES, stages=STAGES)
CALLS = odd(CallRecord, id=st.just("c"), request_id=st.just("r"), key_id=st.none(), started_at=_TIMES)
PLANS = odd(PlanRecord, request_id=st.just("r"))


LONG = "😀\0\ud800" * 2**18
LONG_RECORDS = (
    request("long", prompt=LONG, answer=LONG, session=LONG, user=LONG, tags=(LONG, LONG[1:]), reason=LONG, error=LONG),
    msgspec.structs.replace(call("long", "long"), model=LONG, vote=LONG, error=LONG, finish_reason=LONG),
    PlanRecord(request_id="long", stage=2, kind="goal", sample=None, text=LONG, chosen=True),
)  # fmt: skip
"""Records with texts of a million characters."""


@given(text=TEXTS)
def test_storable_text_is_valid(text):
    """A storable text has neither NUL nor half characters, and a valid text stays as it is."""
    stored = storable_text(text)
    assert "\0" not in stored
    assert stored.encode().decode() == stored
    assert stored == storable_text(stored)
    assert len(storable_name(text).encode()) <= LONGEST_NAME
    if "\0" not in text and text == text.encode("utf-8", "ignore").decode():
        assert stored == text


def test_good_records_are_the_same():
    """A record without odd values is not copied, and two halves of a character are joined."""
    good = request("r", tags=("a=b",)), call("c", "r"), reservation("h", 1)
    assert all(storable(record) is record for record in good)
    assert storable_text("\ud83d\ude00 \ud83d") == "😀 \ufffd"


def test_any_record_is_written(url, tmp_path):
    """Every record is written, every report and command works, and the sum of the money is exact."""
    config = tmp_path / "cope.toml"
    config.write_text(f'[small.vllm]\n[database]\nurl = "{url}"\n')
    requests, calls, plans, numbers = [], [], [], []

    @AT_ONCE
    @given(REQUESTS, CALLS, PLANS, NUMBERS)
    def draw(request_record, call_record, plan_record, number):
        requests.append(msgspec.structs.replace(request_record, id=f"r{len(requests)}"))
        calls.append(msgspec.structs.replace(call_record, id=f"c{len(calls)}"))
        plans.append(msgspec.structs.replace(plan_record, request_id=f"r{len(plans)}"))
        numbers.append(number)

    draw()
    records = [*requests, *calls, *plans, *LONG_RECORDS]

    async def write(engine):
        async with writing(engine) as writer:
            writer.submit(*records)
            for i, (plan, number) in enumerate(zip(plans, numbers, strict=True)):
                async with asyncio.timeout(20):
                    await reserve(writer, f"h{i}", number, budget(name=plan.text, limit=10**18), least=0)
            await writer.flush()
            assert not (writer._journal.folder.parent / REJECTED).exists()
        assert len(await list_requests(engine, limit=1000)) == len(requests) + 1

    run(url, write)
    stored = 7 + sum(max(0, min(r.cost, MOST)) for r in requests)
    stored_calls = 7 + sum(max(0, min(c.cost, MOST)) for c in calls)

    async def sums(engine):
        found = {}
        for by in reports.GROUPS:
            rows = await reports.spend(engine, by=by, zone=UTC_ZONE, limit=10**6)
            part = await reports.spend(engine, by=by, zone=UTC_ZONE, since=NOW, limit=10**6)
            assert sum(r.cost for r in rows) == sum(r.cost for r in part)
            assert sum(r.requests for r in rows) == sum(r.requests for r in part)
            found[by] = sum(r.cost for r in rows)
            msgspec.json.encode(rows)
        await rebuild(engine, UTC_ZONE)
        again = await reports.spend(engine, by="day", zone=UTC_ZONE)
        assert sum(r.cost for r in again) == found["day"]
        msgspec.json.encode([await list_requests(engine, limit=1000), await list_budgets(engine)])
        return found

    found = run(url, sums)
    assert found["day"] == found["user"] == found["session"] == stored
    assert found["model"] == found["tier"] == stored_calls
    for command in [
        *(["spend", "--by", by] for by in reports.GROUPS),
        ["spend", "--json"],
        ["spend", "--by", "user", "--csv"],
        ["spend", "--by", "tag", "--parquet", str(tmp_path / "spend.parquet")],
        ["requests", "list"],
        ["budgets", "list"],
        ["ledger", "unsettled"],
        ["requests", "show", "long"],
    ]:
        done = CliRunner().invoke(main, [*command, "--config", str(config)])
        assert done.exception is None, (command, done.exception)
        assert "--csv" in command or "\x1b" not in done.stdout


def test_sums_survive_overflow(url):
    """Sums beyond 64 bits end at the highest number, in every report, after old rows without a limit, too."""

    async def work(engine):
        async with engine.begin() as connection:
            rows = [request_row(request(f"r{i}", cost=MOST_SUM, prompt_tokens=MOST_SUM)) for i in range(2)]
            await connection.execute(_table("requests").insert(), rows)
            rows = [reservation_row(reservation(f"h{i}", MOST_SUM), "p", []) for i in range(2)]
            unsettled = [{**row, "state": "unsettled"} for row in rows]
            await connection.execute(_table("reservations").insert(), unsettled)
        part = await reports.spend(engine, by="day", zone=UTC_ZONE, since=NOW)
        await rebuild(engine, UTC_ZONE)
        async with writing(engine) as writer:
            writer.submit(request("r2", cost=10**30))
        complete = await reports.spend(engine, by="day", zone=UTC_ZONE, limit=5)
        dearest = await reports.spend(engine, by="user", zone=UTC_ZONE, limit=5)
        amounts = [rows[0].cost for rows in (part, complete, dearest)]
        return amounts, await unsettled_sum(engine), msgspec.json.encode([part, complete, dearest])

    amounts, unsettled, _ = run(url, work)
    assert amounts == [MOST_SUM] * 3
    assert (unsettled.count, unsettled.amount) == (2, MOST_SUM)


def _table(name):
    return Base.metadata.tables[name]


def test_any_text_can_be_searched_for(url):
    """A search for any text finds nothing, and fails in no place that a client reaches."""

    async def work(engine):
        for text in [*SPECIAL, "x" * 2**20]:
            assert await list_requests(engine, RequestFilter(session=text), limit=1) == []
            await list_requests(engine, limit=1, before=text)
            assert await get_request(engine, text) is None
            assert await find_key(engine, text) is None
            assert not await revoke_key(engine, text)
            assert not await resolve(engine, text, 1)
            await remaining(engine, [budget(name=text)])
            await agreements(engine, NOW, Models(text, text))
            await create_key(engine, text)
        assert len(await list_keys(engine)) == len(SPECIAL) + 1

    run(url, work)


def test_deleted_budgets_block_nothing(url):
    """Settlements and expired reservations of a budget that somebody deleted are still written."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "h1", 5, budget())
            await reserve(writer, "h2", 5, budget(), expires=NOW)
            async with engine.begin() as connection:
                await connection.execute(_table("budgets").delete())
            writer.submit(request("r1"))
            writer.submit(Settlement("h1", 3))
            async with asyncio.timeout(20):
                await writer.flush()
        assert await mark_expired(engine, reservation("x", 1).created_at) == 1
        return [r.id for r in await list_requests(engine, limit=9)], await list_unsettled(engine)

    ids, unsettled = run(url, work)
    assert ids == ["r1"]
    assert [u.id for u in unsettled] == ["h2"]
