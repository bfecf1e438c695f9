"""The events of a declaration, as PostgreSQL writes them into the outbox.

What ``capture.events.make_event``, the serializers and ``delivery.insert`` do in Python, for rows
that come out of a statement or into a trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django.db import models

from kinesis_bridge import serializers
from kinesis_bridge.conf import get_config
from kinesis_bridge.declarations import CHANGED
from kinesis_bridge.delivery.insert import CHANNEL
from kinesis_bridge.event import MAX_KEY_CHARACTERS
from kinesis_bridge.exceptions import (
    EventError,
    PartitionKeyError,
    RecordTooLarge,
    SerializationError,
)
from kinesis_bridge.models import LANES, OutboxRecord
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .columns import HOLDS, columns_of, condition_of, own
from .text import Fixed, joined, json_text
from .values import OnlyInPython, is_bare, literal, quoted, text_of

if TYPE_CHECKING:
    from kinesis_bridge.declarations import Declaration, Kind

    from .columns import Column

    _Field = models.Field[Any, Any]

SETTING = "kinesis_bridge.context"
"""Of the transaction: who and why, as JSON (``kinesis_bridge.context.as_json``)."""
Refuse = Callable[[type[EventError], str], str]
"""Makes SQL that fails: with what, and with the message that the SQL given makes."""
NOTIFY = f"pg_notify('{CHANNEL}', '')"
_ENVELOPE_BYTES = 4096  # around the data, with source, context and key: about


# A UUID's end: the version's and the variant's bits are at their places, see _once.
_ID = (
    "s.id || to_hex(32768 + floor(random() * 16384)::integer) || '-'"
    " || substr(to_hex(281474976710656 + floor(random() * 281474976710656)::bigint), 2)"
)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What one row of a statement becomes, in SQL; evaluated once a row."""

    kind: str
    """``created`` and so on: SQL, or Fixed."""
    key: str
    subject: str
    data: str
    rows: str
    """What stands behind FROM, with its conditions."""


