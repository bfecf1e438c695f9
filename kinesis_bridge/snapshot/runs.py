"""Runs in the database: begun, found again, split into parts."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import IntegrityError, transaction
from django.utils import timezone

from kinesis_bridge.models import SnapshotRun
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .errors import SnapshotError
from .find import declaration_of
from .scope import Scope

if TYPE_CHECKING:
    from django.db import models

MOST_PARTS = 1000


class Part(NamedTuple):
    """``--part K/N``."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return the part that ``K/N`` names; raise SnapshotError."""
        number, _slash, count = text.partition("/")
        if (
            number.isdecimal()
            and count.isdecimal()
            and 1 <= int(number) <= int(count) <= MOST_PARTS
        ):
            return cls(int(number), int(count))
        said = _("--part {text}: write K/N, 1/4 to 4/4 for instance, N up to 1000.")
        raise SnapshotError(Text(said, text=text))


def open_run(
    scope: Scope, using: str, part: Part | None = None, *, restart: bool = False
) -> tuple[SnapshotRun, bool]:
    """Return the unfinished run of this part of this scope, or a new one; and whether it was there.

    All parts are made at once, in one transaction, so that machines that start at different times
    agree on where each part ends. Where others of them are not finished, a finished part
    is returned as it is. `restart` abandons what there is.
    """
    part = part or Part()
    if restart and part.number != 1:
        raise SnapshotError(
            Text(
                _(
                    "--restart with --part {number}/{of}: it begins all parts anew, so give it with"
                    " --part 1/{of}, and start the others without."
                ),
                number=part.number,
                of=part.of,
            )
        )
    runs = SnapshotRun.objects.using(using)
    digests = [scope.digest(number, part.of) for number in range(1, part.of + 1)]
    if restart:
        there = runs.filter(scope__in=digests)
        there.update(scope=None, owner="", updated=timezone.now())
    for _attempt in range(2):
        group = runs.filter(scope__in=digests).values_list("group", flat=True).first()
        if group is not None:
            return runs.get(group=group, part=part.number), True
        made = new_runs(scope, using, part.of)
        try:
            with transaction.atomic(using=using):
                for run in made:
                    run.save(using=using, force_insert=True)
        except IntegrityError:  # another process was faster
            continue
        return made[part.number - 1], False
    said = _("Another process began and ended the same snapshot just now: try again.")
    raise SnapshotError(Text(said))


def resumed_run(number: int, using: str) -> tuple[SnapshotRun, Scope]:
    """Return an unfinished run by its id, and what it is of."""
    run = SnapshotRun.objects.using(using).filter(pk=number).first()
    if run is None or run.state != "unfinished":
        state = Text(_("there is none of that number"))
        if run is not None:
            state = Text(_("it is {state}"), state=Text(run.state))
        raise SnapshotError(
            Text(
                _("--resume {id}: {said} in database {database}. See kinesis_snapshot --list."),
                id=number,
                said=state,
                database=repr(using),
            )
        )
    declaration = declaration_of(run.model, type=run.type, stream=run.stream)
    return run, Scope.of_texts(declaration, run.asked)


def new_runs(scope: Scope, using: str, parts: int) -> list[SnapshotRun]:
    """Return the unsaved runs of a scope's parts, with their ends."""
    group = str(uuid.uuid4())
    start, stop = scope.ends
    keys = within(scope.all_rows(using), scope, start, stop).order_by("pk").values_list("pk")
    # Rows that come behind the last one have events of their own.
    found: Any = keys.reverse().first()
    last = None if found is None else scope.keys.dump(found[0])
    ends = [(start, stop)]
    if parts > 1:
        first: Any = keys.first()
        cuts = scope.keys.cuts(first[0] if first else 0, found[0] if found else -1, parts)
        ends = [(cuts[number], cuts[number + 1]) for number in range(parts)]
    return [
        SnapshotRun(
            scope=scope.digest(number, parts),
            group=group,
            part=number,
            parts=parts,
            model=scope.declaration.label,
            type=scope.declaration.prefix,
            stream=scope.declaration.stream,
            asked=scope.texts,
            start=start,
            stop=stop,
            last=last,
        )
        for number, (start, stop) in enumerate(ends, 1)
    ]


def left(run: SnapshotRun, scope: Scope, using: str) -> models.QuerySet[models.Model]:
    """Return the rows of a run that it has not come to yet, in the order of primary keys."""
    rows = scope.rows(using)
    if run.last is None:
        return rows.none()
    rows = within(rows, scope, run.start, run.stop).filter(pk__lte=scope.keys.load(run.last))
    return rows if run.after is None else rows.filter(pk__gt=scope.keys.load(run.after))


def within(
    rows: models.QuerySet[models.Model], scope: Scope, start: Any, stop: Any
) -> models.QuerySet[models.Model]:
    """Return those of `rows` from `start` on and before `stop`; None: open."""
    if start is not None:
        rows = rows.filter(pk__gte=scope.keys.load(start))
    return rows if stop is None else rows.filter(pk__lt=scope.keys.load(stop))
