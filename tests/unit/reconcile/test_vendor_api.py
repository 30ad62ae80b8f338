"""The vendors' usage and cost APIs, served by a real local server that pages, limits the rate and fails as they do."""

import json
import threading
from collections import defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from proxy.pricing.prices import Price
from tests.support.vendor_reports import HAIKU, at, billed, bucket, compared, ledger, page, paid, used

KEY = "sk-admin-secret"


class Vendor:
    """What a vendor has, and how it behaves. It pages by whole buckets, as many as the caller asks for at most."""

    def __init__(self, pages_of=2):
        self.buckets = {}  # by path
        self.pages_of = pages_of
        self.failures = defaultdict(list)  # by path: statuses to give first
        self.asked = []
        self.headers = []
        self.endless = False
        self.raw = None
        self.base_url = ""

    def answer(self, path, query):
        """Return status, headers and body."""
        self.asked.append((path, query))
        if self.failures[path]:
            status = self.failures[path].pop(0)
            return (
                status,
                {"Retry-After": "0", "Location": f"{self.base_url}/elsewhere"},
                {"error": {"message": f"no, {KEY}"}},
            )
        if self.raw is not None:
            return 200, {}, self.raw
        start = int(query.get("page", ["page_0"])[0].removeprefix("page_"))
        every = self.buckets.get(path, [])
        size = min(self.pages_of, int(query["limit"][0]))
        more = start + size < len(every) or self.endless
        following = f"page_{start if self.endless else start + size}" if more else None
        return 200, {}, page(*every[start : start + size], following=following)


@contextmanager
def serving(vendor):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            parts = urlsplit(self.path)
            vendor.headers.append(dict(self.headers))
            status, headers, body = vendor.answer(parts.path, parse_qs(parts.query))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client may leave at any time
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    vendor.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield vendor
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def vendor(monkeypatch):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_ADMIN_KEY", KEY)
    with serving(Vendor()) as served:
        yield served


USAGE, COSTS = "/v1/organization/usage/completions", "/v1/organization/costs"
EMBEDDINGS = "/v1/organization/usage/embeddings"


def openai_month(vendor):
    vendor.buckets[USAGE] = [bucket(day, *([used()] if day in (2, 5, 31) else [])) for day in range(1, 32)]
    vendor.buckets[COSTS] = [
        bucket(
            day, *([billed("0.025"), billed(0.01, "gpt-4o-2024-08-06, output")] if day in (2, 5, 31) else [])
        )
        for day in range(1, 32)
    ]


def test_a_month_of_openai(vendor, tmp_path):
    """All pages of both reports are read, with the admin key, for the whole month in UTC."""
    openai_month(vendor)
    vendor.buckets[EMBEDDINGS] = [
        bucket(9, {"model": "text-embedding-3-small", "input_tokens": 500, "num_model_requests": 2})
    ]
    vendor.buckets[COSTS][8]["results"].append(billed("0.00001", "text-embedding-3-small, input"))
    embedding = paid("e", 9, "openai/text-embedding-3-small", Price(input=20_000_000, output=0), (500, 0))
    url = ledger(tmp_path, [*paid("a", 2), *paid("b", 5), *paid("c", at(31, 23, 59)), *embedding])
    code, found = compared(tmp_path, url, "--api", "--base-url", vendor.base_url, "--tolerance", "0")
    assert (code, found["ledger"], found["vendor"]) == (0, 105_010_000, 105_010_000), found
    assert all(line["ledger_tokens"] == line["vendor_tokens"] for line in found["lines"])
    assert [path for path, _ in vendor.asked].count(USAGE) == 16
    assert [path for path, _ in vendor.asked].count(COSTS) == 16
    _, query = vendor.asked[0]
    assert query["start_time"] == [str(int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()))]
    assert query["end_time"] == [str(int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()))]
    assert (query["bucket_width"], query["group_by"]) == (["1d"], ["model", "service_tier", "batch"])
    assert vendor.asked[-1][1]["group_by"] == ["line_item"]
    assert {headers["Authorization"] for headers in vendor.headers} == {f"Bearer {KEY}"}


