"""For a site's own tests: see what would be published, without AWS and without a commit.

::

    with capture_events() as events:
        order.save()
    assert_published("shop.order.created", key="9", data={"status": "new"})
    assert len(events) == 1

Works in ``TestCase`` and ``pytest.mark.django_db``, which never commit: an event counts as
published once every ``atomic`` block of the code under test that it was published in has ended.
What triggers write (``capture="triggers"``) is read from the outbox of the test's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any, overload

import orjson
from django.db import connections

from .capture.written import Written
from .delivery.coalesce import coalesced
from .delivery.memory import MemoryDelivery
from .serializers import to_json
from .streams import PendingEvent, PendingRow, override_delivery

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .conf import StreamConfig
    from .event import Event

__all__ = ["CapturedEvents", "assert_not_published", "assert_published", "capture_events"]


class CapturedEvents(Sequence["Event"]):
    """The events published so far, in order; a live view."""

    def __init__(self) -> None:
        self._committed: list[Event] = []
        self._cleared: set[str] = set()
        self._written = Written()

    def _all(self) -> list[Event]:
        events = self._of_python()
        written = [one for one in self._written.events() if one.id not in self._cleared]
        return sorted(events + written, key=attrgetter("time")) if written else events

    def _of_python(self) -> list[Event]:
        # captureOnCommitCallbacks(execute=True) delivers what stays in Django's list.
        waiting = [one for one in self._waiting() if one.event.id not in self._cleared]
        ids = {one.event.id for one in waiting} | self._cleared
        committed = [event for event in self._committed if event.id not in ids]
        return committed + _sent(waiting)

    def _waiting(self) -> Iterator[PendingEvent]:
        """Yield what only a transaction of the test case itself still holds back."""
        for connection in connections.all(initialized_only=True):
            blocks = connection.atomic_blocks
            of_test = sum(getattr(block, "_from_testcase", False) for block in blocks)
            if not of_test:
                continue
            # The outermost block has no savepoint; a None is a block that made none.
            unfinished = set(connection.savepoint_ids[of_test - 1 :])
            for savepoints, callback, *_ in connection.run_on_commit:
                if (
                    isinstance(callback, PendingEvent)
                    and isinstance(callback.stream.delivery, _Capture)
                    and callback.stream.delivery.captured is self
                    and not unfinished & savepoints
                ):
                    yield callback

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"<CapturedEvents {self._all()!r}>"

    @property
    def types(self) -> list[str]:
        """The events' types, in order."""
        return [event.type for event in self]

    def clear(self) -> None:
        """Forget what was published so far; not what an open transaction still holds back."""
        self._cleared |= {event.id for event in self._committed}
        self._cleared |= {one.event.id for one in self._waiting()}
        self._cleared |= {event.id for event in self._written.events()}


def _sent(waiting: list[PendingEvent]) -> list[Event]:
    """Return what the commits of the code under test would send."""
    transactions: dict[object, list[PendingRow]] = {}
    for one in waiting:
        if isinstance(one, PendingRow):
            transactions.setdefault(one.transaction or one, []).append(one)
    became: dict[int, PendingEvent | None] = {}
    for rows in transactions.values():
        became.update(zip(map(id, rows), coalesced(rows), strict=True))
    sent = (became.get(id(one), one) for one in waiting)
    return [one.event for one in sent if one is not None]


class _Capture(MemoryDelivery):
    def __init__(self, stream: StreamConfig, captured: CapturedEvents) -> None:
        super().__init__(stream)
        self.captured = captured
        self.events = captured._committed  # noqa: SLF001 - its other half


_active: list[CapturedEvents] = []
_last: CapturedEvents | None = None


@contextmanager
def capture_events() -> Iterator[CapturedEvents]:
    """Send no event of this process anywhere within the block; yield what was published.

    The assertions look at the innermost open block; where none is open, at the last that ended.
    """
    global _last  # noqa: PLW0603 - what the assertions after the block look at
    captured = CapturedEvents()
    _active.append(captured)
    try:
        with override_delivery(lambda config: _Capture(config, captured)):
            yield captured
    finally:
        captured._written.end()  # noqa: SLF001 - its other half
        _active.remove(captured)
        _last = captured


def assert_published(
    type: str,  # noqa: A002 - the attribute's name in CloudEvents
    *,
    key: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """Assert that an event of `type` was published, with this `key` and at least this `data`.

    `data` is compared in its JSON form, so a Decimal equals its text; names it leaves out do not
    matter. Returns the first event that fits.
    """
    events = _current()
    for event in events:
        if _fits(event, type, key, data):
            return event
    wanted = f"type={type!r}" + (f", key={key!r}" if key is not None else "")
    wanted += f", data={dict(data)!r}" if data is not None else ""
    lines = "".join(f"\n  type={e.type!r}, key={e.key!r}, data={e.data!r}" for e in events)
    raise AssertionError(f"No event with {wanted}. Published: {lines or 'nothing'}")


def assert_not_published(type: str, *, key: str | None = None) -> None:  # noqa: A002
    """Assert that no event of `type` (and `key`) was published."""
    for event in _current():
        if _fits(event, type, key, None):
            raise AssertionError(f"{event!r} was published.")


def _current() -> CapturedEvents:
    captured = _active[-1] if _active else _last
    if captured is None:
        raise AssertionError(
            "Nothing was captured: use `with capture_events():` around the code under test, or"
            " pytest's kinesis_events fixture."
        )
    return captured


def forget() -> None:
    """Let the assertions know of no block that has ended; the pytest plugin does, before a test."""
    global _last  # noqa: PLW0603
    _last = None


def _fits(event: Event, type_: str, key: str | None, data: Mapping[str, Any] | None) -> bool:
    if event.type != type_ or (key is not None and event.key != str(key)):
        return False
    if data is None:
        return True
    held = orjson.loads(to_json(event.data))
    return isinstance(held, dict) and held == {**held, **orjson.loads(to_json(data))}
