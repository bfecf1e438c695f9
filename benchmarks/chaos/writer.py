"""One writing process: ``python -m benchmarks.chaos.writer PLAN``, until SIGTERM or its time is up.

It remembers nothing that matters. The number of the next event is read from the database, under the
lock of its key's row, so that a commit whose outcome is unknown is known to whoever comes next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from uuid import uuid4

_RETRY_SECONDS = 0.1
_MOST_SAVES = 6  # in one transaction


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one writer does."""

    index: int
    """Which of the writers."""
    seed: int
    keys: int
    """How many keys all writers share."""
    rate: float
    """Events a second, of this writer."""
    seconds: float
    """It ends by itself after so long."""


@dataclass
class Counts:
    """What a writer did; the rows themselves are the truth."""

    transactions: int = 0
    events: int = 0
    """Of transactions that are known to have committed."""
    rolled_back: int = 0
    """Events of roll-backs, wanted ones: each would be a phantom."""
    errors: int = 0
    """Transactions that the database ended with an error."""
    in_doubt: int = 0
    """Of these: the error came at COMMIT or after the last statement."""
    in_doubt_committed: int = 0
    """Of these: the rows are there."""
    last_error: str = ""


class _RollBackError(Exception):
    """Asked for by the writer itself."""


@dataclass
class _Attempt:
    """One transaction under way."""

    tokens: list[str] = field(default_factory=list)
    """Of the events that it commits."""
    marked: int = 0
    """Events that it rolls back."""
    at_commit: bool = False


def key_name(number: int) -> str:
    """Return the name of a shared key."""
    return f"key-{number:04d}"


