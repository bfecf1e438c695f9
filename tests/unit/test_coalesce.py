"""Which of the events that wait for a commit are sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import DatabaseError

from kinesis_bridge.delivery.coalesce import Row, RowEvent, coalesced
from kinesis_bridge.event import Event
from kinesis_bridge.exceptions import CoalesceError, EventError, RecordTooLarge


class Waiting(RowEvent):
    def __init__(self, event, row):
        self.event, self.row = event, row

    def become(self, event):
        if "too large" in event.data["changed"]:
            raise RecordTooLarge("It is too large. Publish less.")
        return Waiting(event, self.row)


def one(kind, changed=None, pk=1, key="k", **data):
    """An event of a row, and what it says of it."""
    if changed is not None:
        data["changed"] = changed
    event = Event(type=f"t.{kind}", source="/", key=key, subject=str(pk), data=data)
    row = Row(
        label="app.Model",
        id=pk,
        is_update=kind == "updated",
        changed=changed,
        retell=lambda event, changed: replace(event, data=event.data | {"changed": changed}),
    )
    return Waiting(event, row)


def test_nothing_waits():
    assert coalesced([]) == []


def test_the_last_of_them_is_sent_where_it_stood():
    first, other, last = one("updated", n=1), one("updated", pk=2), one("updated", n=3)
    assert coalesced([first, other, last]) == [None, other, last]


@pytest.mark.parametrize("kind", ["created", "deleted", "snapshot"])
def test_what_else_happens_to_the_row_stands_between(kind):
    given = [one("updated", n=1), one(kind), one("updated", n=2), one(kind), one("updated", n=3)]
    assert coalesced(given) == given


def test_what_happens_to_other_rows_does_not():
    given = [one("updated", n=1), one("deleted", pk=2), one("updated", n=2)]
    assert coalesced(given) == [None, *given[1:]]


def test_each_partition_key_has_an_order_of_its_own():
    given = [one("updated", key=key, n=n) for n, key in enumerate("aabba")]
    assert coalesced(given) == [None, given[1], None, given[3], given[4]]


def test_changed_goes_from_the_first_old_to_the_last_new():
    given = [
        one("updated", {"a": [1, 2], "b": [0, 1]}, a=2, b=1),
        one("updated", {"a": [2, 3]}, a=3, b=1),
        one("updated", {"a": [3, 4], "c": [5, 6]}, a=4, b=1, c=6),
    ]
    [*gone, last] = coalesced(given)

    assert gone == [None, None]
    changed = {"a": [1, 4], "b": [0, 1], "c": [5, 6]}
    assert last.event == replace(given[2].event, data={"a": 4, "b": 1, "c": 6, "changed": changed})


def test_what_is_as_it_was_did_not_change():
    given = [one("updated", {"a": [1, 2], "b": [0, 1]}), one("updated", {"a": [2, 1]})]
    [_, last] = coalesced(given)
    assert last.event.data["changed"] == {"b": [0, 1]}


def test_nothing_is_sent_of_a_row_that_is_as_it_was():
    given = [one("updated", {"a": [1, 2]}), one("updated", {"a": [2, 1]})]
    assert coalesced(given) == [None, None]
    [_, _, last] = coalesced([*given, one("updated", {"a": [1, 3]})])
    assert last.event.data["changed"] == {"a": [1, 3]}


def test_what_is_not_made_anew_is_sent_as_it_is():
    given = [one("updated", {"a": [1, 2]}), one("updated", {"a": [2, 1], "b": [1, 2]})]
    alone = one("updated", {"a": [1, 2]}, pk=2)
    [_, changed, same] = coalesced([*given, alone])
    assert changed is not given[1]
    assert same is alone


def test_one_that_could_never_pass_names_the_row_and_rolls_back():
    given = [one("updated", {"too large": [1, 2]}, pk=7), one("updated", {"b": [1, 2]}, pk=7)]
    with pytest.raises(CoalesceError) as raised:
        coalesced(given)
    assert isinstance(raised.value, DatabaseError)
    assert isinstance(raised.value, EventError)
    assert str(raised.value) == (
        "The updates of app.Model '7' in this transaction cannot become one event, so nothing of"
        " the transaction was kept. It is too large. Publish less. Or declare the model without"
        " coalesce=."
    )
