"""The events of an UPDATE, as PostgreSQL writes them: it may be more than ``updated``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist

from .columns import HOLDS, own
from .event import EventSql, Made
from .text import Fixed, joined, json_text
from .values import literal, quoted

if TYPE_CHECKING:
    from django.db import models

    from kinesis_bridge.declarations import Declaration

    _Field = models.Field[Any, Any]

SEPARATOR = "E'\\x1f'"
"""Of keys in one text."""


class UpdateSql(EventSql):
    """How PostgreSQL writes the events of an UPDATE of one declaration."""

    def insert_moved(self, source: str, moved: str) -> str:
        """Return an INSERT of the events of an UPDATE that gave rows other primary keys.

        To consumers those are other rows. `moved` is SQL of a text: the new keys of these rows, as
        :meth:`subject` has them, each with a SEPARATOR before it.
        """
        keys = f"unnest(string_to_array(substr({moved}, 2), {SEPARATOR}))"
        kind = "CASE WHEN m.subject IS NULL THEN 'updated' ELSE 'created' END"
        rows = (
            f"{self._source(source)} n{self._joins('n')} LEFT JOIN (SELECT DISTINCT {keys} AS"
            f" subject) m ON m.subject = {self.subject('n')} WHERE {kind} IN ({self._wanted()})"
        )
        return self._insert(
            Made(
                kind=kind,
                key=self._key_of("n"),
                subject=self.subject("n"),
                data=self._data_of("n"),
                rows=rows,
            )
        )

    def insert_changes(self, old: str, new: str) -> str:
        """Return an INSERT of the events of an UPDATE, from its rows as they were and as they are.

        Also right for one that gives rows other primary keys.
        """
        kind = self._kind_of_change()
        changed = self._changed() if self.declaration.changed else "''"
        # FULL JOIN: it is never done by nested loops, whatever the plan was made for; and a primary
        # key that came or went has only one side. OFFSET 0: evaluated once a row.
        rows = (
            f"{self._source(new)} n FULL JOIN {self._source(old)} o"
            f" ON {self._same_row()}{self._joins('n')}{self._joins('o')}"
            f" CROSS JOIN LATERAL (SELECT {kind} AS kind, {changed} AS changed OFFSET 0) k"
            f" WHERE {self._is_published()}"
        )
        return self._insert(
            Made(
                kind="k.kind",
                key=_either(self._key_of("n"), self._key_of("o")),
                subject=_either(self.subject("n"), self.subject("o")),
                data=_either(self._data_of("n", with_changed=True), self._data_of("o")),
                rows=rows,
            )
        )

    @property
    def needs_old_rows(self) -> bool:
        """Whether what becomes of an update depends on what was there before."""
        return needs_old_rows(self.declaration)

    # -- an update

    def _kind_of_change(self) -> str:
        """Return SQL for what a row's change is to consumers: NULL for nothing."""
        pk = self.pk_columns()[0]
        was, is_so = f"{pk.named('o')} IS NOT NULL", f"{pk.named('n')} IS NOT NULL"
        if self._condition is not None:
            was = f"coalesce(o.{quoted(HOLDS)}, false)"
            is_so = f"coalesce(n.{quoted(HOLDS)}, false)"
        return (
            f"CASE WHEN {was} AND {is_so} THEN 'updated' WHEN {is_so} THEN 'created'"
            f" WHEN {was} THEN 'deleted' END"
        )

    def _is_published(self) -> str:
        conditions = [f"k.kind IN ({self._wanted()})"]
        if self.declaration.changed:
            conditions.append("(k.kind <> 'updated' OR k.changed <> '')")
        elif others := self._unpublished():
            # Not of an update of what nobody sees; but of one that changes nothing, as of a save.
            own_key = [one.field for one in self.pk_columns()]
            seen = [
                one.differs("o", "n") for one in self.seen() if one.path or one.field not in own_key
            ]
            published, other = " OR ".join(seen) or "false", " OR ".join(others)
            conditions.append(f"(k.kind <> 'updated' OR {published} OR NOT ({other}))")
        return " AND ".join(conditions)

    def _wanted(self) -> str:
        return ", ".join(map(literal, self.declaration.on))

    def _changed(self) -> str:
        parts: list[str] = []
        for column in self._columns:
            name = Fixed(f",{json_text(column.name)}:[")
            pair = joined([name, column.json("o"), Fixed(","), column.json("n"), Fixed("]")])
            parts.append(f"CASE WHEN {column.differs('o', 'n')} THEN {pair} ELSE '' END")
        return f"substr({joined(parts)}, 2)"

    def _same_row(self) -> str:
        return " AND ".join(f"{one.named('n')} = {one.named('o')}" for one in self.pk_columns())

    def _unpublished(self) -> list[str]:
        """Return SQL that tells, for each column that nobody sees, whether it changed."""
        seen = {column.field for column in self.seen()}
        return [
            own(field.attname, field).differs("o", "n")
            for field in _beside_key(self.declaration)
            if field not in seen
        ]


def needs_old_rows(declaration: Declaration) -> bool:
    """Tell whether what becomes of an update depends on what was there before."""
    if declaration.changed or declaration.when is not None or "updated" not in declaration.on:
        return True
    try:
        seen = {declaration.key_field, *declaration.payload_fields.values()}
        return bool(declaration.derived) or any(
            field not in seen for field in _beside_key(declaration)
        )
    except FieldDoesNotExist:  # the checks say so
        return True


def _beside_key(declaration: Declaration) -> list[_Field]:
    """Return the columns of the model's table that are no part of the primary key."""
    meta = declaration.model._meta
    return [
        field
        for field in meta.local_concrete_fields
        if field not in meta.pk_fields and field is not meta.pk
    ]


def _either(new: str, old: str) -> str:
    return f"CASE WHEN k.kind = 'deleted' THEN {old} ELSE {new} END"
