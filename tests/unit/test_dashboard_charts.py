"""Charts: paths, scales and gaps, as numbers."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from kinesis_bridge.dashboard import WINDOWS, charts
from kinesis_bridge.dashboard.series import COUNTERS, points, total
from kinesis_bridge.templatetags import kinesis_bridge as words

NOW = datetime(2026, 11, 27, 12, 34, 56, tzinfo=UTC)
INF = float("inf")


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 1), (1, 1), (1.1, 2), (3, 5), (7, 10), (499, 500), (501, 1000), (1001, 2000)],
)
def test_a_scale_ends_at_a_round_number(most, top):
    assert charts.linear([most]).ticks == (top, top / 2, 0)


@pytest.mark.parametrize(("most", "top"), [(0, 1), (600, 1024), (1025, 2048), (700 * 1024, 2**20)])
def test_bytes_are_round_in_their_units(most, top):
    assert charts.linear([most], binary=True).ticks[0] == top


def test_a_line_goes_from_left_to_right_and_upwards():
    (line,) = charts.linear([0, 5, 10]).lines
    assert line.path == "M0 100 L50 50 L100 0"
    assert line.area == "M0 100 L0 100 L50 50 L100 0 L100 100 Z"


def test_a_gap_is_no_line_and_a_lone_point_is_a_dot():
    (line,) = charts.linear([1, None, 1, 1, None]).lines
    assert line.path == "M0 0 L0 0 M50 0 L75 0"
    assert charts.linear([None, None]).lines[0].path == ""


def test_several_lines_have_one_scale():
    low, high = charts.linear([1, 1], [10, 10]).lines
    assert low.path == "M0 90 L100 90"
    assert high.path == "M0 0 L100 0"


@pytest.mark.parametrize(
    ("most", "top"), [(0.001, 0.1), (0.05, 0.1), (0.2, 1), (45, 100), (10**6, 10**4), (INF, 10**4)]
)
def test_latencies_are_drawn_by_powers_of_ten(most, top):
    chart = charts.logarithmic([most])
    assert chart.ticks[0] == pytest.approx(top)
    assert chart.ticks[-1] == pytest.approx(0.01)
    assert [float(rule) for rule in chart.rules][-1] == 100
    for number in re.findall(r"[\d.]+", chart.lines[0].path):
        assert 0 <= float(number) <= 100


# The points of a window


def sums(**given):
    return {**dict.fromkeys(COUNTERS, 0), **given}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=lambda window: f"{window.hours} h")
def test_a_window_reaches_back_and_ends_now(window):
    starts = window.starts(NOW)
    assert len(starts) * window.minutes == window.hours * 60
    assert starts[-1] <= NOW < starts[-1] + window.step
    assert {later - first for first, later in pairwise(starts)} == {window.step}


def test_rates_are_per_minute_also_of_the_minute_that_is_not_over():
    window = WINDOWS[6]
    begun = NOW.replace(minute=30, second=0)
    whole = begun - timedelta(minutes=5)
    found = points(
        window,
        {
            whole: sums(sent=600),
            whole + timedelta(minutes=4): sums(sent=400, retried=5, resent=5),
            begun: sums(sent=296, within_10ms=296),
        },
        NOW,
    )
    assert [point.events for point in found[-3:]] == [0, 200, pytest.approx(60)]
    assert found[-2].again == 2
    assert found[-2].p50 is None
    assert found[-1].p50 == pytest.approx(0.005)


def test_nothing_adds_up_to_nothing():
    assert set(total([]).values()) == {0}


# Figures in words


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, words.NOTHING), (0.0042, "4 ms"),
     (0.9994, "999 ms"), (1, "1 s"), (1.25, "1.2 s"), (59.4, "59 s"),
     (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (7500, "2 h 5 min"), (90000, "1 d 1 h"),
     (INF, "over 30 min")],
)  # fmt: skip
def test_seconds(value, said):
    assert words.seconds(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, words.NOTHING),
        (0, "0"),
        (3, "3"),
        (2.25, "2.2"),
        (12.6, "13"),
        (1234567, "1,234,567"),
    ],
)
def test_number(value, said):
    assert words.number(value) == said


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([], words.NOTHING),
        ([4], "4"),
        ([3, 1, 2], "1-3"),
        ([*range(32), 40], "0-31, 40"),
        ([1, 3], "1, 3"),
    ],
)
def test_ranges(numbers, said):
    assert words.ranges(numbers) == said
