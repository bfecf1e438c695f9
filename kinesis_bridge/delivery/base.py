"""What every delivery keeps to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django.core.checks import CheckMessage

    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.conf.options import Option
    from kinesis_bridge.event import Event

    from .coalesce import LateRow


class Delivery(ABC):
    """One way to deliver the events of one stream alias, in one process.

    A delivery is given final bytes: what cannot be serialized, or is too large, was refused before
    in the caller's hands. It is made once per alias and process, under a lock, and used by any
    thread. It must not touch the network, start threads or query a database before the first
    :meth:`deliver`, so that it may be made before a fork.
    """

    transactional: ClassVar[bool] = False
    """True: :meth:`deliver` is called inside the caller's transaction, at once, and takes part in
    it. False: it is called after the commit, and never for what was rolled back."""

    coalesces: ClassVar[bool] = False
    """Of a transactional one: whether :meth:`deliver_rows` makes several updates of a row one
    event. For the others it is done before they are called."""

    options: ClassVar[tuple[Option, ...]] = ()
    """The names it understands in OPTIONS, beside those of every stream."""

    def __init__(self, stream: StreamConfig) -> None:
        self.stream = stream

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of stream {self.stream.alias!r}>"

    @abstractmethod
    def deliver(self, event: Event, payload: bytes, using: str) -> None:
        """Take one event. `payload` is its final bytes, `using` the database alias it belongs to.

        Raises a :class:`~kinesis_bridge.exceptions.KinesisBridgeError` where it cannot.
        """

    def deliver_all(self, events: Sequence[tuple[Event, bytes]], using: str) -> None:
        """Take several events, in their order, as :meth:`deliver` takes one."""
        for event, payload in events:
            self.deliver(event, payload, using)

    def deliver_rows(self, rows: Sequence[LateRow], using: str) -> None:
        """Take events of rows, whose updates may become one: ``publishes(coalesce=True)``.

        Of a transactional delivery, in place of :meth:`deliver_all`. This one takes each as it is.
        One that :attr:`coalesces` keeps them until just before the commit, without those that a
        savepoint takes back; then it calls what :func:`~.coalesce.coalesced` leaves of them.
        """
        self.deliver_all([row() for row in rows], using)

    def deliver_late(
        self,
        make: Callable[[], tuple[Event, bytes]],  # noqa: ARG002 - for those that can wait
        using: str,  # noqa: ARG002
    ) -> bool:
        """Take what `make` returns just before the commit; False, and nothing is taken, if not so.

        Of a transactional delivery, in place of :meth:`deliver`.
        """
        return False

    def flush(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - for those that buffer
        """Wait up to `timeout` seconds until all that was taken is delivered; False if not."""
        return True

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what is held: after this the object is not used again. Safe to call twice."""

    @classmethod
    def check(cls, stream: StreamConfig) -> Iterable[CheckMessage]:  # noqa: ARG003 - for subclasses
        """Return what ``manage.py check`` should say of this delivery for `stream`."""
        return ()