class EventSql:
    """How PostgreSQL writes the events of one declaration.

    Raises OnlyInPython for a declaration that needs Python for it, FieldDoesNotExist for a field
    that the model has not.
    """

    def __init__(self, declaration: Declaration, refuse: Refuse, context: str) -> None:
        """`refuse`: how SQL fails; `context`: SQL of who and why as JSON, or NULL."""
        self.declaration = declaration
        self._refuse = refuse
        self._context = context
        self._stream = get_config().stream(declaration.stream)
        self._is_bare_json = _is_bare_json(self._stream.options["SERIALIZER"])
        pk = declaration.model._meta.pk
        assert pk is not None  # noqa: S101 - every concrete model has one  # nosec B101
        self._pk = pk
        self._columns = columns_of(declaration)
        self._condition = condition_of(declaration)
        self._inserts: dict[tuple[str, Kind], str] = {}
        # Said here, where somebody can still choose the other way.
        self._key_of("n")
        self.subject("n")
        self._data_of("n")

    # -- the statements

    def insert(self, source: str, kind: Kind) -> str:
        """Return an INSERT of one event for each row of `source`, a relation's name."""
        made = self._inserts.get((source, kind))
        if made is None:  # else it would be put together anew for each statement of a site
            made = self._inserts[source, kind] = self._insert_of(source, kind)
        return made

    def _insert_of(self, source: str, kind: Kind) -> str:
        rows = f"{self._source(source)} n{self._joins('n')}"
        if self._condition is not None:
            rows += f" WHERE n.{quoted(HOLDS)}"
        return self._insert(
            Made(
                kind=Fixed(kind),
                key=self._key_of("n"),
                subject=self.subject("n"),
                data=self._data_of("n"),
                rows=rows,
            )
        )

    @property
    def fields(self) -> list[_Field]:
        """The row's own columns that its events are made of."""
        columns = [*self.pk_columns(), *self.seen()]
        return list(dict.fromkeys(one.field for one in columns if not one.path))

    # -- one row

    def _insert(self, made: Made) -> str:
        table = quoted(OutboxRecord._meta.db_table)
        payload = self._payload(made.kind if isinstance(made.kind, Fixed) else "e.kind")
        if not self._may_be_too_large:
            values, source = f"convert_to({payload}, 'UTF8')", ""
        else:
            values, source = self._measured(payload)
        alias = self._stream.alias
        hashed = f"md5({literal(f'{alias}:')} || e.key)"
        lane = f"get_byte(decode(left({hashed}, 2), 'hex'), 0) & {LANES - 1}"
        return (
            f"INSERT INTO {table} (stream, lane, partition_key, payload, event_id)"  # noqa: S608  # nosec B608
            f" SELECT {literal(alias)}, {lane}, e.key, {values}, e.id"
            f" FROM ({self._once()}) s CROSS JOIN LATERAL (SELECT {joined([made.kind])} AS kind,"
            f" {made.key} AS key, {made.subject} AS subject, {made.data} AS data, {_ID} AS id"
            f" FROM {made.rows}) e{source}"
        )

    def _measured(self, payload: str) -> tuple[str, str]:
        """Return the payload refused where it is too large, and what it is read from."""
        most = self._stream.max_record_bytes
        size = "octet_length(p.payload)" + (
            "" if self._stream.is_firehose else " + octet_length(e.key)"
        )
        message = joined(
            [
                Fixed(f"{self.declaration.label}: the record of "),
                "e.subject",
                Fixed(" has "),
                f"({size})::text",
                Fixed(
                    f" bytes (key included) and stream {self._stream.alias!r} takes {most:,}."
                    " Publish less (fields=), or raise the stream's record limit in AWS and"
                    ' OPTIONS["MAX_RECORD_BYTES"] with it (10 MiB at most).'
                ),
            ]
        )
        values = (
            f"convert_to(CASE WHEN {size} > {most} THEN {self._refuse(RecordTooLarge, message)}"
            " ELSE p.payload END, 'UTF8')"
        )
        return values, f" CROSS JOIN LATERAL (SELECT {payload} AS payload OFFSET 0) p"

    @property
    def _may_be_too_large(self) -> bool:
        sizes = [column.most_bytes for column in self._columns]
        names = sum(len(json_text(column.name)) + 2 for column in self._columns)
        if None in sizes:
            return True
        twice = 3 if self.declaration.changed else 1
        most = twice * (sum(size or 0 for size in sizes) + names) + _ENVELOPE_BYTES
        return most + 6 * len(get_config().source) > self._stream.max_record_bytes

    def _once(self) -> str:
        """Return the SELECT of what is the same for all rows of a statement."""
        # UUIDv7: RFC 9562, section 5.7. 74 random bits of PostgreSQL's own generator, of which 62
        # are a row's: gen_random_uuid() takes longer than all the rest of an event.
        millis = "floor(date_part('epoch', statement_timestamp()) * 1000)::bigint"
        some = "right(to_hex(4096 + floor(random() * 4096)::integer), 3)"
        begin = f"overlay(lpad(to_hex({millis}), 12, '0') PLACING '-' FROM 9 FOR 0)"
        begin += f" || '-7' || {some} || '-'"
        head = joined(
            [
                Fixed(f'","source":{json_text(get_config().source)},"time":"'),
                "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
                Fixed('+00:00","datacontenttype":"application/json","partitionkey":'),
            ]
        )
        given = f"coalesce({self._context}, '')"
        # What stands between its braces; refused by PostgreSQL where it is no JSON.
        inner = f"',' || substr(btrim({given}::json::text), 2, length(btrim({given})) - 2)"
        context = f"CASE WHEN {given} IN ('', '{{}}') THEN '' ELSE {inner} END"
        return f"SELECT {begin} AS id, {head} AS head, {context} AS context"

    def _payload(self, kind: str) -> str:
        if self._is_bare_json:
            return "e.data"
        declaration = self.declaration
        parts = [Fixed(f'{{"specversion":"1.0","type":{json_text(declaration.prefix)[:-1]}.'), kind]
        if declaration.dataschema is not None:
            parts.append(Fixed(f'","dataschema":{json_text(declaration.dataschema)[:-1]}'))
        parts += [Fixed('","id":"'), "e.id", "s.head"]
        if is_bare(declaration.key_field):
            parts += [Fixed('"'), "e.key", Fixed('"')]
        else:
            parts.append("to_json(e.key)")
        parts += ["s.context", Fixed(',"data":'), "e.data"]
        if is_bare(self._pk):
            parts += [Fixed(',"subject":"'), "e.subject", Fixed('"}')]
        else:
            subject = "',\"subject\":' || to_json(e.subject)"
            parts += [f"CASE WHEN e.subject = '' THEN '' ELSE {subject} END", Fixed("}")]
        return joined(parts)

    def _data_of(self, alias: str, *, with_changed: bool = False) -> str:
        parts: list[str] = []
        for column in self._columns:
            begin = "," if parts else "{"
            parts += [
                Fixed(f"{begin}{json_text(column.name)}:"),
                column.json(alias, self._refuse_value),
            ]
        if with_changed and self.declaration.changed:
            begin = "," if parts else "{"
            changed = f"'{begin}\"{CHANGED}\":{{' || k.changed || '}}'"
            parts.append(f"CASE WHEN k.kind = 'updated' THEN {changed} ELSE '' END")
        return joined([*(parts or [Fixed("{")]), Fixed("}")])

    def _key_of(self, alias: str) -> str:
        """Return SQL for the partition key, refused where it can be none."""
        field = self.declaration.key_field
        key = _text(field, alias)
        name = f"{self.declaration.label}.{self.declaration.key}"
        subject = f"coalesce({self.subject(alias)}, '')"
        cases = ""
        if field.null or field.generated:
            why = ", and it is the partition key of the model's events. Choose a key= that always"
            message = [Fixed(f"{name} is empty for "), subject, Fixed(f"{why} has a value.")]
            cases += f" WHEN {key} IS NULL THEN {self._refuse(PartitionKeyError, joined(message))}"
        if not is_bare(field):
            what = f"{name} is empty, or longer than {MAX_KEY_CHARACTERS} characters, for "
            why = ", and it is the partition key. Use an id, or a hash of the long value."
            message = [Fixed(what), subject, Fixed(why)]
            bad = f"length({key}) NOT BETWEEN 1 AND {MAX_KEY_CHARACTERS}"
            cases += f" WHEN {bad} THEN {self._refuse(PartitionKeyError, joined(message))}"
        return f"CASE{cases} ELSE {key} END" if cases else key

    def _refuse_value(self, name: str, alias: str) -> str:
        # The subject is in it not only for who reads it: PostgreSQL evaluates what is constant when
        # it plans, also in a branch that is never taken.
        what = f"{self.declaration.label}.{name} cannot be published of "
        why = ": it is NaN or Infinity, which JSON does not have."
        return self._refuse(
            SerializationError, joined([Fixed(what), self.subject(alias), Fixed(why)])
        )

    def subject(self, alias: str) -> str:
        """Return SQL for the text of a row's primary key."""
        return _text(self._pk, alias)

    def pk_columns(self) -> list[Column]:
        """Return the columns of the primary key."""
        return [own(field.attname, field) for field in _parts(self._pk)]

    def seen(self) -> list[Column]:
        """Return what an event shows of a row: its data, and its partition key."""
        key = self.declaration.key_field
        columns = list(self._columns)
        if all(column.field is not key for column in columns):
            columns.append(own(key.attname, key))
        return columns

    # -- what rows are read from

    def _source(self, name: str) -> str:
        """Return a relation with what is computed of its rows beside their columns."""
        extra = [
            f"({column.computed}) AS {quoted(column.column)}"
            for column in self._columns
            if column.computed is not None
        ]
        if self._condition is not None:
            extra.append(f"({self._condition}) AS {quoted(HOLDS)}")
        return f"(SELECT *, {', '.join(extra)} FROM {name})" if extra else name  # noqa: S608  # nosec B608

    def _joins(self, alias: str) -> str:
        return "".join(
            dict.fromkeys(join for column in self._columns for join in column.joins(alias))
        )


def _parts(field: _Field) -> list[_Field]:
    if isinstance(field, models.CompositePrimaryKey):
        return list(cast("tuple[_Field, ...]", field.fields))
    return [field]


def _text(field: _Field, alias: str) -> str:
    """Return SQL for the text of a key or subject; those of several columns with commas between."""
    parts: list[str] = []
    for one in _parts(field):
        parts += [*([Fixed(",")] if parts else []), text_of(one, own("", one).named(alias))]
    return joined(parts) if len(parts) > 1 else parts[0]


def _is_bare_json(name: str) -> bool:
    """Tell which of our serializers it is; raise OnlyInPython for others."""
    serializer = serializers.get(name)
    if not serializers.is_built_in(serializer):
        raise OnlyInPython(Text(_("the serializer {name} of its stream"), name=name))
    return serializer is serializers.bare_json
