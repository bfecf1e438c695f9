"""Failures on demand, seeded.

A specification is a comma-separated list of ``kind[=probability][:option=value]...``::

    throttle=0.05                       each record is throttled with probability 0.05
    http500:next=3                      the next three requests fail
    slow=0.1:ms=250                     one request in ten is answered 250 ms late
    throttle_shard:shard=0:seconds=2:next=1
    throttle_request=0.2:code=LimitExceededException

Options: ``next=N``: only the first N times the rule gets its turn, then never again; ``after=N``:
not the first N times; ``ms``: of slow, late and sts_slow (default 100); ``seconds`` (default 1) and
``shard`` (default: a random open one; an index counts open shards) of throttle_shard; ``code`` of
throttle_request; ``on``: which requests, ``put`` (default), ``read`` (ListShards,
DescribeStreamSummary) or ``any`` of both.

Rules are tried in the order given. The first that ends a request is its end: later rules that
could end it do not get their turn, so ``http500:next=2,reset_before:next=1`` is a script of three
requests. ``slow``, ``late``, ``shuffle`` and the kinds per record go along with any other.

Every rule draws from a generator of its own, seeded with the seed, its kind and its place: the
same requests in the same order meet the same faults. Concurrent clients do not send in the same
order twice, and throttle_shard goes by the clock.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

#: Refuses single records of a request.
RECORD_KINDS = {
    "throttle": "entries with ProvisionedThroughputExceededException",
    "internal": "entries with InternalFailure",
    "throttle_shard": "every record of one shard throttled for some time",
}
#: Ends a request before anything of it was accepted.
BEFORE_KINDS = {
    "http500": "500 InternalFailure",
    "service_unavailable": "503",
    "throttle_request": "400 ProvisionedThroughputExceededException, or the given code",
    "expired_token": "400 ExpiredTokenException",
    "access_denied": "400 AccessDeniedException",
    "not_found": "400 ResourceNotFoundException",
    "kms_disabled": "400 KMSDisabledException",
    "reset_before": "TCP reset, nothing accepted",
    "hang": "never answered, nothing accepted",
}
#: Ends a request after its records were accepted: the client cannot know.
AFTER_KINDS = {
    "reset_after": "accepted, then TCP reset",
    "hang_after": "accepted, never answered",
    "truncated": "accepted, half of the reply sent, then closed",
}
#: Changes when or how a request is accepted.
TIMING_KINDS = {
    "slow": "accepted at once, answered late",
    "late": "accepted late, even if the client has given up by then, and answered then",
    "shuffle": "the records of the request are accepted in random order",
}
#: For AssumeRole and GetCallerIdentity.
STS_KINDS = {
    "sts_denied": "403 AccessDenied",
    "sts_throttled": "400 Throttling",
    "sts_http500": "500 InternalFailure",
    "sts_slow": "answered late",
    "sts_hang": "never answered",
    "sts_reset": "TCP reset",
}
KINDS: dict[str, str] = {
    **RECORD_KINDS,
    **BEFORE_KINDS,
    **AFTER_KINDS,
    **TIMING_KINDS,
    **STS_KINDS,
}
_DELAYS = {"slow", "late", "sts_slow"}
_ON = {"put", "read", "any"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule, see the module."""

    kind: str
    p: float = 1.0
    """Probability, each time the rule gets its turn (each record for throttle and internal)."""
    next: int | None = None
    after: int = 0
    ms: float = 100.0
    seconds: float = 1.0
    shard: int | None = None
    code: str = "ProvisionedThroughputExceededException"
    on: str = "put"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; there are {', '.join(sorted(KINDS))}")
        if not 0 <= self.p <= 1:
            raise ValueError(f"{self.kind}: the probability {self.p} is not within 0 and 1")
        if self.on not in _ON:
            raise ValueError(f"{self.kind}: on={self.on!r} is none of {', '.join(sorted(_ON))}")


def parse_faults(spec: str) -> list[Fault]:
    """The rules of a specification; ``ValueError`` says what is wrong with it."""
    rules = []
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        name, *options = part.split(":")
        kind, _, probability = name.partition("=")
        rule = Fault(kind=kind.strip(), p=float(probability) if probability else 1.0)
        for option in options:
            key, equals, value = option.partition("=")
            if not equals:
                raise ValueError(f"{part}: option {option!r} is not of the form name=value")
            rule = _with_option(rule, key.strip(), value.strip(), part)
        rules.append(rule)
    return rules


