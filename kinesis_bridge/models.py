"""The outbox and what its relays keep: rows of the site's own database.

Written with the rows they tell of, in one transaction; read, sent and deleted by the relay. Only
the indexes that its plan uses: see docs/outbox.md.
"""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from django.db import models, transaction
from django.db.models import Count, Min
from django.db.models.functions import Now
from django.utils import timezone

if TYPE_CHECKING:
    from datetime import datetime

PART = 500  # dead letters that are moved at once
LANES = 64
"""Lanes of each stream: that many relays at most can work on one stream at a time."""


def lane_of(stream: str, key: str) -> int:
    """Return the lane of a key, 0 to 63: the same on every machine, and in SQL.

    In PostgreSQL: ``get_byte(decode(md5(stream || ':' || key), 'hex'), 0) % 64``.
    """
    return md5(f"{stream}:{key}".encode(), usedforsecurity=False).digest()[0] % LANES


class Letter(models.Model):
    """An event as it goes: what the outbox and its dead letters have in common."""

    stream = models.CharField(max_length=64, help_text="Alias of the stream it goes to.")
    lane = models.PositiveSmallIntegerField(help_text="By stream and key: who may send it.")
    partition_key = models.CharField(max_length=256)
    payload = models.BinaryField(help_text="The final bytes.")
    event_id = models.CharField(max_length=255, help_text="A repeat carries the same one.")
    created = models.DateTimeField(db_default=Now(), help_text="When the event was published.")

    class Meta:
        abstract = True


class Backlog(NamedTuple):
    """What waits for one stream."""

    pending: int
    oldest: datetime


class OutboxQuerySet(models.QuerySet["OutboxRecord"]):
    """What is committed and not yet acknowledged."""

    def backlog(self) -> dict[str, Backlog]:
        """Return what waits, by stream."""
        rows = self.order_by().values_list("stream").annotate(Count("id"), Min("created"))
        return {stream: Backlog(pending, oldest) for stream, pending, oldest in rows}


class OutboxRecord(Letter):
    """An event that was committed and is not yet acknowledged by the stream."""

    objects: ClassVar[models.Manager[OutboxRecord]] = OutboxQuerySet.as_manager()

    class Meta:
        # The relay reads a stream in the order of ids, from a floor on.
        indexes = (models.Index(fields=("stream", "id"), name="kinesis_outbox_stream_id"),)
        verbose_name = "outbox record"

    def __str__(self) -> str:
        return f"{self.event_id} for {self.stream}"


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    """What the stream will never take as it is."""

    def requeue(self) -> int:
        """Put them back into the outbox, to be sent once more; return how many.

        One that holds up its key takes its old place in front of what waits behind it.
        """
        with transaction.atomic(using=self.db):
            ids = list(self.select_for_update().order_by("outbox_id").values_list("pk", flat=True))
            return sum(map(self._requeue, _parts(ids)))

    def discard(self) -> int:
        """Delete them: what waits behind them passes; return how many."""
        with transaction.atomic(using=self.db):
            ids = list(self.select_for_update().values_list("pk", flat=True))
            return sum(self._some(part).delete()[0] for part in _parts(ids))

    def _some(self, ids: list[int]) -> models.QuerySet[DeadLetter]:
        return DeadLetter.objects.using(self.db).filter(pk__in=ids)

    def _requeue(self, ids: list[int]) -> int:
        letters = self._some(ids)
        OutboxRecord.objects.using(self.db).bulk_create(
            [letter.as_outbox_record() for letter in letters.order_by("outbox_id")]
        )
        return letters.delete()[0]


def _parts(ids: list[int]) -> list[list[int]]:
    """Return `ids` in parts whose letters fit into memory, and into one statement."""
    return [ids[start : start + PART] for start in range(0, len(ids), PART)]


