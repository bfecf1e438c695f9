"""``streams["default"]``: one object per alias and process; ``publish`` and ``apublish``."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils.module_loading import import_string

from . import serializers, signals
from .conf import get_config
from .context import MAX_BYTES, context_of
from .delivery.coalesce import LateRow, RowEvent
from .event import Event, new_id
from .exceptions import EventError, SerializationError
from .registry import PerProcess
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .conf import StreamConfig
    from .delivery.base import Delivery
    from .delivery.coalesce import Row


class Stream:
    """Takes the events of one alias: serializes them at once, delivers them when they are due."""

    def __init__(self, config: StreamConfig) -> None:
        """Make the delivery; raise ``ImproperlyConfigured`` for an unknown serializer."""
        self.config = config
        self._serialize = serializers.get(config.options["SERIALIZER"])
        self._is_built_in = serializers.is_built_in(self._serialize)
        self._max_bytes = config.max_record_bytes
        # Bytes of an envelope and of its context, and to spare.
        site = get_config()
        self._around = 1024 + MAX_BYTES + 6 * (len(site.source) + len(site.schemas))
        make: Callable[[StreamConfig], Delivery] = import_string(config.delivery_class)
        self.delivery = (_overrides[-1] if _overrides else make)(config)

    def __repr__(self) -> str:
        return f"<Stream {self.config.alias!r} by {self.delivery!r}>"

    def publish(
        self,
        type: str,  # noqa: A002 - the attribute's name in CloudEvents
        data: Any,
        *,
        key: str | None = None,
        subject: str | None = None,
        using: str = DEFAULT_DB_ALIAS,
    ) -> Event:
        """Publish an event on this stream: see :func:`publish`."""
        if isinstance(data, (bytes, bytearray, memoryview)):
            data = _parsed(bytes(data))
        event_id = new_id()
        event = Event(
            id=event_id,
            type=type,
            source=get_config().source,
            subject=subject,
            key=event_id if key is None else key,
            data=data,
            stream=self.config.alias,
            context=context_of(type, self.config.alias),
        )
        self.send(event, using)
        return event

    def send(self, event: Event, using: str = DEFAULT_DB_ALIAS) -> None:
        """Deliver `event` if the transaction that is open on database `using` commits.

        Without one: at once. Raises EventError in the caller's hands for what could never pass.
        """
        payload = self.payload_of(event)
        if self.delivery.transactional:
            self._deliver(event, payload, using)
        else:
            transaction.on_commit(PendingEvent(self, event, payload, using), using=using)

    def send_all(self, events: Iterable[Event], using: str = DEFAULT_DB_ALIAS) -> None:
        """:meth:`send` several, in their order, and none where one of them could never pass."""
        pairs = [(event, self.payload_of(event)) for event in events]
        if self.delivery.transactional:
            self.delivery.deliver_all(pairs, using)
            if signals.event_published.receivers:
                for event, _ in pairs:
                    alias = self.config.alias
                    signals.event_published.send_robust(Stream, event=event, stream=alias)
            return
        for event, payload in pairs:
            transaction.on_commit(PendingEvent(self, event, payload, using), using=using)

    def send_rows(self, events: Iterable[tuple[Event, Row]], using: str) -> None:
        """:meth:`send_all` events of rows whose updates become one in a transaction.

        ``event_published`` is sent for what they become, just before the commit.
        """
        pairs = [(event, self.payload_of(event), row) for event, row in events]
        if self.delivery.transactional:
            rows = [_WrittenRow(self, *pair) for pair in pairs]
            self.delivery.deliver_rows(rows, using)
            return
        from .delivery import precommit  # noqa: PLC0415 - models may be imported only now

        for event, payload, row in pairs:
            pending = PendingRow(self, event, payload, using, row)
            transaction.on_commit(pending, using=using)
            pending.place = precommit.watch(using)

    def offer(self, event: Event) -> bool:
        """Deliver `event` at once, past any transaction, and never wait; False: it was not taken.

        For what is no part of a transaction, as logs. Only a delivery with an ``offer``
        (``background``) takes it. Receivers of ``event_published`` do not hear of it: they could
        be slow. Raises EventError for what could never pass, and what ``offer`` raises.
        """
        offer = getattr(self.delivery, "offer", None)
        return offer is not None and bool(offer(event, self.payload_of(event)))

    def send_late(self, make: Callable[[], Event], using: str, *, most_bytes: int) -> bool:
        """:meth:`send` what `make` returns just before the commit; False: not so, nothing is sent.

        All events of a transaction at once cost less than one at a time. But an error would come
        with the commit: so only for what must have a JSON form, of `most_bytes` without source and
        context. `make` is called when the context may have ended: it is given one that was taken.
        """
        return (
            self._is_built_in
            and most_bytes + self._around < self._max_bytes
            and self.delivery.deliver_late(partial(self._make, make), using)
        )

    def _make(self, make: Callable[[], Event]) -> tuple[Event, bytes]:
        event = make()
        payload = self.payload_of(event)
        signals.event_published.send_robust(Stream, event=event, stream=self.config.alias)
        return event, payload

    def payload_of(self, event: Event) -> bytes:
        """Return the bytes that `event` is sent as; raise EventError for what could never pass."""
        try:
            payload = self._serialize(event)
        except EventError:
            raise
        except Exception as error:
            said = _("Stream {stream}: its serializer failed: {error}.")
            raise SerializationError(
                Text(said, stream=repr(self.config.alias), error=repr(error))
            ) from error
        if not isinstance(payload, bytes):  # a registered serializer may be anyone's
            raise SerializationError(
                Text(
                    _("Stream {stream}: its serializer returned {type}, not bytes."),
                    stream=repr(self.config.alias),
                    type=type(payload).__name__,
                )
            )
        # A character of the key, which the event checked, is four bytes at most.
        if len(payload) + 4 * len(event.key) > self._max_bytes:
            serializers.check_size(event.key, payload, self.config)
        return payload

    def _deliver(self, event: Event, payload: bytes, using: str) -> None:
        self.delivery.deliver(event, payload, using)
        signals.event_published.send_robust(Stream, event=event, stream=self.config.alias)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was taken is delivered; False where `timeout` seconds ran out."""
        return self.delivery.flush(timeout)

    def close(self) -> None:
        """Close the delivery."""
        self.delivery.close()


