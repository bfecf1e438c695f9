"""A Firehose stream of account B behind the same contract: PutRecordBatch, and no order."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import transaction

from benchmarks.sink import Sink
from kinesis_bridge import get_client, get_session, publish
from kinesis_bridge.client import producers
from kinesis_bridge.conf import get_config
from kinesis_bridge.event import PutResult, Record
from kinesis_bridge.exceptions import StreamError
from kinesis_bridge.tail import Reader
from tests.support.aws import bridge

ARN = "arn:aws:firehose:eu-west-1:222222222222:deliverystream/lake"
ROLE = "arn:aws:iam::222222222222:role/EventWriter"
KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
def emulated(settings, fresh):
    settings.KINESIS_BRIDGE = {
        "SOURCE": "/tests",
        "ROLES": {"writer": {"ROLE_ARN": ROLE}},
        "STREAMS": {"default": {"STREAM": ARN, "ROLE": "writer", "DELIVERY": "direct"}},
        "LOCAL_AWS": True,
        "LOCAL_AWS_URL": "http://127.0.0.1:9",
    }


def delivered() -> bytes:
    s3 = get_session("writer").client("s3")
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket="lake-delivered")["Contents"]]
    bodies = [s3.get_object(Bucket="lake-delivered", Key=key)["Body"].read() for key in keys]
    return b"".join(bodies)


@pytest.mark.django_db(transaction=True)
def test_the_same_events_arrive_where_firehose_delivers_to(emulated):
    with transaction.atomic():
        event = publish("shop.order.created", {"id": 1}, key="k")
    arrived = json.loads(delivered())
    assert (arrived["id"], arrived["data"]) == (event.id, {"id": 1})


def test_every_record_gets_firehoses_record_id(emulated):
    landed = get_client().put_records([("k", b"a"), ("k", b"b")])
    assert [result.shard_id for result in landed] == ["", ""]
    assert len({result.sequence_number for result in landed}) == 2


def test_send_kinesis_test_sends_and_reads_nothing_back(emulated, capsys):
    call_command("send_kinesis_test", "--json")
    report = json.loads(capsys.readouterr().out)
    assert (report["stream"], report["read_back"]) == ("lake", None)
    assert report["account"] == "222222222222"


def test_it_cannot_be_read_back(emulated):
    with pytest.raises(ImproperlyConfigured, match="Firehose stream, which cannot be read back"):
        Reader(get_config().stream("default"))


@pytest.fixture
def sink(monkeypatch, settings, fresh):
    with Sink(streams=("lake",), process=False) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTSITE11111111")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-tests")
        config = bridge()
        config["STREAMS"]["default"] = {"STREAM": ARN, "ROLE": "writer", "DELIVERY": "direct"}
        settings.KINESIS_BRIDGE = config
        yield running


def send(records):
    return producers["default"].send(records, seconds=5)


def test_501_records_go_in_two_requests_one_key_or_not(sink):
    answers = send([Record("same", b"%d" % n) for n in range(501)])
    assert all(isinstance(answer, PutResult) for answer in answers)
    assert sink.stats()["operations"]["PutRecordBatch"] == 2
    assert sorted(int(a.data) for a in sink.accepted()) == list(range(501))


@pytest.mark.parametrize(("size", "requests"), [(MIB - 24 * KIB, 2), (800 * KIB, 1)])
def test_no_request_holds_more_than_4_mib(sink, size, requests):
    send([Record("k", bytes(size)) for _ in range(5)])
    assert sink.stats()["operations"]["PutRecordBatch"] == requests


def test_only_what_failed_is_sent_again(sink):
    sink.set_faults("internal=0.3", seed=3)
    answers = send([Record("k", b"%d" % n) for n in range(300)])
    assert all(isinstance(answer, PutResult) for answer in answers)
    assert sorted(int(a.data) for a in sink.accepted()) == list(range(300))


def test_a_missing_delivery_stream_is_explained(sink):
    sink.set_faults("not_found=1")
    answer = send([Record("k", b"x")])[0]
    assert isinstance(answer.error, StreamError)
    assert "'lake'" in str(answer.error)
