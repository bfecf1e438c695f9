"""``get_client()``: straight to account B, now; no transaction, no envelope, no outbox."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .conf import get_config
from .event import PutResult, Record, RejectedRecord
from .exceptions import PartialFailure, SerializationError
from .producer import Producer
from .registry import PerProcess
from .serializers import check_size, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .event import Result

producers: PerProcess[str, Producer] = PerProcess(
    lambda alias: Producer(get_config().stream(alias)), Producer.close
)


class KinesisClient:
    """Puts records on one stream. Any thread may use it, before and after a fork."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __repr__(self) -> str:
        return f"<KinesisClient of stream {self.alias!r}>"

    def put_record(self, data: Any, partition_key: str | None = None) -> PutResult:
        """Put one record and return where it landed.

        `data` is bytes, str (sent as UTF-8) or anything with a JSON form; without a
        `partition_key` a random one spreads the records over the shards.

        Raises PartitionKeyError, SerializationError or RecordTooLarge before anything is sent, and
        AwsError when it could not be delivered within OPTIONS["RETRY_SECONDS"].
        """
        record = self._record(data, partition_key)
        del data  # a report of an error may show this frame
        return self._send([record])[0]

    def put_records(self, records: Iterable[tuple[str | None, Any]]) -> list[PutResult]:
        """Put ``(partition key, data)`` pairs; return where each landed, in order.

        Records of one key arrive in the order given. Raises as :meth:`put_record`, before anything
        is sent where a record is bad; and PartialFailure with an answer for each record where some
        were acknowledged and some were not, after the retries.
        """
        return self._send([self._record(data, key) for key, data in map(_pair, records)])

    def _record(self, data: Any, key: str | None) -> Record:
        if isinstance(data, str):
            data = _utf8(data)
        elif isinstance(data, (bytearray, memoryview)):
            data = bytes(data)
        elif not isinstance(data, bytes):
            data = to_json(data)
        if key is None:
            key = secrets.token_hex(16)
        check_size(key, data, get_config().stream(self.alias))
        return Record(key, data)

    def _send(self, records: list[Record]) -> list[PutResult]:
        results = producers[self.alias].send(records)
        landed = [result for result in results if isinstance(result, PutResult)]
        if len(landed) < len(results):
            raise self._failure(results, len(landed))
        return landed

    def _failure(self, results: list[Result], landed: int) -> Exception:
        rejected = next(result for result in results if isinstance(result, RejectedRecord))
        error = producers[self.alias].failure(rejected)
        if not landed:
            return error
        failure = PartialFailure(
            results,
            f"{landed} of {len(results)} records are on stream {self.alias!r}, the others are not."
            f" The first that is not: {error}",
        )
        failure.__cause__ = error
        return failure


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise SerializationError(f"The text is not valid Unicode: {error.reason}.") from None


def _pair(item: object) -> tuple[str | None, Any]:
    if isinstance(item, tuple) and len(item) == 2:
        return item
    raise TypeError(
        f"put_records takes (partition key, data) pairs, not {type(item).__name__}:"
        ' [("customer-9", b"..."), (None, {"a": 1})]'
    )


_clients: PerProcess[str, KinesisClient] = PerProcess(KinesisClient)


def get_client(stream: str = "default") -> KinesisClient:
    """Return this process's client for a stream alias: always the same object.

    Raises ``ImproperlyConfigured`` where the settings have no such stream.
    """
    get_config().stream(stream)
    return _clients[stream]