def test_a_month_of_anthropic(vendor, tmp_path):
    """Amounts are in cents, and the parts of a prompt are reported beside each other."""
    day = {"starting_at": "2026-10-03T00:00:00Z", "ending_at": "2026-10-04T00:00:00Z"}
    tokens = {
        "model": "claude-haiku-4-5-20251001", "service_tier": "standard", "context_window": "0-200k", "api_key_id": None,
        "uncached_input_tokens": 10_000, "cache_read_input_tokens": 90_000, "output_tokens": 2000,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 0},
    }  # fmt: skip
    item = {
        "currency": "USD",
        "model": "claude-haiku-4-5-20251001",
        "cost_type": "tokens",
        "service_tier": "standard",
    }
    costs = [{**item, "amount": amount} for amount in ("1", "0.9", "1.0000000000")]
    search = {
        "currency": "USD",
        "model": None,
        "cost_type": "web_search",
        "description": "Web Search",
        "amount": "1.5",
    }
    vendor.buckets["/v1/organizations/usage_report/messages"] = [{**day, "results": [tokens]}]
    vendor.buckets["/v1/organizations/cost_report"] = [{**day, "results": [*costs, search]}]
    records = paid("a", 3, "claude/claude-haiku-4-5", HAIKU, (100_000, 2000, 90_000))
    url = ledger(tmp_path, records)
    code, found = compared(tmp_path, url, "--api", "--base-url", vendor.base_url + "/", provider="anthropic")
    assert code == 3
    lines = {line["model"]: line for line in found["lines"]}
    assert lines["claude-haiku-4-5, claude-haiku-4-5-20251001"]["difference"] == 0
    assert lines["Web Search"]["causes"][0]["name"] == "other-fees"
    assert lines["Web Search"]["vendor"] == 15_000_000
    _, query = vendor.asked[0]
    assert (query["starting_at"], query["ending_at"]) == (["2026-10-01T00:00:00Z"], ["2026-11-01T00:00:00Z"])
    assert query["group_by[]"] == ["model", "service_tier"]
    assert vendor.headers[0]["x-api-key"] == KEY
    assert vendor.headers[0]["anthropic-version"] == "2023-06-01"


def test_a_busy_vendor_is_asked_again(vendor, tmp_path):
    openai_month(vendor)
    vendor.failures[USAGE] = [429, 429, 500]
    vendor.failures[COSTS] = [503]
    url = ledger(tmp_path, [*paid("a", 2), *paid("b", 5), *paid("c", 31)])
    assert compared(tmp_path, url, "--api", "--base-url", vendor.base_url)[0] == 0


@pytest.mark.parametrize(
    ("failures", "asked", "reason"),
    [
        ([429] * 100, 6, "status 429; the vendor limits the rate of reports"),
        ([401], 1, "needs an admin key"),
        ([403], 1, "needs an admin key"),
        ([404], 1, "check --base-url"),
        ([502] * 100, 6, "status 502; try again later"),
        ([302], 1, "status 302"),  # the key goes nowhere else
    ],
)
def test_a_vendor_that_refuses(vendor, tmp_path, failures, asked, reason):
    """Retries are bounded. The message is one line, and has no key."""
    vendor.failures[USAGE] = failures
    code, message = compared(tmp_path, ledger(tmp_path, []), "--api", "--base-url", vendor.base_url)
    assert (code, len(vendor.asked)) == (1, asked), message
    assert reason in message
    assert len(message.strip().splitlines()) == 1
    assert KEY not in message


@pytest.mark.parametrize(
    "raw", [b"<html>", b"[]", b'"x"', b"{}", b'{"data": [], "has_more": true, "next_page": 7}']
)
def test_answers_that_are_no_reports(vendor, tmp_path, raw):
    vendor.raw = raw
    code, message = compared(tmp_path, ledger(tmp_path, []), "--api", "--base-url", vendor.base_url)
    assert code == 1
    assert message.startswith("Error: /organization/usage/completions")
    assert len(message.strip().splitlines()) == 1


def test_pages_that_do_not_end(vendor, tmp_path):
    """A cursor that comes again would be followed for ever."""
    openai_month(vendor)
    vendor.endless = True
    code, message = compared(tmp_path, ledger(tmp_path, []), "--api", "--base-url", vendor.base_url)
    assert (code, "the pages do not end" in message) == (1, True)
    assert len(vendor.asked) < 5


def test_a_vendor_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    code, message = compared(tmp_path, ledger(tmp_path, []), "--api", "--base-url", "nonsense")
    assert (code, "'nonsense' is no http:// or https:// URL" in message) == (1, True)
