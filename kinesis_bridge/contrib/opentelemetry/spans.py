"""A span where events are published, and one where a relay sends them, linked to the former.

Names and attributes: "Semantic conventions for messaging spans", OpenTelemetry, in which a
message's creation has a span of kind PRODUCER, whose context the message carries, and a send of a
batch one of kind CLIENT with a link to each.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kinesis_bridge import __version__, signals
from kinesis_bridge.conf import get_config
from kinesis_bridge.context import parse_tracestate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from kinesis_bridge.context import Context as EventContext
    from kinesis_bridge.event import Record
    from kinesis_bridge.exceptions import AwsError

SYSTEM = "aws.kinesis"
"""``messaging.system``: the conventions have no value of their own for Kinesis; as ``aws.sns``."""
MAX_LINKS = 128
"""Of one span: OpenTelemetry's SDKs keep no more, by default."""

_UID = "kinesis_bridge.contrib.opentelemetry"
# Where the site sets its provider later, this one turns to it then.
_tracer = trace.get_tracer("kinesis_bridge", __version__)
_propagator = TraceContextTextMapPropagator()
# In the envelope before the data: serializers.cloudevents. No text of JSON holds a bare quote.
# Spaces are of other programs, whose words triggers pass on as they are.
_TRACEPARENT = re.compile(rb'"traceparent"\s*:\s*"(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})"')
_DATA = b',"data":'


def connect() -> None:
    """Have the signals make spans. Twice is once."""
    signals.event_making.connect(_publish, dispatch_uid=_UID)
    signals.context_telling.connect(_tell, dispatch_uid=_UID)
    signals.batch_settled.connect(_send, dispatch_uid=_UID)


def _publish(
    *,
    type: str,  # noqa: A002 - the signal's name
    stream: str,
    count: int,
    context: EventContext | None,
    **_: Any,
) -> dict[str, str | None]:
    """Make the span of a publication; return its context, which the events carry."""
    parent = None
    if context and not trace.get_current_span().get_span_context().is_valid:
        # No span is active here: the trace that the site named goes on.
        parent = _propagator.extract({name: str(value) for name, value in context.items()})
    destination = _destination(stream)
    attributes = _attributes(stream, destination, "create", "publish")
    attributes["cloudevents.event_type"] = type
    if count > 1:
        attributes["messaging.batch.message_count"] = count
    span = _tracer.start_span(
        f"publish {destination}", context=parent, kind=SpanKind.PRODUCER, attributes=attributes
    )
    span.end()
    return _carried(trace.set_span_in_context(span, parent))


def _tell(**_: Any) -> dict[str, str | None]:
    """Return the context of the span that is active: triggers make no span, whatever they write.

    Without one the trace that the site named goes on.
    """
    return _carried(None)


def _carried(context: Context | None) -> dict[str, str | None]:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    if "traceparent" not in carrier:  # there is no SDK, and no trace to go on with
        return {}
    # None takes away that of another traceparent.
    state = parse_tracestate(carrier.get("tracestate", ""))
    return {"traceparent": carrier["traceparent"], "tracestate": state}


def _send(
    *,
    stream: str,
    database: str,
    sent: int,
    dead_lettered: int,
    seconds: float,
    records: Sequence[Record],
    error: AwsError | None,
    **_: Any,
) -> None:
    """Make the span of a relay's batch, which has just ended."""
    now = time.time_ns()
    destination = _destination(stream)
    attributes = _attributes(stream, destination, "send", "send")
    attributes |= {
        "messaging.batch.message_count": len(records),
        "messaging.client.id": f"{socket.gethostname()}:{os.getpid()}",
        "kinesis_bridge.database": database,
        "kinesis_bridge.sent": sent,
        "kinesis_bridge.dead_lettered": dead_lettered,
    }
    span = _tracer.start_span(
        f"send {destination}",
        kind=SpanKind.CLIENT,
        attributes=attributes,
        links=list(_links(records)),
        start_time=now - int(seconds * 1e9),
    )
    if error is not None:
        span.set_attribute("error.type", error.code or error.name)
        span.set_status(Status(StatusCode.ERROR, error.name))
    span.end(now)


def _destination(stream: str) -> str:
    try:
        return get_config().stream(stream).name
    except ImproperlyConfigured:  # rows of a stream that the settings no longer have
        return stream


def _attributes(stream: str, destination: str, kind: str, name: str) -> dict[str, AttributeValue]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.type": kind,
        "messaging.operation.name": name,
        "messaging.destination.name": destination,
        "aws.kinesis.stream_name": destination,
        "kinesis_bridge.stream": stream,
    }


def _links(records: Sequence[Record]) -> Iterator[Link]:
    """Yield a link to the publication of each record, as far as they fit; one for those of one."""
    seen: set[bytes] = set()
    for record in records:
        found = _TRACEPARENT.search(record.data, 0, max(record.data.find(_DATA), 0))
        if found is None or found[1] in seen:
            continue
        seen.add(found[1])
        _, trace_id, span_id, flags = found[1].decode().split("-")
        context = SpanContext(
            int(trace_id, 16),
            int(span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(int(flags, 16)),
        )
        yield Link(context)
        if len(seen) == MAX_LINKS:
            return
