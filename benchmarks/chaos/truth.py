"""What the database says: the rows that there are, and what still waits in the outbox."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from benchmarks.chaos.verdict import Row
from benchmarks.chaos.writer import key_name

T = TypeVar("T")


def connect(environment: Mapping[str, str]) -> None:
    """Make this process a Django of the run, like its children."""
    import django

    os.environ.update(environment)
    django.setup()


def prepare(keys: int) -> None:
    """Make the tables and the rows of the keys."""
    from django.core.management import call_command

    from benchmarks.chaos.app.models import Key

    call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)
    Key.objects.bulk_create([Key(name=key_name(number)) for number in range(keys)])


def rows() -> list[Row]:
    """Return every committed row."""
    from benchmarks.chaos.app.models import Counter, Note

    fields = ("key", "number", "token")
    return [Row(*row) for m in (Counter, Note) for row in m.objects.values_list(*fields)]


def pending() -> int | None:
    """Return how many events wait; None while the database does not answer."""
    from kinesis_bridge.models import OutboxRecord

    return _asked(OutboxRecord.objects.count)


def dead_letters() -> int:
    """Return how many events were put aside: each is lost until someone requeues it."""
    from kinesis_bridge.models import DeadLetter

    return DeadLetter.objects.count()


def hang_up() -> None:
    """Close this process's connection: the next question opens another."""
    from django.db import Error, connection

    try:
        connection.close()
    except Error:
        connection.connection = None


def _asked(question: Callable[[], T]) -> T | None:
    from django.db import Error

    try:
        return question()
    except Error:
        hang_up()
        return None
