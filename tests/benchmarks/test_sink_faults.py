"""The sink's faults as a client meets them, their seeds, and the counting of ``check``."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from benchmarks.sink import Accepted, Fault, Sink, check, parse_faults
from benchmarks.sink.faults import KINDS
from tests.benchmarks.conftest import Connect
from tests.support.servers import wait_for

ROLE = "arn:aws:iam::222222222222:role/EventWriter"
THROTTLED = "ProvisionedThroughputExceededException"


def put(kinesis: Any, count: int = 1) -> Any:
    records = [{"PartitionKey": f"key-{n}", "Data": b"%d" % n} for n in range(count)]
    return kinesis.put_records(StreamName="orders", Records=records)


def failed_places(reply: Any) -> list[int]:
    return [place for place, entry in enumerate(reply["Records"]) if "ErrorCode" in entry]


# -- faults of records


@pytest.mark.parametrize(("kind", "code"), [("throttle", THROTTLED), ("internal", None)])
def test_record_faults(connect: Connect, kind: str, code: str | None) -> None:
    code = code or "InternalFailure"
    with Sink(faults=f"{kind}=0.3", seed=1, shards=2) as sink:
        reply = put(connect(sink), 100)
        failed = failed_places(reply)
        accepted = sink.accepted()
        stats = sink.stats()
    assert 10 < len(failed) < 50
    assert reply["FailedRecordCount"] == len(failed) == stats["faults"][kind]
    assert {reply["Records"][place]["ErrorCode"] for place in failed} == {code}
    kept = [f"key-{n}" for n in range(100) if n not in failed]
    assert [record.partition_key for record in accepted] == kept
    assert stats["record_errors"] == {code: len(failed)}


def test_record_faults_of_put_record_are_whole_errors(connect: Connect) -> None:
    with Sink(faults="throttle:next=1,internal:after=1:next=1") as sink:
        kinesis = connect(sink)
        codes = []
        for _ in range(2):
            with pytest.raises(ClientError) as error:
                kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"")
            response = error.value.response
            codes.append(
                (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"])
            )
        assert kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"")
    assert codes == [(THROTTLED, 400), ("InternalFailure", 500)]


def test_throttle_shard(connect: Connect) -> None:
    with Sink(shards=4, faults="throttle_shard:shard=2:seconds=2:next=1") as sink:
        kinesis = connect(sink)
        reply = put(kinesis, 60)
        messages = {reply["Records"][place]["ErrorMessage"] for place in failed_places(reply)}
        during = put(kinesis, 60)
        time.sleep(2.05)
        after = put(kinesis, 60)
        shards = {record.shard_id for record in sink.accepted()[: 60 - len(failed_places(reply))]}
    assert messages == {
        "Rate exceeded for shard shardId-000000000002 in stream orders under account 222222222222."
    }
    assert shards == {f"shardId-00000000000{n}" for n in (0, 1, 3)}
    assert failed_places(during) == failed_places(reply)
    assert after["FailedRecordCount"] == 0


# -- faults of requests


@pytest.mark.parametrize(
    ("spec", "code", "status"),
    [
        ("http500", "InternalFailure", 500),
        ("service_unavailable", "ServiceUnavailable", 503),
        ("throttle_request", THROTTLED, 400),
        ("throttle_request:code=LimitExceededException", "LimitExceededException", 400),
        ("expired_token", "ExpiredTokenException", 400),
        ("access_denied", "AccessDeniedException", 400),
        ("not_found", "ResourceNotFoundException", 400),
        ("kms_disabled", "KMSDisabledException", 400),
    ],
)
def test_request_errors(connect: Connect, spec: str, code: str, status: int) -> None:
    with Sink(faults=spec) as sink:
        kinesis = connect(sink)
        with pytest.raises(ClientError) as error:
            put(kinesis)
        assert kinesis.list_shards(StreamName="orders")["Shards"]  # writes only, by default
        assert sink.accepted() == []
        kind = spec.partition(":")[0]
        assert sink.stats()["faults"] == {kind: 1}
        assert sink.stats()["errors"] == {code: 1}
        sink.clear_faults()
        assert put(kinesis)["FailedRecordCount"] == 0
    response = error.value.response
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    if code == "AccessDeniedException":
        assert "kinesis:PutRecords on resource: arn:aws:kinesis:us-east-1" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "error", "accepted"),
    [
        ("reset_before", ConnectionClosedError, 0),
        ("reset_after", ConnectionClosedError, 3),
        ("hang", ReadTimeoutError, 0),
        ("hang_after", ReadTimeoutError, 3),
    ],
)
def test_broken_connections(connect: Connect, kind: str, error: Any, accepted: int) -> None:
    with Sink(faults=f"{kind}:next=1") as sink:
        kinesis = connect(sink, timeout=0.4)
        with pytest.raises(error):
            put(kinesis, 3)
        assert len(sink.accepted()) == accepted
        assert put(kinesis, 3)["FailedRecordCount"] == 0
        assert len(sink.accepted()) == accepted + 3
        assert sink.stats()["faults"] == {kind: 1}


def test_boto3_takes_a_truncated_reply_for_an_answer(connect: Connect) -> None:
    """No error: botocore neither enforces Content-Length nor insists on JSON that parses."""
    with Sink(faults="truncated:next=1") as sink:
        kinesis = connect(sink)
        reply = put(kinesis, 3)
        assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert not {"Records", "FailedRecordCount"} & reply.keys()
        assert len(sink.accepted()) == 3
        assert put(kinesis, 3)["FailedRecordCount"] == 0
        assert sink.stats()["faults"] == {"truncated": 1}


def test_boto3_paginator_of_list_shards_repeats_the_stream(connect: Connect) -> None:
    """AWS refuses its second page as well: go by NextToken alone."""
    with Sink(streams=("orders:3",), page_size=2) as sink:
        pages = connect(sink).get_paginator("list_shards").paginate(StreamName="orders")
        with pytest.raises(ClientError, match="NextToken and StreamName"):
            list(pages)


def test_reset_is_a_reset_and_truncated_is_short() -> None:
    body = b'{"StreamName":"s","Records":[{"PartitionKey":"k","Data":"eA=="}]}'
    request = (
        b"POST / HTTP/1.1\r\nX-Amz-Target: Kinesis_20131202.PutRecords\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body
    with Sink(faults="reset_after:next=1,truncated:next=1") as sink:
        address = ("127.0.0.1", int(sink.url.rpartition(":")[2]))
        with socket.create_connection(address) as sock:
            sock.sendall(request)
            with pytest.raises(ConnectionResetError):
                sock.recv(100)
        with socket.create_connection(address) as sock:
            sock.sendall(request)
            received = b""
            while piece := sock.recv(65536):
                received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    announced = int(head.partition(b"Content-Length: ")[2].split()[0])
    assert 0 < len(rest) < announced


def test_slow_accepts_first_and_late_accepts_even_when_nobody_waits(connect: Connect) -> None:
    with Sink(faults="slow:ms=2000:next=1,late:ms=2000:after=1:next=1") as sink:
        kinesis = connect(sink, timeout=0.25)
        with pytest.raises(ReadTimeoutError):
            put(kinesis)
        assert len(sink.accepted()) == 1
        with pytest.raises(ReadTimeoutError):
            put(kinesis)
        assert len(sink.accepted()) == 1
        assert wait_for(lambda: len(sink.accepted()) == 2)


def test_shuffle(connect: Connect) -> None:
    with Sink(faults="shuffle", seed=5) as sink:
        reply = put(connect(sink), 50)
        accepted = sink.accepted()
    assert [record.partition_key for record in accepted] != [f"key-{n}" for n in range(50)]
    numbers = {record.partition_key: record.sequence_number for record in accepted}
    assert [int(r["SequenceNumber"]) for r in reply["Records"]] == [
        numbers[f"key-{n}"] for n in range(50)
    ]


def test_reads_fail_where_asked(connect: Connect) -> None:
    with Sink(faults="throttle_request:code=LimitExceededException:on=read") as sink:
        kinesis = connect(sink)
        with pytest.raises(ClientError, match="LimitExceededException"):
            kinesis.list_shards(StreamName="orders")
        assert put(kinesis)["FailedRecordCount"] == 0


def test_firehose_faults(connect: Connect) -> None:
    with Sink(faults="throttle_request:next=1,kms_disabled:next=1,access_denied:next=1") as sink:
        firehose = connect(sink, "firehose")
        messages = []
        for _ in range(3):
            with pytest.raises(ClientError) as error:
                firehose.put_record_batch(DeliveryStreamName="f", Records=[{"Data": b"a"}])
            messages.append(str(error.value))
    assert "ServiceUnavailableException" in messages[0]
    assert "InvalidKMSResourceException" in messages[1]
    assert "firehose:PutRecordBatch on resource" in messages[2]


# -- faults of STS


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("sts_denied", "AccessDenied", 403),
        ("sts_throttled", "Throttling", 400),
        ("sts_http500", "InternalFailure", 500),
    ],
)
def test_sts_errors(connect: Connect, kind: str, code: str, status: int) -> None:
    with Sink(faults=f"{kind}:next=1,http500") as sink:
        sts = connect(sink, "sts")
        with pytest.raises(ClientError) as error:
            sts.assume_role(RoleArn=ROLE, RoleSessionName="shop")
        assert sts.assume_role(RoleArn=ROLE, RoleSessionName="shop")
        assert sink.stats()["assume_role"] == 2
    response = error.value.response
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    if kind == "sts_denied":
        assert f"sts:AssumeRole on resource: {ROLE}" in str(error.value)


def test_sts_broken_and_slow(connect: Connect) -> None:
    with Sink(faults="sts_reset:next=1,sts_hang:next=1,sts_slow:after=2:ms=150") as sink:
        sts = connect(sink, "sts", timeout=0.4)
        with pytest.raises(ConnectionClosedError):
            sts.get_caller_identity()
        with pytest.raises(ReadTimeoutError):
            sts.get_caller_identity()
        started = time.monotonic()
        assert sts.get_caller_identity()
        assert time.monotonic() - started >= 0.15


# -- specifications and seeds


def test_specification() -> None:
    rules = parse_faults(" throttle=0.05, slow=0.1:ms=250 ,http500:next=3:after=2:on=any ")
    assert rules == [
        Fault(kind="throttle", p=0.05),
        Fault(kind="slow", p=0.1, ms=250.0),
        Fault(kind="http500", next=3, after=2, on="any"),
    ]
    assert parse_faults("") == []
    for wrong in ("dance", "throttle=2", "slow:speed=1", "slow:ms", "slow:on=never"):
        with pytest.raises(ValueError, match=wrong.partition(":")[0].partition("=")[0]):
            parse_faults(wrong)
    assert len(KINDS) == 24


def test_rules_can_be_given_as_objects(connect: Connect) -> None:
    with Sink() as sink:
        sink.set_faults([Fault(kind="http500", next=1), Fault(kind="throttle", p=1 / 3)])
        kinesis = connect(sink)
        with pytest.raises(ClientError, match="InternalFailure"):
            put(kinesis)
        assert 0 < put(kinesis, 100)["FailedRecordCount"] < 100


def test_script_runs_in_order(connect: Connect) -> None:
    with Sink(faults="http500:next=2,access_denied:next=1,reset_after:next=1") as sink:
        kinesis = connect(sink)
        seen = []
        for _ in range(5):
            try:
                put(kinesis)
                seen.append("ok")
            except ClientError as err:
                seen.append(err.response["Error"]["Code"])
            except ConnectionClosedError:
                seen.append("reset")
        assert seen == [
            "InternalFailure",
            "InternalFailure",
            "AccessDeniedException",
            "reset",
            "ok",
        ]
        assert len(sink.accepted()) == 2


def _history(connect: Connect, seed: int, spec: str) -> list[Any]:
    history: list[Any] = []
    with Sink(faults=spec, seed=seed, shards=3) as sink:
        kinesis = connect(sink)
        for _ in range(15):
            try:
                history.append(failed_places(put(kinesis, 20)))
            except ClientError as err:
                history.append(err.response["Error"]["Code"])
            except ConnectionClosedError:
                history.append("reset")
        history.append([record.data for record in sink.accepted()])
    return history


def test_seeds_reproduce(connect: Connect) -> None:
    spec = "throttle=0.1,internal=0.05,http500=0.2,reset_after=0.2,shuffle=0.3"
    first = _history(connect, 7, spec)
    assert _history(connect, 7, spec) == first
    assert _history(connect, 8, spec) != first


# What check() counts


def log(*events: tuple[str, int] | list[tuple[str, int]]) -> list[Accepted]:
    return [
        Accepted("s", "shardId-000000000000", place, "k", json.dumps(event).encode())
        for place, event in enumerate(events)
    ]


def pairs(data: bytes) -> Any:
    found = json.loads(data)
    return tuple(found) if isinstance(found[0], str) else [tuple(pair) for pair in found]


@pytest.mark.parametrize(
    ("order", "counts"),
    [
        # lost, duplicated, reordered, unexpected
        ((1, 2, 3, 4, 5), (0, 0, 0, 0)),
        ((1, 2, 4, 5), (1, 0, 0, 0)),
        ((), (5, 0, 0, 0)),
        ((1, 2, 2, 3, 4, 5), (0, 1, 0, 0)),
        ((1, 2, 3, 4, 5, 1, 2), (0, 2, 0, 0)),  # repeats afterwards: duplicates, no reordering
        ((1, 3, 2, 4, 5), (0, 0, 1, 0)),
        ((5, 1, 2, 3, 4), (0, 0, 4, 0)),
        ((2, 3, 1, 1, 4), (1, 1, 1, 0)),
        ((1, 2, 9, 3, 4, 5), (0, 0, 0, 1)),
    ],
)
def test_check_counts(order: tuple[int, ...], counts: tuple[int, ...]) -> None:
    verdict = check(log(*(("a", n) for n in order)), {"a": [1, 2, 3, 4, 5]}, pairs)
    found = (verdict.lost, verdict.duplicated, verdict.reordered, verdict.unexpected)
    assert found == counts
    assert verdict.ok == (counts[0] == counts[2] == counts[3] == 0)
    assert verdict.exact == (counts == (0, 0, 0, 0))
    assert verdict.accepted == len(order)
    assert verdict.expected == 5


def test_check_by_key_and_with_many_events_in_a_record() -> None:
    accepted = log([("a", 1), ("b", 1)], ("b", 3), [("a", 2), ("b", 2)], ("a", 1), ("z", 1))
    verdict = check(accepted, {"a": [1, 2], "b": [1, 2, 3], "c": [1]}, pairs)
    assert verdict.accepted == 7
    assert set(verdict.keys) == {"a", "b", "c", "z"}
    assert verdict.keys["a"].duplicated == 1
    assert verdict.keys["b"].reordered == 1
    assert verdict.keys["c"].lost == 1
    assert verdict.keys["z"].unexpected == 1
    with pytest.raises(ValueError, match="not unique"):
        check([], {"a": [1, 1]})
