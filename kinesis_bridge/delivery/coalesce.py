"""``publishes(coalesce=True)``: several updates of a row in one transaction become one event.

Pure: given the events that wait for a commit, it says which are sent. A rolled-back savepoint has
taken its own out before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kinesis_bridge.exceptions import CoalesceError, EventError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from typing import Self

    from kinesis_bridge.event import Event

Changed = dict[str, list[Any]]
"""``{name: [old, new]}``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The row that an event tells of."""

    label: str
    """``app_label.Model``, for messages."""
    id: Hashable
    """What no other row of any declaration has."""
    is_update: bool
    """False: it came or went, or was read. Updates before that are not those after it."""
    changed: Changed | None = None
    """What the event says that changed; None: it does not tell."""
    retell: Callable[[Event, Changed], Event]
    """Returns the event with another `changed`."""


class RowEvent:
    """An event that waits for its commit, and may become one with others of its row."""

    __slots__ = ()

    event: Event
    row: Row

    def become(self, event: Event) -> Self:
        """Return what waits in its place with `event`; raise EventError if that cannot pass."""
        raise NotImplementedError

    def telling(self, changed: Changed) -> Self:
        """Return it with another `changed`; raise CoalesceError where that could never pass."""
        try:
            return self.become(self.row.retell(self.event, changed))
        except EventError as error:
            raise CoalesceError(
                f"The updates of {self.row.label} {self.event.subject!r} in this transaction cannot"
                f" become one event, so nothing of the transaction was kept. {error} Or declare the"
                " model without coalesce=."
            ) from error


class LateRow(RowEvent):
    """One that a transactional delivery writes when it knows what is sent."""

    __slots__ = ()

    def __call__(self) -> tuple[Event, bytes]:
        """Return what is to be written now, and tell of it."""
        raise NotImplementedError


E = TypeVar("E", bound=RowEvent)


def coalesced(events: Sequence[E]) -> list[E | None]:
    """Return what is sent in the place of each event, None for nothing.

    Updates of a row under one partition key that nothing else of the row stands between are sent
    once, where the last of them stood, with what the last one says, and with `changed` from the
    first old values to the last new ones; not at all where these are the same. Under another key
    they are others: each key has an order of its own. Raises CoalesceError.
    """
    sent: list[E | None] = list(events)
    runs: list[_Run] = []
    open_runs: dict[Hashable, _Run] = {}
    for place, one in enumerate(events):
        run = open_runs.get(one.row.id)
        if not one.row.is_update:
            open_runs.pop(one.row.id, None)
        elif run is None or run.key != one.event.key:
            open_runs[one.row.id] = run = _Run(one.event.key, place, one.row.changed)
            runs.append(run)
        else:
            sent[run.last] = None
            run.last, run.changed = place, _joined(run.changed, one.row.changed)
    for run in runs:
        one = events[run.last]
        if run.changed == {}:
            sent[run.last] = None
        elif run.changed is not None and run.changed != one.row.changed:
            sent[run.last] = one.telling(run.changed)
    return sent


@dataclass(slots=True)
class _Run:
    """Updates that become one."""

    key: str
    last: int
    changed: Changed | None


def _joined(first: Changed | None, second: Changed | None) -> Changed | None:
    """Return what changed in both together; names that are as they were are left out."""
    if first is None or second is None:
        return None
    joined = first | second
    for name in first.keys() & second.keys():
        joined[name] = [first[name][0], second[name][1]]
    return {name: [old, new] for name, (old, new) in joined.items() if old != new}
