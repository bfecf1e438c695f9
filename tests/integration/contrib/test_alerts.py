"""docs/prometheus-alerts.yml, judged by Prometheus' own tool: when a rule fires, and when not."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not on this machine (Debian: apt-get install prometheus)",
)

PATH = Path(__file__).parents[3] / "docs" / "prometheus-alerts.yml"
RULES = {rule["alert"]: rule for rule in yaml.safe_load(PATH.read_text())["groups"][0]["rules"]}
OF = '{stream="orders",database="default"}'
STREAM = {"stream": "orders"}
DATABASE = {"database": "default"}
BOTH = {**STREAM, **DATABASE}


@dataclass
class Case:
    alert: str
    series: dict[str, str]
    """Name and labels -> values, one a minute, in promtool's notation."""
    at: str
    fires: dict[str, str] | None
    """The labels; None where it must be silent."""
    summary: str = ""


CASES = {
    "a young event": Case(
        "KinesisBridgeOldestEventTooOld",
        {f"kinesis_bridge_backlog_oldest_seconds{OF}": "300x30"}, "30m", None,
    ),
    "an old event, not long enough": Case(
        "KinesisBridgeOldestEventTooOld",
        {f"kinesis_bridge_backlog_oldest_seconds{OF}": "0 301x30"}, "2m", None,
    ),
    "an old event": Case(
        "KinesisBridgeOldestEventTooOld",
        {f"kinesis_bridge_backlog_oldest_seconds{OF}": "0 301x30"}, "5m", BOTH,
        "The oldest event of stream orders waits for 5m 1s",
    ),
    "an old event of a stream that is paused": Case(
        "KinesisBridgeOldestEventTooOld",
        {
            f"kinesis_bridge_backlog_oldest_seconds{OF}": "301x30",
            f"kinesis_bridge_stream_paused{OF}": "1x30",
        },
        "20m", None,
    ),
    "an old event, paused in another database": Case(
        "KinesisBridgeOldestEventTooOld",
        {
            f"kinesis_bridge_backlog_oldest_seconds{OF}": "301x30",
            f"kinesis_bridge_stream_paused{OF}": "0x30",
            'kinesis_bridge_stream_paused{stream="orders",database="other"}': "1x30",
        },
        "20m", BOTH, "The oldest event of stream orders waits for 5m 1s",
    ),
    "more and more of a stream that is paused": Case(
        "KinesisBridgeBacklogGrows",
        {
            f"kinesis_bridge_backlog_events{OF}": "0+100x60",
            f"kinesis_bridge_stream_paused{OF}": "1x60",
        },
        "40m", None,
    ),
    "much waits, and it falls": Case(
        "KinesisBridgeBacklogGrows",
        {f"kinesis_bridge_backlog_events{OF}": "9000-100x60"}, "40m", None,
    ),
    "much waits, and it rises": Case(
        "KinesisBridgeBacklogGrows",
        {f"kinesis_bridge_backlog_events{OF}": "0+100x60"}, "40m", BOTH,
        "4k events of stream orders wait, and more each minute",
    ),
    "no dead letter": Case(
        "KinesisBridgeDeadLetters", {f"kinesis_bridge_dead_letters{OF}": "0x10"}, "5m", None,
    ),
    "a dead letter, told by two processes": Case(
        "KinesisBridgeDeadLetters",
        {
            'kinesis_bridge_dead_letters{stream="orders",database="default",job="web"}': "2x10",
            'kinesis_bridge_dead_letters{stream="orders",database="default",job="relay"}': "2x10",
        },
        "5m", BOTH, "2 events of stream orders can never pass as they are",
    ),
    "a relay": Case(
        "KinesisBridgeRelayDown", {'kinesis_bridge_relays{database="default"}': "1x10"}, "5m", None,
    ),
    "no relay, says the site": Case(
        "KinesisBridgeRelayDown", {'kinesis_bridge_relays{database="default"}': "1 0x10"}, "5m",
        DATABASE, "No relay runs for database default",
    ),
    "nobody says anything": Case(
        "KinesisBridgeRelayDown", {"up": "0x10"}, "5m", {}, "No relay runs",
    ),
    "a stream that rested once": Case(
        "KinesisBridgeStreamDown",
        {'kinesis_bridge_stream_down{stream="orders"}': "0 1 1 0x20"}, "10m", None,
    ),
    "a stream that rests": Case(
        "KinesisBridgeStreamDown",
        {'kinesis_bridge_stream_down{stream="orders"}': "0 1x20"}, "10m", STREAM,
        "Stream orders takes no events",
    ),
    "a stream that rested as it was paused": Case(
        "KinesisBridgeStreamDown",
        {
            'kinesis_bridge_stream_down{stream="orders"}': "1x20",
            f"kinesis_bridge_stream_paused{OF}": "1x20",
        },
        "10m", None,
    ),
    "a stream that rests, and is paused in one database of two": Case(
        "KinesisBridgeStreamDown",
        {
            'kinesis_bridge_stream_down{stream="orders"}': "1x20",
            f"kinesis_bridge_stream_paused{OF}": "0x20",
            'kinesis_bridge_stream_paused{stream="orders",database="other"}': "1x20",
        },
        "10m", STREAM, "Stream orders takes no events",
    ),
    "paused for a while": Case(
        "KinesisBridgeStreamPaused",
        {
            f"kinesis_bridge_stream_paused{OF}": "1x90",
            f"kinesis_bridge_backlog_events{OF}": "5x90",
        },
        "50m", None,
    ),
    "paused, and nothing waits": Case(
        "KinesisBridgeStreamPaused",
        {
            f"kinesis_bridge_stream_paused{OF}": "1x90",
            f"kinesis_bridge_backlog_events{OF}": "0x90",
        },
        "70m", None,
    ),
    "paused and forgotten": Case(
        "KinesisBridgeStreamPaused",
        {
            f"kinesis_bridge_stream_paused{OF}": "1x90",
            f"kinesis_bridge_backlog_events{OF}": "5x90",
        },
        "70m", BOTH, "Stream orders is paused, and events wait",
    ),
    "throttled now and then": Case(
        "KinesisBridgeThrottled",
        {'kinesis_bridge_records_throttled_total{stream="orders"}': "0+30x60"}, "40m", None,
    ),
    "throttled": Case(
        "KinesisBridgeThrottled",
        {'kinesis_bridge_records_throttled_total{stream="orders"}': "0+120x60"}, "40m", STREAM,
        "AWS throttles 2 records/s of stream orders",
    ),
    "order": Case(
        "KinesisBridgeOrderViolated",
        {'kinesis_bridge_order_violations_total{stream="orders"}': "0x60"}, "40m", None,
    ),
    "order violated": Case(
        "KinesisBridgeOrderViolated",
        {'kinesis_bridge_order_violations_total{stream="orders"}': "0x10 1x50"}, "40m", STREAM,
        "Sequence numbers of a key of stream orders did not rise",
    ),
    "a database that is read": Case(
        "KinesisBridgeDatabaseUnreadable",
        {'kinesis_bridge_database_up{database="default"}': "1x10"}, "5m", None,
    ),
    "a database that cannot be read": Case(
        "KinesisBridgeDatabaseUnreadable",
        {'kinesis_bridge_database_up{database="default"}': "0x10"}, "5m", DATABASE,
        "The outbox of database default cannot be read",
    ),
}  # fmt: skip


def expected(case):
    if case.fires is None:
        return []
    rule = RULES[case.alert]
    said = rule["annotations"]["description"]
    filled = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: case.fires[label[1]], said)
    return [
        {
            "exp_labels": {**case.fires, **rule["labels"]},
            "exp_annotations": {"summary": case.summary, "description": filled},
        }
    ]


def test_every_rule_is_seen_to_fire_and_to_be_silent():
    assert {case.alert for case in CASES.values() if case.fires is not None} == set(RULES)
    assert {case.alert for case in CASES.values() if case.fires is None} == set(RULES)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_fires_when_it_should(name, tmp_path):
    case = CASES[name]
    test = {
        "interval": "1m",
        "input_series": [{"series": k, "values": v} for k, v in case.series.items()],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected(case)}
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(PATH)], "evaluation_interval": "1m", "tests": [test]})
    )

    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
