"""The tests of OpenAI's Python SDK for the served resources: directly against the stand-in, and through the proxy.

    python benchmarks/sdk_tests.py CHECKOUT --python PYTHON

CHECKOUT is a checkout of openai-python. PYTHON is an interpreter with the dependencies of the SDK and of its tests (pytest,
pytest-asyncio, pytest-xdist, aiohttp). The stand-in serves any model and any id, because the tests make theirs up.
It exits with 1 if a test passes directly and not through the proxy, unless it needs what the proxy refuses.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.config import SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402

FILES = (
    "chat/test_completions.py",
    "chat/completions",
    "test_completions.py",
    "test_embeddings.py",
    "test_models.py",
    "test_responses.py",
    "responses",
)
MODELS = (
    "gpt-5.4",
    "gpt-5.1",
    "gpt-5.6-sol",
    "gpt-4o-mini",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-small",
    "model",
)
"""The names that the tests use."""


REFUSED = re.compile(
    r"Models::test_(method|raw_response|streaming_response)_delete"
    r"|Responses::test_method_create_with_all_params"
)
"""Tests that delete a model, or that send `background: true`. See docs/compatibility.md."""


def results(checkout: Path, python: str, base_url: str) -> dict[str, bool]:
    """Run the tests against a server. Return whether each has passed, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        files = [f"tests/api_resources/{name}" for name in FILES]
        subprocess.run(
            [python, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", f"--junitxml={report}", *files],
            cwd=checkout,
            env={**os.environ, "TEST_API_BASE_URL": base_url, "PYTHONPATH": "src"},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        cases = list(ET.parse(report).iter("testcase"))
    return {
        f"{case.get('classname')}::{case.get('name')}": not any(
            child.tag in ("failure", "error", "skipped") for child in case
        )
        for case in cases
    }


def main() -> int:
    """Compare both runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument(
        "--python", required=True, help="an interpreter with the dependencies of the SDK's tests"
    )
    given = parser.parse_args()
    prices = {name: {"input_per_mtok": 1, "output_per_mtok": 2} for name in MODELS}
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL]) as small,
        StandIn(made_up=True, require_key=UPSTREAM_KEY) as large,
        StandIn(made_up=True) as open_large,
        ProxyProcess(
            Path(folder),
            small.base_url,
            large.base_url,
            large={"model": MODELS[0], "models": list(MODELS)},
            prices=prices,
        ) as proxy,
    ):
        direct = results(given.checkout, given.python, open_large.base_url)
        through = results(given.checkout, given.python, proxy.base_url)
    missing = sorted(name for name, passed in direct.items() if passed and not through.get(name))
    lost = [name for name in missing if not REFUSED.search(name)]
    print(f"directly: {sum(direct.values())} of {len(direct)} pass")
    print(f"through the proxy: {sum(through.values())} of {len(through)} pass")
    for title, names in (
        ("pass directly and not through the proxy", lost),
        ("need what the proxy refuses", [name for name in missing if name not in lost]),
        ("pass neither way", sorted(name for name in direct if not direct[name] and not through.get(name))),
    ):
        print(f"{len(names)} {title}")
        for name, count in Counter(name.partition("[")[0] for name in names).items():
            print(f"  {count} x {name}")
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
