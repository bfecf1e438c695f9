"""Find dead letters over all databases, requeue or discard them: all of those asked for, or none.

What the two verbs do to rows is in :class:`kinesis_bridge.models.DeadLetterQuerySet`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from django.db import transaction
from django.db.models import BigIntegerField

from .conf import get_config
from .databases import explained, some_outbox_databases
from .exceptions import KinesisBridgeError
from .models import DeadLetter, DeadLetterQuerySet
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

MAX_ID = BigIntegerField.MAX_BIGINT
Verb = Literal["requeue", "discard"]


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A dead letter as it is listed: all but its payload."""

    database: str
    """Alias of the database that keeps it; its id is of that database."""
    id: int
    stream: str
    key: str
    event_id: str
    code: str
    """AWS's error code."""
    message: str
    failed: datetime
    blocks: bool
    """Whether later events of its key wait for it."""


def find(
    ids: Collection[int] | None = None, *, stream: str | None = None, database: str | None = None
) -> list[Letter]:
    """Return the dead letters with these ids, or all; of one stream and database, or of all.

    Raises KinesisBridgeError naming the ids that do not exist, or a database that fails.
    """
    found: list[Letter] = []
    databases = some_outbox_databases(database)
    for alias in databases:
        with explained(alias):
            found += [
                Letter(
                    database=alias,
                    id=letter.pk,
                    stream=letter.stream,
                    key=letter.partition_key,
                    event_id=letter.event_id,
                    code=letter.code,
                    message=letter.message,
                    failed=letter.failed,
                    blocks=letter.blocks,
                )
                for letter in _letters(alias, ids, stream).order_by("id").defer("payload")
            ]
    _refuse_missing(ids, {letter.id for letter in found}, databases, stream)
    _refuse_unknown(stream, len(found))
    return found


def settle(
    verb: Verb,
    ids: Collection[int] | None,
    *,
    stream: str | None = None,
    database: str | None = None,
) -> int:
    """Requeue or discard the dead letters with these ids, or all (None); return how many.

    In one transaction on each database; all of them are rolled back where one fails, or where an id
    does not exist, or exists in several: KinesisBridgeError says which.
    """
    databases = some_outbox_databases(database)
    count = 0
    with ExitStack() as transactions:
        chosen = {}
        for alias in databases:
            transactions.enter_context(explained(alias))
            transactions.enter_context(transaction.atomic(using=alias))
            chosen[alias] = _letters(alias, ids, stream)
        if ids is not None:
            _refuse_unclear(ids, chosen, stream)
        for letters in chosen.values():
            count += letters.requeue() if verb == "requeue" else letters.discard()
        _refuse_unknown(stream, count)
    return count


def _letters(alias: str, ids: Collection[int] | None, stream: str | None) -> DeadLetterQuerySet:
    letters = DeadLetterQuerySet(DeadLetter, using=alias)
    if ids is not None:
        # SQLite's driver refuses what no id can be.
        letters = letters.filter(pk__in={each for each in ids if abs(each) <= MAX_ID})
    return letters if stream is None else letters.filter(stream=stream)


def _refuse_unclear(
    ids: Collection[int], chosen: Mapping[str, DeadLetterQuerySet], stream: str | None
) -> None:
    homes: dict[int, list[str]] = {}
    for alias, letters in chosen.items():
        # Locked: nobody takes one away before all are done.
        for found in list(letters.locked().values_list("pk", flat=True)):
            homes.setdefault(found, []).append(alias)
    _refuse_missing(ids, homes, chosen, stream)
    twice = sorted(found for found, aliases in homes.items() if len(aliases) > 1)
    if twice:
        raise KinesisBridgeError(
            Text(
                _(
                    "Nothing was changed: {ids} exist in several databases ({databases}). Say"
                    " which: --database."
                ),
                ids=_names(twice),
                databases=", ".join(homes[twice[0]]),
            )
        )


def _refuse_missing(
    ids: Collection[int] | None,
    found: Collection[int],
    databases: Collection[str],
    stream: str | None,
) -> None:
    missing = sorted(set(ids or ()).difference(found))
    if missing:
        of_stream = Text(_(" of stream {stream}"), stream=repr(stream))
        raise KinesisBridgeError(
            Text(
                _(
                    "Nothing was changed: there is no dead letter {ids}{of_stream} in {databases}."
                    " See: manage.py kinesis_deadletter list"
                ),
                ids=_names(missing),
                of_stream="" if stream is None else of_stream,
                databases=", ".join(databases),
            )
        )


def _refuse_unknown(stream: str | None, count: int) -> None:
    """Find the typing error in an alias that nothing was found for."""
    if stream is not None and not count:
        get_config().stream(stream)


def _names(ids: Collection[int]) -> str:
    return ", ".join(map(str, ids))
