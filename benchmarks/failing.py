"""What arrives when everything fails: lost, out of order, twice; by fault of the sink.

An outage ends ``stream_records`` with an error; the measured process then goes on with what was not
acknowledged, in order, as a relay does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import jobs
from benchmarks.compare import say, verdict_of
from benchmarks.events import Events
from benchmarks.jobs import ROLE, Job, JobError, OutOfTimeError
from benchmarks.sink import Sink
from benchmarks.sink.faults import AFTER_KINDS
from benchmarks.tables import machine, number, table

KEYS = (1000, 10)
AGGREGATES = ("none", "key")
_HITS = 40  # of a fault that befalls requests, where there are so many requests
_REFRESH = "expired_token={p},slow={p}:ms=100"
_STS_LIFETIME = 1.0  # seconds, of credentials in the lines of STS, so that they are often renewed
# Small records and requests, so that there are enough of them for faults to befall.
_SMALL = {"AGGREGATE_BYTES": 2048, "MAX_REQUEST_BYTES": 64 * 1024}
_EVENTS_A_RECORD = 20


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One line of the table."""

    name: str
    spec: str
    """For the sink; ``{p}`` is a probability by the number of requests to be expected."""
    duplicates: bool = False
    """Whether the connection dies after acceptance, or may: then events may come twice."""
    options: dict[str, float] = field(default_factory=dict)


def _faults() -> tuple[Fault, ...]:
    impatient = {"READ_TIMEOUT": 0.5}
    return (
        Fault(name="none", spec=""),
        Fault(name="throttle", spec="throttle=0.1"),
        Fault(name="internal", spec="internal=0.1"),
        Fault(name="both", spec="throttle=0.05,internal=0.05"),
        Fault(name="throttle_shard", spec="throttle_shard={p}:seconds=0.5"),
        *(
            Fault(name=kind, spec=kind + "={p}")
            for kind in ("http500", "service_unavailable", "throttle_request", "expired_token")
        ),
        *(
            Fault(name=kind, spec=f"{kind}:after=5:next=1")
            for kind in ("access_denied", "not_found", "kms_disabled")
        ),
        Fault(name="reset_before", spec="reset_before={p}"),
        Fault(name="hang", spec="hang={p}", options=impatient),
        *(
            Fault(
                name=kind,
                spec=kind + "={p}",
                duplicates=True,
                options=impatient if kind == "hang_after" else {},
            )
            for kind in AFTER_KINDS
        ),
        Fault(name="slow", spec="slow={p}:ms=100"),
        Fault(name="late", spec="late={p}:ms=700", duplicates=True, options=impatient),
        Fault(name="shuffle", spec="shuffle"),
        *(
            Fault(name=kind, spec=f"{_REFRESH},{kind}=0.5")
            for kind in ("sts_throttled", "sts_http500", "sts_slow", "sts_reset")
        ),
        *(
            Fault(name=kind, spec=f"{_REFRESH},{kind}:after=1:next=1", options=impatient)
            for kind in ("sts_denied", "sts_hang")
        ),
    )


FAULTS = _faults()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    events: int
    faults: Sequence[str] | None
    limit: float
    shards: int
    seed: int


def fail(plan: Plan) -> dict[str, Any]:
    """Every fault, over many keys and over hot ones, without and with aggregation by key."""
    known = {fault.name: fault for fault in FAULTS}
    for name in plan.faults or ():
        if name not in known:
            raise JobError(f"there is no {name}; there are {', '.join(known)}")
    results = []
    for fault in [known[name] for name in plan.faults] if plan.faults else FAULTS:
        for keys in KEYS:
            for aggregate in AGGREGATES:
                results.append(_run(plan, fault, keys, aggregate))
                say(", ".join(_row(results[-1])))
    return {"machine": machine(), "events": plan.events, "seed": plan.seed, "results": results}


def _run(plan: Plan, fault: Fault, keys: int, aggregate: str) -> dict[str, Any]:
    events = Events(count=plan.events, size=64, keys=keys, seed=plan.seed)
    # A request holds one record a key; what that holds is one event, or what its limit allows.
    together = min(500, keys) if aggregate == "none" else min(30, keys) * _EVENTS_A_RECORD
    requests = plan.events / together
    lifetime = _STS_LIFETIME if fault.name.startswith("sts_") else 0.0
    small = _SMALL if aggregate != "none" else {}
    spec = fault.spec.format(p=f"{min(0.25, _HITS / requests):.4f}")
    with Sink(process=True, shards=plan.shards, seed=plan.seed, sts_lifetime=lifetime) as sink:
        job = Job(
            url=sink.url,
            how="stream",
            events=events,
            options={"TRANSPORT": "fast", "AGGREGATE": aggregate, **small, **fault.options},
            role=ROLE,
            resume=True,
            seconds=plan.limit,
        )
        started = time.monotonic()
        try:
            result: dict[str, Any] = jobs.run(job, _arming(sink, spec))
        except OutOfTimeError as error:
            result = {"seconds": time.monotonic() - started, "error": str(error)}
        verdict = verdict_of(sink.accepted(), events)
        stats = sink.stats()
    hits = stats["faults"]
    return {
        "fault": fault.name,
        "spec": spec,
        "keys": keys,
        "aggregate": aggregate,
        "hits": hits.get(fault.name, sum(hits.values())),
        "requests": stats["requests"],
        "lost": verdict.lost,
        "reordered": verdict.reordered,
        "duplicated": verdict.duplicated,
        "ok": verdict.ok and (fault.duplicates or verdict.exact) and "error" not in result,
        **result,
    }


def _arming(sink: Sink, spec: str) -> Callable[[], None]:
    def ready() -> None:
        sink.reset()
        sink.set_faults(spec)

    return ready


_HEAD = (
    "fault", "specification", "keys", "AGGREGATE", "hits", "requests", "lost", "out of order",
    "twice", "outages", "seconds", "",
)  # fmt: skip


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    outages = sum(result.get("outages", {}).values())
    return (
        result["fault"],
        f"`{result['spec']}`" if result["spec"] else "-",
        number(result["keys"]),
        result["aggregate"],
        number(result["hits"]),
        number(result["requests"]),
        number(result["lost"]),
        number(result["reordered"]),
        number(result["duplicated"]),
        number(outages),
        f"{result['seconds']:.1f}",
        result.get("error", "as it must be" if result["ok"] else "**wrong**"),
    )


def markdown(document: dict[str, Any]) -> str:
    """The table of a run."""
    rows = [_row(result) for result in document["results"]]
    wrong = sum(not result["ok"] for result in document["results"])
    return (
        f"{document['machine']}; {document['events']:,} events each, seed {document['seed']}\n\n"
        f"{table(_HEAD, rows, left=2)}\n\n{len(rows) - wrong} of {len(rows)} as they must be"
    )
