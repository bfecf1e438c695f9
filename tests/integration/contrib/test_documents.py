"""The dashboard, the rules and the examples of docs/observe.md: what they name is there."""

import json
import logging
import logging.config
import re
from pathlib import Path

import pytest
import yaml
from asgiref.sync import async_to_sync
from django.test import RequestFactory
from health_check.base import HealthCheck
from prometheus_client.metrics import MetricWrapperBase

from kinesis_bridge.contrib import health
from kinesis_bridge.contrib.emf.lines import UNITS
from kinesis_bridge.contrib.prometheus import metrics
from kinesis_bridge.contrib.prometheus.backlog import BacklogCollector
from kinesis_bridge.exceptions import StreamError
from kinesis_bridge.logfields import NAMES, fields
from kinesis_bridge.relay.outage import StreamState
from tests.support.outbox import OutboxOn

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "observe.md").read_text()
DENIED = StreamError(
    "No.", name="stream-denied-caller", side="account B", code="AccessDeniedException"
)


def metric_names():
    """Every sample's name that a scrape may have, and those of the page."""
    names = set()
    for metric in vars(metrics).values():
        for family in metric.describe() if isinstance(metric, MetricWrapperBase) else ():
            names |= {
                "counter": {f"{family.name}_total"},
                "histogram": {f"{family.name}{end}" for end in ("_bucket", "_sum", "_count")},
            }.get(family.type, {family.name})
    return names | {family.name for family in BacklogCollector().describe()}


def named_in(text):
    return set(re.findall(r"kinesis_bridge_[a-z_]+", text))


def expressions():
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    rules = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())
    found = {
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    found |= {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    return found


@pytest.mark.parametrize("name", expressions())
def test_what_panels_and_rules_ask_for_exists(name):
    asked = named_in(expressions()[name])
    assert asked
    assert asked <= metric_names()


def test_every_metric_is_documented_and_shown_or_watched():
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in metric_names()}
    assert len(names) == 19
    assert names == named_in(PAGE) - {"kinesis_bridge_backlog"}
    used = set().union(*map(named_in, expressions().values()))
    assert names - {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} == {
        "kinesis_bridge_events_retried_total"
    }


def test_rules_say_what_to_do():
    rules = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())["groups"][0]["rules"]
    assert len(rules) == len({rule["alert"] for rule in rules}) == 9
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_panels_do_not_overlap_and_have_their_own_ids():
    panels = json.loads((DOCS / "grafana-dashboard.json").read_text())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    assert len(panels) == len({panel["id"] for panel in panels})


@pytest.mark.parametrize("name", UNITS)
def test_every_metric_of_cloudwatch_is_documented(name):
    assert f"`{name}`" in PAGE


def test_every_health_check_is_documented_with_its_limits():
    checks = [
        one for one in vars(health).values()
        if isinstance(one, type) and issubclass(one, HealthCheck) and one is not HealthCheck
    ]  # fmt: skip
    assert len(checks) == 4
    for check in checks:
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{check.__name__}`"))
        for name in check.__dataclass_fields__:
            assert f"`{name}={getattr(check, name)}`" in line.replace("=300`", "=300.0`")


@pytest.mark.django_db(transaction=True)
def test_the_view_of_the_page_has_a_page_to_show(sqlite_file, settings):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    blocks = re.findall(
        r"```python\n(.*?)```", PAGE.partition("## django-health-check")[2], re.DOTALL
    )
    names = {}
    for block in blocks[:2]:
        exec(compile(block, "docs/observe.md", "exec"), names)
    apps = [app for app in names["INSTALLED_APPS"] if app is not ...]
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *apps]
    backend = "django.template.backends.django.DjangoTemplates"
    settings.TEMPLATES = [{"BACKEND": backend, "APP_DIRS": True}]
    (route,) = names["urlpatterns"]
    response = async_to_sync(route.callback)(RequestFactory().get("/", headers={"Accept": "*/*"}))
    assert "Start: manage.py kinesis_relay" in response.render().content.decode()
    assert response.headers["Content-Type"].startswith("text/html")


def test_every_field_of_a_log_line_is_documented():
    table = PAGE.partition("| field | is |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) == set(NAMES)
    assert not set(NAMES) & set(vars(logging.makeLogRecord({})))


def test_a_field_that_is_not_documented_is_refused():
    with pytest.raises(AssertionError):
        fields(other=1)


def examples():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return [block for block in blocks if "LOGGING = {" in block]


@pytest.mark.parametrize("number", [0, 1], ids=["json", "structlog"])
def test_the_examples_of_logging_write_the_fields(number, capsys):
    names = {}
    exec(compile(examples()[number], "docs/observe.md", "exec"), names)
    ours = logging.getLogger("kinesis_bridge")
    level = ours.level
    logging.config.dictConfig(names["LOGGING"])
    try:
        StreamState("orders").failed(DENIED)
    finally:
        for handler in list(ours.handlers):
            ours.removeHandler(handler)
        ours.setLevel(level)

    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert document["stream"] == "orders"
    assert (document["error"], document["code"], document["side"]) == (
        "stream-denied-caller",
        "AccessDeniedException",
        "account B",
    )
    assert document["seconds"] == 0
    assert "takes no events" in document.get("message", document.get("event", ""))
