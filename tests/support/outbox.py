"""Rows of the outbox, and who may have them, for the tests that read it."""

from django.utils import timezone

from kinesis_bridge.models import DeadLetter, OutboxRecord, lane_of


class OutboxOn:
    """A router that lets the outbox into these databases only."""

    def __init__(self, *aliases):
        self.aliases = aliases

    def allow_migrate(self, db, app_label, **hints):
        return db in self.aliases if app_label == "kinesis_bridge" else None


def letter(stream="default", key="k", **fields):
    """The fields that records and dead letters have in common."""
    return {
        "stream": stream,
        "lane": lane_of(stream, key),
        "partition_key": key,
        "payload": b'{"a": 1}',
        "event_id": "e-1",
        **fields,
    }


def waiting(database, **fields):
    return OutboxRecord.objects.using(database).create(**letter(**fields))


def dead(database, **fields):
    given = {"outbox_id": 7, "code": "ValidationException", "message": "No.", "failed": now()}
    return DeadLetter.objects.using(database).create(**letter(**{**given, **fields}))


def now():
    return timezone.now()
