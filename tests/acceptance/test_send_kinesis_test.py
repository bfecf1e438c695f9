"""``manage.py send_kinesis_test``: the way that worked, and the hop that did not."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.support.aws import (
    ROLE_ARN,
    Answers,
    AwsServer,
    bridge,
    closed_port,
    environment,
    kinesis_error,
    manage,
    python,
    sts_error,
)

FIELDS = [
    "stream",
    "role_arn",
    "caller_arn",
    "assumed_role_arn",
    "account",
    "shard_id",
    "sequence_number",
    "partition_key",
    "bytes",
    "sent",
    "read_back",
    "elapsed_ms",
]
DENIED = (
    "User: arn:aws:sts::111111111111:assumed-role/Site/i-1 is not authorized to perform:"
    f" sts:AssumeRole on resource: {ROLE_ARN}"
)


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def aws(answers, monkeypatch, settings):
    with AwsServer(answers) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge(EXTERNAL_ID="demo-shop")
        yield server


def send(*arguments):
    """Run the command in this process; return its one document."""
    out = StringIO()
    call_command("send_kinesis_test", "--json", *arguments, stdout=out)
    return json.loads(out.getvalue())


def fail(*arguments):
    """Run the command, which fails; return its document and what it says to people."""
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("send_kinesis_test", "--json", *arguments, stdout=out)
    assert caught.value.returncode == 1
    return json.loads(out.getvalue())["error"], str(caught.value)


# The way that works


def test_on_the_emulator_the_record_is_read_back_from_account_b(tmp_path):
    done = manage(
        "send_kinesis_test", "--json", env=environment(tmp_path, KINESIS_LOCAL_AWS="True")
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == FIELDS
    assert report["stream"] == "orders"
    assert report["role_arn"] == ROLE_ARN
    assert report["caller_arn"] == "arn:aws:iam::111111111111:user/site"
    assert report["assumed_role_arn"].startswith(
        "arn:aws:sts::222222222222:assumed-role/EventWriter/demo_project-"
    )
    assert report["account"] == "222222222222"
    assert report["shard_id"].startswith("shardId-")
    assert int(report["sequence_number"]) >= 0
    assert report["partition_key"]
    assert report["bytes"] > len(report["partition_key"])
    assert report["sent"] == 1
    assert report["read_back"] is True
    assert 0 < report["elapsed_ms"] < 60_000


def test_people_see_each_hop(tmp_path):
    done = manage("send_kinesis_test", env=environment(tmp_path, KINESIS_LOCAL_AWS="True"))

    assert done.returncode == 0, done.stderr
    shown = [line.split("  ", 1)[-1] for line in done.stdout.splitlines()]
    labels = [line.strip().split("  ")[0] for line in done.stdout.splitlines()]
    assert labels == [
        "caller in A",
        "role in B",
        "session",
        "stream",
        "put",
        "read back",
        "time",
    ], shown
    for fact in ("111111111111:user/site", ROLE_ARN, "orders in eu-west-1", "shardId-", "yes"):
        assert fact in done.stdout


def test_data_key_and_count_are_what_is_sent(aws, answers):
    report = send("--count", "3", "--key", "customer-9", "--data", '{"a": [1, null]}')

    assert (report["sent"], report["partition_key"], report["read_back"]) == (3, "customer-9", True)
    events = [json.loads(payload) for payload in answers.payloads]
    assert [event["data"] for event in events] == [{"a": [1, None]}] * 3
    assert {event["type"] for event in events} == {"kinesis_bridge.test"}
    assert len({event["id"] for event in events}) == 3
    assert report["bytes"] == sum(len(p) + len("customer-9") for p in answers.payloads)


def test_without_a_key_the_records_spread(aws, answers):
    send("--count", "20")
    assert len({record["PartitionKey"] for record in answers.records}) == 20


def test_not_reading_back_is_null_and_asks_nothing(aws):
    assert send("--no-read-back")["read_back"] is None
    assert aws.count("GetShardIterator") == aws.count("GetRecords") == 0


@pytest.mark.parametrize("action", ["GetShardIterator", "GetRecords"])
def test_a_role_that_may_only_write_is_fine(aws, answers, action):
    answers.replaced[action] = kinesis_error("AccessDeniedException", "not authorized")
    assert send()["read_back"] is None


def test_a_record_that_is_not_the_one_sent_is_not_read_back(aws, answers):
    def other(request):
        answers.records[0]["Data"] = "b3RoZXI="

    answers.replaced["GetRecords"] = other
    assert send()["read_back"] is False


def test_without_a_role_the_caller_writes(aws, settings):
    settings.KINESIS_BRIDGE = {"STREAMS": {"default": {"STREAM": "orders", "REGION": "eu-west-1"}}}

    report = send()

    assert report["role_arn"] is report["assumed_role_arn"] is None
    assert report["account"] == "111111111111"
    assert aws.count("AssumeRole") == 0


# What was asked wrongly


def test_data_that_is_no_json_is_quoted_with_what_is_wrong(tmp_path):
    done = manage("send_kinesis_test", "--data", "{bad", env=environment(tmp_path))

    assert done.returncode == 1
    assert done.stdout == ""
    assert "--data is not JSON:" in done.stderr
    assert "line 1 column" in done.stderr
    assert "'{bad'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "{bad"], "--data is not JSON"),
        (["--count", "0"], "--count must be 1 to 10,000, not 0"),
        (["--count", "10001"], "--count must be 1 to 10,000, not 10001"),
        (["--key", ""], "The partition key is empty"),
        (["--key", "k" * 257], "257 characters"),
        (["--data", json.dumps("x" * (1 << 20))], "takes 1,048,576"),
        (["--stream", "nope"], "has no 'nope'; there are: 'default'"),
    ],
    ids=["json", "none", "many", "empty", "long", "large", "alias"],
)
def test_what_is_asked_wrongly_is_said_and_nothing_is_sent(aws, arguments, said):
    error, text = fail(*arguments)

    assert said in error["message"]
    assert said in text
    assert aws.requests == []


# Each hop


def test_a_denied_assume_role_names_the_role_and_shows_both_documents(tmp_path):
    with AwsServer(Answers(AssumeRole=sts_error("AccessDenied", DENIED))) as server:
        done = manage("send_kinesis_test", env=environment(tmp_path, **server.environment))

    assert done.returncode == 1
    assert ROLE_ARN in done.stderr
    assert "Fix: Compare two documents." in done.stderr
    assert "account A (111111111111)" in done.stderr
    assert "account B (222222222222)" in done.stderr
    caller = "arn:aws:iam::111111111111:role/Site"
    identity = f"account A (111111111111): identity policy of {caller}\n"
    trust = "account B (222222222222): trust policy of role EventWriter\n"
    first, second = (
        json.JSONDecoder().raw_decode(done.stdout.split(title)[1])[0] for title in (identity, trust)
    )
    assert first["Statement"][0]["Resource"] == ROLE_ARN
    assert second["Statement"][0]["Principal"] == {"AWS": caller}
    assert second["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"] == "demo-shop"


def test_a_denied_assume_role_as_json(tmp_path):
    with AwsServer(Answers(AssumeRole=sts_error("AccessDenied", DENIED))) as server:
        done = manage(
            "send_kinesis_test", "--json", env=environment(tmp_path, **server.environment)
        )

    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["name"] == "assume-role-denied"
    assert ROLE_ARN in error["message"]
    assert sorted(title.split(":")[0] for title in error["documents"]) == [
        "account A (111111111111)",
        "account B (222222222222)",
    ]


def test_no_credentials(tmp_path):
    with AwsServer(Answers()) as server:
        done = manage("send_kinesis_test", env=environment(tmp_path, AWS_ENDPOINT_URL=server.url))

    assert done.returncode == 1
    assert "no AWS credentials of account A" in done.stderr
    assert "Who: account A" in done.stderr
    assert "Fix: Give it some" in done.stderr
    assert server.requests == []


def test_a_missing_role(aws, answers):
    # STS says the same of a role that is missing and of one that does not trust the caller.
    answers.replaced["AssumeRole"] = sts_error("AccessDenied", DENIED)
    error, text = fail()
    assert "nor whether the role exists" in error["message"]
    assert "role EventWriter must exist" in text


def test_a_missing_stream(aws, answers):
    answers.replaced["PutRecords"] = kinesis_error("ResourceNotFoundException", "not found")
    error, _ = fail()
    assert error["name"] == "stream-missing"
    for fact in ("'orders'", "222222222222", "eu-west-1"):
        assert fact in error["message"]


def test_a_stream_that_the_role_may_not_write(aws, answers):
    answers.replaced["PutRecords"] = kinesis_error("AccessDeniedException", "not authorized")
    error, _ = fail()
    assert error["name"] == "stream-denied"
    (document,) = error["documents"].values()
    assert document["Statement"][0]["Action"] == ["kinesis:PutRecord", "kinesis:PutRecords"]


def test_a_wrong_region_on_the_emulator_is_a_missing_stream_there(tmp_path):
    """Streams of one name exist per region: in another one there is none."""
    env = environment(tmp_path, KINESIS_LOCAL_AWS="True")
    code = (
        "import os, django; django.setup()\n"
        "from django.conf import settings; from django.core.management import call_command\n"
        "from kinesis_bridge import conf, local\n"
        "from kinesis_bridge.local import Emulator\n"
        "url = Emulator().url\n"
        "bridge = settings.KINESIS_BRIDGE\n"
        "bridge['LOCAL_AWS_URL'] = url\n"
        "bridge['STREAMS']['default']['REGION'] = 'us-west-2'\n"
        "conf.reset()\n"
        "call_command('send_kinesis_test')\n"
    )
    done = python("-c", code, env=env)

    assert done.returncode == 1
    assert "no stream 'orders'" in done.stderr
    assert "region us-west-2" in done.stderr


def test_a_request_signed_for_another_region(aws, answers):
    answers.replaced["PutRecords"] = kinesis_error(
        "InvalidSignatureException",
        "Credential should be scoped to a valid region, not 'eu-west-1'",
    )
    error, _ = fail()
    assert error["name"] == "wrong-region"
    assert "eu-west-1" in error["message"]
    assert "KINESIS_REGION" in error["hint"]


def test_a_refused_connection(aws, monkeypatch):
    url = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    started = time.monotonic()

    error, _ = fail()

    assert time.monotonic() - started < 5
    assert (error["name"], error["side"]) == ("unreachable", "network")
    assert url in error["message"]


def test_a_refused_connection_to_the_stream_only(aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", f"http://127.0.0.1:{closed_port()}")
    started = time.monotonic()

    error, _ = fail()

    assert time.monotonic() - started < 9
    assert error["name"] == "unreachable"
    assert aws.count("AssumeRole") == 1


@pytest.fixture
def silent():
    """The URL of what takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("service", ["STS", "KINESIS"])
