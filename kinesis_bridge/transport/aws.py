"""boto3's way: its client for Kinesis, the reference that the fast way is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import BotoCoreError, IncompleteReadError

from kinesis_bridge import redaction
from kinesis_bridge.aggregation import Shard
from kinesis_bridge.conf import get_config
from kinesis_bridge.diagnosis import Path, explain
from kinesis_bridge.event import PutResult, RejectedRecord
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.session import region_of, session_of
from kinesis_bridge.session.assume import BOTO_ERRORS

from .base import Transport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.event import Record, Result


class Boto3Transport(Transport):
    """boto3's own client, with none of its retries: the producer has better ones."""

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__(stream)
        self.client = open_client(stream)
        self.credentials: Any = session_of(stream).get_credentials()
        """What signs: botocore's own object, which refreshes itself."""
        self.target = {"StreamARN": stream.arn} if stream.arn else {"StreamName": stream.name}

    def put(self, records: Sequence[Record]) -> Sequence[Result]:
        """Send one PutRecords."""
        answer = self._call(
            "put_records", Records=[_entry(record) for record in records], **self.target
        )
        answers = [read_answer(entry) for entry in answer.get("Records", ())]
        if len(answers) != len(records):
            # boto3 takes a reply that was cut short for an empty success.
            raise self.cut_short(len(answers), len(records))
        return answers

    def shards(self) -> list[Shard]:
        """Return the open shards, all pages of ListShards."""
        found: list[Shard] = []
        # By hand: boto3's paginator repeats the stream's name beside NextToken, which AWS refuses.
        request: dict[str, Any] = dict(self.target)
        while True:
            answer = self._call("list_shards", **request)
            if "Shards" not in answer:
                raise self.cut_short(0, 1)
            for shard in answer["Shards"]:
                if "EndingSequenceNumber" not in shard["SequenceNumberRange"]:
                    hashes = shard["HashKeyRange"]
                    start, end = int(hashes["StartingHashKey"]), int(hashes["EndingHashKey"])
                    found.append(Shard(shard["ShardId"], start, end))
            if not answer.get("NextToken"):
                return found
            request = {"NextToken": answer["NextToken"]}

    def url(self) -> str:
        """Return where records go: a stream's ARN has a host of its account's own."""
        url: str = self.first_request().url
        return url

    def first_request(self) -> Any:
        """Have boto3 make and sign one PutRecords, stop it at the door, and return it."""
        seen: list[Any] = []

        def stop(request: Any, **_: Any) -> AWSResponse:
            seen.append(request)
            return AWSResponse(request.url, 200, HTTPHeaders(), _Empty())

        events = self.client.meta.events
        events.register_first("before-send.kinesis.PutRecords", stop)
        try:
            self._call(
                "put_records", Records=[{"Data": b"", "PartitionKey": "form"}], **self.target
            )
        finally:
            events.unregister("before-send.kinesis.PutRecords", stop)
        return seen[0]

    def close(self) -> None:
        """Close boto3's connections."""
        self.client.close()

    def cut_short(self, got: int, wanted: int) -> Exception:
        """Return the error of a reply that does not answer for every record."""
        cut = IncompleteReadError(actual_bytes=got, expected_bytes=wanted)
        return explain(cut, self.path(self.client.meta.endpoint_url))

    def _call(self, operation: str, **request: Any) -> Any:
        try:
            with redaction.quiet():
                return getattr(self.client, operation)(**request)
        except AwsError as error:  # of the credentials; it came through boto's frames
            request.clear()
            redaction.forget_frames(error)
            raise
        except BOTO_ERRORS as error:
            request.clear()  # as boto's frames, this one must show no payload
            raise explain(error, self.path(self.client.meta.endpoint_url)) from error


class FirehoseTransport(Transport):
    """PutRecordBatch: only the data goes; Firehose knows neither keys nor order.

    Its record id stands as the sequence number of an answer, and no shard. Limits: 500 records,
    4 MiB a request, 1,000 KiB a record (PutRecordBatch, Amazon Data Firehose API Reference).
    """

    ordered = False
    max_bytes = 4 * 1024 * 1024

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__(stream)
        self.client = open_client(stream, "firehose")

    def put(self, records: Sequence[Record]) -> Sequence[Result]:
        """Send one PutRecordBatch."""
        endpoint = self.client.meta.endpoint_url
        try:
            with redaction.quiet():
                answer = self.client.put_record_batch(
                    DeliveryStreamName=self.stream.name,
                    Records=[{"Data": record.data} for record in records],
                )
        except AwsError as error:
            redaction.forget_frames(error)
            raise
        except BOTO_ERRORS as error:
            raise explain(error, self.path(endpoint)) from error
        answers: list[Result] = [
            PutResult("", entry["RecordId"])
            if entry.get("RecordId")
            else RejectedRecord(entry.get("ErrorCode", ""), entry.get("ErrorMessage", ""))
            for entry in answer.get("RequestResponses", ())
        ]
        if len(answers) != len(records):
            cut = IncompleteReadError(actual_bytes=len(answers), expected_bytes=len(records))
            raise explain(cut, self.path(endpoint))
        return answers

    def shards(self) -> list[Shard]:
        """Return none: Firehose has no shards."""
        return []

    def url(self) -> str:
        """Return the one endpoint of the region."""
        url: str = self.client.meta.endpoint_url
        return url

    def close(self) -> None:
        """Close boto3's connections."""
        self.client.close()


class _Empty:
    """The body of the reply that boto3 gets at the door."""

    def stream(self, **_: Any) -> list[bytes]:
        return [b"{}"]

    def read(self, *_: Any) -> bytes:
        return b"{}"


def _entry(record: Record) -> dict[str, Any]:
    entry: dict[str, Any] = {"PartitionKey": record.partition_key, "Data": record.data}
    if record.explicit_hash_key is not None:
        entry["ExplicitHashKey"] = record.explicit_hash_key
    return entry


def read_answer(entry: dict[str, Any]) -> Result:
    """Return one entry of PutRecords' reply as ours."""
    if entry.get("SequenceNumber"):
        return PutResult(entry["ShardId"], entry["SequenceNumber"])
    return RejectedRecord(entry.get("ErrorCode", ""), entry.get("ErrorMessage", ""))


def open_client(stream: StreamConfig, service: Literal["kinesis", "firehose"] = "kinesis") -> Any:
    """Return boto3's client for `stream`: its role, its region, its time-outs, no retries.

    Raises AwsError where no region or profile can be found.
    """
    options = stream.options
    config = Config(
        connect_timeout=options["CONNECT_TIMEOUT"],
        read_timeout=options["READ_TIMEOUT"],
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=max(10, options["CONCURRENCY"]),
        tcp_keepalive=True,
    )
    try:
        return session_of(stream).client(service, region_name=region_of(stream), config=config)
    except BotoCoreError as error:
        role = get_config().role_of(stream)
        raise explain(error, Path(hop="stream", stream=stream, role=role)) from error
