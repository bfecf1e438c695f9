"""Spans: of a publication, of a relay's send, what links them, and the trace in the envelope."""

import json
import subprocess
import sys
import textwrap

import orjson
import pytest
from django.db import connections, transaction
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import (
    cloudevents_attributes,
    messaging_attributes,
)
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from benchmarks.sink import Sink
from kinesis_bridge import event_context, publish
from kinesis_bridge.contrib.opentelemetry.spans import MAX_LINKS, connect
from kinesis_bridge.models import OutboxRecord
from tests.support.aws import ROOT, environment
from tests.support.capture import body_of, records, with_outbox
from tests.support.observers import observing
from tests.support.outbox import OutboxOn, waiting
from tests.support.producer import read
from tests.support.relay import going_to, left, running
from tests.support.servers import wait_for
from tests.support.triggers import declared
from tests.testapp.models import Place
from tests.triggerapp.models import TriggerPlace

pytestmark = pytest.mark.django_db(transaction=True)
exporter = InMemorySpanExporter()
REMOTE = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture(scope="module", autouse=True)
def provider():
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(made)  # once for a process


@pytest.fixture(autouse=True)
def switched_on(settings):
    with_outbox(settings)
    exporter.clear()
    with observing(connect, "kinesis_bridge.contrib.opentelemetry"):
        yield


@pytest.fixture
def sink():
    with Sink(shards=2) as running_sink:
        yield running_sink


def spans(kind):
    return [span for span in exporter.get_finished_spans() if span.kind == kind]


def traceparent(span):
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def envelopes(using="default"):
    return [body_of(record) for record in records(using)]


def test_a_publication_has_a_span_whose_trace_the_event_carries():
    with trace.get_tracer("site").start_as_current_span("request") as request:
        publish("shop.cart.abandoned", {"cart": 7})

    (span,) = spans(SpanKind.PRODUCER)
    assert span.name == "publish orders"
    assert span.parent.span_id == request.get_span_context().span_id
    assert dict(span.attributes) == {
        "messaging.system": "aws.kinesis",
        "messaging.operation.type": "create",
        "messaging.operation.name": "publish",
        "messaging.destination.name": "orders",
        "aws.kinesis.stream_name": "orders",
        "cloudevents.event_type": "shop.cart.abandoned",
        "kinesis_bridge.stream": "default",
    }
    (envelope,) = envelopes()
    assert envelope["traceparent"] == traceparent(span)
    # As a consumer in account B goes on with it.
    parent = TraceContextTextMapPropagator().extract(envelope)
    with trace.get_tracer("consumer").start_as_current_span("process", context=parent) as consumed:
        assert consumed.get_span_context().trace_id == request.get_span_context().trace_id


def test_the_trace_of_a_save_is_that_of_the_change_and_not_of_the_commit():
    tracer = trace.get_tracer("site")
    with tracer.start_as_current_span("commit"), transaction.atomic():
        with tracer.start_as_current_span("change") as change:
            Place.objects.create(name="a")
        with tracer.start_as_current_span("other"):
            Place.objects.bulk_create([Place(name=name) for name in "bcd"])

    one, three = spans(SpanKind.PRODUCER)
    assert one.parent.span_id == change.get_span_context().span_id
    assert [envelope["traceparent"] for envelope in envelopes()] == [
        traceparent(one),
        *[traceparent(three)] * 3,
    ]
    assert "messaging.batch.message_count" not in one.attributes
    assert three.attributes["messaging.batch.message_count"] == 3


def test_a_trace_that_only_the_event_context_has_goes_on():
    with event_context(traceparent=REMOTE, tracestate="a=1", requestid="r"):
        publish("a.b", {})
    (span,) = spans(SpanKind.PRODUCER)
    (envelope,) = envelopes()
    assert f"{span.parent.span_id:x}" == "b" * 16
    assert envelope["traceparent"] == traceparent(span)
    assert envelope["traceparent"].startswith(f"00-{'a' * 32}-")
    assert (envelope["tracestate"], envelope["requestid"]) == ("a=1", "r")


def test_the_state_of_another_trace_is_not_carried():
    request = trace.get_tracer("site").start_as_current_span("request")
    with event_context(traceparent=REMOTE, tracestate="a=1"), request:
        publish("a.b", {})
    (envelope,) = envelopes()
    assert not envelope["traceparent"].startswith(f"00-{'a' * 32}-")
    assert "tracestate" not in envelope


@pytest.mark.parametrize("database", ["default"], indirect=True)
def test_a_send_is_linked_to_what_it_sends(sqlite_file, database, settings, sink):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    with going_to(sink, name="there") as name:
        for cart in range(3):
            # In the data it is no trace of ours.
            publish("a.b", {"traceparent": REMOTE, "cart": cart}, using=sqlite_file)
        waiting(sqlite_file, key="bare", payload=b'{"traceparent":"%s"}' % REMOTE.encode())
        with running(sqlite_file):
            assert wait_for(lambda: not left(sqlite_file))
            assert wait_for(lambda: spans(SpanKind.CLIENT))
        carried = {orjson.loads(one.data)["traceparent"] for one in read(sink, name).events}

    published = {traceparent(span) for span in spans(SpanKind.PRODUCER)}
    (send,) = spans(SpanKind.CLIENT)
    assert send.name == "send there"
    assert carried == {*published, REMOTE}
    assert {f"{link.context.span_id:016x}" for link in send.links} == {
        parent.split("-")[2] for parent in published
    }
    assert len(published) == len(send.links) == 3
    attributes = dict(send.attributes)
    assert attributes["messaging.operation.type"] == "send"
    assert attributes["messaging.batch.message_count"] == attributes["kinesis_bridge.sent"] == 4
    assert attributes["kinesis_bridge.database"] == sqlite_file
    assert send.status.status_code is StatusCode.UNSET
    assert 0 < send.end_time - send.start_time < 5e9


