"""Credentials that end every few seconds, under 50 threads: ``python -m benchmarks.session``.

The sink gives credentials that live for ``--lifetime`` seconds and refuses puts that are signed
with ended ones. Then STS fails in turn while it is asked for new ones. Every line runs in a process
of its own, beside a sink in another. Exit status 1: a line is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from typing import Any

from benchmarks.jobs import REGION, ROLE, ROOT, STREAM
from benchmarks.sink import Sink
from benchmarks.tables import machine, number, table

# Of the lifetime, see kinesis_bridge/session/credentials.py: from then on one thread refreshes ...
ADVISORY = 0.25
# ... and from then on all wait for it, since the old credentials may end on their way.
MANDATORY = 0.1
# Seconds after which a put must pass once STS is back: the pause between two attempts, its time-out
# and some for a busy machine.
RECOVERY = 6.0
STS_FINDINGS = {"sts-throttled", "no-answer", "unreachable", "aws-down"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table."""

    name: str
    seconds: float
    threads: int
    lifetime: float
    fault: str = ""
    """For the sink, from shortly after the first credentials on."""
    until: float = 0.0
    """Seconds after the first credentials, when the fault ends; 0: it stays."""
    options: dict[str, float] = field(default_factory=dict)
    fails: bool = False
    """Whether puts must fail, once the credentials have ended."""


def lines(*, seconds: float, threads: int, lifetime: float, fault_lifetime: float) -> list[Line]:
    """The lines of a run. A fault of 2 seconds ends before the old credentials do."""
    due, end = fault_lifetime * (1 - ADVISORY), fault_lifetime
    faults = (
        ("STS throttles for 2 s", "sts_throttled", due + 2),
        ("STS answers 500 for 2 s", "sts_http500", due + 2),
        ("STS resets connections for 2 s", "sts_reset", due + 2),
        ("STS answers after 1.5 s", "sts_slow:ms=1500", 0.0),
        ("STS down until 3 s after the end", "sts_reset", end + 3),
    )
    whole = [
        Line(name=name, fault=fault, until=until, seconds=end + 8, threads=threads, lifetime=end)
        for name, fault, until in faults
    ]
    impatient = Line(
        name="the same, RETRY_SECONDS 1",
        fault="sts_reset",
        until=end + 3,
        seconds=end + 12,
        threads=threads,
        lifetime=end,
        options={"RETRY_SECONDS": 1.0},
        fails=True,
    )
    return [
        Line(name="no fault", seconds=seconds, threads=threads, lifetime=lifetime),
        *whole,
        impatient,
    ]


class Puts:
    """Threads that put one record after another: when each landed or failed."""

    def __init__(self, threads: int) -> None:
        self.over = threading.Event()
        self.latencies: list[list[float]] = [[] for _ in range(threads)]
        self.failures: list[tuple[float, BaseException]] = []
        self.landed_at = [0.0] * threads
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, n: int) -> None:
        from kinesis_bridge import get_client

        latencies = self.latencies[n]
        while not self.over.is_set():
            started = time.monotonic()
            try:
                get_client().put_record(b"0" * 200)
            except Exception as error:  # noqa: BLE001 - any is a failed put
                self.failures.append((time.monotonic(), error))
            else:
                self.landed_at[n] = time.monotonic()
                latencies.append(self.landed_at[n] - started)


def run(line: Line) -> dict[str, Any]:
    """One line, in this process."""
    with Sink(process=True, sts_lifetime=line.lifetime, require_sts=True, keep=False) as sink:
        _configure(line, sink.url)
        from kinesis_bridge import get_client

        get_client().put_record(b"the first")
        began = time.monotonic()
        puts = Puts(line.threads)
        puts.start()
        if line.fault:
            sink.set_faults(line.fault)
        if line.until:
            time.sleep(line.until - (time.monotonic() - began))
            sink.clear_faults()
        time.sleep(max(0.0, line.seconds - (time.monotonic() - began)))
        puts.stop()
        lasted = time.monotonic() - began
        stats = sink.stats()
    return _result(line, puts, stats, began, lasted)


