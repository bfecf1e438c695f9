"""The logging handler: what a record becomes, and that no logger ever waits, raises or recurses."""

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from decimal import Decimal

import pytest
from django.core.checks import run_checks
from django.test import RequestFactory

from benchmarks.sink import Sink
from kinesis_bridge import conf, publish, signals, streams
from kinesis_bridge.logs import KinesisHandler
from kinesis_bridge.testing import capture_events
from tests.support.aws import ROOT, bridge
from tests.testapp.models import Sample
from tests.testapp.rollback import rolled_back

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh")]
KIB = 1024
OPTIONS = {"RETRY_SECONDS": 0.1, "LINGER_MS": 0, "SHUTDOWN_SECONDS": 0.3}


@pytest.fixture
def sink(monkeypatch):
    """AWS; once it has gone, so have the threads that sent there."""
    with Sink(shards=2, streams=("orders", "logs"), seed=3) as sink:
        for name, value in keys_of(sink).items():
            monkeypatch.setenv(name, value)
        yield sink
        conf.reset()
    for thread in threading.enumerate():
        if thread.name.startswith("kinesis-logs-"):
            thread.join(30)
            assert not thread.is_alive()


def configured(delivery="background", **options):
    changed = bridge()
    default = changed["STREAMS"]["default"]
    logs = {**default, "STREAM": "logs", "DELIVERY": delivery, "OPTIONS": options}
    changed["STREAMS"] = {"default": {**default, "DELIVERY": "direct"}, "logs": logs}
    return changed


