"""Figures of a site that has run for hours: for pages that show them."""

import math
from datetime import timedelta

from django.utils import timezone

from kinesis_bridge.latency import count
from kinesis_bridge.models import RelayProcess, Stream, StreamStatistic
from tests.support.outbox import dead, waiting

ROLE_ARN = "arn:aws:iam::222222222222:role/EventWriter"
SESSION_ARN = "arn:aws:sts::222222222222:assumed-role/EventWriter/shop-web1"


def history(alias, stream="default", hours=1):
    """Ten-second rows: a rate with waves, some throttling in the middle."""
    now = timezone.now()
    start = now.replace(second=now.second - now.second % 10, microsecond=0)
    rows = []
    for back in range(hours * 360):
        wave = 1 + 0.5 * math.sin(back / 37) + 0.2 * math.sin(back / 5.3)
        troubled = hours * 150 < back < hours * 190
        sent = int(140 * wave) if not troubled else int(60 * wave)
        scale = 9 if troubled else 1
        ages = [scale * (0.004 + 0.016 * (n % 11) * wave) for n in range(sent)]
        rows.append(
            StreamStatistic(
                stream=stream,
                start=start - timedelta(seconds=10 * back),
                sent=sent,
                bytes=sent * 412,
                resent=int(22 * wave) if troubled else 0,
                throttled=int(20 * wave) if troubled else 0,
                **count(ages),
            )
        )
    StreamStatistic.objects.using(alias).bulk_create(rows)


def relay(alias, host="web-1", pid=4711, lanes=None, **fields):
    """A relay that is alive, and has credentials for 43 minutes more."""
    now = timezone.now()
    session = {
        "role_arn": ROLE_ARN,
        "session_arn": SESSION_ARN,
        "expires_at": (now + timedelta(minutes=43, seconds=30)).isoformat(),
    }
    given = {
        "id": f"{host}-{pid}",
        "host": host,
        "pid": pid,
        "started": now - timedelta(hours=26),
        "seen": now,
        "lanes": {"default": list(range(32))} if lanes is None else lanes,
        "credentials": {"default": session},
        **fields,
    }
    return RelayProcess.objects.using(alias).create(**given)


def outage(alias, stream="default", *, minutes=7, ended=None):
    """An outage as a relay tells it."""
    now = timezone.now()
    return Stream.objects.using(alias).create(
        alias=stream,
        outage="stream-denied",
        side="account B",
        cause="Role EventWriter may not write to stream 'orders'.",
        fix="In account B, allow kinesis:PutRecords on the stream in the role's policy.",
        began=now - timedelta(minutes=minutes),
        ended=None if ended is None else now - timedelta(minutes=ended),
    )


def letters(alias, number=3, **fields):
    """Dead letters of two reasons."""
    fields.setdefault("message", "1 validation error detected: Value at 'partitionKey' ...")
    for n in range(number):
        dead(alias, outbox_id=100 + n, event_id=f"e-{n}", **fields)
    dead(
        alias,
        outbox_id=200,
        event_id="e-large",
        code="RecordTooLarge",
        message="1 record is larger than 1 MiB.",
        blocks=True,
    )


def backlog(alias, number=12, seconds=95, **fields):
    """Events that wait; the oldest for that long."""
    for n in range(number):
        moment = timezone.now() - timedelta(seconds=seconds - n)
        waiting(alias, event_id=f"w-{n}", created=moment, **fields)
