"""Each code block of the pages does what its page says: the test follows a page as a reader would.

`tests/support/page_blocks.py` lists the titles that a block can have.
"""

import re
from collections import defaultdict
from contextlib import ExitStack

import pytest

from proxy.ledger.migrate import upgrade
from tests.support.config import SMALL_MODEL, UPSTREAM_KEY
from tests.support.page_blocks import PAGES, blocks
from tests.support.page_reader import ADMIN_KEY, SERVES, PageReader
from tests.support.postgres import postgres_server
from tests.support.processes import ROOT
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow  # each page runs many commands

LANGUAGES = {"sh", "console", "python", "toml", "sql", "json", "http", "yaml", "text", "ini", "nginx"}
GENERATED = {"docs/commands.md"}  # the help of each command, which a test of its own compares
SCREEN = "question                                answer                   grade  stage  votes     cost USD  large alone"
NOT_RUN = {
    "Needs a clone and some minutes": [
        ("CONTRIBUTING.md", ".venv/bin/pytest tests/unit/ledger"),
        ("CONTRIBUTING.md", "make fast"),
        ("README.md", "make demo"),
        ("README.md", SCREEN),
        ("docs/quickstart.md", "make demo"),
        ("docs/quickstart.md", SCREEN),
    ],
    "Needs a package index": [
        ("README.md", "pip install ."),
        ("docs/deployment.md", "pip install '.[postgres]'"),
        ("docs/quickstart.md", "pip install ."),
        ("docs/tracing.md", "pip install 'cope-proxy[otel]'"),
    ],
    "Needs Docker": [
        ("docs/deployment.md", "export OPENAI_API_KEY=sk-... COPE_ADMIN_KEY=... POSTGRES_PASSWORD=..."),
        ("docs/tracing.md", "docker run --rm -p 16686:16686 -p 4318:4318 jaegertracing/jaeger"),
    ],
    "Needs a mail server": [("docs/alerts.md", "cope-proxy alerts test budgets")],
    "Needs a collector": [  # tests/e2e/test_tracing.py has one, and compares
        (
            "docs/tracing.md",
            "641 ms  invoke_workflow cope        cope.decision=escalated cope.cost_usd=0.000635",
        ),
        ("docs/tracing.md", "traces: the collector answers 503; spans lost so far: 512"),
    ],
    "Needs an invoice": [
        ("docs/reconcile.md", "cope-proxy reconcile --provider openai --month 2026-10 usage.csv costs.csv")
    ],
    "Needs a running proxy with an admin key": [  # tests/e2e/test_reload.py has one
        ("docs/operations.md", "kill -HUP PID"),
        ("docs/operations.md", '{"object": "reload", "config": "9908e5946c6d", "workers": 1,'),
    ],
    "Needs systemd": [("docs/deployment.md", "# /etc/systemd/system/cope-proxy.service")],
    "Needs nginx": [("docs/deployment.md", "location / {")],
    "Needs LiteLLM": [("docs/migration.md", "import litellm")],  # tests/clients runs it
    "Needs models and data": [
        ("docs/measurements.md", "cope-proxy eval bfcl.jsonl --out agent --limit 100"),
        *(
            ("docs/measurements.md", f"python benchmarks/{name}")
            for name in (
                "early_stop.py BASE_URL MODEL 16 8 DATA...",
                "guideline_gate.py RUN...",
                "one_process.py bundled 3",
                "plans.py BASE_URL MODEL 8 8 2 DATA...",
                "prefix.py BASE_URL MODEL 3",
                "problems.py leetcode FOLDER > leetcode.jsonl",
                "programs.py draw BASE_URL MODEL OUT 4 40 gsm8k.jsonl",
                "prompts.py BASE_URL MODEL 2 100 DATA...",
                "samples.py BASE_URL MODEL OUT 4 100 DATA...",
                "samples.py BASE_URL MODEL OUT 4 LIMIT DATA...",
                "train_detection.py DATA.jsonl",
                "wrong_votes.py DATA_FOLDER",
            )
        ),
    ],
}
"""The page and the first line of each block that no test runs, by the title that says why."""
KNOWN = {"match": {"contains": "12 * 7"}, "reply": {"content": "\\boxed{84}"}}
UNKNOWN = {"reply": {"content": "Perhaps.", "logprob": -3.0}}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
PATIENCE_S = 60
LARGE = {"model": "gpt-4o-mini", "models": ["gpt-4o"]}


