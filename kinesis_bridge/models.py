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
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

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

    stream = models.CharField(
        _("stream"), max_length=64, help_text=_("Alias of the stream it goes to.")
    )
    lane = models.PositiveSmallIntegerField(
        _("lane"), help_text=_("By stream and key: who may send it.")
    )
    partition_key = models.CharField(_("partition key"), max_length=256)
    payload = models.BinaryField(_("payload"), help_text=_("The final bytes."))
    event_id = models.CharField(
        _("event id"), max_length=255, help_text=_("A repeat carries the same one.")
    )
    created = models.DateTimeField(
        _("created"), db_default=Now(), help_text=_("When the event was published.")
    )

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
        verbose_name = _("outbox record")
        verbose_name_plural = _("outbox records")

    def __str__(self) -> str:
        return f"{self.event_id} for {self.stream}"


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    """What the stream will never take as it is."""

    def requeue(self) -> int:
        """Put them back into the outbox, to be sent once more; return how many.

        One that holds up its key takes its old place in front of what waits behind it.
        """
        with transaction.atomic(using=self.db):
            return sum(map(self._requeue, _parts(self._ids())))

    def discard(self) -> int:
        """Delete them: what waits behind them passes; return how many."""
        with transaction.atomic(using=self.db):
            return sum(self._some(part).delete()[0] for part in _parts(self._ids()))

    def locked(self) -> DeadLetterQuerySet:
        """Return them locked, the oldest first: in one order, or two could wait for each other."""
        return self.select_for_update().order_by("outbox_id", "id")

    def _ids(self) -> list[int]:
        return list(self.locked().values_list("pk", flat=True))

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

    outbox_id = models.BigIntegerField(_("outbox id"), help_text=_("Its place in the outbox."))
    failed = models.DateTimeField(_("failed"), default=timezone.now)
    code = models.CharField(_("code"), max_length=128, help_text=_("AWS's error code."))
    message = models.TextField(_("message"), help_text=_("Why it was refused."))
    blocks = models.BooleanField(
        _("blocks"),
        default=False,
        help_text=_('Whether later events of its key wait: OPTIONS["POISON"].'),
    )

    objects: ClassVar[models.Manager[DeadLetter]] = DeadLetterQuerySet.as_manager()

    class Meta:
        indexes = (models.Index(fields=("stream", "blocks"), name="kinesis_dead_stream_blocks"),)
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        permissions = (
            ("requeue_deadletter", gettext_noop("Can requeue dead letters")),
            ("discard_deadletter", gettext_noop("Can discard dead letters")),
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
        verbose_name = _("lane")
        verbose_name_plural = _("lanes")

    def __str__(self) -> str:
        return f"lane {self.number} of {self.stream}"


class RelayProcess(models.Model):
    """A relay that runs, or ran: it says so every few seconds."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started = models.DateTimeField()
    seen = models.DateTimeField()
    lanes = models.JSONField(
        default=dict, null=True, help_text=_("Stream -> lanes that it held since it spoke before.")
    )
    credentials = models.JSONField(
        default=dict,
        null=True,
        help_text=_("Role -> its ARN, the session's ARN and when that ends. No secrets."),
    )

    class Meta:
        verbose_name = _("relay process")
        verbose_name_plural = _("relay processes")

    def __str__(self) -> str:
        return f"relay {self.pid} on {self.host}"


class StreamQuerySet(models.QuerySet["Stream"]):
    """What streams are told."""

    def locked(self, alias: str) -> Stream:
        """Return the row of a stream, made where it is missing, locked within a transaction.

        It writes first: a transaction of SQLite that reads first fails at its first write, without
        waiting, where somebody else wrote in between.
        """
        self.bulk_create([Stream(alias=alias)], ignore_conflicts=True)
        return self.select_for_update().get(alias=alias)

    def pause(self, alias: str, by: str) -> bool:
        """Have no relay send the stream's events any more; False where it was paused already."""
        return self._set(alias, timezone.now(), by)

    def resume(self, alias: str) -> bool:
        """Have relays send the stream's events again; False where it was not paused."""
        return self._set(alias, None, "")

    def _set(self, alias: str, paused: datetime | None, by: str) -> bool:
        with transaction.atomic(using=self.db):
            row = self.locked(alias)
            if (row.paused is None) == (paused is None):
                return False
            row.paused, row.paused_by = paused, by
            row.save(using=self.db, update_fields=["paused", "paused_by"])
        return True


class Stream(models.Model):
    """What a stream's relays and its operators leave for each other: a pause, the last outage."""

    alias = models.CharField(max_length=64, unique=True)
    paused = models.DateTimeField(
        null=True, help_text=_("Since when no relay sends its events; none: they are sent.")
    )
    paused_by = models.CharField(max_length=255, blank=True)
    outage = models.CharField(
        max_length=64, blank=True, help_text=_("Name of the finding that explains the last one.")
    )
    side = models.CharField(max_length=64, blank=True, help_text=_("Who can mend it."))
    cause = models.TextField(blank=True)
    fix = models.TextField(blank=True)
    began = models.DateTimeField(null=True)
    ended = models.DateTimeField(null=True, help_text=_("None: it lasts."))

    objects: ClassVar[StreamQuerySet] = StreamQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("stream")
        verbose_name_plural = _("streams")
        default_permissions = ("view",)
        permissions = (
            ("pause_stream", gettext_noop("Can pause and resume streams")),
            ("test_stream", gettext_noop("Can send test records to streams")),
        )

    def __str__(self) -> str:
        return self.alias


class StreamStatistic(models.Model):
    """What relays did for a stream within ten seconds: they add to it every few seconds."""

    stream = models.CharField(max_length=64)
    start = models.DateTimeField(help_text=_("Start of the ten seconds."))
    sent = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    retried = models.PositiveBigIntegerField(default=0)
    dead_lettered = models.PositiveBigIntegerField(default=0)
    # With defaults of the database, so that relays of the version before can go on.
    resent = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text=_("Records sent again within their batch.")
    )
    throttled = models.PositiveBigIntegerField(
        default=0,
        db_default=0,
        help_text=_("Records that AWS refused because there were too many."),
    )
    # From the commit to the acknowledgement: kinesis_bridge.latency.
    within_10ms = models.PositiveBigIntegerField(default=0, db_default=0)
    within_20ms = models.PositiveBigIntegerField(default=0, db_default=0)
    within_50ms = models.PositiveBigIntegerField(default=0, db_default=0)
    within_100ms = models.PositiveBigIntegerField(default=0, db_default=0)
    within_200ms = models.PositiveBigIntegerField(default=0, db_default=0)
    within_500ms = models.PositiveBigIntegerField(default=0, db_default=0)
    within_1s = models.PositiveBigIntegerField(default=0, db_default=0)
    within_2s = models.PositiveBigIntegerField(default=0, db_default=0)
    within_5s = models.PositiveBigIntegerField(default=0, db_default=0)
    within_10s = models.PositiveBigIntegerField(default=0, db_default=0)
    within_30s = models.PositiveBigIntegerField(default=0, db_default=0)
    within_1min = models.PositiveBigIntegerField(default=0, db_default=0)
    within_5min = models.PositiveBigIntegerField(default=0, db_default=0)
    within_30min = models.PositiveBigIntegerField(default=0, db_default=0)
    slower = models.PositiveBigIntegerField(default=0, db_default=0)

    class Meta:
        # By time first: relays delete what is old, and the page reads what is new, of all streams.
        constraints = (
            models.UniqueConstraint(fields=("start", "stream"), name="kinesis_statistic_by_start"),
        )
        verbose_name = _("stream statistic")
        verbose_name_plural = _("stream statistics")

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
        help_text=_("What it is of; none once it has ended."),
    )
    group = models.CharField(max_length=36, help_text=_("What the parts of one snapshot share."))
    part = models.PositiveSmallIntegerField(default=1)
    parts = models.PositiveSmallIntegerField(default=1)
    model = models.CharField(max_length=255)
    type = models.CharField(max_length=255, help_text=_("As declared."))
    stream = models.CharField(max_length=64, help_text=_("Alias of the stream."))
    asked = models.JSONField(default=dict, help_text=_("--where, --since and --range."))
    start = models.JSONField(null=True, help_text=_("First primary key; none: from the first row."))
    stop = models.JSONField(null=True, help_text=_("First primary key that is not of it."))
    last = models.JSONField(null=True, help_text=_("Last primary key there was when it began."))
    after = models.JSONField(null=True, help_text=_("How far it came."))
    locked = models.JSONField(default=list, help_text=_("Passed over: to be published yet."))
    rows = models.PositiveBigIntegerField(default=0, help_text=_("Events written."))
    skipped = models.PositiveBigIntegerField(default=0, help_text=_("Rows that have no event."))
    owner = models.CharField(
        max_length=36, blank=True, help_text=_("The process that last took it.")
    )
    created = models.DateTimeField(default=timezone.now)
    updated = models.DateTimeField(default=timezone.now)
    finished = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("snapshot run")
        verbose_name_plural = _("snapshot runs")

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
