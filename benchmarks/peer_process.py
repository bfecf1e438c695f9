"""One measured process of another producer: ``python -m benchmarks.peer_process JOB``.

Runs in that producer's own environment, so it imports nothing but it and the standard library.
Each is used as its own documentation shows. What is set otherwise is said in ``peers.PEERS``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from benchmarks.jobs import REGION, STREAM, Job
from benchmarks.span import Span

_UNLIMITED = 1e12


def _kiner(job: Job) -> None:
    import boto3
    from kiner.producer import KinesisProducer  # type: ignore[import-not-found]

    client = boto3.client("kinesis", region_name=REGION)
    client.put_records(StreamName=STREAM, Records=[{"PartitionKey": "warm-up", "Data": b"{}"}])
    events = job.events.make()

    def work() -> dict[str, Any]:
        flushed: list[int] = []
        producer = KinesisProducer(
            STREAM,
            batch_time=0.2,
            kinesis_client=client,
            flush_callback=lambda count, *_, **__: flushed.append(count),
        )
        for key, data in events:
            producer.put_record(data, partition_key=key)
        producer.close()
        return {"acknowledged": sum(flushed)}

    Span().run(work)


async def _async_kinesis(job: Job) -> None:
    from kinesis import Producer, StringProcessor  # type: ignore[import-not-found]

    acknowledged = 0

    async def flushed(items: list[Any]) -> None:
        nonlocal acknowledged
        acknowledged += len(items)

    producer = Producer(
        stream_name=STREAM,
        region_name=REGION,
        endpoint_url=job.url,
        processor=StringProcessor(),
        use_list_shards=True,
        put_rate_limit_per_shard=int(_UNLIMITED),
        put_bandwidth_limit_per_shard=int(_UNLIMITED),
        after_flush_fun=flushed,
    )
    await producer.__aenter__()
    await producer.put("{}", partition_key="warm-up")
    await producer.flush()
    acknowledged = 0
    events = [(key, data.decode()) for key, data in job.events.make()]

    async def work() -> dict[str, Any]:
        for key, data in events:
            await producer.put(data, partition_key=key)
        await producer.flush()
        return {"acknowledged": acknowledged}

    await Span().arun(work)


async def _aiokpl(job: Job, *, aggregates: bool) -> None:
    from aiokpl import Config, Producer  # type: ignore[import-not-found]

    config = Config(
        region=REGION,
        endpoint_url=job.url,
        aggregation_enabled=aggregates,
        rate_limit_records_per_sec_per_shard=_UNLIMITED,
        rate_limit_bytes_per_sec_per_shard=_UNLIMITED,
    )
    async with Producer(config) as producer:
        first = await producer.put_record(stream=STREAM, partition_key="warm-up", data=b"{}")
        await first.wait()
        events = job.events.make()

        async def work() -> dict[str, Any]:
            outcomes = [
                await producer.put_record(stream=STREAM, partition_key=key, data=data)
                for key, data in events
            ]
            await producer.flush()
            results = [await outcome.wait() for outcome in outcomes]
            return {"acknowledged": sum(result.success for result in results)}

        await Span().arun(work)


def main(document: str) -> None:
    """Make the events, warm up, run."""
    logging.disable(logging.INFO)
    job = Job.loads(document)
    match job.how:
        case "kiner":
            _kiner(job)
        case "async-kinesis":
            asyncio.run(_async_kinesis(job))
        case _:
            asyncio.run(_aiokpl(job, aggregates=job.how == "aiokpl-aggregated"))


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)
