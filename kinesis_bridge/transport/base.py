"""What every transport keeps to, and the limits of one request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from kinesis_bridge.conf import get_config
from kinesis_bridge.diagnosis import Path
from kinesis_bridge.session import region_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinesis_bridge.aggregation import Shard
    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.event import Record, Result

# PutRecords, Kinesis Data Streams API Reference.
MAX_RECORDS = 500


class Transport(ABC):
    """Sends one request a call. Safe for several threads; belongs to the process that made it."""

    ordered: ClassVar[bool] = True
    """False: the service keeps no order, and has neither keys nor shards."""
    max_bytes: ClassVar[int] = 10 * 1024 * 1024
    """The most that the service takes in one request, keys included."""

    def __init__(self, stream: StreamConfig) -> None:
        self.stream = stream

    @abstractmethod
    def put(self, records: Sequence[Record]) -> Sequence[Result]:
        """Send 1-500 records in one request; return one answer for each, in order.

        Raises :class:`~kinesis_bridge.exceptions.AwsError` where the request failed as a whole:
        then none, or, after a broken connection, an unknown part of it was accepted.
        """

    @abstractmethod
    def shards(self) -> list[Shard]:
        """Return the open shards (ListShards); raises AwsError."""

    @abstractmethod
    def url(self) -> str:
        """Return the URL that records are sent to; needs credentials, sends nothing to it."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""

    def path(self, endpoint: str | None = None) -> Path:
        """Return where this transport goes, for explaining its errors."""
        return Path(
            hop="stream",
            stream=self.stream,
            role=get_config().role_of(self.stream),
            region=region_of(self.stream),
            endpoint=endpoint,
        )
