"""Which writes of a model declared with ``capture="triggers"`` become events, and which do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinesis_bridge.declarations import CHANGES
from kinesis_bridge.declaring.sources import Path
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .schema import kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinesis_bridge.declarations import Declaration

_VERBS = {"created": "INSERT, COPY", "updated": "UPDATE", "deleted": "DELETE"}


def captured(declaration: Declaration, vendor: str) -> Iterator[str]:
    """Yield the kinds of writes that have events."""
    if vendor == "postgresql":
        verbs = ", ".join(_VERBS[change] for change in CHANGES if change in declaration.on)
        every = _("every {verbs} of the table's rows: Django's, raw SQL, other programs")
        yield Text(every, verbs=verbs)
        yield Text(_("data migrations, loaddata, _raw_delete()"))
        yield Text(_("what the database does by itself: cascades, ON DELETE SET ..."))
    if "snapshot" in kinds_of(declaration):
        yield Text(_("rows that are there already: manage.py kinesis_snapshot"))


def not_captured(declaration: Declaration, vendor: str) -> Iterator[str]:
    """Yield the kinds of writes that have no event."""
    if vendor != "postgresql":
        yield Text(_("all others: triggers need PostgreSQL, and this is {vendor}"), vendor=vendor)
        return
    left_out = [change for change in CHANGES if change not in declaration.on]
    if left_out:
        yield Text(_("rows that are {changes}: on= leaves them out"), changes=" or ".join(left_out))
    if declaration.when is not None:
        yield Text(_("rows of which when= does not hold; one that no longer meets it is deleted"))
    if "updated" in declaration.on:
        yield Text(
            _("updates that change nothing of what is published: changed=True")
            if declaration.changed
            else _(
                "updates that change nothing of what is published, but something else of the row"
            )
        )
    paths = [name for name, one in declaration.derived.items() if isinstance(one, Path)]
    if paths:
        yield Text(_("changes of related rows that are read: {fields}"), fields=", ".join(paths))
    yield "TRUNCATE"
    yield Text(
        _("what is written with triggers disabled, or with session_replication_role = replica")
    )
