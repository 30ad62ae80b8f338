"""deploy/: the Grafana dashboard and the Prometheus rules name only series and labels that a real proxy has."""

import json
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from tests.support.cascade import MATH
from tests.support.scrape import families, total
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
OF_PROMETHEUS = {"up": {"job", "instance"}}
"""Series that Prometheus itself makes."""
OF_TARGETS = {"job", "instance", "pod"}
OF_PROCESSES = (
    "cope_request_duration", "cope_time_to", "cope_overhead", "cope_reservation", "cope_ledger_", "cope_log_",
)  # fmt: skip
"""Beginnings of the series that a process counts for itself."""
RATES = {"$__rate_interval": "5m", "$__range": "1d"}


def dashboard():
    return json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())


def rules():
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions():
    """Return every expression by the name of its panel or alert."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    }
    return found | {rule["alert"]: rule["expr"] for rule in rules()}


def parsed(expression):
    """Parse an expression as Prometheus does, with Grafana's intervals filled in."""
    for name, value in RATES.items():
        expression = expression.replace(name, value)
    return promql_parser.parse(expression)


def parts(node):
    """Yield a node of an expression and all nodes below it."""
    yield node
    below = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for child in [child for child in below if child is not None] + list(getattr(node, "args", [])):
        yield from parts(child)


def selectors(expression):
    """Return the names of the series in an expression, each with the labels that are matched."""
    found = [part for part in parts(parsed(expression)) if isinstance(part, promql_parser.VectorSelector)]
    assert found, expression
    return [(part.name, {matcher.name for matcher in part.matchers.matchers}) for part in found]


def enclosing(node, aggregations=()):
    """Yield the name of each series in an expression with the aggregations around it, from the inside out."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name, list(aggregations)
    if isinstance(node, promql_parser.AggregateExpr):
        aggregations = (str(node.op), *aggregations)
    below = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for child in [child for child in below if child is not None] + list(getattr(node, "args", [])):
        yield from enclosing(child, aggregations)


def grouped_by(expression):
    """Return the labels by which an expression groups, and those that it drops."""
    nodes = [part for part in parts(parsed(expression)) if isinstance(part, promql_parser.AggregateExpr)]
    return {label for node in nodes if node.modifier is not None for label in node.modifier.labels}


@pytest.fixture(scope="module")
def series(small_server, large_server, tmp_path_factory):
    """The labels of each series of a proxy that has answered at each stage, by its name."""
    from tests.support.proxy_process import ProxyProcess

    folder = tmp_path_factory.mktemp("proxy")
    budgets = {"global_usd": 10}
    urls = small_server.base_url, large_server.base_url
    with ProxyProcess(folder, *urls, budgets=budgets, cascade={"plans": "all"}) as proxy:
        unsure = {"contents": [f"\\boxed{{{n}}}" for n in range(1, 5)]}
        goal = {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find the product."}}
        guided = {"match": {"contains": "Add seven six times"}, "reply": {"content": "\\boxed{42}"}}
        large_server.script(
            {"match": {"contains": "solution"}, "reply": {"content": "Add seven six times."}},
            {"reply": {"content": "Add seven six times."}},
        )
        for rules_of_small, stage in (
            ([goal, {"reply": {"content": "\\boxed{42}"}}], "1"),
            ([goal, guided, {"reply": unsure}], "2"),
            ([goal, {"reply": unsure}], "3"),
        ):
            small_server.script(*rules_of_small)
            answer = proxy.http().post(
                "/v1/chat/completions",
                json={"model": "cope", "messages": [{"role": "user", "content": f"{MATH} {stage}"}]},
            )
            assert answer.headers["x-cope-stage"] == stage

        def look():
            samples = [sample for family in families(proxy) for sample in family.samples]
            found = {(s.name, *sorted(s.labels.items())): s.value for s in samples}
            return total(found, "cope_requests_total") == 3 and samples

        samples = wait_until(look, "the requests to be counted")
    labels = {}
    for sample in samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    return labels | OF_PROMETHEUS


@pytest.mark.parametrize("name", expressions())
def test_series_exist(series, name):
    """Each expression can be parsed, and its series and labels are those of a real scrape."""
    expression = expressions()[name]
    known = set(OF_TARGETS)
    for metric, matched in selectors(expression):
        assert metric in series, metric
        assert matched <= series[metric] | OF_TARGETS, metric
        known |= series[metric]
    assert grouped_by(expression) <= known


@pytest.mark.parametrize("name", expressions())
def test_ledger_series_are_not_added_up(name):
    """Every proxy of one database reports the same totals, so the first step over them is never a sum."""
    for metric, aggregations in enclosing(parsed(expressions()[name])):
        if metric.startswith("cope_") and not metric.startswith(OF_PROCESSES):
            assert aggregations[:1] in (["max"], ["min"], []), metric


def test_dashboard():
    """Twelve panels with a text each, that do not overlap."""
    panels = dashboard()["panels"]
    assert len(panels) == 12
    assert all(panel["title"] and panel["description"] and panel["targets"] for panel in panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))


def test_rules_are_complete():
    """Each alert has a name of its own, a severity and a summary."""
    assert len(rules()) >= 10
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"]


def test_prometheus_config():
    """It scrapes the path of the metrics with a key, and reads the rules beside it."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["credentials_file"]
    assert job["job_name"] in ALERTS.read_text()
    for file in config["rule_files"]:
        assert (DEPLOY / "prometheus" / file).exists()
    if (promtool := shutil.which("promtool")) is not None:
        done = subprocess.run(
            [promtool, "check", "rules", ALERTS], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
