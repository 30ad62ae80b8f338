"""Exports as spreadsheets and people leave them: read if the meaning is plain, else refused in one line with a remedy."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.commands import config_of, run_command
from tests.support.vendor_reports import UPSTREAMS, billed, bucket, compared, ledger, page, paid, saved, used

MONTHS = Path(__file__).parent / "months"
USAGE = "start_time_iso,model,input_tokens,output_tokens,num_model_requests\n"
ROW = "2026-10-02T00:00:00+00:00,gpt-4o-2024-08-06,10000,1000,1\n"
COSTS = "start_time_iso,amount_value,line_item\n"


@pytest.fixture(scope="module")
def one_call(tmp_path_factory):
    """The ledger of one call of 10,000 and 1,000 tokens, 0.035 USD."""
    return ledger(tmp_path_factory.mktemp("one"), paid("a", 2))


def semicolons(text):
    return text.replace(",", ";")


@pytest.mark.parametrize(
    "data",
    [
        (USAGE + ROW).encode(),
        b"\xef\xbb\xbf" + (USAGE + ROW).encode(),
        (USAGE + ROW).encode("utf-16"),
        semicolons(USAGE + ROW).encode(),
        (USAGE + ROW).replace(",", "\t").encode(),
        (USAGE + ROW).replace("\n", "\r\n").encode(),
        ("\n\n" + USAGE + ROW + "\n\n").encode(),
        b"output_tokens,new_column,Model,input_tokens,date\n1000,x,gpt-4o,10000.0,2026-10-02\n",
        (USAGE + ROW.replace("10000", '" 1E4 "')).encode(),
        (USAGE + "2026-10-01T00:00:00+00:00,,,,\n" + ROW).encode(),
        (USAGE + "2026-11-02T00:00:00+00:00,gpt-4o,5,5,1\n" + ROW).encode(),
        (semicolons(COSTS) + "2026-10-02;0,025;gpt-4o, input\n2026-10-02;0,01;gpt-4o, output\n").encode(),
        (COSTS + '2026-10-02,"0.0349999999999999999999999999999999999999","gpt-4o, input"\n').encode(),
        (COSTS + '2026-10-02,-1,"gpt-4o, input"\n2026-10-02,1.035,"gpt-4o, input"\n').encode(),
    ],
)
def test_odd_but_plain_files(one_call, tmp_path, data):
    file = tmp_path / "export.csv"
    file.write_bytes(data)
    code, found = compared(tmp_path, one_call, str(file), "--tolerance", "0")
    assert code == 0, found
    assert found["vendor"] == 35_000_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"\xff\xfe\x00", "not a text in UTF-8"),
        (b"\x80\x81", "not a text in UTF-8"),
        (b"a,b\n1,2\n", "columns are not those of a report by openai"),
        ((MONTHS / "anthropic_usage.csv").read_bytes(), "check --provider"),
        ((USAGE + ROW)[:-12].encode(), "the file may be cut off"),
        ((USAGE + ROW + '"2026').encode(), "not CSV"),
        (b"model,model,input_tokens,output_tokens\n", "a column is there twice"),
        ((USAGE + ROW.replace("10000", "10.000,5")).encode(), "cells for 5 columns"),
        ((USAGE + ROW.replace("10000", '"10,000"')).encode(), "without thousands separators"),
        (
            (USAGE + ROW.replace("10000", "many")).encode(),
            "line 2, input_tokens: 'many' is not a plain number",
        ),
        ((USAGE + ROW.replace("10000", "-5")).encode(), "out of range"),
        ((USAGE + ROW.replace("10000", "1.5")).encode(), "is not a whole number"),
        ((USAGE + ROW.replace("10000", "1E99")).encode(), "not a plain number"),
        ((USAGE + ROW.replace("10000", "9" * 5000)).encode(), "not a plain number"),
        ((USAGE + ROW.replace("10000", "NaN")).encode(), "not a plain number"),
        ((USAGE + ROW.replace("gpt-4o-2024-08-06", "")).encode(), "grouped by model"),
        (
            (USAGE + ROW.replace("2026-10-02T00:00:00+00:00", "10/02/26")).encode(),
            "do not let a spreadsheet change its dates",
        ),
        (
            (USAGE + ROW.replace("2026-10", "2025-03")).encode(),
            "no day of 2026-10, but 2025-03-02 to 2025-03-02",
        ),
        ((COSTS + '2026-10-02,$1,"gpt-4o, input"\n').encode(), "currency signs"),
        ((COSTS + '2026-10-02,1E30,"gpt-4o, input"\n').encode(), "is more than 1000000000 USD"),
        (b"start_time_iso,amount_value,amount_currency\n2026-10-02,1,eur\n", "the ledger is in USD"),
        (b"{", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"data": 1}', "no list `data`"),
        (b'{"data": [{"results": [1]}]}', "no list `results`"),
        (b'{"data": [{"results": [{"model": "m"}]}]}', "is not a time"),
        (b'[{"data": [{"start_time": 1e400, "results": [{"model": "m"}]}]}]', "is not a time"),
    ],
)
def test_files_that_cannot_be_used(one_call, tmp_path, data, reason):
    """One line that names the place and the remedy. Exit code 1."""
    file = tmp_path / "export.csv"
    file.write_bytes(data)
    code, message = compared(tmp_path, one_call, str(file))
    assert code == 1, message
    assert reason in message
    assert message.startswith("Error: ")
    assert len(message.strip().splitlines()) == 1
    assert len(message) < 500


def test_numbers_of_json_keep_their_digits(one_call, tmp_path):
    """Texts, integers and long decimals. A float would lose the last digits."""
    text = json.dumps([page(bucket(2, used(tokens=("10000", "1000")), billed("VALUE")))])
    file = tmp_path / "pages.json"
    file.write_text(text.replace('"VALUE"', "0.0350000000000000000000000000000000000001"))
    code, found = compared(tmp_path, one_call, str(file), "--tolerance", "0")
    assert (code, found["vendor"]) == (0, 35_000_000)


def test_huge_amounts_are_summed_exactly(one_call, tmp_path):
    file = saved(tmp_path, page(bucket(2, *(billed("999999999.999999999") for _ in range(3)))))
    code, found = compared(tmp_path, one_call, file)
    assert (code, found["vendor"]) == (3, 3 * 999_999_999_999_999_999)


def test_a_table_for_people(one_call, tmp_path):
    """Names of models from outside control no terminal."""
    file = saved(tmp_path, page(bucket(2, used("\x1b[31mred", (5, 5)), used())))
    config = config_of(tmp_path, one_call, UPSTREAMS)
    code, output = run_command(["reconcile", *config, "--provider", "openai", "--month", "2026-10", file])
    assert code == 3
    assert "\x1b" not in output
    assert "not-through-proxy" in output
    assert (
        "DIFFERENT: ledger 0.035 USD, vendor 0.035 USD, difference 0 USD; 1 of 2 days and models differ"
        in output
    )


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "name the exported FILES, or --api"),
        (["--api", "FILE"], 2, "name the exported FILES, or --api"),
        (["--api"], 2, "environment variable OPENAI_ADMIN_KEY"),
        (["--month", "2026-13", "FILE"], 2, "month must be in 1..12"),
        (["--month", "2100-01", "FILE"], 2, "no complete day"),
        (["--tolerance", "much", "FILE"], 2, "neither USD such as 0.01 nor a share such as 0.5%"),
        (["--tolerance", "101%", "FILE"], 2, "neither USD"),
        (["--upstream", "nobody", "FILE"], 1, "'nobody' is not in the config; use claude, large, openai"),
        (["--provider", "other", "FILE"], 2, "'other' is not one of"),
        (["missing.csv"], 2, "does not exist"),
    ],
)
def test_mistakes_in_the_command(one_call, tmp_path, arguments, code, reason):
    arguments = [str(MONTHS / "openai_usage.csv") if a == "FILE" else a for a in arguments]
    done, message = compared(tmp_path, one_call, *arguments)
    assert (done, reason in message) == (code, True), message


def test_no_upstream_of_the_vendor(one_call, tmp_path):
    config = config_of(tmp_path, one_call)
    arguments = ["--provider", "openai", "--month", "2026-10", str(MONTHS / "openai_usage.csv")]
    code, message = run_command(["reconcile", *config, *arguments])
    assert (code, "name those that its invoice has with --upstream" in message) == (1, True)
    assert run_command(["reconcile", *config, *arguments, "--upstream", "large"])[0] == 3


cells = st.text(st.sampled_from('019.,;-"\n\t eEgpt2026T:+$\u2028\x00é'), max_size=12)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(cells, cells, cells, cells), max_size=4), st.sampled_from(",;"), st.booleans())
def test_any_table_ends_in_words(one_call, tmp_path_factory, rows, delimiter, costs):
    """Whatever the cells are: an answer, or one line of error."""
    folder = tmp_path_factory.mktemp("odd")
    header = COSTS if costs else USAGE.replace(",num_model_requests", "")
    text = header.replace(",", delimiter) + "\n".join(delimiter.join(row[: 3 + (not costs)]) for row in rows)
    (folder / "odd.csv").write_text(text, encoding="utf-8")
    code, found = compared(folder, one_call, str(folder / "odd.csv"))
    assert code in (0, 1, 3)
    if code == 1:
        assert found.startswith("Error: ")
        assert len(found.strip().splitlines()) == 1
