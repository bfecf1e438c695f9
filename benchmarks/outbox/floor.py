"""The least that a trigger costs which writes to the outbox: as many bytes, all the same."""

from __future__ import annotations

_INSERT = """
INSERT INTO kinesis_bridge_outboxrecord (stream, lane, partition_key, payload, event_id)
SELECT 'default', 1, '1', convert_to('{payload}', 'UTF8'), '01a21c5a-caf5-77fb-a475-6394ab4c3ddb'
FROM new_rows
"""
_BYTES = 400  # as an event of ours has here


def install() -> None:
    """Give the table of ``Floor`` its triggers."""
    from django.db import connection

    insert = _INSERT.format(payload="x" * _BYTES)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION benchmark_floor() RETURNS trigger LANGUAGE plpgsql AS $$"
            f" BEGIN {insert}; RETURN NULL; END $$"
        )
        for operation in ("INSERT", "UPDATE"):
            cursor.execute(
                f"CREATE OR REPLACE TRIGGER floor_{operation} AFTER {operation} ON app_floor"
                " REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"
                " EXECUTE FUNCTION benchmark_floor()"
            )
