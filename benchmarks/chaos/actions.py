"""What goes wrong, and when it ends. One thread: ``tick`` does what is due."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.chaos.databases import Database
from benchmarks.chaos.logs import Window
from benchmarks.chaos.processes import TERM_SECONDS, Child, Family
from benchmarks.sink import Sink

FAULTS = {
    "throttle records": "throttle=0.3",
    "throttle shard": "throttle_shard:shard={shard}:seconds=0.2",
    "hang AWS": "hang",
    "http500": "http500=0.7",
    "reset before": "reset_before=0.5",
    "reset after": "reset_after=0.5",
    "truncated": "truncated=0.5",
}
"""Of the sink, for a while."""
SIGNALS = ("kill relay", "terminate relay", "stop relay")
EXPIRE = "expire credentials"
CUTS = ("kill relay", "stop relay", "restart database", "crash database", "drop connections")
"""After these a batch may be sent twice; so may a request after ``CUT_FAULTS``."""
CUT_FAULTS = ("reset_after", "truncated")
_STOPPED = 5.0 / 3.0  # seconds of SIGSTOP for each second of the longest pause: 5 of 3
_MOST_FALLEN = 10


class RunError(RuntimeError):
    """The run cannot go on: nothing can be said."""


def kinds(database: Database) -> tuple[str, ...]:
    """Return the names of all that can go wrong with this database."""
    return (*SIGNALS, *database.actions, EXPIRE, *FAULTS)


class Deck:
    """Deals every kind once before any comes again, in a seeded order."""

    def __init__(self, names: Sequence[str], draw: random.Random) -> None:
        self._names = list(names)
        self._draw = draw
        self._left: list[str] = []

    def deal(self) -> str:
        """Return the next kind."""
        if not self._left:
            self._left = self._draw.sample(self._names, len(self._names))
        return self._left.pop()

    def put_back(self, name: str) -> None:
        """Deal it once more, after what is left."""
        self._left.insert(0, name)


class Chaos:
    """Begins actions and ends them; replaces relays that are gone."""

    def __init__(
        self, family: Family, sink: Sink, database: Database, *, longest_pause: float, seed: int,
        shards: int,
    ) -> None:  # fmt: skip
        self.done: Counter[str] = Counter()
        self.timeline: list[tuple[float, str]] = []
        """Seconds since the start, and what was done then."""
        self.outages: list[Window] = []
        """When the sink failed on purpose, in seconds since 1970."""
        self.fallen: list[Child] = []
        """Relays that ended by themselves."""
        self.slow: list[Child] = []
        """Relays that had to be killed after SIGTERM."""
        self._family = family
        self._sink = sink
        self._database = database
        self._longest = longest_pause
        self._shards = shards
        self._draw = random.Random(f"{seed}/actions")
        self._started = time.monotonic()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._faults: dict[str, tuple[str, float, int]] = {}  # specification, since, which time

    def deck(self, names: Sequence[str] = ()) -> Deck:
        """Return the deck of all kinds, or of these; raise RunError for one there is not."""
        there = kinds(self._database)
        if unknown := [name for name in names if name not in there]:
            raise RunError(
                f"there is no action {', '.join(unknown)} on {self._database.kind};"
                f" there are {', '.join(there)}"
            )
        return Deck(names or there, self._draw)

    def pause(self, span: tuple[float, float]) -> float:
        """Draw the seconds until the next action."""
        return self._draw.uniform(*span)

    def act(self, kind: str) -> bool:
        """Begin one action; False where there is no relay that it could befall."""
        if kind in FAULTS:
            self._fail(kind)
        elif kind in self._database.actions:
            self._note(kind)
            self._database.actions[kind]()
        elif kind == EXPIRE:
            self._note(kind)
            self._sink.expire_tokens()
        elif running := self._family.running():
            self._signal(kind, self._draw.choice(running))
        else:
            return False
        return True

    def _signal(self, kind: str, relay: Child) -> None:
        self._note(kind, f"{kind}: {relay}")
        match kind:
            case "kill relay":
                relay.kill()
                self._later(self._soon(), self._start_relay)
            case "terminate relay":
                relay.terminate()
                self._later(self._soon(), self._start_relay)
            case _:
                relay.stop()
                self._later(self._longest * _STOPPED, relay.resume)

    def _soon(self) -> float:
        return self._draw.uniform(0.1, 0.4) * self._longest

    def _fail(self, kind: str) -> None:
        self._note(kind)
        spec = FAULTS[kind].format(shard=self._draw.randrange(self._shards))
        before = self._faults.get(kind)
        since = before[1] if before else time.time()
        which = next(self._order)
        self._faults[kind] = (spec, since, which)
        self._tell()
        self._later(self._draw.uniform(0.5, 1.0) * self._longest, lambda: self._mend(kind, which))

    def _mend(self, kind: str, which: int) -> None:
        if kind in self._faults and self._faults[kind][2] == which:  # not begun again since
            self.outages.append((self._faults.pop(kind)[1], time.time()))
            self._tell()

    def _tell(self) -> None:
        # A new seed each time: the sink's generators begin anew, and would repeat themselves.
        spec = ",".join(spec for spec, _, _ in self._faults.values())
        self._sink.set_faults(spec, seed=self._draw.randrange(1 << 30))

    # -- time

    def tick(self) -> None:
        """Do what is due, and look after the relays. Raises RunError where it makes no sense."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        for relay in self._family.ending():
            if relay.ending_for > TERM_SECONDS:
                self.slow.append(relay)
                relay.kill()
        for child in self._family.fallen():
            if child in self._family.writers:
                raise RunError(f"{child} ended by itself with exit code {child.code}")
            if child not in self.fallen:
                self.fallen.append(child)
                self._say(f"{child} ended by itself with exit code {child.code}")
                self._later(self._soon(), self._start_relay)
        if len(self.fallen) > _MOST_FALLEN:
            raise RunError(f"{len(self.fallen)} relays ended by themselves")

    def calm(self) -> None:
        """End everything that is under way: faults, stopped relays, relays yet to come."""
        now = time.time()
        self.outages += [(since, now) for _, since, _ in self._faults.values()]
        self._faults.clear()
        self._sink.clear_faults()
        while self._due:
            heapq.heappop(self._due)[2]()
        self._say("calm")

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), work))

    def _start_relay(self) -> None:
        self._say(f"started {self._family.start_relay()}")

    def _note(self, kind: str, text: str = "") -> None:
        self.done[kind] += 1
        self._say(text or kind)

    def _say(self, text: str) -> None:
        self.timeline.append((round(time.monotonic() - self._started, 2), text))
