"""A Prometheus scrapes a relay and a site: each panel and rule of the documents has its data."""

import json
import re
from contextlib import contextmanager
from pathlib import Path

import prometheus_client
import pytest

from benchmarks.sink import Sink
from kinesis_bridge.contrib.prometheus import metrics
from kinesis_bridge.event import Record
from tests.support.outbox import OutboxOn
from tests.support.producer import events
from tests.support.prometheus import Prometheus
from tests.support.relay import fill, left
from tests.support.relay_process import relay, url_of
from tests.support.servers import HOST, wait_for

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text())
TOO_LARGE = Record("large", b"x" * (1 << 20))  # with its key above the stream's limit

pytestmark = pytest.mark.skipif(Prometheus.missing() != "", reason=Prometheus.missing())


@pytest.fixture
def outbox(sqlite_file, settings, django_db_blocker):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    with django_db_blocker.unblock():
        yield sqlite_file


@contextmanager
def site():
    """What the site's own process serves: it alone publishes."""
    registry = prometheus_client.CollectorRegistry()  # without what other tests have registered
    registry.register(metrics.PUBLISHED)
    server, thread = prometheus_client.start_http_server(0, HOST, registry)
    try:
        yield f"{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def queries():
    """Panel and query -> the query, its variables filled in as Grafana does, and its legend."""
    return {
        f"{panel['title']} {target['refId']}": (
            target["expr"].replace("$stream", ".*").replace("$__rate_interval", "30s"),
            target["legendFormat"],
        )
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }


def test_every_panel_and_rule_has_its_data(outbox, tmp_path):
    role = "arn:aws:iam::222222222222:role/EventWriter"
    with (
        Sink(shards=2) as sink,
        relay(
            outbox, sink, tmp_path, "--health-port=0",
            observed_by="kinesis_bridge.contrib.prometheus", KINESIS_ROLE_ARN=role,
        ) as child,
        site() as at_site,
    ):  # fmt: skip
        targets = {"relay": url_of(child).removeprefix("http://"), "site": at_site}
        with Prometheus(targets, DOCS / "prometheus-alerts.yml") as prometheus:
            assert wait_for(lambda: prometheus.ask("kinesis_bridge_relays"))
            metrics.PUBLISHED.labels("default").inc()
            sink.set_faults("http500:next=1")
            fill(outbox, [*events(50, 5), TOO_LARGE])
            assert wait_for(lambda: not left(outbox))
            missing = dict(queries())

            def all_there():
                for name, (query, _) in list(missing.items()):
                    if prometheus.ask(query):
                        del missing[name]
                return not missing

            assert wait_for(all_there), missing
            answers = {name: prometheus.ask(query) for name, (query, _) in queries().items()}
            [variable] = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
            metric, label = re.fullmatch(
                r"label_values\((\w+), (\w+)\)", variable["query"]
            ).groups()
            streams = prometheus.values(label, metric)
            rules = prometheus.rules()

    for name, (_, legend) in queries().items():
        named = set(re.findall(r"\{\{(\w+)\}\}", legend))
        for labels, _ in answers[name]:
            assert named & set(labels) or not labels, (name, legend, labels)
    assert answers["Relays A"] == [({"database": "default"}, 1)]
    assert answers["Dead letters A"] == [({}, 1)]
    assert answers["Backlog A"] == [({"stream": "default", "database": "default"}, 0)]
    [(_, acknowledged)] = answers["Events published and acknowledged B"]
    assert acknowledged > 0
    assert {labels["code"] for labels, _ in answers["Failures B"]} == {"InvalidArgumentException"}
    assert streams == ["default"]
    assert len(rules) == 9
    assert {(rule["health"], rule.get("lastError")) for rule in rules} == {("ok", None)}
