"""One signed PutRecords request, and an answer for each record in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from . import redaction
from .conf import get_config
from .diagnosis import Path, explain
from .event import PutResult, RejectedRecord
from .session import region_of, session_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conf import StreamConfig
    from .event import Record, Result

# PutRecords, Kinesis Data Streams API Reference.
MAX_RECORDS = 500


class Transport(ABC):
    """Sends one batch. Safe for several threads at once; belongs to the process that made it."""

    def __init__(self, stream: StreamConfig) -> None:
        self.stream = stream

    @abstractmethod
    def put(self, records: Sequence[Record]) -> list[Result]:
        """Send 1-500 records in one request; return one answer for each, in order.

        Raises :class:`~kinesis_bridge.exceptions.AwsError` where the request failed as a whole:
        then none, or, after a broken connection, an unknown part of it was accepted.
        """

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


class Boto3Transport(Transport):
    """The reference: boto3's own client, with none of its retries (the producer has better)."""

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__(stream)
        self._client = kinesis_client(stream)
        self._target = {"StreamARN": stream.arn} if stream.arn else {"StreamName": stream.name}

    def put(self, records: Sequence[Record]) -> list[Result]:
        """Send one PutRecords."""
        from botocore.exceptions import (  # noqa: PLC0415 - boto3 only when something is sent
            BotoCoreError,
            ClientError,
            IncompleteReadError,
        )

        entries = [_entry(record) for record in records]
        try:
            with redaction.quiet():
                answer = self._client.put_records(Records=entries, **self._target)
        except (ClientError, BotoCoreError) as error:
            raise explain(error, self.path(self._client.meta.endpoint_url)) from error
        answers = [_answer(entry) for entry in answer.get("Records", ())]
        if len(answers) != len(records):
            # boto3 takes a reply that was cut short for an empty success.
            cut = IncompleteReadError(actual_bytes=len(answers), expected_bytes=len(records))
            raise explain(cut, self.path(self._client.meta.endpoint_url))
        return answers

    def close(self) -> None:
        """Close boto3's connections."""
        self._client.close()


def _entry(record: Record) -> dict[str, Any]:
    entry: dict[str, Any] = {"PartitionKey": record.partition_key, "Data": record.data}
    if record.explicit_hash_key is not None:
        entry["ExplicitHashKey"] = record.explicit_hash_key
    return entry


def _answer(entry: dict[str, Any]) -> Result:
    if entry.get("SequenceNumber"):
        return PutResult(entry["ShardId"], entry["SequenceNumber"])
    return RejectedRecord(entry.get("ErrorCode", ""), entry.get("ErrorMessage", ""))


def kinesis_client(stream: StreamConfig) -> Any:
    """Return boto3's client for `stream`: its role, its region, its time-outs, no retries.

    Raises AwsError where no region or profile can be found.
    """
    from botocore.config import Config  # noqa: PLC0415 - boto3 only when something is sent
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    options = stream.options
    config = Config(
        connect_timeout=options["CONNECT_TIMEOUT"],
        read_timeout=options["READ_TIMEOUT"],
        retries={"total_max_attempts": 1, "mode": "standard"},
        tcp_keepalive=True,
    )
    try:
        return session_of(stream).client("kinesis", region_name=region_of(stream), config=config)
    except BotoCoreError as error:
        role = get_config().role_of(stream)
        raise explain(error, Path(hop="stream", stream=stream, role=role)) from error


def open_transport(stream: StreamConfig) -> Transport:
    """Return the transport for `stream`."""
    return Boto3Transport(stream)
