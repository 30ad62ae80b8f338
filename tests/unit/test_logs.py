"""The form of the log's lines, and what they leave out."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

import proxy
from proxy.errors import plain_word
from proxy.logs import REQUEST_ID, ConsoleFormatter, JsonFormatter

MARK = "SECRET-7f3a"


def record(message="a message", name="proxy.service", error=None, **extra):
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord(name, logging.WARNING, __file__, 7, message, (), exc_info, "asked")
    made.__dict__.update(extra)
    return made


def fail(error, cause):
    raise error from cause


def raised(*errors):
    """Return the last of some errors, each raised from the one before."""
    before = None
    for error in errors:
        try:
            fail(error, before)
        except Exception as e:
            before = e
    return before


def test_json():
    """One object a line, with the usual names."""
    line = json.loads(JsonFormatter().format(record(fields={"status": 200})))
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {"level": "warning", "logger": "proxy.service", "message": "a message", "status": 200}


def test_console():
    """Time, level, logger and message."""
    line = ConsoleFormatter().format(record())
    assert line.endswith("Z WARNING  proxy.service: a message")


def test_the_request():
    """A line that belongs to a request has its id."""
    token = REQUEST_ID.set("req_1")
    try:
        assert json.loads(JsonFormatter().format(record()))["request_id"] == "req_1"
        assert ConsoleFormatter().format(record()).endswith("a message [req_1]")
    finally:
        REQUEST_ID.reset(token)


def test_a_traceback():
    """One field, with the places and the types of all causes, and without their messages."""
    error = raised(ValueError(MARK), KeyError(MARK))
    line = JsonFormatter().format(record(error=error))
    assert MARK not in line
    trace = json.loads(line)["traceback"]
    assert trace.index("ValueError") < trace.index("KeyError")
    assert "test_logs.py" in trace
    assert "\n" in ConsoleFormatter().format(record(error=error))


def test_a_group_of_errors():
    """The errors of a group have their tracebacks too."""
    line = JsonFormatter().format(record(error=raised(ExceptionGroup(MARK, [ValueError(MARK)]))))
    assert MARK not in line
    assert "ValueError" in line


def test_a_circle_of_causes():
    """It has an end."""
    error = raised(ValueError(), KeyError())
    error.__cause__.__cause__ = error
    assert "KeyError" in JsonFormatter().format(record(error=error))


def test_the_reason_of_the_system():
    """An error of the operating system says why, and not for which file."""
    line = JsonFormatter().format(record(error=raised(FileNotFoundError(2, MARK, MARK))))
    assert MARK not in line
    assert "FileNotFoundError: No such file or directory" in line


def test_other_packages():
    """Their messages may quote anything, so only their place is written."""
    line = json.loads(JsonFormatter().format(record(MARK, name="aiohttp.client")))
    assert line["message"] == "a message of test_logs.asked, line 7"
    task = f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{MARK}')>"
    line = json.loads(JsonFormatter().format(record(task, name="asyncio")))
    assert line["message"] == "Task exception was never retrieved"


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_control_characters(formatter):
    """They do not reach a terminal."""
    assert "\x1b" not in formatter.format(record("\x1b[2J"))


SLOW = """
import logging, logging.config
from proxy.logs import log_config
from proxy.metrics import LOG_LINES_DROPPED
logging.config.dictConfig(log_config("json", "info"))
for number in range(5000):
    logging.getLogger("proxy").info("line %d " + 1000 * "x", number)
print(int(LOG_LINES_DROPPED._value.get()), flush=True)
"""


def test_a_slow_reader():
    """Nobody waits for it. Past a limit its lines are dropped and counted, and the rest arrives whole."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        dropped = int(process.stdout.readline())  # nobody has read a line of the log yet
        lines = [json.loads(line) for line in process.stderr]
    assert 0 < dropped < 5000
    assert len(lines) == 5000 - dropped
    numbers = [int(line["message"].split()[1]) for line in lines]
    assert numbers == sorted(numbers)


def test_nobody_reads():
    """A closed standard error ends nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stderr.close()
        assert process.stdout.read().strip().isdigit()
    assert process.returncode == 0


def test_codes_of_errors():
    """The log repeats each code of the proxy and those of OpenAI, but no word that could be a client's."""
    sources = "".join(path.read_text() for path in Path(proxy.__file__).parent.rglob("*.py"))
    own = set(re.findall(r'code="([a-z_]+)"', sources))
    assert len(own) > 40
    for code in own | {
        "process_died",
        "client_disconnected",
        "context_length_exceeded",
        "rate_limit_exceeded",
    }:
        assert plain_word(code) == code
    for code in ("tulipbulb", "invalid_tulipbulb", "", "sk-secret", "Invalid request", "invalid request"):
        assert plain_word(code) == "other"
