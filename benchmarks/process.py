"""One measured process: ``python -m benchmarks.process JOB``, started by ``benchmarks.jobs``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.jobs import REGION, STREAM, Job
from benchmarks.span import Span

if TYPE_CHECKING:
    from kinesis_bridge.event import Record
    from kinesis_bridge.producer import Producer

_BATCH = 500
_WARM_UP = b"{}"
_PAUSE = 0.2  # seconds after an outage


def main(document: str) -> None:
    """Make the events, warm up, run."""
    job = Job.loads(document)
    match job.how:
        case "put_record":
            _put_record(job)
        case "put_records":
            _put_records(job)
        case _:
            _stream(job)


def _client() -> Any:
    import boto3

    return boto3.client("kinesis", region_name=REGION)


def _put_record(job: Job) -> None:
    client = _client()
    client.put_record(StreamName=STREAM, PartitionKey="warm-up", Data=_WARM_UP)
    events = job.events.make()

    def work() -> dict[str, Any]:
        for key, data in events:
            client.put_record(StreamName=STREAM, PartitionKey=key, Data=data)
        return {"acknowledged": len(events), "records": len(events)}

    Span().run(work)


def _put_records(job: Job) -> None:
    client = _client()
    warm_up = {"PartitionKey": "warm-up", "Data": _WARM_UP}
    client.put_records(StreamName=STREAM, Records=[warm_up])
    events = job.events.make()

    def work() -> dict[str, Any]:
        acknowledged = 0
        for start in range(0, len(events), _BATCH):
            records = [
                {"PartitionKey": key, "Data": data} for key, data in events[start : start + _BATCH]
            ]
            reply = client.put_records(StreamName=STREAM, Records=records)
            acknowledged += len(records) - reply["FailedRecordCount"]
        return {"acknowledged": acknowledged, "records": len(events)}

    Span().run(work)


# -- ours


def _stream(job: Job) -> None:
    _configure(job)
    from kinesis_bridge.client import producers
    from kinesis_bridge.event import PutResult, Record

    producer = producers["default"]
    events = job.events.make()
    records = [Record(key, data) for key, data in events]
    del events
    (answer,) = producer.send([Record("warm-up", _WARM_UP)])
    if not isinstance(answer, PutResult):
        sys.exit(f"the warm-up was refused: {answer}")
    before = producer.statistics.records

    def work() -> dict[str, Any]:
        if job.resume:
            return _resume(producer, records, time.monotonic() + job.seconds)
        acknowledged = 0
        for _, result in producer.stream_records(iter(records)):
            acknowledged += isinstance(result, PutResult)
        return {"acknowledged": acknowledged}

    span = Span()
    span.begin()
    more = work()
    span.end()
    statistics = producer.statistics
    span.report(
        **more,
        records=statistics.records - before,
        retried=statistics.retried,
        short_requests=statistics.short_requests,
        order_violations=statistics.order_violations,
    )


def _resume(producer: Producer, records: list[Record], deadline: float) -> dict[str, Any]:
    """Send as a relay does: after an outage, go on with what was not acknowledged, in order."""
    from kinesis_bridge.event import PutResult
    from kinesis_bridge.exceptions import AwsError

    acknowledged = rejected = 0
    outages: dict[str, int] = {}
    waiting = records
    while waiting and time.monotonic() < deadline:
        read: list[Record] = []
        taken: set[int] = set()

        def reading(source: list[Record], read: list[Record] = read) -> Iterator[Record]:
            for record in source:
                read.append(record)
                yield record

        try:
            for record, result in producer.stream_records(reading(waiting)):
                if isinstance(result, PutResult):
                    taken.add(id(record))
                elif result.error is None or result.poison:
                    rejected += 1  # its own failure, for good: it is not sent again
                    taken.add(id(record))
        except AwsError as error:
            outages[error.code] = outages.get(error.code, 0) + 1
            time.sleep(_PAUSE)
        acknowledged += len(taken)
        left = [record for record in read if id(record) not in taken]
        waiting = left + waiting[len(read) :]
    return {"acknowledged": acknowledged - rejected, "rejected": rejected, "outages": outages}


def _configure(job: Job) -> None:
    import django
    from django.conf import settings

    stream: dict[str, Any] = {"STREAM": STREAM, "REGION": REGION, "OPTIONS": job.options}
    bridge: dict[str, Any] = {"SOURCE": "/benchmarks", "STREAMS": {"default": stream}}
    if job.role:
        stream["ROLE"] = "writer"
        bridge["ROLES"] = {"writer": {"ROLE_ARN": job.role}}
    settings.configure(INSTALLED_APPS=["kinesis_bridge"], USE_TZ=True, KINESIS_BRIDGE=bridge)
    django.setup()


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)  # threads of a producer that hangs are not waited for
