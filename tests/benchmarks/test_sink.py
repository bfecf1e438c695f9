"""The sink over real HTTP, as boto3 sees it: operations, limits, streams, STS, both modes."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from benchmarks.sink import Sink, SinkError, check, event_of
from benchmarks.sink.config import FIREHOSE_RECORD_BYTES, MIB
from tests.benchmarks.conftest import Connect

ROOT = Path(__file__).resolve().parents[2]
ARN = "arn:aws:kinesis:us-east-1:222222222222:stream/orders"
ROLE = "arn:aws:iam::222222222222:role/EventWriter"


def entries(*keys: str, data: bytes = b"x") -> list[dict[str, Any]]:
    return [{"PartitionKey": key, "Data": data} for key in keys]


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


# -- operations


def test_put_records_routes_numbers_and_logs_in_order(connect: Connect, tmp_path: Path) -> None:
    log = tmp_path / "accepted.jsonl"
    with Sink(shards=4, log=str(log)) as sink:
        kinesis = connect(sink)
        keys = [f"key-{n}" for n in range(50)]
        reply = kinesis.put_records(StreamName="orders", Records=entries(*keys, data=b"\x00\xff"))
        again = kinesis.put_records(StreamARN=ARN, Records=entries(*keys))
        accepted = sink.accepted()
        stats = sink.stats()
    assert reply["FailedRecordCount"] == 0
    assert [record.partition_key for record in accepted] == keys * 2
    assert {record.stream for record in accepted} == {"orders"}
    assert accepted[0].data == b"\x00\xff"
    answered = reply["Records"] + again["Records"]
    assert [(r["ShardId"], int(r["SequenceNumber"])) for r in answered] == [
        (record.shard_id, record.sequence_number) for record in accepted
    ]
    for record in accepted:
        place = int(hashlib.md5(record.partition_key.encode()).hexdigest(), 16) * 4 >> 128
        assert record.shard_id == f"shardId-{place:012d}"
    assert len(answered[0]["SequenceNumber"]) == 56
    for shard in {record.shard_id for record in accepted}:
        numbers = [r.sequence_number for r in accepted if r.shard_id == shard]
        assert numbers == sorted(set(numbers))
    assert stats["records"] == 100
    assert stats["bytes"] == 150
    assert stats["units"] == 100
    assert stats["operations"] == {"PutRecords": 2}
    assert sum(stats["shards"].values()) == 100
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line[3] for line in lines] == keys * 2


def test_put_record_and_explicit_hash_key(connect: Connect) -> None:
    with Sink(shards=2) as sink:
        kinesis = connect(sink)
        low = kinesis.put_record(
            StreamName="orders", PartitionKey="k", Data=b"1", ExplicitHashKey="0"
        )
        high = kinesis.put_record(
            StreamName="orders", PartitionKey="k", Data=b"2", ExplicitHashKey=str(2**128 - 1)
        )
        ordered = kinesis.put_record(
            StreamName="orders",
            PartitionKey="k",
            Data=b"3",
            SequenceNumberForOrdering=high["SequenceNumber"],
        )
        with pytest.raises(ClientError) as error:
            kinesis.put_record(
                StreamName="orders", PartitionKey="k", Data=b"", ExplicitHashKey=str(2**128)
            )
        accepted = sink.accepted()
    assert low["ShardId"] == "shardId-000000000000"
    assert high["ShardId"] == "shardId-000000000001"
    assert int(ordered["SequenceNumber"]) > 0
    assert code_of(error) == ("InvalidArgumentException", 400)
    assert [record.data for record in accepted] == [b"1", b"2", b"3"]


def test_dry_run_accepts_nothing(connect: Connect) -> None:
    with Sink() as sink:
        with pytest.raises(ClientError) as error:
            connect(sink).put_record(StreamName="orders", PartitionKey="k", Data=b"1", DryRun=True)
        assert sink.accepted() == []
    assert code_of(error)[0] == "DryRunOperationException"


def test_list_shards_in_pages_and_describe_stream_summary(connect: Connect) -> None:
    with Sink(streams=("orders:7",), page_size=3) as sink:
        kinesis = connect(sink)
        pages = [kinesis.list_shards(StreamName="orders")]
        while token := pages[-1].get("NextToken"):
            pages.append(kinesis.list_shards(NextToken=token))
        two = kinesis.list_shards(StreamARN=ARN, MaxResults=2)
        more = kinesis.list_shards(NextToken=two["NextToken"], MaxResults=1)
        with pytest.raises(ClientError) as both:
            kinesis.list_shards(StreamName="orders", NextToken=two["NextToken"])
        with pytest.raises(ClientError) as bad:
            kinesis.list_shards(NextToken="nonsense")
        summary = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]
    assert [len(page["Shards"]) for page in pages] == [3, 3, 1]
    shards = [shard for page in pages for shard in page["Shards"]]
    ranges = [
        (int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"]))
        for s in shards
    ]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 2**128 - 1
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(ranges))
    assert [s["ShardId"][-1] for s in two["Shards"] + more["Shards"]] == ["0", "1", "2"]
    assert code_of(both)[0] == code_of(bad)[0] == "InvalidArgumentException"
    assert summary["OpenShardCount"] == 7
    assert summary["StreamARN"] == ARN
    assert summary["StreamStatus"] == "ACTIVE"
    assert summary["MaxRecordSizeInKiB"] == 1024


def test_split_shard(connect: Connect) -> None:
    with Sink(streams=("orders:2",)) as sink:
        kinesis = connect(sink)
        keys = [f"key-{n}" for n in range(40)]
        before = kinesis.put_records(StreamName="orders", Records=entries(*keys))["Records"]
        assert sink.split_shard(0) == ("shardId-000000000002", "shardId-000000000003")
        after = kinesis.put_records(StreamName="orders", Records=entries(*keys))["Records"]
        assert sink.split_shard(2, "orders") == ("shardId-000000000004", "shardId-000000000005")
        last = kinesis.put_records(StreamName="orders", Records=entries(*keys))["Records"]
        with pytest.raises(SinkError):
            sink.split_shard(0)
        everything = kinesis.list_shards(StreamName="orders")["Shards"]
        latest = kinesis.list_shards(StreamName="orders", ShardFilter={"Type": "AT_LATEST"})
        summary = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]
    assert {r["ShardId"][-1] for r in before} == {"0", "1"}
    assert {r["ShardId"][-1] for r in after} == {"1", "2", "3"}
    assert {r["ShardId"][-1] for r in last} == {"1", "3", "4", "5"}
    for first, second, third in zip(before, after, last, strict=True):
        numbers = [int(r["SequenceNumber"]) for r in (first, second, third)]
        assert numbers == sorted(set(numbers))  # of one key, across the resharding
    closed = [s["ShardId"][-1] for s in everything if "EndingSequenceNumber" in str(s)]
    assert closed == ["0", "2"]
    parents = {s["ShardId"][-1]: s.get("ParentShardId", "")[-1:] for s in everything}
    assert parents == {"0": "", "1": "", "2": "0", "3": "0", "4": "2", "5": "2"}
    assert [s["ShardId"][-1] for s in latest["Shards"]] == ["1", "3", "4", "5"]
    assert summary["OpenShardCount"] == 4


def test_firehose(connect: Connect) -> None:
    with Sink(streams=("to-s3",)) as sink:
        firehose = connect(sink, "firehose")
        reply = firehose.put_record_batch(
            DeliveryStreamName="to-s3", Records=[{"Data": b"a"}, {"Data": b"b"}]
        )
        with pytest.raises(ClientError) as missing:
            firehose.put_record_batch(DeliveryStreamName="other", Records=[{"Data": b"a"}])
        with pytest.raises(ClientError) as record:
            firehose.put_record_batch(
                DeliveryStreamName="to-s3",
                Records=[{"Data": b"a" * (FIREHOSE_RECORD_BYTES + 1)}],
            )
        big = [{"Data": b"a" * (MIB // 2)}] * 8
        assert firehose.put_record_batch(DeliveryStreamName="to-s3", Records=big)
        with pytest.raises(ClientError) as request:
            firehose.put_record_batch(DeliveryStreamName="to-s3", Records=[*big, {"Data": b"a"}])
        sink.set_faults("throttle:next=1,internal:after=1:next=1")
        throttled = firehose.put_record_batch(DeliveryStreamName="to-s3", Records=[{"Data": b"a"}])
        internal = firehose.put_record_batch(DeliveryStreamName="to-s3", Records=[{"Data": b"a"}])
        accepted = sink.accepted()
    assert reply["FailedPutCount"] == 0
    assert len({entry["RecordId"] for entry in reply["RequestResponses"]}) == 2
    assert [record.data for record in accepted[:2]] == [b"a", b"b"]
    assert len(accepted) == 10
    assert code_of(missing)[0] == "ResourceNotFoundException"
    assert code_of(record)[0] == "ValidationException"
    assert code_of(request)[0] == "InvalidArgumentException"
    assert throttled["RequestResponses"][0]["ErrorCode"] == "ServiceUnavailableException"
    assert internal["RequestResponses"][0]["ErrorCode"] == "InternalFailure"


# -- limits, each at its edge


def test_number_of_records(connect: Connect) -> None:
    with Sink() as sink:
        kinesis = connect(sink)
        assert kinesis.put_records(StreamName="s", Records=entries(*["k"] * 500))["Records"]
        with pytest.raises(ClientError) as error:
            kinesis.put_records(StreamName="s", Records=entries(*["k"] * 501))
        assert len(sink.accepted()) == 500
        assert sink.stats()["errors"] == {"ValidationException": 1}
    assert code_of(error) == ("ValidationException", 400)
    headers = error.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-errortype"] == "ValidationException"
    assert headers["x-amzn-requestid"]
    assert "less than or equal to 500" in str(error.value)


def test_record_size_includes_the_key_in_bytes(connect: Connect) -> None:
    key = "é" * 10  # 20 bytes
    with Sink() as sink:
        kinesis = connect(sink)
        fits = {"PartitionKey": key, "Data": b"x" * (MIB - 20)}
        assert kinesis.put_records(StreamName="s", Records=[fits])["FailedRecordCount"] == 0
        with pytest.raises(ClientError) as total:
            kinesis.put_records(
                StreamName="s", Records=[{"PartitionKey": key, "Data": b"x" * (MIB - 19)}]
            )
        with pytest.raises(ClientError) as data:
            kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"x" * (MIB + 1))
        assert len(sink.accepted()) == 1
        assert sink.stats()["units"] == 41  # ceil(1 MiB / 25 KiB)
    assert code_of(total)[0] == "InvalidArgumentException"
    assert code_of(data)[0] == "ValidationException"
    assert "'data'" in str(data.value)


def test_record_size_up_to_10_mib_where_the_stream_allows_it(connect: Connect) -> None:
    with Sink(max_record_bytes=10 * MIB) as sink:
        kinesis = connect(sink)
        assert kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"x" * (10 * MIB - 1))
        with pytest.raises(ClientError) as error:
            kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"x" * 10 * MIB)
        assert len(sink.accepted()) == 1
    assert code_of(error)[0] == "InvalidArgumentException"


def test_request_size_includes_the_keys(connect: Connect) -> None:
    key = "k" * 16
    fits = entries(*[key] * 10, data=b"x" * (MIB - 16))
    with Sink() as sink:
        kinesis = connect(sink)
        assert kinesis.put_records(StreamName="s", Records=fits)["FailedRecordCount"] == 0
        with pytest.raises(ClientError) as error:
            kinesis.put_records(StreamName="s", Records=[*fits, *entries("k", data=b"")])
        assert len(sink.accepted()) == 10
    assert code_of(error) == ("InvalidArgumentException", 400)


@pytest.mark.parametrize(("key", "good"), [("é" * 256, True), ("é" * 257, False), ("", False)])
def test_key_length_is_in_characters(connect: Connect, key: str, good: bool) -> None:
    with Sink() as sink:
        status = _raw_put(sink, [{"PartitionKey": key, "Data": "eA=="}])[0]
        assert status == (200 if good else 400)
        assert len(sink.accepted()) == int(good)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"PartitionKey": "k"}, "ValidationException"),
        ({"Data": "eA=="}, "ValidationException"),
        ({"PartitionKey": 7, "Data": "eA=="}, "SerializationException"),
        ({"PartitionKey": "k", "Data": "not base64"}, "SerializationException"),
        ({"PartitionKey": "k", "Data": "eA==", "ExplicitHashKey": "07"}, "ValidationException"),
        ("record", "SerializationException"),
    ],
)
def test_malformed_records(record: Any, expected: str) -> None:
    with Sink() as sink:
        status, answer = _raw_put(sink, [record])
        assert (status, answer["__type"]) == (400, expected)
        assert sink.accepted() == []


def test_missing_stream(connect: Connect) -> None:
    with Sink(streams=("orders",)) as sink:
        kinesis = connect(sink)
        assert kinesis.put_record(StreamName="orders", PartitionKey="k", Data=b"")
        with pytest.raises(ClientError) as error:
            kinesis.put_records(StreamName="order", Records=entries("k"))
        with pytest.raises(ClientError) as account:
            kinesis.put_records(
                StreamARN=ARN.replace("222222222222", "333333333333"), Records=entries("k")
            )
    assert code_of(error) == ("ResourceNotFoundException", 400)
    assert "Stream order under account 222222222222 not found." in str(error.value)
    assert "333333333333" in str(account.value)


def test_rates_per_shard(connect: Connect) -> None:
    with Sink(shards=2, enforce_rates=True) as sink:
        kinesis = connect(sink)
        low, high = (
            [{"PartitionKey": "k", "Data": b"x", "ExplicitHashKey": value}] * 500
            for value in ("0", str(2**127))
        )
        started = time.monotonic()
        answers = [kinesis.put_records(StreamName="s", Records=low) for _ in range(10)]
        seconds = time.monotonic() - started
        other = kinesis.put_records(StreamName="s", Records=high)
        time.sleep(0.5)
        refilled = kinesis.put_records(StreamName="s", Records=low)["FailedRecordCount"]
    failed = [answer["FailedRecordCount"] for answer in answers]
    assert failed[:2] == [0, 0]
    assert 1000 <= 5000 - sum(failed) <= 1000 + 1000 * seconds + 1
    assert sum(failed) > 0
    refused = next(
        record for answer in answers for record in answer["Records"] if "ErrorCode" in record
    )
    assert other["FailedRecordCount"] == 0
    assert refused["ErrorCode"] == "ProvisionedThroughputExceededException"
    assert refused["ErrorMessage"] == (
        "Rate exceeded for shard shardId-000000000000 in stream s under account 222222222222."
    )
    assert "SequenceNumber" not in refused
    assert refilled < 100


def test_bytes_per_shard(connect: Connect) -> None:
    with Sink(enforce_rates=True, max_record_bytes=4 * MIB) as sink:
        kinesis = connect(sink)
        burst = kinesis.put_records(StreamName="s", Records=entries("k", data=b"x" * 2 * MIB))
        after = kinesis.put_records(StreamName="s", Records=entries("k"))
    assert burst["FailedRecordCount"] == 0  # a large record passes on a full bucket ...
    assert after["FailedRecordCount"] == 1  # ... and is paid off


def test_unknown_operation_and_bad_json() -> None:
    with Sink() as sink:
        assert _post(sink, b"{}", "Kinesis_20131202.Dance")[1]["__type"] == (
            "UnknownOperationException"
        )
        assert _post(sink, b"{", "Kinesis_20131202.PutRecords")[1]["__type"] == (
            "SerializationException"
        )


# -- STS


def test_assume_role_and_caller_identity(connect: Connect) -> None:
    with Sink() as sink:
        sts = connect(sink, "sts")
        assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::111111111111:user/site"
        reply = sts.assume_role(
            RoleArn=ROLE,
            RoleSessionName="shop@web-1",
            DurationSeconds=900,
            ExternalId="x-1",
            SourceIdentity="shop",
        )
        credentials = reply["Credentials"]
        me = connect(sink, "sts", credentials["SessionToken"])
        identity = me.get_caller_identity()
        with pytest.raises(ClientError) as chained:
            me.assume_role(RoleArn=ROLE, RoleSessionName="second", DurationSeconds=3601)
        assert sink.stats()["assume_role"] == 2
    left = (credentials["Expiration"] - datetime.now(UTC)).total_seconds()
    assert 890 < left <= 900
    assert reply["AssumedRoleUser"]["Arn"] == identity["Arn"]
    assert identity["Arn"] == "arn:aws:sts::222222222222:assumed-role/EventWriter/shop@web-1"
    assert identity["Account"] == "222222222222"
    assert reply["SourceIdentity"] == "shop"
    assert "role chaining" in str(chained.value)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"RoleSessionName": "has space"}, "ValidationError"),
        ({"DurationSeconds": 899}, "ValidationError"),
        ({"DurationSeconds": 43201}, "ValidationError"),
        ({"RoleArn": "arn:aws:iam::22:role/EventWriter"}, "ValidationError"),
        ({"ExternalId": "other"}, "AccessDenied"),
        ({"ExternalId": "no spaces"}, "ValidationError"),
    ],
)
def test_assume_role_refusals(connect: Connect, wrong: dict[str, Any], expected: str) -> None:
    good = {"RoleArn": ROLE, "RoleSessionName": "shop", "ExternalId": "right"}
    with Sink(external_id="right") as sink:
        sts = connect(sink, "sts")
        assert sts.assume_role(**good)
        with pytest.raises(ClientError) as error:
            sts.assume_role(**{**good, **wrong})
    assert code_of(error) == (expected, 403 if expected == "AccessDenied" else 400)


def test_session_tokens_live_as_long_as_they_are_told(connect: Connect) -> None:
    with Sink(sts_lifetime=6, require_sts=True) as sink:
        sts = connect(sink, "sts")
        token = _token(sts)
        kinesis = connect(sink, token=token)
        assert kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"")
        with pytest.raises(ClientError) as foreign:
            connect(sink, token="foreign").put_record(StreamName="s", PartitionKey="k", Data=b"")
        time.sleep(6.05)
        with pytest.raises(ClientError) as error:
            kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"")
        with pytest.raises(ClientError) as at_sts:
            connect(sink, "sts", token).get_caller_identity()
        assert len(sink.accepted()) == 1
    assert code_of(foreign)[0] == "UnrecognizedClientException"
    assert code_of(error) == ("ExpiredTokenException", 400)
    assert code_of(at_sts) == ("ExpiredToken", 403)


def test_expire_tokens_now(connect: Connect) -> None:
    with Sink() as sink:
        sts = connect(sink, "sts")
        old = connect(sink, token=_token(sts))
        assert old.put_record(StreamName="s", PartitionKey="k", Data=b"")
        sink.expire_tokens()
        with pytest.raises(ClientError) as error:
            old.put_record(StreamName="s", PartitionKey="k", Data=b"")
        fresh = connect(sink, token=_token(sts))
        assert fresh.put_record(StreamName="s", PartitionKey="k", Data=b"")
        assert connect(sink).put_record(StreamName="s", PartitionKey="k", Data=b"")
    assert code_of(error)[0] == "ExpiredTokenException"


# -- running it


def test_command_prints_url_then_summary() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sink", "--shards", "2", "--stream", "orders"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    hello = json.loads(process.stdout.readline())
    assert hello["url"].startswith("http://127.0.0.1:")
    assert hello["pid"] == process.pid
    idle = socket.create_connection(("127.0.0.1", int(hello["url"].rpartition(":")[2])))
    os.kill(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    idle.close()
    assert process.returncode == 0
    assert json.loads(rest)["mode"] == "full"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_listens_on_loopback_only() -> None:
    with Sink() as sink:
        listening = [
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
            and int(line.split()[1].split(":")[1], 16) == int(sink.url.rpartition(":")[2])
        ]
    assert [address.split(":")[0] for address in listening] == ["0100007F"]


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="no faults"):
        Sink(fast=True, faults="slow")
    with pytest.raises(ValueError, match="unknown fault"):
        Sink(faults="nonsense").start()
    with Sink() as first, pytest.raises(SinkError, match="in use"):
        Sink(port=int(first.url.rpartition(":")[2])).start()
    with Sink() as sink, pytest.raises(SinkError, match="unknown fault"):
        sink.set_faults("nonsense=1")


def test_process_mode_is_the_same(connect: Connect) -> None:
    with Sink(process=True, shards=3, streams=("orders",)) as sink:
        connect(sink).put_records(StreamName="orders", Records=entries("a", "b"))
        assert [record.partition_key for record in sink.accepted()] == ["a", "b"]
        sink.reset()
        assert sink.accepted() == []
        assert sink.stats()["requests"] == 0
    assert sink.summary["records"] == 0


def test_pieces_of_requests_and_pipelining() -> None:
    one = _request(b'{"StreamName":"s","Records":[{"PartitionKey":"k","Data":"eA=="}]}')
    with Sink() as sink, socket.create_connection(_address(sink)) as sock:
        for piece in (one[:7], one[7:150], one[150:-3], one[-3:] + one + one[:20], one[20:]):
            sock.sendall(piece)
            time.sleep(0.02)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3 or not received.endswith(b"]}"):
            received += sock.recv(65536)
        assert len(sink.accepted()) == 3


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Content-Length: 99999999", b"413"),
        ("Transfer-Encoding: chunked", b"411"),
        ("Content-Length: 10\r\nExpect: 100-continue", b"100"),
    ],
)
def test_other_framing(header: str, status: bytes) -> None:
    with Sink() as sink, socket.create_connection(_address(sink)) as sock:
        sock.sendall(f"POST / HTTP/1.1\r\n{header}\r\n\r\n".encode())
        assert sock.recv(1000).split()[1] == status
        assert status == b"100" or sock.recv(1000) == b""


def test_stopping_drops_requests_that_hang(connect: Connect) -> None:
    sink = Sink(faults="hang,slow:ms=5000", process=True).start()
    with socket.create_connection(_address(sink)) as sock:
        sock.sendall(_request(b'{"StreamName":"s","Records":[]}'))
        while sink.stats()["requests"] < 1:
            time.sleep(0.01)
        started = time.monotonic()
        sink.stop()
        assert time.monotonic() - started < 3
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    assert sink.summary["faults"]["hang"] == 1


def test_what_connects_while_it_stops_is_closed_too() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(10):
            sink = Sink().start()
            address = _address(sink)
            going = threading.Event()

            def connect(address: tuple[str, int], going: threading.Event) -> None:
                with contextlib.suppress(OSError):
                    for number in range(30):
                        socket.create_connection(address, timeout=1).close()
                        if number == 2:
                            going.set()

            client = threading.Thread(target=connect, args=(address, going))
            client.start()
            assert going.wait(5)
            sink.stop()
            client.join()
        gc.collect()
    assert [str(one.message) for one in seen if one.category is ResourceWarning] == []


def test_concurrent_clients_keep_per_key_order(connect: Connect) -> None:
    with Sink(shards=4) as sink:
        kinesis = connect(sink)

        def write(key: str) -> None:
            for n in range(40):
                data = json.dumps({"key": key, "n": n}).encode()
                kinesis.put_record(StreamName="s", PartitionKey=key, Data=data)

        threads = [threading.Thread(target=write, args=(f"k{n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        verdict = check(sink.accepted(), {f"k{n}": range(40) for n in range(6)}, event_of)
    assert verdict.exact
    assert verdict.accepted == verdict.expected == 240


def test_latency(connect: Connect) -> None:
    with Sink(latency_ms=80) as sink:
        started = time.monotonic()
        connect(sink).put_record(StreamName="s", PartitionKey="k", Data=b"")
        assert time.monotonic() - started >= 0.08


# -- fast mode


def test_fast_mode(connect: Connect) -> None:
    with Sink(fast=True) as sink:
        kinesis = connect(sink)
        numbers: list[int] = []
        for count in (1, 500, 3):
            keys = ["PartitionKey", 'a"PartitionKey":"b', "x"] * 167
            reply = kinesis.put_records(StreamName="s", Records=entries(*keys[:count]))
            assert reply["FailedRecordCount"] == 0
            assert len(reply["Records"]) == count
            assert {r["ShardId"] for r in reply["Records"]} == {"shardId-000000000000"}
            numbers += [int(r["SequenceNumber"]) for r in reply["Records"]]
        with pytest.raises(ClientError) as error:
            kinesis.put_records(StreamName="s", Records=entries(*["k"] * 501))
        single = kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"")
        assert single["ShardId"] == "shardId-000000000000"
        batch = connect(sink, "firehose").put_record_batch(
            DeliveryStreamName="f", Records=[{"Data": b"a"}] * 4
        )
        stats = sink.stats()
        assert sink.accepted() == []
        with pytest.raises(SinkError):
            sink.set_faults("slow")
    assert numbers == sorted(set(numbers))
    assert code_of(error)[0] == "ValidationException"
    assert len({r["RecordId"] for r in batch["RequestResponses"]}) == 4
    assert stats["records"] == 1 + 500 + 3 + 1 + 4
    assert stats["bytes"] is None
    assert sink.summary["operations"]["PutRecords"] == 4


def test_fast_mode_with_units_and_route(connect: Connect) -> None:
    keys = [f"key-{n}" for n in range(30)]
    with (
        Sink(shards=4) as full,
        Sink(fast=True, shards=4, units=True, route=True, streams=("s",)) as fast,
    ):
        sizes = entries("a", "b", "c", data=b"x" * 25600) + entries("d", data=b"x" * 25601)
        told = [
            connect(sink).put_records(StreamName="s", Records=entries(*keys) + sizes)["Records"]
            for sink in (full, fast)
        ]
        with pytest.raises(ClientError):
            connect(fast).put_records(StreamName="other", Records=entries("k"))
        stats = [sink.stats() for sink in (full, fast)]
    assert [r["ShardId"] for r in told[0]] == [r["ShardId"] for r in told[1]]
    for name in ("records", "bytes", "units", "shards"):
        assert stats[0][name] == stats[1][name], name
    assert stats[1]["units"] == 30 + 3 + 2
    numbers = [int(r["SequenceNumber"]) for r in told[1]]
    assert numbers == sorted(set(numbers))


# -- helpers


def _token(sts: Any) -> str:
    reply = sts.assume_role(RoleArn=ROLE, RoleSessionName="shop")
    return str(reply["Credentials"]["SessionToken"])


def _address(sink: Sink) -> tuple[str, int]:
    return "127.0.0.1", int(sink.url.rpartition(":")[2])


def _request(body: bytes, target: str = "Kinesis_20131202.PutRecords") -> bytes:
    return (
        f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: {target}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _post(sink: Sink, body: bytes, target: str) -> tuple[int, dict[str, Any]]:
    with socket.create_connection(_address(sink)) as sock:
        sock.sendall(_request(body, target))
        received = sock.recv(1 << 20)
    head, _, answer = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(answer)


def _raw_put(sink: Sink, records: list[Any]) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"StreamName": "s", "Records": records}).encode()
    return _post(sink, body, "Kinesis_20131202.PutRecords")