@pytest.mark.parametrize("database", ["default"], indirect=True)
def test_a_send_that_fails_says_so_and_its_links_are_bounded(sqlite_file, database, settings, sink):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    sink.set_faults("access_denied")
    with going_to(sink):
        for _ in range(MAX_LINKS + 5):
            publish("a.b", {}, key="k", using=sqlite_file)
        with running(sqlite_file):
            assert wait_for(lambda: spans(SpanKind.CLIENT))
    send = spans(SpanKind.CLIENT)[0]
    assert len(send.links) == MAX_LINKS
    assert send.status.status_code is StatusCode.ERROR
    assert send.attributes["error.type"] == "AccessDeniedException"
    assert OutboxRecord.objects.using(sqlite_file).count() == MAX_LINKS + 5


# Events that PostgreSQL writes: no Python, and so no span, is there


@pytest.fixture
def triggers(settings):
    settings.DATABASE_ROUTERS = [OutboxOn("postgres")]
    with declared("postgres"):
        yield "postgres"


def save(using):
    TriggerPlace(name="a").save(using=using)


def raw(using):
    with connections[using].cursor() as cursor:
        cursor.execute("INSERT INTO triggerapp_triggerplace (name) VALUES ('a')")


def by_another_program(using):
    context = json.dumps({"traceparent": REMOTE}, separators=(" , ", " : "))
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"BEGIN; SELECT set_config('kinesis_bridge.context', '{context}', true);"
            " INSERT INTO triggerapp_triggerplace (name) VALUES ('a'); COMMIT"
        )


def sent(using, sink):
    """The span of the send of all that waits."""
    with going_to(sink), running(using):
        assert wait_for(lambda: not left(using))
        assert wait_for(lambda: spans(SpanKind.CLIENT))
    (send,) = spans(SpanKind.CLIENT)
    return send


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
@pytest.mark.parametrize("write", [save, raw])
def test_what_a_trigger_wrote_is_linked_to_the_span_of_the_request(triggers, sink, write):
    request = trace.get_tracer("site").start_as_current_span("request")
    # The trace that came with the request, or none, gives way to the request's own span.
    with event_context(traceparent=REMOTE, userid="u"), request as span:
        write(triggers)
    (envelope,) = envelopes(triggers)
    assert envelope["traceparent"] == traceparent(span)
    assert envelope["userid"] == "u"
    assert spans(SpanKind.PRODUCER) == []

    (link,) = sent(triggers, sink).links
    assert link.context.trace_id == span.get_span_context().trace_id
    assert link.context.span_id == span.get_span_context().span_id


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_each_write_of_a_transaction_has_the_span_that_was_active_then(triggers):
    tracer = trace.get_tracer("site")
    with transaction.atomic(using=triggers):
        made = []
        for name in ("one", "two"):
            with tracer.start_as_current_span(name) as span:
                save(triggers)
                raw(triggers)
            made += [traceparent(span)] * 2
        save(triggers)
    assert [one.get("traceparent") for one in envelopes(triggers)] == [*made, None]


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
@pytest.mark.parametrize("write", [save, by_another_program])
def test_without_a_span_it_is_linked_to_the_trace_that_was_named(triggers, sink, write):
    with event_context(traceparent=None if write is by_another_program else REMOTE):
        write(triggers)
    (link,) = sent(triggers, sink).links
    assert f"{link.context.trace_id:032x}" == "a" * 32
    assert f"{link.context.span_id:016x}" == "b" * 16


def test_the_names_are_those_of_the_conventions():
    publish("a.b", {})
    (span,) = spans(SpanKind.PRODUCER)
    known = {
        getattr(module, name)
        for module in (messaging_attributes, cloudevents_attributes)
        for name in dir(module)
        if name.isupper()
    }
    ours = {name for name in span.attributes if name.startswith(("messaging.", "cloudevents."))}
    assert len(ours) == 5
    assert ours <= known


WITHOUT_AN_SDK = """
    import django
    django.setup()
    from kinesis_bridge import event_context, publish
    from kinesis_bridge.streams import streams
    with event_context(requestid="r"):
        publish("a.b", {"a": 1})
    event = streams["default"].delivery.events[0]
    print(dict(event.context))
"""


@pytest.mark.parametrize("app", ["kinesis_bridge.contrib.opentelemetry", ""])
def test_the_app_without_an_sdk_changes_nothing_and_is_not_imported_unless_used(tmp_path, app):
    code = textwrap.dedent(WITHOUT_AN_SDK) + "import sys; print('opentelemetry' in sys.modules)"
    env = environment(
        tmp_path,
        DJANGO_SETTINGS_MODULE="tests.observed_settings",
        OBSERVED_BY=app,
        KINESIS_DELIVERY="memory",
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{{'requestid': 'r'}}\n{bool(app)}\n"
