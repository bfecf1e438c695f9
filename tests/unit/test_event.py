"""The envelope's own rules, and the record's."""

from uuid import UUID

import pytest

from kinesis_bridge.context import Context
from kinesis_bridge.event import Event, Record, check_partition_key, new_id
from kinesis_bridge.exceptions import EventError, PartitionKeyError


def make(**changes):
    return Event(**{"type": "a.b", "source": "/s", "key": "k", "data": {}} | changes)


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
def test_a_key_of_256_characters_passes_however_many_bytes_it_has(letter):
    assert check_partition_key(letter * 256) == letter * 256


@pytest.mark.parametrize("letter", ["a", "😀"])
def test_a_key_of_257_characters_is_refused_with_its_length(letter):
    with pytest.raises(PartitionKeyError, match="257 characters and Kinesis takes 256"):
        make(key=letter * 257)


def test_an_empty_key_is_refused():
    with pytest.raises(PartitionKeyError, match="is empty"):
        make(key="")


@pytest.mark.parametrize("key", [5, None, b"k", 1.5, ["k"]])
def test_a_key_that_is_not_text_is_refused_with_its_type(key):
    with pytest.raises(PartitionKeyError, match=f"not {type(key).__name__}"):
        make(key=key)


def test_a_key_with_a_lone_surrogate_is_refused():
    with pytest.raises(PartitionKeyError, match="not valid Unicode"):
        make(key="a\ud800")


@pytest.mark.parametrize("name", ["id", "type", "source", "subject"])
@pytest.mark.parametrize("value", ["", 5])
def test_an_attribute_that_cloudevents_does_not_allow_is_refused_by_name(name, value):
    with pytest.raises(EventError, match=f"The event's {name} must be text"):
        make(**{name: value})


def test_the_subject_may_be_left_out():
    assert make(subject=None).subject is None


def test_the_context_is_kept_and_not_shown():
    event = make(context=Context({"userid": "ada"}))
    assert event.context["userid"] == "ada"
    assert "ada" not in repr(event)
    assert make().context is None


@pytest.mark.parametrize("context", [{"userid": "7"}, {"id": "mine"}, {}, "userid"])
def test_a_context_that_nobody_checked_is_refused(context):
    with pytest.raises(EventError, match=f"must be a .*Context.*not {type(context).__name__}"):
        make(context=context)


def test_ids_are_uuid7_and_increase():
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert {UUID(event_id).version for event_id in ids} == {7}


def test_time_is_aware():
    assert make().time.utcoffset() is not None


def test_no_repr_shows_the_data():
    assert "4111" not in repr(make(data={"card": "4111"}))
    assert "4111" not in repr(Record("k", b'{"card": "4111"}'))


def test_an_event_cannot_be_changed():
    with pytest.raises(AttributeError):
        make().key = "other"


@pytest.mark.parametrize(("key", "size"), [("k", 4), ("é", 5), ("😀", 7)])
def test_a_records_size_counts_the_key_in_utf8_bytes(key, size):
    assert Record(key, b"123").size == size
