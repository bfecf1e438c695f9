"""Saves of a declared model with ``DELIVERY "outbox"``, and the rows that they leave."""

import json

from django.db import connections
from django.test.utils import CaptureQueriesContext

from kinesis_bridge.models import OutboxRecord
from tests.testapp.models import Place

TABLE = OutboxRecord._meta.db_table


def with_outbox(settings):
    """Give every stream of the tests' settings the outbox."""
    streams = settings.KINESIS_BRIDGE["STREAMS"]
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
        "STREAMS": {alias: stream | {"DELIVERY": "outbox"} for alias, stream in streams.items()}
    }


def save(using, name="", **fields):
    place = Place(name=name, **fields)
    place.save(using=using)
    return place


def records(using):
    return list(OutboxRecord.objects.using(using).order_by("id"))


def names(using):
    """The names in the events' own bodies, in the order of their rows."""
    return [body_of(record)["data"]["name"] for record in records(using)]


def body_of(record):
    return json.loads(bytes(record.payload))


def rows(using):
    return list(Place.objects.using(using).order_by("id").values_list("name", flat=True))


def statements(queries):
    return [query["sql"] for query in queries if query["sql"]]


def inserts(queries):
    """The places of the outbox's INSERTs in what was executed."""
    return [
        place
        for place, sql in enumerate(statements(queries))
        if "INSERT INTO" in sql and TABLE in sql
    ]


def queries_of(using):
    return CaptureQueriesContext(connections[using])
