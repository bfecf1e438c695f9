"""A stand-in for Amazon Kinesis over real HTTP, for benchmarks and for tests of failure.

Two modes, one server:

* **full** (default): parses and validates requests as AWS documents it, routes records to shards,
  numbers them, keeps everything it accepted in order, and fails on demand in seeded ways.
* **fast** (``--fast``): answers PutRecords as cheaply as it can, so that a benchmark measures the
  producer and not this server. It counts records, it does not read them.

From a shell::

    python -m benchmarks.sink --fast
    python -m benchmarks.sink --faults "throttle=0.05,http500=0.01" --seed 7 --shards 4

From a test::

    with Sink(shards=4, faults="throttle=0.05", seed=7) as sink:
        ...                                   # endpoint_url=sink.url
        verdict = check(sink.accepted(), expected)
        assert verdict.ok, verdict

It listens on 127.0.0.1 only and proves nothing about security: signatures are not verified.
"""

from benchmarks.sink.client import Accepted, Sink, SinkError
from benchmarks.sink.config import Config
from benchmarks.sink.faults import KINDS, Fault, parse_faults
from benchmarks.sink.verify import KeyVerdict, Verdict, check, event_of

__all__ = [
    "KINDS",
    "Accepted",
    "Config",
    "Fault",
    "KeyVerdict",
    "Sink",
    "SinkError",
    "Verdict",
    "check",
    "event_of",
    "parse_faults",
]
