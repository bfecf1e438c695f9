"""``manage.py kinesis_tail``: the stream read back, by a process of its own."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from kinesis_bridge import get_client
from kinesis_bridge.aggregation import pack
from kinesis_bridge.event import Record
from tests.support.aws import Answers, AwsServer, bridge, environment, start_manage


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def aws(answers, monkeypatch, settings):
    with AwsServer(answers) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge()
        yield server


def tail(*arguments):
    out = StringIO()
    call_command("kinesis_tail", *arguments, stdout=out)
    return out.getvalue()


def events(*arguments):
    return json.loads(tail("--json", *arguments))["events"]


def put(*payloads):
    get_client().put_records([("k", payload) for payload in payloads])


def test_one_event_a_line(aws):
    put(b'{"a":1}', "text ü", b"\xff")

    assert tail().splitlines() == [
        'shardId-000000000000 k {"a":1}',
        "shardId-000000000000 k text ü",
        "shardId-000000000000 k \\xff",
    ]


def test_json_is_one_document_with_the_data_parsed(aws):
    put({"a": 1})
    (event,) = events()
    assert datetime.fromisoformat(event.pop("arrived")) <= datetime.now(UTC)
    assert event == {
        "shard_id": "shardId-000000000000",
        "sequence_number": "1",
        "partition_key": "k",
        "event": {"a": 1},
    }


def test_an_empty_stream_is_an_empty_document(aws):
    assert tail("--json") == '{\n  "events": []\n}\n'
    assert tail() == ""


def test_limit(aws):
    put(b"1", b"2", b"3")
    assert [event["event"] for event in events("--limit", "2")] == [1, 2]


def test_from_latest_shows_nothing_old(aws):
    put(b"1")
    assert events("--from", "latest") == []


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("2026-11-22T09:00:00Z", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("2026-11-22T10:00:00+01:00", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("2026-11-22T09:00:00", datetime(2026, 11, 22, 9, tzinfo=UTC)),
    ],
)
def test_from_a_time_asks_for_that_time(aws, text, asked):
    tail("--from", text)

    (request,) = aws.of("GetShardIterator")
    assert request.parameters["ShardIteratorType"] == "AT_TIMESTAMP"
    assert request.parameters["Timestamp"] == asked.timestamp()


def test_from_a_time_on_the_emulator(fresh):
    put(b"1")
    assert [event["event"] for event in events("--from", "2020-01-01T00:00:00Z")] == [1]
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert events("--from", later) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "yesterday"], "--from is oldest, latest or a time like 2026-11-22T09:00:00Z"),
        (["--from", "2026-13-45T00:00:00Z"], "'2026-13-45T00:00:00Z'"),
        (["--limit", "0"], "--limit must be at least 1, not 0"),
        (["--limit", "-1"], "--limit must be at least 1, not -1"),
        (["--json", "--follow"], "with --follow give --limit"),
        (["--stream", "nope"], "has no 'nope'; there are: 'default'"),
    ],
    ids=["text", "date", "zero", "negative", "endless", "alias"],
)
def test_what_is_asked_wrongly_is_said_before_aws_is_asked(aws, arguments, said):
    with pytest.raises(CommandError) as caught:
        tail(*arguments)
    assert said in str(caught.value)
    assert aws.requests == []


def test_a_packed_record_is_shown_event_by_event(aws):
    put(pack([Record("a", b'{"n":1}'), Record("b", b'{"n":2}')]))

    shown = [(event["partition_key"], event["event"]) for event in events()]
    assert shown == [("a", {"n": 1}), ("b", {"n": 2})]
    assert [event["event"] for event in events("--limit", "1")] == [{"n": 1}]


def test_following_shows_what_another_process_puts_as_it_comes(aws, answers, tmp_path):
    put(b"before")
    process = start_manage("kinesis_tail", "--follow", env=environment(tmp_path, **aws.environment))
    try:
        assert process.stdout.readline().endswith(" k before\n")
        for payload in (b"one", b"two"):
            put(payload)
            assert process.stdout.readline() == f"shardId-000000000000 k {payload.decode()}\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out, err) == (0, "", "")


def test_following_ends_at_its_limit(aws):
    put(b"1", b"2")
    assert [event["event"] for event in events("--follow", "--limit", "2")] == [1, 2]
