"""What it costs a relay to tell of itself: ``python -m benchmarks.outbox.told``.

The same backlog is drained in turns by the relay as it is, and by one that counts no latencies,
writes no rows for others and looks for no pause. What is compared, within a round, is the time of
the processor that the relay's process takes: other work on the machine disturbs that least.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from io import StringIO
from statistics import median, quantiles
from typing import Any

from benchmarks.outbox.relays import fill

DRAIN = ("told", "silent")


def silence() -> None:
    """Let the relays of this process tell nobody anything, and count only for their own end."""
    from kinesis_bridge import latency
    from kinesis_bridge.relay import Relay
    from kinesis_bridge.relay.presence import Presence
    from kinesis_bridge.relay.statistics import Statistics
    from kinesis_bridge.relay.store import Store

    def count(self: Any, _store: Any, *, sent: int, dead: int, rows: int, **_: Any) -> None:
        with self._lock:
            self.totals.batches += 1
            self.totals.sent += sent
            self.totals.dead_lettered += dead
            self.totals.retried += rows - sent - dead

    Statistics.count = count  # type: ignore[method-assign]
    Relay._tell = lambda *_: None  # type: ignore[method-assign]
    Presence.held = lambda *_: None  # type: ignore[method-assign]
    Store.is_paused = lambda *_: False  # type: ignore[method-assign]
    latency.count = lambda _: {}


def work(how: str) -> None:
    """Drain what there is; print what it took."""
    from django.core.management import call_command

    if how == "silent":
        silence()
    out = StringIO()
    began = time.process_time()
    call_command("kinesis_relay", "--once", "--json", stdout=out)
    print(json.dumps({**json.loads(out.getvalue()), "cpu": time.process_time() - began}))


def drain(count: int, how: str) -> float:
    """Let a process drain a backlog; return the microseconds of the processor for each event."""
    fill(count)
    command = [sys.executable, "-m", "benchmarks.outbox.told", "--drain", how]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    document = json.loads(done.stdout)
    if document["sent"] != count:
        sys.exit(f"{count - document['sent']} of {count} events were not sent: {document}")
    cpu: float = document["cpu"]
    return cpu / count * 1e6


def measure(rounds: int, events: int) -> None:
    """Print the medians of both, and of their ratio."""
    found: dict[str, list[float]] = {how: [] for how in DRAIN}
    for number in range(rounds):
        for how in DRAIN if number % 2 else reversed(DRAIN):
            found[how].append(drain(events, how))
        print(f"round {number + 1}:", *(f"{found[how][-1]:.2f}" for how in DRAIN), file=sys.stderr)
    ratios = [told / silent for told, silent in zip(found["told"], found["silent"], strict=True)]
    low, middle, high = (100 * (cut - 1) for cut in quantiles(ratios, n=4))
    print(
        f"{rounds} rounds of {events:,} events, microseconds of the processor an event:"
        f" {median(found['told']):.2f}, and {median(found['silent']):.2f} of a relay that tells"
        f" nothing; it costs {middle:.1f} % (quartiles {low:.1f} to {high:.1f} %)"
    )


def main() -> None:
    """Start PostgreSQL and the sink; measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--drain", choices=DRAIN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    import django

    if options.drain:
        django.setup()
        work(options.drain)
        return
    from benchmarks.outbox.environment import environment
    from benchmarks.sink import Sink
    from tests.support.databases import Cluster

    with Cluster(fsync="on", full_page_writes="on") as cluster, Sink(fast=True) as sink:
        cluster.create_database("bench")
        os.environ.update(environment(cluster.url_of("bench"), sink.url))
        migrate = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "-v0"]
        subprocess.run(migrate, check=True)
        django.setup()
        measure(options.rounds, options.events)


if __name__ == "__main__":
    main()
