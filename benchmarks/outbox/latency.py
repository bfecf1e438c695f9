"""From the commit to the acknowledgement, at a steady rate: writer and relay in two processes.

``python -m benchmarks.outbox.latency RATE SECONDS``; with ``relay`` it is the relay, which notes
when each key was acknowledged and prints that in the end.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from statistics import quantiles
from typing import Any


def relay() -> None:
    """Run a relay until SIGTERM; print the moments of the acknowledgements by key."""
    from kinesis_bridge.conf import get_config
    from kinesis_bridge.relay import Relay

    made = Relay(list(get_config().streams.values()), ["default"])
    moments: dict[str, float] = {}
    for producer in made._producers:
        producer.send = _noting(producer.send, moments)  # type: ignore[method-assign]
    signal.signal(signal.SIGTERM, lambda *_: made.stop())
    print("{}", flush=True)
    made.run()
    print(json.dumps(moments), flush=True)


def _noting(send: Any, moments: dict[str, float]) -> Any:
    def wrapper(records: Any, **options: Any) -> Any:
        answers = send(records, **options)
        now = time.time()
        moments.update((record.partition_key, now) for record in records)
        return answers

    return wrapper


def measure(rate: int, seconds: int) -> dict[str, float]:
    """Milliseconds: p50, p99 and the longest."""
    from benchmarks.outbox.app.models import Declared

    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.outbox.latency", "relay"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(1)
    committed: dict[str, float] = {}
    began = time.perf_counter()
    for number in range(rate * seconds):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        Declared(customer=number, status="new", total=9, note="").save()
        committed[str(number)] = time.time()
    time.sleep(1)
    child.terminate()
    moments: dict[str, float] = json.loads(child.communicate()[0])
    missing = committed.keys() - moments.keys()
    if missing:
        sys.exit(f"{len(missing)} of {len(committed)} events were not acknowledged")
    waits = [(moments[key] - moment) * 1000 for key, moment in committed.items()]
    cuts = quantiles(waits, n=100)
    return {"events": len(waits), "p50": cuts[49], "p99": cuts[98], "longest": max(waits)}


if __name__ == "__main__":
    import django

    django.setup()
    if sys.argv[1] == "relay":
        relay()
    else:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
