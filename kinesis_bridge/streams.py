"""``streams["default"]``: one object per alias and process; ``publish`` and ``apublish``."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, transaction
from django.utils.module_loading import import_string

from . import serializers, signals
from .conf import get_config
from .context import MAX_BYTES, current
from .event import Event, new_id
from .exceptions import EventError, SerializationError
from .registry import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .conf import StreamConfig
    from .delivery.base import Delivery


class Stream:
    """Takes the events of one alias: serializes them at once, delivers them when they are due."""

    def __init__(self, config: StreamConfig) -> None:
        """Make the delivery; raise ``ImproperlyConfigured`` for an unknown serializer."""
        self.config = config
        self._serialize = serializers.get(config.options["SERIALIZER"])
        self._is_built_in = serializers.is_built_in(self._serialize)
        self._max_bytes = config.max_record_bytes
        # Bytes of an envelope and of its context, and to spare.
        self._around = 1024 + MAX_BYTES + 6 * len(get_config().source)
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
            context=current(),
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
            raise SerializationError(
                f"Stream {self.config.alias!r}: its serializer failed: {error!r}."
            ) from error
        if not isinstance(payload, bytes):  # a registered serializer may be anyone's
            raise SerializationError(
                f"Stream {self.config.alias!r}: its serializer returned"
                f" {type(payload).__name__}, not bytes."
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
        raise SerializationError(
            f"The data is {len(data)} bytes that are not JSON ({error}). For bytes of another kind"
            " use get_client().put_record(...), which sends them as they are."
        ) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class _Streams(ModuleType):
    """Lets ``kinesis_bridge.streams`` be this module and the mapping of the public face at once."""

    def __getitem__(self, alias: str) -> Stream:
        return streams[alias]


sys.modules[__name__].__class__ = _Streams
