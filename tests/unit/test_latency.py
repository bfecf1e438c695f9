"""Buckets of latencies: what is counted where, and the percentiles that they tell."""

import random
from statistics import quantiles

import pytest

from kinesis_bridge.latency import BUCKETS, count, percentile
from kinesis_bridge.models import StreamStatistic


def counted(ages):
    found = count(ages)
    return [found.get(name, 0) for name in BUCKETS]


def test_each_bucket_is_a_column():
    columns = {field.name for field in StreamStatistic._meta.get_fields()}
    assert columns >= set(BUCKETS)


@pytest.mark.parametrize(
    ("age", "bucket"),
    [(0, "within_10ms"), (0.01, "within_10ms"), (0.011, "within_20ms"), (1.0, "within_1s"),
     (1800, "within_30min"), (1801, "slower"), (10**9, "slower")],
)  # fmt: skip
def test_an_edge_belongs_to_the_bucket_below(age, bucket):
    assert count([age]) == {bucket: 1}


def test_nothing_is_counted_twice_and_nothing_is_lost():
    ages = [random.expovariate(3) for _ in range(1000)]
    assert sum(count(ages).values()) == 1000
    assert count([]) == {}


def test_percentiles_are_within_their_bucket():
    ages = [random.lognormvariate(-3, 1) for _ in range(5000)]
    cuts = quantiles(ages, n=100)
    for share in (50, 95):
        found = percentile(counted(ages), share / 100)
        assert cuts[share - 1] / 2.6 < found < cuts[share - 1] * 2.6


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [
        ([10], 0.5, 0.005),
        ([0, 10], 1.0, 0.02),
        ([1, 1], 0.5, 0.01),
        ([1, 0, 0, 1], 0.51, 0.051),
        ([0] * 14 + [1], 0.5, float("inf")),
    ],
)
def test_percentiles(counts, share, seconds):
    padded = counts + [0] * (len(BUCKETS) - len(counts))
    assert percentile(padded, share) == pytest.approx(seconds)


def test_without_events_there_is_no_percentile():
    assert percentile([0] * len(BUCKETS), 0.5) is None
