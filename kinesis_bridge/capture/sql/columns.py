"""What an event's data is made of, in SQL: own columns, paths through relations, expressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import sql

from kinesis_bridge.declaring.sources import Computed, Expression, Path
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .values import OnlyInPython, differs, json_of, most_bytes, quoted, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kinesis_bridge.declarations import Declaration

    _Field = models.Field[Any, Any]
    Refuse = Callable[[str, str], str]

HOLDS = "kinesis_bridge_holds"
"""Column beside the row's own: whether ``when`` holds of it."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One name of the data, and the column that its value is in."""

    name: str
    field: _Field
    """Whose values it has."""
    column: str
    """Its name, without the relation."""
    path: tuple[_Field, ...] = ()
    """The foreign keys that lead to its table; empty: it is the row's own."""
    computed: str | None = None
    """SQL over the row's own columns; None: it is a column already."""
    may_be_null: bool = False
    """Although its field may not."""

    def json(self, alias: str, refuse: Refuse | None = None) -> str:
        """Return SQL for its JSON text in the row `alias`.

        `refuse` is given the name and the alias, and makes SQL that fails: of a value that JSON has
        no form for.
        """
        column = self.named(alias)
        json = json_of(self.field, column)
        if refuse is not None and (bad := refusal(self.field, column)) is not None:
            json = f"CASE WHEN {bad} THEN {refuse(self.name, alias)} ELSE {json} END"
        return f"coalesce({json}, 'null')" if self.may_be_null else json

    def differs(self, one: str, other: str) -> str:
        """Return SQL that tells whether it is not the same in two rows."""
        return differs(self.field, self.named(one), self.named(other))

    def named(self, alias: str) -> str:
        """Return SQL that names it in the row `alias`."""
        return f"{_hop(alias, self.path)}.{quoted(self.column)}"

    def joins(self, alias: str) -> Iterator[str]:
        """Yield what must stand behind the row `alias` for it: one join a step."""
        for length, step in enumerate(self.path, 1):
            here, there = _hop(alias, self.path[: length - 1]), _hop(alias, self.path[:length])
            target = step.target_field  # type: ignore[attr-defined]
            yield (
                f" LEFT JOIN {quoted(target.model._meta.db_table)} {there}"
                f" ON {there}.{quoted(target.column)} = {here}.{quoted(str(step.column))}"
            )

    @property
    def most_bytes(self) -> int | None:
        """How many bytes its JSON has at most; None: nobody knows."""
        return most_bytes(self.field)


def _hop(alias: str, path: tuple[_Field, ...]) -> str:
    """Return the alias of the table that `path` leads to, from the row `alias`."""
    return quoted("__".join([alias, *(step.name for step in path)])) if path else alias


def own(name: str, field: _Field) -> Column:
    """Return an own column of the row."""
    return Column(name=name, field=field, column=str(field.column))


def columns_of(declaration: Declaration) -> list[Column]:
    """Return what the data of a declaration is made of, in its order.

    Raises OnlyInPython where a part of it is not made in SQL, FieldDoesNotExist for a name that
    leads to nothing.
    """
    if declaration.payload is not None:
        raise OnlyInPython(Text(_("payload= is a function")))
    if declaration.coalesce:
        raise OnlyInPython(Text(_("coalesce=, for which all of a transaction is looked at")))
    if declaration.relations:
        names = ", ".join(declaration.relations)
        raise OnlyInPython(Text(_("many-to-many fields ({names})"), names=names))
    parents = set(declaration.model._meta.get_parent_list())
    for name, field in (*declaration.payload_fields.items(), ("key=", declaration.key_field)):
        if field.model in parents:
            said = _("{name}, which is in the table of {label}")
            raise OnlyInPython(Text(said, name=name, label=field.model._meta.label))
    columns = [own(name, field) for name, field in declaration.payload_fields.items()]
    for number, (name, source) in enumerate(declaration.derived.items()):
        columns.append(_derived(declaration, name, source, number))
    return columns


def _derived(declaration: Declaration, name: str, source: object, number: int) -> Column:
    if isinstance(source, Path):
        *steps, last = source.fields
        return Column(
            name=name,
            field=last,
            column=str(last.column),
            path=tuple(steps),
            may_be_null=source.is_null,
        )
    if isinstance(source, Expression):
        return Column(
            name=name,
            field=source.output_field,
            column=f"kinesis_bridge_{number}",
            computed=_compiled(declaration, source.expression, f"{name}: its expression"),
            may_be_null=True,
        )
    assert isinstance(source, Computed)  # noqa: S101 - there is no other  # nosec B101
    raise OnlyInPython(Text(_("{name}, which is computed by a function"), name=name))


def condition_of(declaration: Declaration) -> str | None:
    """Return SQL over the row's own columns that tells whether ``when`` holds; None: always.

    Raises OnlyInPython for a function, and for what needs other tables.
    """
    when = declaration.when
    if when is None:
        return None
    if not isinstance(when, models.Q):
        raise OnlyInPython(Text(_("when= is a function, and not a Q")))
    return _compiled(declaration, when, "when=")


def _compiled(declaration: Declaration, given: Any, what: str) -> str:
    """Return the SQL of an expression or a Q over the columns of one row, which are not named.

    As Django compiles a check constraint. Needs psycopg, and no server.
    """
    connection = _connection()
    query = sql.Query(model=declaration.model, alias_cols=False)
    try:
        if isinstance(given, models.Q):
            expression: Any = query.build_where(given)
        else:
            expression = given.resolve_expression(query, allow_joins=False)
        compiler = query.get_compiler(connection=connection)
        text, parameters = compiler.compile(expression)
    except Exception as error:
        said = _("{what} is not of the row's own columns alone ({error})")
        raise OnlyInPython(Text(said, what=what, error=str(error))) from error
    if len(query.alias_map) > 1 or any(map(_is_of_more, _parts(expression))):
        raise OnlyInPython(Text(_("{what} is not of the row's own columns alone"), what=what))
    editor: Any = connection.SchemaEditorClass(connection)
    return str(text) % tuple(map(editor.quote_value, parameters)) if parameters else str(text)


def _parts(expression: Any) -> Iterator[Any]:
    """Yield an expression and all that it is made of."""
    yield expression
    for part in getattr(expression, "get_source_expressions", list)():
        if part is not None:
            yield from _parts(part)


def _is_of_more(expression: Any) -> bool:
    """Tell whether it is of other rows: an aggregate, a window, a subquery."""
    names = ("contains_aggregate", "contains_over_clause", "subquery")
    return any(getattr(expression, name, False) for name in names) or isinstance(
        expression, sql.Query
    )


def _connection() -> Any:
    """Return a connection to PostgreSQL that is never opened.

    Where the SQL is made there may be another database.
    """
    from django.db.utils import ConnectionHandler  # noqa: PLC0415 - only to compile

    engine = "django.db.backends.postgresql"
    return ConnectionHandler({"default": {"ENGINE": engine, "NAME": "unused"}})["default"]
