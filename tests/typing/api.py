"""The public names, as a user writes them: type-checked by ``make check``, never run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, assert_type

import environ
from boto3.session import Session
from django.contrib.auth.models import User
from django.core.checks import CheckMessage
from django.db.models import F, Q
from django.dispatch import Signal, receiver
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry

from kinesis_bridge import (
    Event,
    allow_uncaptured,
    apublish,
    event_context,
    exceptions,
    get_client,
    get_session,
    publish,
    publishes,
    signals,
    streams,
)
from kinesis_bridge.client import KinesisClient
from kinesis_bridge.conf import settings_from_env
from kinesis_bridge.context import Context, as_json, current
from kinesis_bridge.contrib import health, prometheus
from kinesis_bridge.contrib.emf.apps import EmfConfig
from kinesis_bridge.contrib.opentelemetry.apps import OpenTelemetryConfig
from kinesis_bridge.delivery.base import Delivery
from kinesis_bridge.event import PutResult, RejectedRecord
from kinesis_bridge.logs import KinesisHandler
from kinesis_bridge.middleware import EventContextMiddleware
from kinesis_bridge.streams import Stream
from kinesis_bridge.testing import (
    CapturedEvents,
    assert_not_published,
    assert_published,
    capture_events,
)

assert_type(settings_from_env(environ.Env()), dict[str, Any])

assert_type(publishes("auth.user", key="pk", fields=["id"])(User), type[User])
assert_type(publishes("a.b", exclude=["password"], when=bool, changed=True)(User), type[User])
assert_type(
    publishes(
        "a.b", fields={"id": "id", "name": F("username"), "n": len}, select=["profile"], version=2
    )(User),
    type[User],
)
assert_type(
    publishes("a.b", payload=lambda user: {"id": user.pk}, schema=dict, when=Q(is_active=True))(
        User
    ),
    type[User],
)
assert_type(publishes("a.b", fields=["id"], changed=True, coalesce=True)(User), type[User])
assert_type(
    publishes("a.b", fields="__all__", on=["created", "deleted"], stream="audit")(User), type[User]
)
assert_type(publishes(fields=["id"], capture="triggers")(User), type[User])
assert_type(publishes("a.b", fields=["id"], capture="signals", coalesce=False)(User), type[User])
publishes("a.b", fields=["id"], capture="trigger")  # type: ignore[arg-type]
publishes("a.b", fields=["id"], on=["saved"])  # type: ignore[list-item]
assert_type(publish("shop.cart.abandoned", {"cart": 7}, key="customer-9"), Event)
assert_type(publish("a.b", {}, key="1", stream="audit", subject="s", using="default"), Event)
assert_type(streams["default"], Stream)
assert_type(streams["default"].flush(timeout=1.0), bool)
assert_type(streams["default"].publish("a.b", {}, key="1", subject="s"), Event)
assert_type(get_client(), KinesisClient)
assert_type(get_client().put_record("Sample data"), PutResult)
assert_type(get_client().put_records([("k1", b"..."), ("k2", {"a": 1})]), list[PutResult])


async def in_async_code() -> None:
    assert_type(await apublish("a.b", [1]), Event)


@event_context(jobname="import", userid=None, tenantid=lambda: 7)
def with_context(n: int) -> str:
    assert_type(current(), Context | None)
    return as_json(current())


@event_context(jobname="import")
async def with_context_in_async_code() -> str:
    with event_context(requestid="a1", dryrun=True):
        return with_context(1)


assert_type(with_context(1), str)


@allow_uncaptured()
def without_events(n: int) -> str:
    with allow_uncaptured():
        return str(n)


assert_type(without_events(1), str)


class TenantContextMiddleware(EventContextMiddleware):
    attributes = (*EventContextMiddleware.attributes, "tenantid")

    def get_tenantid(self, request: HttpRequest) -> str:
        return request.get_host()


def sessions() -> None:
    assert_type(get_session("s3-viewer"), Session)
    get_session().client("sts").get_caller_identity()


def in_tests() -> None:
    with capture_events() as events:
        assert_type(events, CapturedEvents)
        assert_type(events[0], Event)
        assert_type(events[1:], list[Event])
        assert_type(events.types, list[str])
        events.clear()
    assert_type(assert_published("a.b", key="1", data={"a": 1}), Event)
    assert_not_published("a.b", key="1")


def of_an_event(event: Event) -> None:
    assert_type(event.id, str)
    assert_type(event.type, str)
    assert_type(event.source, str)
    assert_type(event.subject, str | None)
    assert_type(event.key, str)
    assert_type(event.time, datetime)
    assert_type(event.data, Any)
    assert_type(event.stream, str)
    assert_type(event.context, Context | None)
    assert_type(event.dataschema, str | None)


EVERY_SIGNAL: tuple[Signal, ...] = (
    signals.event_making,
    signals.context_telling,
    signals.event_published,
    signals.records_sent,
    signals.request_failed,
    signals.records_rejected,
    signals.batch_settled,
    signals.relay_started,
    signals.relay_paused,
    signals.relay_resumed,
    signals.metrics_asked,
    signals.credentials_refreshed,
)


@receiver(signals.event_published)
def on_published(*, event: Event, stream: str, **_: Any) -> None:
    of_an_event(event)


def of_an_error() -> None:
    try:
        get_client().put_records([(None, "a")])
    except exceptions.PartialFailure as failure:
        assert_type(failure.results, list[Any])
    except (
        exceptions.CredentialsError,
        exceptions.AssumeRoleError,
        exceptions.StreamError,
        exceptions.ThrottledError,
        exceptions.EndpointError,
    ) as error:
        whose: exceptions.AwsError = error
        assert_type((whose.name, whose.side, whose.code, whose.hint), tuple[str, str, str, str])
        assert_type(whose.retryable, bool)
        assert_type(whose.documents, dict[str, object])
        assert_type(whose.message, str)


EVENT_ERRORS: tuple[type[exceptions.EventError], ...] = (
    exceptions.SerializationError,
    exceptions.SchemaError,
    exceptions.PartitionKeyError,
    exceptions.RecordTooLarge,
    exceptions.CoalesceError,
)
AGGREGATION_ERRORS: tuple[type[exceptions.AggregationError], ...] = (
    exceptions.NotAggregated,
    exceptions.InvalidHashKey,
    exceptions.ShardMapError,
)
OTHER_ERRORS: tuple[type[exceptions.KinesisBridgeError], ...] = (
    exceptions.BufferFull,
    exceptions.BufferClosed,
    exceptions.PolicyError,
    exceptions.OutboxError,
    exceptions.UncapturedWrite,
    exceptions.EmulatorError,
)


def of_an_answer(put: PutResult, rejected: RejectedRecord) -> None:
    assert_type((put.shard_id, put.sequence_number), tuple[str, str])
    assert_type((rejected.code, rejected.message), tuple[str, str])


class Printed(Delivery):
    def deliver(self, event: Event, payload: bytes, using: str) -> None:
        assert_type((payload, using), tuple[bytes, str])


def logged() -> Iterator[CheckMessage]:
    handler = KinesisHandler(stream="logs", type="shop.log", exclude=["urllib3"])
    assert_type(handler.lost, int)
    yield from handler.check()


def metrics(request: HttpRequest) -> HttpResponse:
    content_type, body = prometheus.exposition(request.headers.get("Accept", ""))
    assert_type(prometheus.registry(), CollectorRegistry)
    assert_type(prometheus.is_multiprocess(), bool)
    return HttpResponse(body, content_type=content_type)


CHECKS = (
    health.Outbox(database="default", stream="default", max_age_seconds=60.0, max_events=10),
    health.Relay(database="default", relays=2),
    health.DeadLetters(database="default", max_letters=1),
    health.Credentials(role="default"),
)
assert_type((EmfConfig.name, OpenTelemetryConfig.name), tuple[str, str])
