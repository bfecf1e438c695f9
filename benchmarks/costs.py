"""Where the CPU time of a plain send goes: ``python -m benchmarks.costs``.

Each part of the way is run by itself, against the fast sink; microseconds of CPU a record, medians.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.events import Events
from benchmarks.sink import Sink

BATCH = 500
COUNT = 100_000
ROUNDS = 5


def main() -> None:
    """Measure, print a table."""
    with Sink(fast=True) as sink:
        parts = _parts(sink.url)
        figures: dict[str, list[float]] = {name: [] for name in parts}
        gc.collect()
        gc.freeze()
        for _ in range(ROUNDS):
            for name, work in parts.items():
                started = time.process_time()
                work()
                figures[name].append((time.process_time() - started) / COUNT * 1e6)
    print("| part | CPU, µs a record |\n| :--- | ---: |")
    for name, values in figures.items():
        print(f"| {name} | {statistics.median(values):.2f} |")


def _parts(url: str) -> dict[str, Callable[[], object]]:
    producer, records = _producer(url), _records()
    transport: Any = producer._link.transport
    batches = [records[n : n + BATCH] for n in range(0, COUNT, BATCH)]
    producer.send(records[:1])
    bodies = [transport._body(batch) for batch in batches]
    form = transport._form
    signed = transport._signed(form, bodies[0])

    def send() -> None:
        for _ in batches:
            assert transport._http.send(signed).content

    def everything() -> None:
        assert sum(1 for _ in producer.stream_records(iter(records))) == COUNT

    return {
        "the body as JSON, base64 included": lambda: [transport._body(batch) for batch in batches],
        "the signature (botocore)": lambda: [transport._signed(form, body) for body in bodies],
        "the HTTP request and its answer (botocore)": send,
        "these and reading the answer: one call of the transport": lambda: [
            transport.put(batch) for batch in batches
        ],
        "everything: order, batches, answers for each record": everything,
    }


def _producer(url: str) -> Any:
    os.environ.update(
        AWS_ENDPOINT_URL=url,
        AWS_ACCESS_KEY_ID="AKIABENCHMARK0000000",
        AWS_SECRET_ACCESS_KEY="made-up-for-the-sink",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    )
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["kinesis_bridge"],
        KINESIS_BRIDGE={"STREAMS": {"default": {"STREAM": "bench", "REGION": "eu-west-1"}}},
    )
    django.setup()
    from kinesis_bridge.client import producers

    return producers["default"]


def _records() -> list[Any]:
    from kinesis_bridge.event import Record

    return [Record(key, data) for key, data in Events(count=COUNT, distinct=False).make()]


if __name__ == "__main__":
    main()