def _configure(line: Line, url: str) -> None:
    os.environ.update(
        AWS_ENDPOINT_URL=url,
        AWS_ACCESS_KEY_ID="AKIABENCHMARKS000000",
        AWS_SECRET_ACCESS_KEY="not-a-secret-of-any-account-000000000000",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    import logging

    import django
    from django.conf import settings

    # botocore warns of each failed refresh, with its traceback: they are what this is about.
    logging.getLogger("botocore").setLevel(logging.ERROR)
    stream = {"STREAM": STREAM, "REGION": REGION, "ROLE": "writer", "OPTIONS": line.options}
    settings.configure(
        INSTALLED_APPS=["kinesis_bridge"],
        USE_TZ=True,
        KINESIS_BRIDGE={
            "SOURCE": "/benchmarks",
            "STREAMS": {"default": stream},
            "ROLES": {"writer": {"ROLE_ARN": ROLE}},
        },
    )
    django.setup()


def _result(
    line: Line, puts: Puts, stats: dict[str, Any], began: float, lasted: float
) -> dict[str, Any]:
    latencies = sorted(seconds for some in puts.latencies for seconds in some)
    percentiles = quantiles(latencies, n=100)
    refused = sum(stats["errors"].get(code, 0) for code in ("Throttling", "InternalFailure"))
    given = stats["operations"].get("AssumeRole", 0) - refused
    gap = line.lifetime * (1 - ADVISORY)  # between two refreshes; a fault only makes it longer
    result = {
        "name": line.name,
        "lifetime": line.lifetime,
        "seconds": lasted,
        "puts": len(latencies),
        "failed": len(puts.failures),
        "given": given,
        "refused": refused + stats["faults"].get("sts_reset", 0),
        "lifetimes": math.ceil(lasted / line.lifetime),
        # More than the lifetimes: credentials are replaced before they end.
        "due": 1 + math.floor(lasted / gap),
        "expired": stats["errors"].get("ExpiredTokenException", 0),
        "p50": percentiles[49],
        "p99": percentiles[98],
        "longest": latencies[-1],
        "errors": sorted({str(error) for _, error in puts.failures})[:3],
    }
    return {**result, "wrong": _wrong(line, puts, result, began)}


def _wrong(line: Line, puts: Puts, result: dict[str, Any], began: float) -> list[str]:
    """What is not as it must be."""
    wrong = []
    if result["given"] > result["due"]:
        wrong.append(f"{result['given']} AssumeRole, {result['due']} due")
    if line.fault and not result["refused"] and "slow" not in line.fault:
        wrong.append("the fault hit nothing")
    if result["given"] < 2:
        wrong.append("no refresh")
    if not line.fails:
        if puts.failures:
            wrong.append(f"{len(puts.failures)} failed puts: {result['errors'][0]}")
        return wrong
    if not puts.failures:
        wrong.append("no put failed, though STS was down for longer than they retry")
    for at, error in puts.failures:
        after = at - began
        if after < line.lifetime * (1 - MANDATORY):
            wrong.append(f"a put failed after {after:.1f} s: the old credentials lasted")
        elif after > line.until + RECOVERY:
            wrong.append(f"a put failed after {after:.1f} s: STS was back")
        elif getattr(error, "name", "") not in STS_FINDINGS or not (
            ROLE in str(error) and "STS at" in str(error)
        ):
            wrong.append(f"unclear: {error!r}")
    if min(puts.landed_at) - began < line.until:
        wrong.append("a thread did not recover")
    return wrong[:3]


_HEAD = (
    "STS", "lifetime s", "seconds", "puts", "failed", "lifetimes in it", "refreshes due",
    "AssumeRole", "refused by STS", "for each due", "puts refused as expired", "p50 ms", "p99 ms",
    "longest ms", "",
)  # fmt: skip


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    return (
        result["name"],
        f"{result['lifetime']:g}",
        f"{result['seconds']:.0f}",
        number(result["puts"]),
        number(result["failed"]),
        number(result["lifetimes"]),
        number(result["due"]),
        number(result["given"]),
        number(result["refused"]),
        number(result["given"] / result["due"], 2),
        number(result["expired"]),
        *(number(1000 * result[name], 1) for name in ("p50", "p99", "longest")),
        "; ".join(result["wrong"]) or "as it must be",
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.session", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the line without a fault")
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--lifetime", type=float, default=4.0, help="seconds, without a fault")
    parser.add_argument(
        "--fault-lifetime",
        type=float,
        default=20.0,
        help="seconds, with one: at 20, 3 lie between the first attempt and the one all wait for",
    )
    parser.add_argument("--line", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.line:
        print(json.dumps(run(Line(**json.loads(options.line)))))
        return 0
    results = []
    for line in lines(
        seconds=options.seconds,
        threads=options.threads,
        lifetime=options.lifetime,
        fault_lifetime=options.fault_lifetime,
    ):
        answer = subprocess.run(
            [sys.executable, "-m", "benchmarks.session", "--line", json.dumps(asdict(line))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            timeout=line.seconds + 120,
            check=True,
        )
        results.append(json.loads(answer.stdout))
        print(", ".join(_row(results[-1])), file=sys.stderr, flush=True)
    print(f"{machine()}; {options.threads} threads\n\n{table(_HEAD, map(_row, results))}\n")
    for error in dict.fromkeys(error for result in results for error in result["errors"]):
        print(f"> {error}\n")
    return int(any(result["wrong"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
