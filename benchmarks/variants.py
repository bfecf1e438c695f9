"""What is compared, and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

BASELINE = "put_records"  #: what the ratios are of


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of sending."""

    name: str
    label: str
    how: Literal["put_record", "put_records", "stream"] = "stream"
    options: dict[str, str | int | float] = field(default_factory=dict)
    """OPTIONS of the stream, for ``stream``."""
    keys: int = 10_000
    share: float = 1.0
    """Of the events, where it is too slow for all of them."""

    @property
    def aggregates(self) -> bool:
        """Whether a record of the stream holds several events."""
        return self.options.get("AGGREGATE", "none") != "none"


def _ours(transport: str, aggregate: str) -> Variant:
    return Variant(
        name=f"{transport}-{aggregate}",
        label=f"ours, {transport}, AGGREGATE={aggregate}",
        options={"TRANSPORT": transport, "AGGREGATE": aggregate},
    )


_ALL = (
    Variant(name="put_record", label="boto3 put_record, one by one", how="put_record", share=0.02),
    Variant(name=BASELINE, label="boto3 put_records of 500", how="put_records"),
    *(_ours("fast", aggregate) for aggregate in ("none", "key", "shard")),
    *(_ours("boto3", aggregate) for aggregate in ("none", "key", "shard")),
    Variant(
        name="fast-key-300",
        label="ours, fast, AGGREGATE=key, 300 keys",
        options={"TRANSPORT": "fast", "AGGREGATE": "key"},
        keys=300,
    ),
)
VARIANTS = {variant.name: variant for variant in _ALL}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A bound on one figure of one variant at one size."""

    variant: str
    size: int
    figure: str
    """A key of a result's summary."""
    bound: float
    at_least: bool
    text: str

    def met(self, value: float) -> bool:
        """Whether ``value`` is within the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def _target(
    text: str, variant: str, size: int, figure: str, *, at_least: float = 0, at_most: float = 0
) -> Target:
    bound = at_least or at_most
    return Target(
        variant=variant, size=size, figure=figure, bound=bound, at_least=at_least > 0, text=text
    )


_SPEED, _CPU, _UNITS = "events_ratio", "cpu_ratio", "units_per_million"
TARGETS = (
    _target("fast, none, 200 B: events/s, x put_records", "fast-none", 200, _SPEED, at_least=4),
    _target("fast, none, 200 B: CPU, x put_records", "fast-none", 200, _CPU, at_most=0.25),
    _target("fast, none, 1 KB: events/s, x put_records", "fast-none", 1024, _SPEED, at_least=2.2),
    _target(
        "fast, key, 300 keys, 200 B: events/s, x put_records",
        "fast-key-300",
        200,
        _SPEED,
        at_least=3,
    ),
    _target("fast, shard, 200 B: events/s, x put_records", "fast-shard", 200, _SPEED, at_least=5),
    _target("fast, shard, 200 B: units a million", "fast-shard", 200, _UNITS, at_most=10_000),
)