def keys_of(sink):
    return {"AWS_ENDPOINT_URL": sink.url, "AWS_ACCESS_KEY_ID": "AKIATESTSITE00000000",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-site-itself-0123456789abcd"}  # fmt: skip


@pytest.fixture
def attach(sink, settings, monkeypatch):
    """Send what is logged to the sink, by these options; return the handler."""
    made = []

    def attach(logger="site", handler=None, delivery="background", **options):
        given = OPTIONS | options if delivery == "background" else options
        settings.KINESIS_BRIDGE = configured(delivery, **given)
        made.append((logging.getLogger(logger), handler or KinesisHandler()))
        to, attached = made[-1]
        monkeypatch.setattr(to, "level", logging.DEBUG)
        monkeypatch.setattr(to, "propagate", False)  # pytest's own handler makes records, too
        logging.root.manager._clear_cache()
        to.addHandler(attached)
        return attached

    yield attach
    for logger, handler in made:
        logger.removeHandler(handler)
        handler.close()
    logging.root.manager._clear_cache()


def arrived(sink):
    """The events of the logs' stream, once all that was taken is there."""
    assert streams["logs"].flush(10)
    return [json.loads(r.data) for r in sink.accepted() if r.stream == "logs"]


def statistics():
    return streams["logs"].delivery.statistics


def site():
    return logging.getLogger("site")


class Told(Exception):
    pass


# What a record becomes


def test_a_record_is_an_event(attach, sink):
    attach()
    try:
        str(Broken())
    except Told:
        site().exception("Order %s failed", 7, extra={"order": 7, "total": Decimal("4.50")})
    (event,) = arrived(sink)
    assert (event["type"], event["source"]) == ("tests.log", "/tests")
    data = event["data"]
    assert (data["level"], data["logger"], data["message"]) == ("ERROR", "site", "Order 7 failed")
    assert data["exception"].endswith("Told: of it")
    assert "Traceback (most recent call last):" in data["exception"]
    assert (data["module"], data["function"]) == ("test_logs", "test_a_record_is_an_event")
    assert (data["process"], data["thread"]) == (os.getpid(), "MainThread")
    assert data["time"] == event["time"]
    assert data["extra"] == {"order": 7, "total": "4.50"}
    assert f":{os.getpid()}:" in event["partitionkey"]
    assert "truncated" not in data


class Broken:
    def __str__(self):
        raise Told("of it")


def test_an_extra_without_a_small_json_form_is_a_text(attach, sink, django_assert_num_queries):
    cases = {
        "request": (RequestFactory().post("/pay?token=secret", {"card": "4111"}), "POST /pay"),
        "model": (Sample(pk=7), "testapp.Sample 7"),
        "queryset": (Sample.objects.filter(code="x"), "QuerySet of testapp.Sample"),
        "object": (threading, str(threading)),
        "nan": (float("nan"), "nan"),
        "surrogate": ("\udcff", "\\udcff"),
        "broken": (Broken(), "Broken"),
        "large": (["x" * 20_000], f"['{'x' * 255}"),
    }
    attach()
    with django_assert_num_queries(0):
        site().info("x", extra={name: value for name, (value, _) in cases.items()})
    (event,) = arrived(sink)
    assert event["data"]["extra"] == {name: shown for name, (_, shown) in cases.items()}


@pytest.mark.parametrize(
    ("text", "limit"), [("x", KIB), ("\x00", KIB), ("\x00", KIB * KIB)], ids=repr
)
def test_what_is_too_large_arrives_cut(attach, sink, limit, text):
    attach(MAX_RECORD_BYTES=limit)
    site().info(text * limit, extra={"n": 1})
    site().info("next", exc_info=Told(text * limit))
    first, second = (event["data"] for event in arrived(sink))
    assert first["truncated"] is second["truncated"] is True
    assert (text * limit).startswith(first["message"])
    assert len(first["message"]) >= limit // 24
    assert second["message"] == "next"


def test_keys_spread_the_records_and_do_not_where_they_are_packed(attach, sink):
    attach()
    for _ in range(3):
        site().info("x")
    assert len({event["partitionkey"] for event in arrived(sink)}) == 3
    attach("packed", AGGREGATE="key")
    for _ in range(3):
        logging.getLogger("packed").info("x")
    assert streams["logs"].flush(10)
    packed = {r.partition_key for r in sink.accepted() if b'"logger":"packed"' in r.data}
    assert len(packed) == 1


# Past the transaction


def test_what_a_rolled_back_transaction_logged_is_sent_and_its_events_are_not(attach, sink):
    attach()
    with rolled_back():
        site().info("within")
        publish("a.b", {})
        assert len(arrived(sink)) == 1, "without waiting for the end"
    assert [r.stream for r in sink.accepted()] == ["logs"]


# Never by itself


def test_at_debug_of_everything_one_record_causes_no_other(attach, sink):
    handler = attach(logger=None)  # the root
    for name in ("botocore", "urllib3", "kinesis_bridge"):
        logging.getLogger(name).debug("not sent")
    for n in range(3):  # the first opens connections, assumes the role, and so on
        site().info("%s", n)
        assert streams["logs"].flush(10)
    logs = [r for r in sink.accepted() if r.stream == "logs"]
    messages = {
        (e["data"]["logger"], e["data"]["message"]) for e in map(json.loads, (r.data for r in logs))
    }
    of_test = {(logger, text) for logger, text in messages if logger == "site"}
    assert of_test == {("site", "0"), ("site", "1"), ("site", "2")}
    others = {logger.split(".")[0] for logger, _ in messages - of_test}
    assert not others & {"botocore", "boto3", "urllib3", "kinesis_bridge"}
    assert handler.lost == 0


def test_what_is_logged_on_the_sending_threads_is_not_sent(attach, sink):
    attach(logger=None)
    heard = []

    def receive(**_):
        heard.append(threading.current_thread().name)
        site().info("sent some")

    signals.records_sent.connect(receive)
    try:
        site().info("first")
        assert streams["logs"].flush(10)
    finally:
        signals.records_sent.disconnect(receive)
    assert heard
    assert heard[0].startswith("kinesis-logs-")
    assert "sent some" not in [event["data"]["message"] for event in arrived(sink)]


class Talkative:
    def __str__(self):
        site().info("from within")
        return "talkative"


def test_what_is_logged_while_a_record_is_made_is_not_sent(attach, sink):
    attach()
    site().info("%s", Talkative(), extra={"it": Talkative()})
    assert [event["data"]["message"] for event in arrived(sink)] == ["talkative"]


def test_sql_with_its_values_stays_here(attach, sink):
    attach(logger=None)
    logging.getLogger("django.db.backends").debug("SELECT ...; args=('secret',)")
    logging.getLogger("django.request").warning("Not Found")
    assert [e["data"]["logger"] for e in arrived(sink) if "django" in e["data"]["logger"]] == [
        "django.request"
    ]


# Never waits


def test_while_aws_hangs_a_thousand_calls_return_and_the_memory_is_bounded(attach, sink):
    handler = attach(BUFFER_BYTES=256 * KIB, WHEN_FULL="block", READ_TIMEOUT=0.5)
    sink.set_faults("hang=1")

    def log():
        for n in range(1000):
            site().info("%s %s", n, "x" * KIB)

    thread = threading.Thread(target=log, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    seen = statistics()
    assert seen.sent == 0
    assert seen.dropped > 500
    assert seen.accepted + seen.dropped == 1000
    assert seen.buffered_bytes <= 256 * KIB
    assert handler.lost == 0


# Never raises


def test_a_record_that_cannot_be_made_is_told_once_without_what_it_holds(attach, sink, capsys):
    handler = attach()
    for _ in range(3):
        site().info("password %d", "hunter2")
    site().info("fine")
    assert [event["data"]["message"] for event in arrived(sink)] == ["fine"]
    told = capsys.readouterr().err
    assert told.count("KinesisHandler (stream 'logs')") == 1
    assert "test_logs.py" in told
    assert "TypeError" in told
    assert "hunter2" not in told
    assert handler.lost == 3


def test_raise_exceptions_switches_that_off(attach, monkeypatch, capsys):
    handler = attach()
    monkeypatch.setattr(logging, "raiseExceptions", False)
    site().info("%d", "x")
    assert (capsys.readouterr().err, handler.lost) == ("", 1)


# Wrong settings


@pytest.mark.parametrize(
    ("stream", "delivery", "number", "says"),
    [
        ("nowhere", "background", "E060", "there are: 'default', 'logs'"),
        ("logs", "direct", "E061", "whose DELIVERY is 'direct'"),
        ("logs", "outbox", "E061", 'it takes "background"'),
    ],
)
def test_a_stream_that_could_wait_is_refused(attach, capsys, stream, delivery, number, says):
    attach(handler=KinesisHandler(stream=stream), delivery=delivery)
    found = [m for m in run_checks(databases=[]) if m.id == f"kinesis_bridge.{number}"]
    assert len(found) == 1
    assert says in found[0].msg
    site().info("x")
    site().info("y")
    told = capsys.readouterr().err
    assert told.count("ImproperlyConfigured") == 1
    assert says in told


def test_the_right_settings_are_not(attach):
    attach()
    assert [m for m in run_checks(databases=[]) if "LOGGING" in m.msg] == []


def test_captured_events_are_the_sites_own(attach):
    handler = attach()
    with capture_events() as events:
        site().info("x")
        publish("a.b", {})
    assert [event.type for event in events] == ["a.b"]
    assert handler.lost == 0


# From the first to the last moment of a process

SCRIPT = """
import json, logging, os, signal
from django.conf import settings
settings.KINESIS_BRIDGE = json.loads(os.environ["BRIDGE"])
settings.LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "kinesis": {
            "class": "kinesis_bridge.logs.KinesisHandler", "level": "INFO", "stream": "logs"
        },
    },
    "root": {"level": "DEBUG", "handlers": ["kinesis"]},
}
from django.utils.log import configure_logging
configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
settings.LOGGING_CONFIG = None  # not again
for n in range(150):
    logging.info("early")

def forked(work):
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return
    signal.alarm(20)
    work()
    for handler in logging.root.handlers:
        handler.flush()
    os._exit(0)

def before():
    django.setup()
    logging.info("child before set-up")

import django
forked(before)
django.setup()
logging.info("ready")
forked(lambda: logging.info("child"))
print(logging.root.handlers[0].lost)
logging.info("last")
"""


def test_a_process_sends_from_before_its_set_up_to_its_end_and_a_child_only_its_own(sink):
    options = OPTIONS | {"SHUTDOWN_SECONDS": 20.0}
    done = subprocess.run(
        [
            sys.executable,
            # Threads run beside the fork, which is what is tried here.
            "-Wignore::DeprecationWarning",
            "-c",
            textwrap.dedent(SCRIPT),
        ],
        env={
            **os.environ, **keys_of(sink), "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "BRIDGE": json.dumps(configured(**options)),
        },
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "50\n", "")
    sent = [json.loads(r.data)["data"] for r in sink.accepted() if r.stream == "logs"]
    messages = [data["message"] for data in sent]
    assert messages.count("early") == 100
    assert sorted({*messages} - {"early"}) == ["child", "child before set-up", "last", "ready"]
    assert len(messages) == 104
    assert len({data["process"] for data in sent}) == 3