def _with_option(rule: Fault, key: str, value: str, part: str) -> Fault:
    match key:
        case "next":
            return replace(rule, next=int(value))
        case "after":
            return replace(rule, after=int(value))
        case "shard":
            return replace(rule, shard=int(value))
        case "ms":
            return replace(rule, ms=float(value))
        case "seconds":
            return replace(rule, seconds=float(value))
        case "p":
            return replace(rule, p=float(value))
        case "code":
            return replace(rule, code=value)
        case "on":
            return replace(rule, on=value)
        case _:
            raise ValueError(f"{part}: there is no option {key!r}")


class _Rule:
    """A fault with its generator and its turn counter."""

    def __init__(self, fault: Fault, seed: int, place: int) -> None:
        self.fault = fault
        self.rng = random.Random(f"{seed}/{fault.kind}/{place}")
        self.turns = 0
        self.until = 0.0  # throttle_shard: end of the episode under way
        self.shard_id = ""

    def turn(self) -> bool:
        """Takes a turn; true if the rule is awake on it. Draws nothing."""
        turn = self.turns - self.fault.after
        self.turns += 1
        return turn >= 0 and (self.fault.next is None or turn < self.fault.next)

    def hit(self) -> bool:
        return self.fault.p >= 1 or self.rng.random() < self.fault.p


@dataclass(slots=True)
class Plan:
    """What befalls one request."""

    counts: Counter[str]
    before: Fault | None = None
    after: Fault | None = None
    slow: float = 0.0  #: seconds
    late: float = 0.0  #: seconds
    shuffle: random.Random | None = None
    records: list[_Rule] = field(default_factory=list)
    shards: list[tuple[_Rule, bool]] = field(default_factory=list)

    def begin_shards(self, open_shards: Sequence[str], now: float) -> None:
        """Start the throttling of a shard where a rule hit; ``now`` of ``time.monotonic``."""
        for rule, hit in self.shards:
            if hit and now >= rule.until:
                place = rule.fault.shard
                if place is None:
                    place = rule.rng.randrange(len(open_shards))
                rule.shard_id = open_shards[place % len(open_shards)]
                rule.until = now + rule.fault.seconds

    def refuse(self, shard_id: str, now: float) -> str | None:
        """The kind of fault that befalls the next record, bound for this shard."""
        for rule, _ in self.shards:
            if rule.shard_id == shard_id and now < rule.until:
                self.counts["throttle_shard"] += 1
                return "throttle_shard"
        for rule in self.records:
            if rule.hit():
                self.counts[rule.fault.kind] += 1
                return rule.fault.kind
        return None


class Faults:
    """The rules in force."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._rules: list[_Rule] = []

    def set(self, faults: Iterable[Fault], seed: int) -> None:
        """Replace all rules; their generators and turns begin anew."""
        self._rules = [_Rule(fault, seed, place) for place, fault in enumerate(faults)]

    def plan(self, group: str) -> Plan:
        """Draw for one request of a group: ``put``, ``read`` or ``sts``."""
        plan = Plan(self._counts)
        for rule in self._rules:
            if _applies(rule.fault, group):
                self._draw(plan, rule)
        end = plan.before or plan.after
        if end is not None:
            self._counts[end.kind] += 1
        return plan

    def _draw(self, plan: Plan, rule: _Rule) -> None:
        kind = rule.fault.kind
        ends = kind not in RECORD_KINDS and kind not in TIMING_KINDS and kind not in _DELAYS
        if ends and (plan.before is not None or plan.after is not None):
            return
        awake = rule.turn()
        if kind == "throttle_shard":
            plan.shards.append((rule, awake and rule.hit()))
        elif kind in RECORD_KINDS:
            if awake:
                plan.records.append(rule)
        elif awake and rule.hit():
            if kind in AFTER_KINDS:
                plan.after = rule.fault
            elif ends:
                plan.before = rule.fault
            else:
                self._counts[kind] += 1
                if kind == "shuffle":
                    plan.shuffle = rule.rng
                elif kind == "late":
                    plan.late += rule.fault.ms / 1000
                else:
                    plan.slow += rule.fault.ms / 1000


def _applies(fault: Fault, group: str) -> bool:
    if fault.kind in STS_KINDS:
        return group == "sts"
    return group != "sts" and fault.on in (group, "any")
