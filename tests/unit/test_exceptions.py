"""Errors survive the way between processes."""

import copy
import pickle

import pytest

from kinesis_bridge.event import PutResult, RejectedRecord
from kinesis_bridge.exceptions import PartialFailure, RecordTooLarge, StreamError

ERROR = StreamError(
    "There is no stream 'orders'.",
    name="stream-missing",
    side="account B",
    code="ResourceNotFoundException",
    hint="Create it.",
    documents={"B": {"Version": "2012-10-17"}},
)


@pytest.mark.parametrize("carry", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_error_of_aws_keeps_everything_when_carried(carry):
    carried = carry(ERROR)
    assert type(carried) is StreamError
    assert str(carried) == "There is no stream 'orders'. Fix: Create it."
    assert vars(carried) == vars(ERROR)


def test_a_partial_failure_keeps_both_kinds_of_answers():
    results = [PutResult("shard", "1"), RejectedRecord("InternalFailure", "down", ERROR)]
    carried = pickle.loads(pickle.dumps(PartialFailure(results, "1 of 2")))
    assert str(carried) == "1 of 2"
    assert carried.results[0] == results[0]
    assert carried.results[1].error.name == "stream-missing"


def test_what_can_never_pass_is_a_value_error():
    assert issubclass(RecordTooLarge, ValueError)