def followed():
    """Yield the pages with code, as parameters."""
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        found = [block for block in blocks(page) if block.runs]
        if found and name not in GENERATED:
            marks = [pytest.mark.postgres] if any(block.on_postgres for block in found) else []
            yield pytest.param(page, id=page.name, marks=marks)


@pytest.fixture(scope="module")
def tiers():
    """A small model, and an upstream with two models of known prices."""
    with (
        StandIn([SMALL_MODEL], max_model_len=4096) as small,
        StandIn(["gpt-4o-mini", "gpt-4o"], require_key=UPSTREAM_KEY) as large,
    ):
        yield small, large


@pytest.fixture
def postgres_url():
    """A function that starts a PostgreSQL server with an empty ledger, and returns the URL of its database."""
    with ExitStack() as stack:
        urls = []

        def url():
            if not urls:
                urls.append(stack.enter_context(postgres_server()))
                upgrade(urls[0])
            return urls[0]

        yield url


@pytest.fixture
def reader(tiers, postgres_url, tmp_path):
    """A function that returns the reader of a page. The proxy runs, unless the page starts it."""
    small, large = tiers
    small.script(KNOWN, UNKNOWN)
    large.script(KNOWN, {"reply": {"content": "The sea is wide.", "usage": USAGE}})
    with ExitStack() as stack:

        def read(page):
            code = [block.text for block in blocks(page) if block.runs]
            audits = {"audit": {"share": 1.0}} if any("--audited" in text for text in code) else {}
            proxy = ProxyProcess(
                tmp_path,
                small.base_url,
                large.base_url,
                large=LARGE,
                prices=None,
                env={"COPE_ADMIN_KEY": ADMIN_KEY},
                **audits,
            )
            reader = PageReader(proxy, large, postgres_url)
            stack.callback(reader.close)
            if not any(map(SERVES.search, code)):
                stack.enter_context(proxy)
                for text in ("What is 12 * 7?", "Describe the sea."):
                    proxy.client().chat.completions.create(
                        model="cope",
                        messages=[{"role": "user", "content": text}],
                        user="alice",
                        metadata={"team": "search"},
                        extra_headers={"X-COPE-Session": "chat-42", "X-COPE-Session-Budget-USD": "1"},
                    )
                if audits:
                    wait_until(lambda: proxy.rows("SELECT id FROM audits"), "an audit", PATIENCE_S)
            return reader

        yield read


@pytest.mark.timeout(900)  # only a page that hangs takes so long, also on a busy machine
@pytest.mark.parametrize("page", list(followed()))
def test_page_code(page, reader):
    """Every block of the page runs, and shows the form of the real output."""
    follower = reader(page)
    for block in blocks(page):
        if block.runs:
            follower.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_have_a_language(page):
    """Every fence is closed and names a language that a test can check."""
    found = list(blocks(page))
    assert len(re.findall(r"^ *(?:```|~~~)", page.read_text(encoding="utf-8"), re.MULTILINE)) == 2 * len(
        found
    )
    assert [f"{block}: {block.language!r}" for block in found if block.language not in LANGUAGES] == []


def test_unrun_blocks():
    """The blocks that no test runs are exactly the known ones."""
    unrun = defaultdict(list)
    for page in PAGES:
        for block in blocks(page):
            if not block.runs:
                command = block.text.splitlines()[0].partition("  #")[0].rstrip()
                unrun[block.title].append((block.page, command))
    assert {title: sorted(found) for title, found in unrun.items()} == NOT_RUN