class DeadLetter(Letter):
    """An event that the stream refused for what it is: it can never pass as it is."""

    outbox_id = models.BigIntegerField(help_text="Its place in the outbox.")
    failed = models.DateTimeField(default=timezone.now)
    code = models.CharField(max_length=128, help_text="AWS's error code.")
    message = models.TextField(help_text="Why it was refused.")
    blocks = models.BooleanField(
        default=False, help_text='Whether later events of its key wait: OPTIONS["POISON"].'
    )

    objects: ClassVar[models.Manager[DeadLetter]] = DeadLetterQuerySet.as_manager()

    class Meta:
        indexes = (models.Index(fields=("stream", "blocks"), name="kinesis_dead_stream_blocks"),)
        verbose_name = "dead letter"
        permissions = (
            ("requeue_deadletter", "Can requeue dead letters"),
            ("discard_deadletter", "Can discard dead letters"),
        )

    def __str__(self) -> str:
        return f"{self.event_id} for {self.stream}: {self.code}"

    def as_outbox_record(self) -> OutboxRecord:
        """Return the unsaved outbox row that it becomes again."""
        return OutboxRecord(
            # Where it holds up its key it goes first again; elsewhere its place is gone anyway.
            id=self.outbox_id if self.blocks else None,
            stream=self.stream,
            lane=self.lane,
            partition_key=self.partition_key,
            payload=self.payload,
            event_id=self.event_id,
            created=self.created,
        )


class Lane(models.Model):
    """Owning a lane of a stream is holding the lock of this row: no clocks, no leases."""

    stream = models.CharField(max_length=64)
    number = models.PositiveSmallIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("stream", "number"), name="kinesis_lane_unique"),
        )

    def __str__(self) -> str:
        return f"lane {self.number} of {self.stream}"


class RelayProcess(models.Model):
    """A relay that runs, or ran: it says so every few seconds."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started = models.DateTimeField()
    seen = models.DateTimeField()

    class Meta:
        verbose_name_plural = "relay processes"

    def __str__(self) -> str:
        return f"relay {self.pid} on {self.host}"


class StreamStatistic(models.Model):
    """What relays did for a stream within ten seconds: they add to it every few seconds."""

    stream = models.CharField(max_length=64)
    start = models.DateTimeField(help_text="Start of the ten seconds.")
    sent = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    retried = models.PositiveBigIntegerField(default=0)
    dead_lettered = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("stream", "start"), name="kinesis_statistic_unique"),
        )

    def __str__(self) -> str:
        return f"{self.stream} at {self.start}"


class SnapshotRun(models.Model):
    """How far ``kinesis_snapshot`` came: written with the events of each chunk, in one transaction.

    Primary keys are kept as JSON has them: see ``kinesis_bridge.snapshot.keys``.
    """

    scope = models.CharField(
        max_length=64,
        null=True,
        blank=True,
        unique=True,
        help_text="What it is of; none once it has ended.",
    )
    group = models.CharField(max_length=36, help_text="What the parts of one snapshot share.")
    part = models.PositiveSmallIntegerField(default=1)
    parts = models.PositiveSmallIntegerField(default=1)
    model = models.CharField(max_length=255)
    type = models.CharField(max_length=255, help_text="As declared.")
    stream = models.CharField(max_length=64, help_text="Alias of the stream.")
    asked = models.JSONField(default=dict, help_text="--where, --since and --range.")
    start = models.JSONField(null=True, help_text="First primary key; none: from the first row.")
    stop = models.JSONField(null=True, help_text="First primary key that is not of it.")
    last = models.JSONField(null=True, help_text="Last primary key there was when it began.")
    after = models.JSONField(null=True, help_text="How far it came.")
    locked = models.JSONField(default=list, help_text="Passed over: to be published yet.")
    rows = models.PositiveBigIntegerField(default=0, help_text="Events written.")
    skipped = models.PositiveBigIntegerField(default=0, help_text="Rows that have no event.")
    owner = models.CharField(max_length=36, blank=True, help_text="The process that last took it.")
    created = models.DateTimeField(default=timezone.now)
    updated = models.DateTimeField(default=timezone.now)
    finished = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"snapshot {self.pk} of {self.model}"

    @property
    def state(self) -> str:
        """``finished``, ``unfinished``, or ``abandoned`` for another one."""
        if self.finished is not None:
            return "finished"
        return "abandoned" if self.scope is None else "unfinished"


def sent_since(moment: datetime, using: str) -> dict[str, int]:
    """Return how many events each stream took since `moment`, in whole tens of seconds."""
    rows = StreamStatistic.objects.using(using).filter(start__gte=moment)
    sums = rows.order_by().values("stream").annotate(total=models.Sum("sent"))
    return {row["stream"]: row["total"] for row in sums}
