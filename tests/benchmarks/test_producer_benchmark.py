"""The producer's benchmark runs, and what it counts agrees; how fast it was is not asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import events_of, markdown
from benchmarks.events import Events, payload
from benchmarks.sink import event_of
from benchmarks.variants import TARGETS, VARIANTS
from kinesis_bridge.aggregation import pack
from kinesis_bridge.event import Record

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def document() -> Any:
    command = [sys.executable, "-m", "benchmarks.producer", "--json", "--events", "2000"]
    command += ["--rounds", "1", "--sizes", "200", "--variants", "put_records,fast-shard"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_counts_agree(document: Any) -> None:
    batches, shard = document["results"]
    assert [batches["variant"], shard["variant"]] == ["put_records", "fast-shard"]
    for result in (batches, shard):
        assert (result["size"], result["events"]) == (200, 2000)
        (turn,) = result["rounds"]
        assert turn["acknowledged"] == 2000
        middle = result["median"]
        assert middle["checked_events"] == 2000
        assert middle["lost"] == middle["reordered"] == middle["duplicated"] == 0
    assert batches["rounds"][0]["records"] == 2000
    assert batches["rounds"][0]["requests"] == 4
    assert batches["median"]["units_per_million"] == 1_000_000
    assert 0 < shard["rounds"][0]["records"] < 100
    assert shard["median"]["units_per_million"] < 50_000


def test_shape(document: Any) -> None:
    assert {"machine", "rounds", "shards", "seed", "results", "targets"} == set(document)
    for result in document["results"]:
        for figure in ("events_per_second", "cpu_per_million", "peak_mb", "events_ratio"):
            assert result["median"][figure] > 0
            assert result["median"][figure] == result["rounds"][0][figure]
    assert document["results"][0]["median"]["events_ratio"] == 1
    assert len(document["targets"]) == 2
    assert all(target["met"] in {True, False} for target in document["targets"])
    text = markdown(document)
    assert VARIANTS["fast-shard"].label in text
    assert all(target["text"] in text for target in document["targets"])


def test_events_are_the_same_at_every_run() -> None:
    events = Events(count=500, size=200, keys=7, seed=3)
    made = events.make()
    assert made == events.make()
    assert {len(data) for _, data in made} == {200}
    expected = events.expected()
    assert sum(map(len, expected.values())) == 500
    assert [event_of(data) for key, data in made if key == "key-00003"] == [
        ("key-00003", n) for n in expected["key-00003"]
    ]
    assert [key for key, _ in Events(count=500, keys=7, seed=3, distinct=False).make()] == [
        key for key, _ in made
    ]


def test_events_of_an_aggregated_record() -> None:
    records = [Record(f"k{n}", payload(f"k{n}", n, 60)) for n in range(3)]
    assert events_of(pack(records)) == [("k0", 0), ("k1", 1), ("k2", 2)]
    assert events_of(records[1].data) == ("k1", 1)


def test_targets_name_variants() -> None:
    assert {target.variant for target in TARGETS} <= set(VARIANTS)
