"""Options: types, bounds, choices, and that every default keeps to its own rules."""

from decimal import Decimal

import pytest

from kinesis_bridge.conf import options
from kinesis_bridge.conf.options import STREAM_OPTIONS, Option
from kinesis_bridge.delivery.direct import DirectDelivery

WHOLE = Option(name="WHOLE", default=5, help="", minimum=1, maximum=10485760)
NUMBER = Option(name="NUMBER", default=1.0, help="", minimum=0.1, maximum=60)
FLAG = Option(name="FLAG", default=False, help="")
TEXT = Option(name="TEXT", default="a", help="", choices=("a", "b"))
FREE = Option(name="FREE", default="a", help="")
PAIRS = Option(name="PAIRS", default={}, help="")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((WHOLE, value) for value in (1, 5, 10485760)),
        *((NUMBER, value) for value in (0.1, 1, 60, 60.0)),
        *((FLAG, value) for value in (True, False)),
        *((TEXT, value) for value in ("a", "b")),
        *((FREE, value) for value in ("", "anything")),
        (PAIRS, {"a": 1}),
    ],
)
def test_value_of_the_type_and_within_the_bounds_passes(option, value):
    assert option.problem(value) is None


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        (WHOLE, "5", "must be a whole number, not str"),
        (WHOLE, 5.0, "must be a whole number, not float"),
        (WHOLE, True, "must be a whole number, not bool"),
        (WHOLE, None, "must be a whole number, not NoneType"),
        (WHOLE, 0, "must be at least 1"),
        (WHOLE, 10485761, "must be at most 10485760"),
        (NUMBER, "1", "must be a number, not str"),
        (NUMBER, False, "must be a number, not bool"),
        (NUMBER, Decimal(1), "must be a number, not Decimal"),
        (NUMBER, 0.09, "must be at least 0.1"),
        (NUMBER, 0, "must be at least 0.1"),
        (NUMBER, 60.1, "must be at most 60"),
        (NUMBER, float("inf"), "must be at most 60"),
        (NUMBER, float("nan"), "must be at least 0.1"),
        (FLAG, 1, "must be True or False, not int"),
        (FLAG, "yes", "must be True or False, not str"),
        (TEXT, "c", "must be one of 'a', 'b'"),
        (TEXT, ["a"], "must be a string, not list"),
        (FREE, 1, "must be a string, not int"),
        (PAIRS, [], "must be a dict, not list"),
    ],
)
def test_value_of_another_type_or_out_of_bounds_is_refused(option, value, reason):
    assert option.problem(value) == reason


def test_nan_is_refused_where_only_the_upper_bound_is_given():
    assert Option(name="N", default=1.0, help="", maximum=2).problem(float("nan")) == (
        "must be at most 2"
    )


@pytest.mark.parametrize(
    "option", [*STREAM_OPTIONS, *DirectDelivery.options], ids=lambda option: option.name
)
def test_default_of_each_option_keeps_to_its_own_rules(option):
    assert option.problem(option.default) is None
    assert option.name == option.name.upper()
    assert option.help.endswith(".")


def test_names_of_all_options_are_different():
    names = [option.name for option in (*STREAM_OPTIONS, *DirectDelivery.options)]

    assert len(set(names)) == len(names)


def test_problems_are_found_in_every_entry():
    found = dict(options.problems([WHOLE, TEXT], {"WHOLE": 0, "TEXT": "a", "TEXTS": "a"}))

    assert found == {
        "WHOLE": "must be at least 1",
        "TEXTS": "is not known here; there are TEXT, WHOLE",
    }


def test_complete_fills_in_what_is_not_given():
    assert options.complete([WHOLE, TEXT], {"WHOLE": 7}) == {"WHOLE": 7, "TEXT": "a"}
