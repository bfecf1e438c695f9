"""The chaos harness: its verdict sees every kind of damage, and a short run finds none."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import logs, options
from benchmarks.chaos.actions import Deck
from benchmarks.chaos.databases import config_of
from benchmarks.chaos.processes import Family
from benchmarks.chaos.report import markdown
from benchmarks.chaos.verdict import Arrival, Row, TruthError, arrivals_of, judge
from benchmarks.sink import Accepted
from kinesis_bridge.aggregation import pack
from kinesis_bridge.event import Record

ROOT = Path(__file__).resolve().parents[2]
NEEDS_POSTGRESQL = {"restart database", "crash database"}


def rows(count: int, key: str = "a") -> list[Row]:
    return [Row(key, number, f"{key}-{number}") for number in range(1, count + 1)]


def arrival(row: Row, event_id: str = "", partition_key: str = "") -> Arrival:
    return Arrival(partition_key or row.key, event_id or f"id-{row.token}", *row)


def counts(verdict: Any) -> tuple[int, int, int, int]:
    return verdict.lost, verdict.duplicated, verdict.reordered, verdict.phantom


class TestVerdict:
    def test_nothing_wrong(self) -> None:
        committed = [*rows(3, "a"), *rows(2, "b")]
        mixed = [committed[place] for place in (0, 3, 1, 4, 2)]
        verdict = judge(committed, map(arrival, mixed))
        assert verdict.ok
        assert counts(verdict) == (0, 0, 0, 0)
        assert (verdict.events, verdict.arrived) == (5, 5)
        assert (verdict.keys, verdict.examples) == ({}, [])

    def test_lost(self) -> None:
        committed = rows(4)
        verdict = judge(committed, [arrival(committed[0]), arrival(committed[3])])
        assert counts(verdict) == (2, 0, 0, 0)
        assert not verdict.ok
        assert verdict.keys["a"].lost == 2
        assert verdict.examples == ["lost: key a, number 2", "lost: key a, number 3"]

    def test_lost_key(self) -> None:
        verdict = judge([*rows(1, "a"), *rows(2, "b")], map(arrival, rows(1, "a")))
        assert counts(verdict) == (2, 0, 0, 0)
        assert list(verdict.keys) == ["b"]

    def test_a_repeat_is_a_duplicate_and_never_out_of_order(self) -> None:
        one, two, three = rows(3)
        verdict = judge([one, two, three], map(arrival, [one, two, one, two, three]))
        assert counts(verdict) == (0, 2, 0, 0)
        assert verdict.ok
        assert verdict.arrived == 5
        assert verdict.keys["a"].duplicated == 2

    def test_reordered(self) -> None:
        one, two, three = rows(3)
        verdict = judge([one, two, three], map(arrival, [two, one, three]))
        assert counts(verdict) == (0, 0, 1, 0)
        assert not verdict.ok
        assert verdict.examples == ["reordered: after 2: key a, number 1, event id-a-1"]

    def test_every_overtaken_event_counts(self) -> None:
        committed = rows(4)
        verdict = judge(committed, map(arrival, reversed(committed)))
        assert counts(verdict) == (0, 0, 3, 0)

    def test_keys_have_no_order_between_them(self) -> None:
        committed = [*rows(2, "a"), *rows(2, "b")]
        assert counts(judge(committed, map(arrival, reversed(rows(1, "b"))))) == (3, 0, 0, 0)
        assert judge(committed, map(arrival, [*rows(2, "b"), *rows(2, "a")])).ok

    def test_rolled_back_is_a_phantom(self) -> None:
        marked = Row("a", -1001, "marked")
        verdict = judge(rows(1), map(arrival, [*rows(1), marked]))
        assert counts(verdict) == (0, 0, 0, 1)
        assert not verdict.ok
        assert verdict.examples == [
            "phantom: rolled back: key a, number -1001, event id-marked",
        ]

    def test_an_attempt_whose_number_another_took_is_a_phantom(self) -> None:
        """The database went away: rolled back without being asked to, and written again."""
        verdict = judge(rows(2), map(arrival, [*rows(2), Row("a", 2, "first attempt")]))
        assert counts(verdict) == (0, 0, 0, 1)
        assert "no row" in verdict.examples[0]

    def test_a_second_event_of_a_row_is_a_phantom(self) -> None:
        """A consumer knows a repeat by its id: this one it takes for another event."""
        (row,) = rows(1)
        verdict = judge([row], [arrival(row), arrival(row, event_id="other")])
        assert counts(verdict) == (0, 0, 0, 1)
        assert "second event" in verdict.examples[0]

    def test_another_partition_key_is_a_phantom(self) -> None:
        (row,) = rows(1)
        verdict = judge([row], [arrival(row, partition_key="b")])
        assert counts(verdict) == (1, 0, 0, 1)

    def test_changed_data_is_a_phantom(self) -> None:
        verdict = judge(rows(2), map(arrival, [rows(1)[0], Row("a", 3, "a-2")]))
        assert counts(verdict) == (1, 0, 0, 1)
        assert "its row is key a, number 2" in verdict.examples[-1]

    def test_examples_of_each_kind_are_few(self) -> None:
        committed = rows(100)
        verdict = judge(committed, map(arrival, reversed(committed[:50])))
        assert counts(verdict) == (50, 0, 49, 0)
        assert len(verdict.examples) == 10

    @pytest.mark.parametrize(
        "broken",
        [
            [Row("a", 1, "x"), Row("a", 3, "y")],
            [Row("a", 1, "x"), Row("a", 1, "y")],
            [Row("a", -1, "x")],
            [Row("a", 1, "x"), Row("b", 1, "x")],
        ],
        ids=["hole", "twice", "marker", "token"],
    )
    def test_rows_that_prove_nothing_are_refused(self, broken: list[Row]) -> None:
        with pytest.raises(TruthError):
            judge(broken, [])


class TestArrivals:
    def document(self, row: Row) -> bytes:
        return json.dumps({"id": f"id-{row.token}", "data": row._asdict()}).encode()

    def accepted(self, data: bytes, key: str = "a") -> Accepted:
        return Accepted("orders", "shardId-000000000000", 1, key, data)

    def test_plain_and_aggregated(self) -> None:
        one, two, three = rows(3)
        packed = pack([Record("a", self.document(row)) for row in (two, three)])
        accepted = [self.accepted(self.document(one)), self.accepted(packed)]
        assert list(arrivals_of(accepted)) == [arrival(row) for row in (one, two, three)]

    @pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b'{"id": 1, "data": {"key": 1}}'])
    def test_what_is_no_event_of_ours_is_a_phantom(self, data: bytes) -> None:
        verdict = judge([], arrivals_of([self.accepted(data)]))
        assert counts(verdict) == (0, 0, 0, 1)


class TestLogs:
    def line(self, at: float, text: str = "WARNING kinesis_bridge.relay AWS is down") -> str:
        return f"{1795000000 + at:.3f} {text}"

    def test_lines_within_outages(self) -> None:
        start = 1795000000.0
        log = [self.line(5), "Traceback, no line of its own", self.line(20), self.line(25)]
        found = logs.figures(
            {"relay-1": log, "relay-2": []},
            {"relay-1": (start, start + 30), "relay-2": (start + 20, start + 100)},
            [(start + 15, start + 22), (start + 18, start + 30), (start + 90, start + 110)],
        )
        assert (found.lines, found.outage_lines, found.most_in_a_minute) == (3, 2, 3)
        # 15 s of the first relay, 10 and 10 s of the second.
        assert found.outage_minutes == pytest.approx(35 / 60)
        assert found.a_minute == pytest.approx(2 / (35 / 60))

    def test_most_in_any_minute(self) -> None:
        log = [self.line(at) for at in (0, 50, 59, 70, 109, 300)]
        found = logs.figures({"r": log}, {"r": (1795000000, 1795000400)}, [])
        assert found.most_in_a_minute == 4
        assert (found.outage_minutes, found.a_minute) == (0, None)

    def test_sequence_numbers_that_fell(self) -> None:
        text = "ERROR kinesis_bridge.producer Stream x: 2 sequence numbers of a key did not rise"
        found = logs.figures({"r": [self.line(1, text)]}, {"r": (0, 1)}, [])
        assert found.order_violations == 1

    def test_windows_that_overlap_are_one(self) -> None:
        assert logs.merge([(5, 6), (1, 3), (2, 4), (4, 4.5)]) == [(1, 4.5), (5, 6)]


class TestOptions:
    def test_defaults(self) -> None:
        given = options.parse([])
        assert (given.database, given.relays, given.seconds) == ("postgresql", 3, 60)
        assert options.parse(["--database", "sqlite"]).relays == 1
        assert options.parse(["--minutes", "2"]).seconds == 120
        assert options.parse(["--relay", "--threads 2", "--pause", "1,2"]).relay == (
            "--threads",
            "2",
        )

    @pytest.mark.parametrize(
        "wrong",
        [
            ["--relays", "17"],
            ["--seconds", "90000"],
            ["--rate", "0"],
            ["--keys", "1"],
            ["--pause", "3,1"],
            ["--database", "oracle"],
            ["--database", "sqlite", "--url", "postgres://127.0.0.1/"],
        ],
        ids=lambda wrong: wrong[-2],
    )
    def test_a_run_is_bounded(self, wrong: list[str], capsys: Any) -> None:
        with pytest.raises(SystemExit) as ended:
            options.parse(wrong)
        assert ended.value.code == 2
        assert "error" in capsys.readouterr().err


def test_every_kind_comes_before_any_comes_again() -> None:
    deck = Deck(["a", "b", "c"], random.Random(1))
    dealt = [deck.deal() for _ in range(9)]
    assert [sorted(dealt[at : at + 3]) for at in (0, 3, 6)] == [["a", "b", "c"]] * 3
    again = Deck(["a", "b", "c"], random.Random(1))
    assert [again.deal() for _ in range(9)] == dealt
    first = again.deal()
    again.put_back(first)
    assert first in [again.deal() for _ in range(3)]


def test_databases_by_url() -> None:
    assert config_of("postgres://u@%2Fvar%2Frun/x")["HOST"] == "/var/run"
    assert "synchronous_commit=on" in config_of("postgres://u@h/x")["OPTIONS"]["options"]
    assert config_of("sqlite:////tmp/x")["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_no_child_is_left_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "no.such"}
    with Family(tmp_path, environment) as family:
        stopped, asked, fallen = (family.start_relay() for _ in range(3))
        stopped.stop()
        asked.terminate()
        assert fallen.join(30)
        assert (family.stopped(), family.fallen()) == ([stopped], [fallen])
        assert fallen.code != 0
        assert fallen.lines()
    for child in family.relays:
        assert not child.alive()
        assert child.code is not None
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)


def chaos(*arguments: str) -> tuple[int, Any, str]:
    """Run the harness to its end; told to end early, it cleans up."""
    command = [sys.executable, "-m", "benchmarks.chaos", "--json", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, errors = process.communicate(timeout=150)
        except BaseException:
            process.terminate()
            process.wait(60)
            raise
    return process.returncode, json.loads(out) if out else None, errors


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mysql"])
def test_short_run(kind: str) -> None:
    """``make chaos`` in small: whatever dies, everything that was committed arrives."""
    if kind == "mysql" and not os.environ.get("TEST_MYSQL_URL"):
        pytest.skip("no MySQL server is named: TEST_MYSQL_URL")
    code, document, errors = chaos(
        *("--database", kind, "--seconds", "7", "--pause", "0.2,0.5"),
        *("--keys", "20", "--rate", "150", "--latency-ms", "5"),
        *("--options", '{"READ_TIMEOUT": 0.5}'),
    )
    assert code == 0, errors
    assert document["ok"]
    assert document["problems"] == []
    assert counts_of(document) == (0, 0, 0)
    assert document["events"] > 200
    assert document["arrived"] == document["events"] + document["duplicated"]
    assert document["outbox"]["left"] == document["dead_letters"] == 0
    # Something was at stake: rolled back, killed, cut off.
    assert document["writers"]["rolled_back"] > 50
    done = set(document["actions"])
    assert {"kill relay", "terminate relay", "stop relay", "expire credentials"} <= done
    assert (kind != "sqlite") == ("drop connections" in done)
    assert (kind == "postgresql") == (done >= NEEDS_POSTGRESQL)
    assert document["relays"]["started"] > document["options"]["relays"]
    text = markdown(document)
    assert "Nothing lost, nothing reordered, nothing phantom." in text
    assert f"| events committed | {document['events']:,} |" in text


def counts_of(document: dict[str, Any]) -> tuple[int, int, int]:
    return document["lost"], document["reordered"], document["phantom"]


def test_an_action_that_is_not_there_is_refused() -> None:
    code, document, errors = chaos("--database", "sqlite", "--actions", "restart database")
    assert (code, document) == (1, None)
    assert "there is no action restart database on sqlite; there are kill relay" in errors
