"""`cope-proxy doctor` asks servers the way the proxy does: no forward proxy, no redirect, no secret on the screen."""

import http.server
import json
import threading
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from proxy.ids import now
from proxy.ledger.migrate import upgrade
from tests.support.commands import config_of, run_command, sqlite_url
from tests.support.config import LARGE_MODEL, config
from tests.support.ledger import request, run, write

KEYS = {"OPENAI_API_KEY": "sk-proj-4Fq9zL0aVtUeW2xYb7nC", "SMALL_KEY": "sk-small-8Gd2kP5cWvTfX3yZa6mB"}


class Server(http.server.BaseHTTPRequestHandler):
    """A server that answers as its `answer` says, and keeps what it was asked."""

    def do_GET(self):
        """Answer a GET."""
        self.server.asked.append((self.path, self.headers.get("authorization")))
        status, headers, body = self.server.answer(self)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_CONNECT = do_GET

    def log_message(self, *_):
        """Write nothing."""


@contextmanager
def serving(answer):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.answer, server.asked = answer, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def url_of(server, user=""):
    return f"http://{user}127.0.0.1:{server.server_address[1]}/v1"


def listing(_):
    return 200, {}, json.dumps({"data": [{"id": "big-model"}, {"id": "small-model"}, None, {}]}).encode()


def doctor(folder, small, large, **env):
    file = folder / "cope.toml"
    tables = {"small": {"api_key_env": "SMALL_KEY"}, "ledger": {"spool_dir": str(folder / "spool")}}
    file.write_text(config(small, large, database_file=folder / "x.db", port=1, **tables))
    done = CliRunner().invoke(main, ["doctor", "--config", str(file)], env={**KEYS, **env})
    for secret in (*KEYS.values(), "hunter2"):
        assert secret not in done.output
    named = {line.partition(": ")[0]: line for line in done.output.splitlines()}
    return done.exit_code, named


def test_no_forward_proxy(tmp_path):
    """Servers of this machine are asked directly, each with its own key."""
    with serving(listing) as small, serving(listing) as large, serving(listing) as forward:
        variables = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), url_of(forward))
        code, lines = doctor(tmp_path, url_of(small), url_of(large), **variables)
        assert code == 0, lines
        assert lines["ok    small tier"].endswith("serves small-model")
        assert forward.asked == []
        assert small.asked == [("/v1/models", f"Bearer {KEYS['SMALL_KEY']}")]
        assert large.asked == [("/v1/models", f"Bearer {KEYS['OPENAI_API_KEY']}")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_not_followed(tmp_path, status):
    """A redirect to another origin gets neither key."""
    with serving(listing) as thief:

        def away(_):
            return status, {"location": f"{url_of(thief)}/models"}, b""

        with serving(away) as server:
            code, lines = doctor(tmp_path, url_of(server), url_of(server))
        assert code == 1
        assert thief.asked == []
        assert "redirects to" in lines["FAIL  small tier"]
        assert "redirects to" in lines["FAIL  upstream"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_secrets_not_shown(tmp_path, status):
    """A server that repeats its key, and a URL with a password, show neither of them."""

    def echoing(request):
        given = request.headers.get("authorization")
        return status, {}, json.dumps({"error": {"message": f"bad key {given}", "code": given}}).encode()

    with serving(echoing) as server:
        code, lines = doctor(tmp_path, url_of(server, "me:hunter2@"), url_of(server))
    assert code == 1
    assert "FAIL  small tier" in lines
    assert "FAIL  upstream" in lines


def test_teams_without_keys(tmp_path):
    """A team of the config that no key belongs to is named, because its budget limits nothing."""
    tables = [f'[budgets.teams."{team}"]\nusd = 1\n' for team in ("search", "serach", "*")]
    options = config_of(tmp_path, sqlite_url(tmp_path / "l.db"), "".join(tables))
    assert run_command(["keys", "create", "ann", *options, "--team", "search"])[0] == 0
    _, output = run_command(["doctor", *options])
    line = next(line for line in output.splitlines() if "teams:" in line)
    assert (
        line
        == "ok    teams: 2 with a budget of their own; no key belongs to 'serach': see `cope-proxy keys list`"
    )


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (19_000, "ok    prompt cache: 1 sessions of the last 7 days read what direct use of the large model would"),
        (2048, "warn  prompt cache: 1 of 1 sessions of the last 7 days read less from the upstream's cache than direct"),
    ],
)  # fmt: skip
def test_sessions_that_read_too_little(tmp_path, read, line):
    """A session that reads less from the cache than direct use would is a warning, and no failure."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    upgrade(url)
    turns = [
        request(f"r{i}", started_at=now(), session="agent", model=LARGE_MODEL, prompt_tokens=20_000 + i, read_tokens=tokens)
        for i, tokens in enumerate((0, read))
    ]  # fmt: skip
    run(url, lambda engine: write(engine, *turns))
    with serving(listing) as server:
        code, lines = doctor(tmp_path, url_of(server), url_of(server))
    assert code == 0
    assert lines[line.partition(": ")[0]].startswith(line)