class PendingEvent:
    """An event that waits for its transaction: what ``transaction.on_commit`` calls.

    Django drops it when its savepoint or transaction is rolled back.
    """

    __slots__ = ("event", "payload", "stream", "using")

    def __init__(self, stream: Stream, event: Event, payload: bytes, using: str) -> None:
        self.stream = stream
        self.event = event
        self.payload = payload
        self.using = using

    def __call__(self) -> None:
        """Deliver: the transaction has committed."""
        self.stream._deliver(self.event, self.payload, self.using)  # noqa: SLF001 - its other half


class PendingRow(RowEvent, PendingEvent):
    """A :class:`PendingEvent` that may become one with others of its row before the commit."""

    __slots__ = ("place", "row", "transaction")

    def __init__(self, stream: Stream, event: Event, payload: bytes, using: str, row: Row) -> None:
        super().__init__(stream, event, payload, using)
        self.row = row
        self.place = 0
        """On its connection, among all events that wait there: ``precommit`` counts."""
        self.transaction = _transaction_of(using)

    def become(self, event: Event) -> PendingRow:
        """Return one with another event, serialized."""
        payload = self.stream.payload_of(event)
        return PendingRow(self.stream, event, payload, self.using, self.row)


def _transaction_of(using: str) -> object:
    """Return what no other transaction has, also within a test case's; None: it is its own."""
    connection = connections[using]
    blocks: Any = getattr(connection, "atomic_blocks", ())
    for place, block in enumerate(blocks):
        if not getattr(block, "_from_testcase", False):
            # That of a decorator is the same each time; its savepoint is not.
            return block, connection.savepoint_ids[place - 1] if place else None
    return None


class _WrittenRow(LateRow):
    """The same for a delivery that takes part in the transaction."""

    __slots__ = ("event", "payload", "row", "stream")

    def __init__(self, stream: Stream, event: Event, payload: bytes, row: Row) -> None:
        self.stream = stream
        self.event = event
        self.payload = payload
        self.row = row

    def become(self, event: Event) -> _WrittenRow:
        """Return one with another event, serialized."""
        return _WrittenRow(self.stream, event, self.stream.payload_of(event), self.row)

    def __call__(self) -> tuple[Event, bytes]:
        """Return what is to be written now, and tell of it."""
        alias = self.stream.config.alias
        signals.event_published.send_robust(Stream, event=self.event, stream=alias)
        return self.event, self.payload


_overrides: list[Callable[[StreamConfig], Delivery]] = []
streams: PerProcess[str, Stream] = PerProcess(
    lambda alias: Stream(get_config().stream(alias)), Stream.close
)


@contextmanager
def override_delivery(make: Callable[[StreamConfig], Delivery]) -> Iterator[None]:
    """Deliver by what `make` returns, on every stream of this process, within the block."""
    _overrides.append(make)
    streams.reset()
    try:
        yield
    finally:
        _overrides.remove(make)
        streams.reset()


def publish(
    type: str,  # noqa: A002 - the attribute's name in CloudEvents
    data: Any,
    *,
    key: str | None = None,
    stream: str = "default",
    subject: str | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> Event:
    """Publish an event by hand; return it.

    Inside ``transaction.atomic`` on database `using` it belongs to that transaction: it goes out if
    and only if that commits. `data` is anything with a JSON form, or bytes that are JSON. Without a
    `key` the event's own id is its key: it keeps no order with others. It carries the context of
    now: see :func:`~kinesis_bridge.context.event_context`.

    Raises SerializationError, PartitionKeyError or RecordTooLarge here, before anything is sent.
    """
    return streams[stream].publish(type, data, key=key, subject=subject, using=using)


async def apublish(
    type: str,  # noqa: A002 - the attribute's name in CloudEvents
    data: Any,
    *,
    key: str | None = None,
    stream: str = "default",
    subject: str | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> Event:
    """:func:`publish` for async code: runs in Django's thread, so that no event loop waits."""
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - only for async code

    return await sync_to_async(publish)(
        type, data, key=key, stream=stream, subject=subject, using=using
    )


def _parsed(data: bytes) -> Any:
    try:
        # Not orjson: it turns whole numbers beyond 64 bits into rounded ones, silently.
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        said = _(
            "The data is {count} bytes that are not JSON ({error}). For bytes of another kind use"
            " get_client().put_record(...), which sends them as they are."
        )
        raise SerializationError(Text(said, count=len(data), error=str(error))) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class _Streams(ModuleType):
    """Lets ``kinesis_bridge.streams`` be this module and the mapping of the public face at once."""

    def __getitem__(self, alias: str) -> Stream:
        return streams[alias]


sys.modules[__name__].__class__ = _Streams
