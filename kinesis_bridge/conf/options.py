"""Options: the typed, bounded entries of ``STREAMS[alias]["OPTIONS"]``.

Each delivery lists its own; those of every stream are :data:`STREAM_OPTIONS`. A name that nobody
lists is refused, so that a typing error cannot switch a guarantee off in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

UNKNOWN = _("is not known here; there are {names}")
KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: its name, its type, its bounds."""

    name: str
    """As written in the settings: upper case."""
    default: Any
    """The value where the settings are silent; its type is the option's type."""
    help: str
    """One sentence for the reference."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def problem(self, value: object) -> Text | None:
        """Say what is wrong with `value`, or return None."""
        wanted = type(self.default)
        # bool is an int to isinstance; 1.5 seconds and 2 seconds are both fine where a float is.
        fits = (
            isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        ) and isinstance(value, bool) == (wanted is bool)
        if not fits:
            name = Text(_NAMES.get(wanted, f"a {wanted.__name__}"))
            said = _("must be {wanted}, not {type}")
            return Text(said, wanted=name, type=type(value).__name__)
        if self.choices and value not in self.choices:
            return Text(_("must be one of {choices}"), choices=", ".join(map(repr, self.choices)))
        # Asked this way round, NaN is refused too.
        if self.minimum is not None and not value >= self.minimum:  # type: ignore[operator]
            return Text(_("must be at least {minimum}"), minimum=self.minimum)
        if self.maximum is not None and not value <= self.maximum:  # type: ignore[operator]
            return Text(_("must be at most {maximum}"), maximum=self.maximum)
        return None


_NAMES: Mapping[type, str] = {
    bool: _("True or False"),
    float: _("a number"),
    int: _("a whole number"),
    str: _("a string"),
}

STREAM_OPTIONS: tuple[Option, ...] = (
    Option(
        name="SERIALIZER",
        default="cloudevents",
        help="How an event becomes bytes: cloudevents, json, or the dotted path of a serializer.",
    ),
    Option(
        name="MAX_RECORD_BYTES",
        default=MIB,
        minimum=1 * KIB,
        maximum=10 * MIB,
        help="The stream's own record limit, partition key included (UpdateMaxRecordSize).",
    ),
    Option(
        name="MAX_REQUEST_BYTES",
        default=5 * MIB,
        minimum=64 * KIB,
        maximum=10 * MIB,
        help="The most that one PutRecords request carries, partition keys included.",
    ),
    Option(
        name="RETRY_SECONDS",
        default=15.0,
        minimum=0,
        maximum=3600,
        help="How long put_record(s) and direct delivery retry before they give up.",
    ),
    Option(
        name="CONNECT_TIMEOUT",
        default=3.0,
        minimum=0.1,
        maximum=60,
        help="Seconds to open a connection to AWS.",
    ),
    Option(
        name="READ_TIMEOUT",
        default=10.0,
        minimum=0.1,
        maximum=300,
        help="Seconds to wait for AWS to answer.",
    ),
    Option(
        name="CONCURRENCY",
        default=4,
        minimum=1,
        maximum=64,
        help="Requests under way at once; never two with records of one key.",
    ),
    Option(
        name="ORDERING",
        default="per_key",
        choices=("per_key", "relaxed"),
        help="per_key keeps the order of each key; relaxed lets its records overtake each other.",
    ),
    Option(
        name="AGGREGATE",
        default="none",
        choices=("none", "key", "shard"),
        help="Pack events into KPL records: runs of one key, or all of one shard.",
    ),
    Option(
        name="AGGREGATE_BYTES",
        default=512 * KIB,
        minimum=1 * KIB,
        maximum=10 * MIB,
        help="The most that one KPL record holds; MAX_RECORD_BYTES bounds it too.",
    ),
    Option(
        name="TRANSPORT",
        default="auto",
        choices=("auto", "fast", "boto3"),
        help="fast builds the request itself; boto3 is the reference; auto: fast where it applies.",
    ),
)


def problems(options: Iterable[Option], given: Mapping[str, object]) -> Iterator[tuple[str, Text]]:
    """Yield (name, what is wrong with it) for each entry of `given` that cannot be used."""
    known = {option.name: option for option in options}
    for name, value in given.items():
        if name not in known:
            yield name, Text(UNKNOWN, names=", ".join(sorted(known)))
        elif reason := known[name].problem(value):
            yield name, reason


def complete(options: Iterable[Option], given: Mapping[str, object]) -> dict[str, Any]:
    """Return every option's value: the given one, or the default."""
    return {option.name: given.get(option.name, option.default) for option in options}