def test_what_never_answers_is_named_within_ten_seconds(tmp_path, silent, service):
    with AwsServer(Answers()) as server:
        env = environment(tmp_path, **server.environment, **{f"AWS_ENDPOINT_URL_{service}": silent})
        started = time.monotonic()
        done = manage("send_kinesis_test", "--json", env=env)
        elapsed = time.monotonic() - started

    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["name"] == "no-answer"
    assert silent in error["message"]
    assert elapsed < 10


def test_a_silent_read_back_does_not_take_longer(aws, answers):
    answers.replaced["GetRecords"] = lambda request: time.sleep(4)
    started = time.monotonic()

    error, _ = fail()

    assert error["name"] == "no-answer"
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(("minutes", "said"), [(30, "behind"), (-30, "ahead")])
def test_a_wrong_clock(aws, answers, minutes, said):
    now = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    message = "Signature expired: 20261122T090000Z is now earlier than 20261122T092500Z"
    answers.replaced["GetCallerIdentity"] = sts_error("SignatureDoesNotMatch", message, Date=now)

    error, _ = fail()

    assert (error["name"], error["side"]) == ("clock-skew", "site")
    assert said in error["message"]
    assert any(f"{seconds} seconds" in error["message"] for seconds in range(1797, 1804))


def test_expired_credentials_of_account_a(aws, answers):
    answers.replaced["GetCallerIdentity"] = sts_error("ExpiredToken", "The token is expired")
    error, _ = fail()
    assert (error["name"], error["side"]) == ("credentials-expired", "account A")


def test_an_expired_session_of_the_role(aws, answers):
    answers.replaced["PutRecords"] = kinesis_error("ExpiredTokenException", "The token is expired")
    started = time.monotonic()

    error, _ = fail()

    assert error["name"] == "session-expired"
    assert ROLE_ARN in error["message"]
    assert time.monotonic() - started < 10


def test_a_profile_that_is_not_there(aws, settings):
    settings.KINESIS_BRIDGE = bridge(PROFILE="nowhere")
    error, _ = fail()
    assert error["name"] == "profile-missing"
    assert "'nowhere'" in error["message"]


def test_wrong_settings_are_one_document_too(aws, settings):
    settings.KINESIS_BRIDGE = bridge(DURATION_SECONDS=899)
    error, _ = fail()
    assert "DURATION_SECONDS" in error["message"]