class Writer:
    """Draws transactions and runs them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.counts = Counts()
        self.stopping = threading.Event()
        self._draw = random.Random(f"{plan.seed}/{plan.index}")
        self._marker = 0
        self._shapes: list[Callable[[_Attempt], None]] = [
            self._one,
            self._several,
            self._savepoints,
            self._rolled_back,
            self._two_keys,
            self._by_hand,
            self._autocommit,
        ]

    def run(self) -> None:
        """Write at the planned rate until told to stop."""
        started = time.monotonic()
        due = started
        while not self.stopping.is_set() and time.monotonic() - started < self.plan.seconds:
            attempt = _Attempt()
            self._transaction(attempt)
            due += max(1, len(attempt.tokens)) / self.plan.rate
            # After an outage it does not catch up: the rate is a limit too.
            due = max(due, time.monotonic() - 1)
            self.stopping.wait(max(0.0, due - time.monotonic()))

    def _transaction(self, attempt: _Attempt) -> None:
        from django.db import Error

        self.counts.transactions += 1
        shape = self._draw.choice(self._shapes)
        try:
            shape(attempt)
        except _RollBackError:
            self.counts.rolled_back += attempt.marked
        except Error as error:
            self._failed(attempt, error)
        else:
            self.counts.events += len(attempt.tokens)
            self.counts.rolled_back += attempt.marked

    def _failed(self, attempt: _Attempt, error: Exception) -> None:
        self.counts.errors += 1
        self.counts.last_error = f"{type(error).__name__}: {error}".strip()[:300]
        self._reconnect()
        if attempt.at_commit:
            self.counts.in_doubt += 1
            if self._is_there(attempt.tokens):
                self.counts.in_doubt_committed += 1
                self.counts.events += len(attempt.tokens)

    def _reconnect(self) -> None:
        from django.db import Error, connection

        try:
            connection.close()
        except Error:
            connection.connection = None
        self.stopping.wait(_RETRY_SECONDS)

    def _is_there(self, tokens: list[str]) -> bool:
        """Read back whether a transaction in doubt has committed; all of it, or nothing."""
        from django.db import Error

        from benchmarks.chaos.app.models import Counter, Note

        deadline = time.monotonic() + self.plan.seconds
        while time.monotonic() < deadline and not self.stopping.is_set():
            try:
                there = sum(m.objects.filter(token__in=tokens).count() for m in (Counter, Note))
            except Error:
                self._reconnect()
            else:
                if there not in {0, len(tokens)}:
                    raise RuntimeError(f"{there} of {len(tokens)} rows of one transaction")
                return there > 0
        return False

    # -- shapes of transactions

    def _one(self, attempt: _Attempt) -> None:
        self._within(attempt, [self._key()], lambda keys: self._save(attempt, keys[0]))

    def _several(self, attempt: _Attempt) -> None:
        def work(keys: list[Any]) -> None:
            for _ in range(self._draw.randint(2, _MOST_SAVES)):
                self._save(attempt, keys[0])

        self._within(attempt, [self._key()], work)

    def _two_keys(self, attempt: _Attempt) -> None:
        def work(keys: list[Any]) -> None:
            for _ in range(self._draw.randint(2, _MOST_SAVES)):
                self._save(attempt, self._draw.choice(keys))

        self._within(attempt, self._draw.sample(range(self.plan.keys), 2), work)

    def _by_hand(self, attempt: _Attempt) -> None:
        def work(keys: list[Any]) -> None:
            for _ in range(self._draw.randint(1, 3)):
                self._note(attempt, keys[0])
                if self._draw.random() < 0.5:
                    self._save(attempt, keys[0])

        self._within(attempt, [self._key()], work)

    def _rolled_back(self, attempt: _Attempt) -> None:
        def work(keys: list[Any]) -> None:
            for _ in range(self._draw.randint(1, _MOST_SAVES)):
                self._mark(attempt, keys[0])
            raise _RollBackError

        self._within(attempt, [self._key()], work)

    def _savepoints(self, attempt: _Attempt) -> None:
        from django.db import transaction

        def undone(key: Any) -> None:
            with transaction.atomic():
                self._mark(attempt, key)
                with transaction.atomic():  # released, and yet undone with the one around it
                    self._mark(attempt, key)
                raise _RollBackError

        def work(keys: list[Any]) -> None:
            for _ in range(self._draw.randint(1, 3)):
                self._save(attempt, keys[0])
                with contextlib.suppress(_RollBackError):
                    undone(keys[0])
                with transaction.atomic():
                    self._save(attempt, keys[0])

        self._within(attempt, [self._key()], work)

    def _autocommit(self, attempt: _Attempt) -> None:
        """Save without a transaction around it, a key that only this writer has."""
        from django.db.models import Max

        from benchmarks.chaos.app.models import Counter

        name = f"own-{self.plan.index}"
        last = Counter.objects.filter(key=name).aggregate(last=Max("number"))["last"] or 0
        token = uuid4().hex
        attempt.tokens.append(token)
        attempt.at_commit = True
        Counter(key=name, number=last + 1, token=token).save()

    # -- parts of transactions

    def _key(self) -> int:
        return self._draw.randrange(self.plan.keys)

    def _within(
        self, attempt: _Attempt, numbers: list[int], work: Callable[[list[Any]], None]
    ) -> None:
        """Run ``work`` in a transaction that holds the rows of these keys."""
        from django.db import transaction

        from benchmarks.chaos.app.models import Key

        with transaction.atomic():
            names = [key_name(number) for number in numbers]
            # Always in the order of names: two writers never wait for each other.
            locked = Key.objects.select_for_update().filter(name__in=names).order_by("name")
            keys = list(locked)
            work(keys)
            for key in keys:
                key.save(update_fields=["last"])
            attempt.at_commit = True

    def _save(self, attempt: _Attempt, key: Any) -> None:
        from benchmarks.chaos.app.models import Counter

        self._next(attempt, key, Counter).save()

    def _note(self, attempt: _Attempt, key: Any) -> None:
        from benchmarks.chaos.app.models import Note

        note = self._next(attempt, key, Note)
        note.save()
        _publish(note)

    def _next(self, attempt: _Attempt, key: Any, model: type[Any]) -> Any:
        key.last += 1
        token = uuid4().hex
        attempt.tokens.append(token)
        return model(key=key.name, number=key.last, token=token)

    def _mark(self, attempt: _Attempt, key: Any) -> None:
        """Write what is to be rolled back: a row, or one with an event by hand."""
        from benchmarks.chaos.app.models import Counter, Note

        self._marker += 1
        attempt.marked += 1
        by_hand = self._draw.random() < 0.5
        number = -(self._marker * 1000 + self.plan.index)
        row = (Note if by_hand else Counter)(key=key.name, number=number, token=uuid4().hex)
        row.save()
        if by_hand:
            _publish(row)


def _publish(note: Any) -> None:
    from kinesis_bridge import publish

    data = {"key": note.key, "number": note.number, "token": note.token}
    publish("chaos.note", data, key=note.key)


def main(document: str) -> None:
    """Write until told to stop; print what was done."""
    import django

    django.setup()
    writer = Writer(Plan(**json.loads(document)))

    def stop(_number: int, _frame: FrameType | None) -> None:
        writer.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    writer.run()
    print(json.dumps(dataclasses.asdict(writer.counts)))


if __name__ == "__main__":
    main(sys.argv[1])
