"""The public names, as a user writes them: type-checked by ``make check``, never run."""

from __future__ import annotations

from typing import assert_type

from boto3.session import Session
from django.contrib.auth.models import User
from django.http import HttpRequest

from kinesis_bridge import (
    Event,
    apublish,
    event_context,
    get_client,
    get_session,
    publish,
    publishes,
    streams,
)
from kinesis_bridge.client import KinesisClient
from kinesis_bridge.context import Context, as_json, current
from kinesis_bridge.event import PutResult
from kinesis_bridge.middleware import EventContextMiddleware
from kinesis_bridge.testing import CapturedEvents, assert_published, capture_events

assert_type(publishes("auth.user", key="pk", fields=["id"])(User), type[User])
assert_type(publishes("a.b", exclude=["password"], when=bool, changed=True)(User), type[User])
assert_type(publish("shop.cart.abandoned", {"cart": 7}, key="customer-9"), Event)
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
    assert_type(assert_published("a.b", key="1", data={"a": 1}), Event)
