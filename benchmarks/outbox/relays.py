"""A backlog, and relays as processes that drain it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

PAYLOAD = b'{"specversion":"1.0","data":"' + b"a" * 170 + b'"}'
KEYS = 10_000


def fill(count: int) -> None:
    """Put `count` events of 200 bytes over 10,000 keys into the outbox, by SQL."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE kinesis_bridge_outboxrecord")
        cursor.execute(
            "INSERT INTO kinesis_bridge_outboxrecord"
            " (stream, lane, partition_key, payload, event_id, created)"
            " SELECT 'default', get_byte(decode(md5('default:' || k), 'hex'), 0) %% 64, k, %s,"
            " gen_random_uuid()::text, now()"
            " FROM (SELECT 'k' || n %% %s AS k FROM generate_series(1, %s) n) AS keys",
            [PAYLOAD, KEYS, count],
        )
        cursor.execute("VACUUM ANALYZE kinesis_bridge_outboxrecord")


def drain(count: int, processes: int, threads: int = 1) -> dict[str, float]:
    """Events/s from the start of the first relay's work to the end of the last."""
    fill(count)
    began = time.perf_counter()
    command = [sys.executable, "-m", "django", "kinesis_relay", "--once", "--json"]
    command += ["--threads", str(threads)]
    relays = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    documents = [json.loads(relay.communicate()[0]) for relay in relays]
    wall = time.perf_counter() - began
    sent = sum(document["sent"] for document in documents)
    if sent < count:
        sys.exit(f"{count - sent} of {count} events were not sent: {documents}")
    seconds = max(document["seconds"] for document in documents)
    return {
        "events": sent,
        "events_a_second": sent / seconds,
        "with_start": sent / wall,
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(drain(*map(int, sys.argv[1:]))))
