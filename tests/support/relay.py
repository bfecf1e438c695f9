"""A relay in this process, and what it empties: for the tests of the relay."""

import threading
from contextlib import contextmanager

import environ
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from kinesis_bridge.conf import get_config
from kinesis_bridge.models import OutboxRecord, lane_of
from kinesis_bridge.relay import Relay, Rhythm
from kinesis_bridge.signals import relay_paused

from .outbox import OutboxOn
from .producer import configured, read


def going_to(sink, *, name=None, **options):
    """Settings with one stream, whose delivery is the outbox, to the sink."""
    stream = {"DELIVERY": "outbox", "OPTIONS": options}
    return configured(sink.url, name=name, stream=stream)


def fill(alias, records, stream="default"):
    """Let `records` wait, in their order."""
    OutboxRecord.objects.using(alias).bulk_create(
        OutboxRecord(
            stream=stream,
            lane=lane_of(stream, record.partition_key),
            partition_key=record.partition_key,
            payload=record.data,
            event_id=f"e-{number}",
        )
        for number, record in enumerate(records)
    )


def left(alias, **which):
    return OutboxRecord.objects.using(alias).filter(**which).count()


@contextmanager
def running(alias, *, threads=1, **rhythm):
    """A relay in a thread of its own, until the block ends; yields what it returned, later."""
    relay = Relay(
        list(get_config().streams.values()),
        [alias],
        threads=threads,
        rhythm=Rhythm(**{"poll": 0.05, **rhythm}),
    )
    totals = {}

    def work():
        try:
            totals.update(relay.run())
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield totals
    finally:
        relay.stop()
        thread.join(15)
        for other in threading.enumerate():
            if other.name.startswith("kinesis-listen"):
                other.join(5)
    assert not thread.is_alive()


@contextmanager
def pauses():
    """The errors that ``relay_paused`` told."""
    told = []

    def receiver(stream, error, **_):
        told.append((stream, error))

    relay_paused.connect(receiver)
    try:
        yield told
    finally:
        relay_paused.disconnect(receiver)


def payloads(sink, name, key):
    accepted = [one for one in read(sink, name).events if one.partition_key == key]
    return [one.data for one in accepted]


def listening(alias):
    """Whether a relay of this database hears its notices."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'idle' AND query LIKE 'LISTEN%%'"
        )
        return cursor.fetchone()[0] > 0


@contextmanager
def server_alias(url, **options):
    """Add a database of a server of our own, with the outbox's tables."""
    given = {**environ.Env.db_url_config(url), **options}
    connections.settings["own"] = connections.configure_settings({"default": {}, "own": given})[
        "own"
    ]
    try:
        with override_settings(DATABASE_ROUTERS=[OutboxOn("own")]):
            call_command("migrate", "kinesis_bridge", database="own", verbosity=0)
            yield "own"
    finally:
        connections["own"].close()
        del connections["own"]
        del connections.settings["own"]
