"""Producers against a sink: events to send, and what a consumer would read of them."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from unittest import mock
from urllib.request import Request, urlopen

import orjson
from botocore.loaders import JSONFileLoader
from django.test import override_settings

from benchmarks.sink import Accepted, check
from kinesis_bridge.aggregation import hash_key, is_aggregated, unpack_data
from kinesis_bridge.conf import get_config
from kinesis_bridge.event import PutResult, Record
from kinesis_bridge.producer import Producer

from .aws import bridge

# Read when the tests are collected; ``KINESIS_TEST_EVENTS=100000 pytest ...`` for a long run.
LONG = "KINESIS_TEST_EVENTS" in os.environ
EVENTS = int(os.environ.get("KINESIS_TEST_EVENTS", "1000"))
HOT_EVENTS = EVENTS if LONG else 100
MODES = ("none", "key", "shard")
TRANSPORTS = ("fast", "boto3")
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTSITE00000000",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-site-itself-0123456789abcd",
}
_names = (f"orders-{number}" for number in count(1))


def events(amount, keys, *, size=0, name="key"):
    """`amount` records over `keys` keys, each numbered within its key."""
    padding = "x" * size
    made = []
    for number in range(amount):
        key = f"{name}-{number % keys}"
        document = {"key": key, "n": number // keys, "padding": padding}
        made.append(Record(key, orjson.dumps(document)))
    return made


def wanted(records):
    """What `check` expects of records made by :func:`events`."""
    found = defaultdict(list)
    for record in records:
        found[record.partition_key].append(orjson.loads(record.data)["n"])
    return found


# Each session parses botocore's models again, which is most of what a short test costs.
_load_file = lru_cache(JSONFileLoader().load_file)


@contextmanager
def configured(url, *, role=False, name=None, stream=None, environment=None, **options):
    """Settings and environment that lead to the server at `url`; yields the stream's name."""
    settings = bridge()
    name = name or next(_names)
    settings["STREAMS"]["default"] = {
        "STREAM": name,
        "ROLE": "writer" if role else None,
        "REGION": "us-east-1",
        "OPTIONS": options,
        **(stream or {}),
    }
    given = {"AWS_ENDPOINT_URL": url, **KEYS, **(environment or {})}
    with (
        mock.patch.dict(os.environ, given),
        mock.patch.object(JSONFileLoader, "load_file", lambda _, path: _load_file(path)),
        override_settings(KINESIS_BRIDGE=settings),
    ):
        yield name


@contextmanager
def producing(url, **given):
    """A producer of a stream of its own; see :func:`configured`."""
    with configured(url, **given):
        producer = Producer(get_config().stream("default"))
        try:
            yield producer
        finally:
            producer.close()


@dataclass
class Reading:
    """What the KCL makes of a stream."""

    events: list[Accepted] = field(default_factory=list)
    """Unpacked, in order of acceptance."""
    dropped: list[Accepted] = field(default_factory=list)
    """Aggregated records with a hash key outside the shard that took them."""
    records: list[Accepted] = field(default_factory=list)
    """As they were accepted."""

    def verdict(self, records):
        return check(self.events, wanted(records))


def read(sink, name):
    """Read the stream as the KCL does: unpack, and drop what was packed for another shard."""
    ranges = shard_ranges(sink, name)
    reading = Reading()
    for record in sink.accepted():
        if record.stream != name:
            continue
        reading.records.append(record)
        if not is_aggregated(record.data):
            reading.events.append(record)
            continue
        first, last = ranges[record.shard_id]
        inner = unpack_data(record.data)
        if all(first <= place(one) <= last for one in inner):
            reading.events += [
                record._replace(partition_key=one.partition_key, data=one.data) for one in inner
            ]
        else:
            reading.dropped.append(record)
    assert all(one.partition_key == key_of(one.data, one) for one in reading.events)
    return reading


def key_of(data, record):
    """The key that an event of :func:`events` carries; of other data, the record's own."""
    return orjson.loads(data)["key"] if data.startswith(b'{"key"') else record.partition_key


def place(record):
    explicit = record.explicit_hash_key
    return hash_key(record.partition_key) if explicit is None else int(explicit)


def shard_ranges(sink, name):
    """The hash keys of all shards that the stream ever had."""
    request = {"StreamName": name}
    ranges = {}
    while request:
        answer = ask(sink.url, "ListShards", request)
        for shard in answer["Shards"]:
            keys = shard["HashKeyRange"]
            ranges[shard["ShardId"]] = int(keys["StartingHashKey"]), int(keys["EndingHashKey"])
        token = answer.get("NextToken")
        request = {"NextToken": token} if token else None
    return ranges


def ask(url, operation, request):
    """Call Kinesis without a client of its own: a sink checks no signatures."""
    headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}"}
    with urlopen(Request(url, orjson.dumps(request), headers)) as answer:
        return orjson.loads(answer.read())


def assert_acknowledged(results):
    """Every answer is an acknowledgement; show the first that is not."""
    others = [result for result in results if not isinstance(result, PutResult)]
    assert not others, (len(others), others[0])
