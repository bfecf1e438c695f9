"""CloudWatch's embedded metric format: lines that are valid, added up, and written at the end."""

import json
import logging
import subprocess
import sys
import textwrap

import jsonschema
import pytest
from django.core.exceptions import ImproperlyConfigured

from benchmarks.sink import Sink
from kinesis_bridge.contrib.emf import recorder as module
from kinesis_bridge.contrib.emf.lines import MAX_VALUES, UNITS, Ages, Numbers
from kinesis_bridge.contrib.emf.options import Options, read_options
from kinesis_bridge.contrib.emf.recorder import Recorder
from tests.support.aws import ROOT, environment
from tests.support.observers import observing
from tests.support.outbox import OutboxOn, dead, waiting
from tests.support.producer import events
from tests.support.relay import fill, going_to, left, running
from tests.support.servers import wait_for

TEXT = {"type": "string", "minLength": 1}
# "Embedded metric format specification" and its schema, Amazon CloudWatch User Guide.
SCHEMA = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "properties": {
                            "Namespace": {**TEXT, "maxLength": 255},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "maxItems": 30,
                                    "items": {**TEXT, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "properties": {
                                        "Name": {**TEXT, "maxLength": 1024},
                                        "Unit": {"enum": ["Count", "Bytes", "Seconds"]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}


def checked(line):
    """The document, once it is what CloudWatch takes: every target is there, and a number."""
    document = json.loads(line)
    jsonschema.validate(document, SCHEMA)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    for name in directive["Dimensions"][0]:
        assert isinstance(document[name], str)
        assert document[name].isascii()
    for metric in directive["Metrics"]:
        value = document[metric["Name"]]
        values = value if isinstance(value, list) else [value]
        assert 0 < len(values) <= 100
        assert all(type(one) in {int, float} for one in values)
    return document


@pytest.fixture
def sink():
    with Sink(shards=2, max_record_bytes=4000) as running_sink:
        yield running_sink


class TestLines:
    def test_every_metric_has_a_unit_and_fits_into_one_directive(self):
        numbers = Numbers()
        numbers.counts.update(dict.fromkeys(UNITS, 1))
        numbers.ages.add([0.5])
        document = checked(numbers.line("Shop", {"Stream": "default"}, 1700000000.5))
        assert document["_aws"]["Timestamp"] == 1700000000500
        assert document["Stream"] == "default"
        assert document["DeliverySeconds"] == [0.5]

    def test_a_dimension_is_ascii_whatever_the_alias(self):
        numbers = Numbers()
        numbers.counts["RecordsSent"] = 1
        document = checked(numbers.line("Shop", {"Stream": "注文-1"}, 1.0))
        assert document["Stream"] == r"\u6ce8\u6587-1"

    def test_a_few_ages_are_kept_as_they_are(self):
        ages = Ages()
        ages.add([3.0, 1.0, 2.0])
        assert ages.values() == [1.0, 2.0, 3.0]
        assert Ages().values() == []

    def test_many_ages_keep_their_quantiles_and_their_oldest_one(self):
        ages = Ages()
        for batch in range(100):  # batches of different sizes: most events are young
            size = 1000 if batch % 2 else 10
            ages.add([0.1] * size if batch % 2 else [9.0] * size)
        ages.add([30.0])
        values = ages.values()
        assert len(values) == MAX_VALUES
        assert values[-1] == 30.0
        assert values[97] == 0.1  # 500 of 50,500 are of 9 s: the last hundredth
        assert values == sorted(values)


class TestOptions:
    def test_they_have_defaults(self, settings):
        assert read_options() == Options(namespace="KinesisBridge", interval=60.0, logger=None)
        settings.KINESIS_BRIDGE_EMF = {"NAMESPACE": "Shop", "INTERVAL": 10, "LOGGER": "emf"}
        assert read_options() == Options(namespace="Shop", interval=10, logger="emf")

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ([], "must be a dict"),
            ({"NAMESPACES": "x"}, "has no NAMESPACES; there are NAMESPACE, INTERVAL, LOGGER"),
            ({"NAMESPACE": 1}, r'\["NAMESPACE"\] must be 1 to 255 ASCII'),
            ({"NAMESPACE": ""}, r'\["NAMESPACE"\] must be 1 to 255 ASCII'),
            ({"NAMESPACE": " "}, r'\["NAMESPACE"\] must be 1 to 255 ASCII'),
            ({"NAMESPACE": "x" * 256}, r'\["NAMESPACE"\] must be 1 to 255 ASCII'),
            ({"NAMESPACE": "注文"}, r'\["NAMESPACE"\] must be 1 to 255 ASCII'),
            ({"NAMESPACE": "AWS/Kinesis"}, r'\["NAMESPACE"\] must be 1 to 255 ASCII'),
            ({"NAMESPACE": ":Shop"}, r'\["NAMESPACE"\] must be 1 to 255 ASCII'),
            ({"INTERVAL": 0}, r'\["INTERVAL"\] must be seconds'),
            ({"INTERVAL": True}, r'\["INTERVAL"\] must be seconds'),
            ({"LOGGER": 1}, r'\["LOGGER"\] must be the name'),
        ],
    )
    def test_wrong_ones_are_refused(self, settings, given, says):
        settings.KINESIS_BRIDGE_EMF = given
        with pytest.raises(ImproperlyConfigured, match=says) as raised:
            read_options()
        assert "Example: " in str(raised.value)


@pytest.mark.django_db(transaction=True)
def test_an_interval_is_a_line_for_each_outbox_with_what_waits(sqlite_file, settings, capsys):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    waiting(sqlite_file)
    dead(sqlite_file)
    recorder = Recorder(Options(interval=3600))
    of = (("Stream", "default"), ("Database", sqlite_file))
    recorder.watch([sqlite_file])
    for sent in (3, 4):
        recorder.add(of, {"EventsSent": sent, "EventsRetried": 0}, [0.1] * sent)
    recorder.flush()
    recorder.flush()

    first, *others = [checked(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["EventsSent"], first["EventsRetried"]) == (7, 0)
    assert first["DeliverySeconds"] == [0.1] * 7
    assert (first["BacklogEvents"], first["DeadLetters"]) == (1, 1)
    assert (first["Stream"], first["Database"]) == ("default", sqlite_file)
    streams = settings.KINESIS_BRIDGE["STREAMS"]
    assert len(others) == 2 * len(streams) - 1  # without anything new only what waits is told
    assert all("EventsSent" not in document for document in others)


def test_a_logger_gets_them_instead(caplog, capsys):
    caplog.set_level(logging.INFO, "emf")
    recorder = Recorder(Options(interval=1, logger="emf"))
    recorder.add((("Stream", "default"),), {"RecordsSent": 1})
    assert wait_for(lambda: caplog.records)
    recorder.end()
    assert checked(caplog.records[0].getMessage())["RecordsSent"] == 1
    assert capsys.readouterr().out == ""


def test_a_stdout_that_is_closed_is_logged(caplog, monkeypatch):
    class Closed:
        def write(self, _):
            raise BrokenPipeError("closed")

    monkeypatch.setattr(sys, "stdout", Closed())
    recorder = Recorder(Options(interval=3600))
    recorder.add((("Stream", "default"),), {"RecordsSent": 1})
    recorder.end()
    assert "could not be written" in caplog.text


SENDS = """
    import os, django
    django.setup()
    from kinesis_bridge import get_client
    get_client().put_records([("k", b"abc"), ("l", b"de")])
    if not os.fork():  # what the parent counted is not the child's
        get_client().put_records([("k", b"x")])
        raise SystemExit
    os.wait()
"""


def test_a_process_writes_the_rest_when_it_ends_and_its_child_only_its_own(tmp_path, sink):
    env = environment(
        tmp_path,
        DJANGO_SETTINGS_MODULE="tests.observed_settings",
        OBSERVED_BY="kinesis_bridge.contrib.emf",
        AWS_ENDPOINT_URL=sink.url,
        AWS_ACCESS_KEY_ID="AKIATESTSITE00000000",
        AWS_SECRET_ACCESS_KEY="secret-of-the-site-itself-0123456789abcd",
        KINESIS_REGION="us-east-1",
    )
    # Of Python 3.12 and later, on fork() beside threads: as servers do that load the site first.
    quiet = ["-W", "ignore::DeprecationWarning"]
    command = [sys.executable, *quiet, "-c", textwrap.dedent(SENDS)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    documents = [checked(line) for line in done.stdout.splitlines()]
    assert [document["RecordsSent"] for document in documents] == [1, 2]
    assert documents[1]["BytesSent"] == 5 + 2
    assert {document["Stream"] for document in documents} == {"default"}


@pytest.mark.django_db(transaction=True)
def test_a_relay_counts_by_stream_and_database(sqlite_file, settings, sink, capsys):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    settings.KINESIS_BRIDGE_EMF = {"INTERVAL": 3600}
    fill(sqlite_file, events(20, 5))
    waiting(sqlite_file, key="too large", payload=b"x" * 5000)
    with going_to(sink), observing(module.connect, "kinesis_bridge.contrib.emf"):
        with running(sqlite_file):
            assert wait_for(lambda: not left(sqlite_file))
        module._recorder[0].flush()
        module._recorder[0].end()

    by_dimensions = {
        (one["Stream"], one.get("Database")): one
        for one in map(checked, capsys.readouterr().out.splitlines())
    }
    assert by_dimensions["default", None]["RecordsSent"] == 20
    outbox = by_dimensions["default", sqlite_file]
    assert (outbox["EventsSent"], outbox["EventsDeadLettered"]) == (20, 1)
    assert len(outbox["DeliverySeconds"]) == 20
    assert (outbox["BacklogEvents"], outbox["DeadLetters"]) == (0, 1)
