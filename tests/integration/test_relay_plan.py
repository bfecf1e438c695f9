"""What PostgreSQL does for the relay's questions, with a million rows waiting."""

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from kinesis_bridge.models import OutboxRecord
from kinesis_bridge.relay.store import Store

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("database", ["postgres"], indirect=True),
]
ROWS = 1_000_000


def fill(database, stream, count):
    with connections[database].cursor() as cursor:
        cursor.execute(
            "INSERT INTO kinesis_bridge_outboxrecord"
            " (stream, lane, partition_key, payload, event_id, created)"
            " SELECT %s, n %% 64, 'k' || n, '{}'::bytea, n, now() FROM generate_series(1, %s) n",
            [stream, count],
        )


def plan_of(database, ask):
    connection = connections[database]
    with CaptureQueriesContext(connection) as queries:
        ask()
    statement = queries.captured_queries[-1]["sql"]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        return "\n".join(line for (line,) in cursor.fetchall())


def test_a_million_rows_are_read_from_an_index_in_order(database):
    fill(database, "busy", ROWS)
    fill(database, "quiet", 10)
    with connections[database].cursor() as cursor:
        cursor.execute(f"ANALYZE {OutboxRecord._meta.db_table}")

    plans = {}
    for stream in ("busy", "quiet"):
        store = Store(database, stream, blocks=False)
        plans[stream] = [
            plan_of(database, lambda store=store: store.lanes_with_work(1000)),
            plan_of(database, lambda store=store: store.read(list(range(32)), 1000)),
        ]

    assert all("Seq Scan" not in plan for found in plans.values() for plan in found), plans
    # Nothing is sorted but the ten rows of the stream behind the million.
    assert all("Sort" not in plan for plan in plans["busy"]), plans
    assert all("kinesis_outbox_stream_id" in plan for plan in plans["quiet"]), plans
