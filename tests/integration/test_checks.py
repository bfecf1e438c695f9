"""``manage.py check``: every wrong setting and declaration, all at once."""

import io
import sys
from typing import NotRequired, TypedDict

import pytest
from django.core import checks
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db import connections
from django.db.models import Count, F, Q

from kinesis_bridge import declarations, publishes
from kinesis_bridge.checks import check_declarations as check_all
from kinesis_bridge.checks import check_settings
from kinesis_bridge.declarations import forget
from kinesis_bridge.delivery.base import Delivery
from kinesis_bridge.delivery.memory import MemoryDelivery
from tests.testapp.models import Gadget, Plain, Purchase, Sample, Slip, Thing, Widget

ROLE = "arn:aws:iam::222222222222:role/EventWriter"
GOOD = {
    "ROLES": {"writer": {"ROLE_ARN": ROLE}},
    "STREAMS": {
        "default": {"STREAM": "orders", "ROLE": "writer"},
        "audit": {"STREAM": "audit", "ROLE": "writer"},
    },
}
NOT_CALLABLE = "no serializer"
CALLED = []  # by a setting whose text is evaluated

# Since Django 6.1 `manage.py check` looks into the databases.
pytestmark = pytest.mark.django_db(databases=["default", "other"])


def serialize(event):
    return b""


class Hesitant(MemoryDelivery):
    @classmethod
    def check(cls, stream):
        return [checks.Warning(f"I would rather not: {stream.alias}", id="tests.W001")]


@pytest.fixture
def bridge(settings):
    """Change the settings."""

    def change(**top):
        settings.KINESIS_BRIDGE = {**GOOD, **top}

    change()
    return change


@pytest.fixture
def declare():
    """Declare the model that is not declared, for one test."""
    yield lambda **arguments: publishes("test.plain", **{"fields": ["id"], **arguments})(Plain)
    forget(Plain)


@pytest.fixture
def purchase():
    """Declare a model with relations once more, for one test."""

    def declare(**arguments):
        if "payload" in arguments:
            arguments["fields"] = None
        publishes("test.check", **{"fields": ["id"], **arguments})(Purchase)

    kept = list(declarations._declarations[Purchase])
    yield declare
    declarations._declarations[Purchase][:] = kept
    declarations._found.clear()


def check_declarations():
    """What is said of all but the tests' models whose keys may be null."""
    known = {Thing, Gadget, Sample, Slip, Widget}
    return [one for one in check_all() if one.id != "kinesis_bridge.W002" or one.obj not in known]


def ids(messages):
    return [message.id for message in messages]


def test_right_settings_and_declarations_pass_without_a_message(bridge):
    output = io.StringIO()
    call_command("check", stdout=output, stderr=output)

    assert "no issues" in output.getvalue()
    assert [*check_settings(), *check_declarations()] == []


def test_check_command_shows_all_problems_at_once(bridge, declare):
    declare(fields=["colour"], key="owner")
    bridge(
        SOURCE="my shop",
        ROLES={"writer": {"ROLE_ARN": "EventWriter", "DURATION_SECONDS": 899, "EXTERNAL_ID": "x"}},
        STREAMS={"default": {"STREAM": "orders", "ROLE": "writers", "DELIVERY": "pigeon"}},
    )

    with pytest.raises(SystemCheckError) as caught:
        call_command("check")

    text = str(caught.value)
    for number in ("E004", "E007", "E009", "E010", "E017", "E020", "E030", "E031"):
        assert f"(kinesis_bridge.{number})" in text
    assert 'KINESIS_BRIDGE["STREAMS"]["default"]["DELIVERY"] is not known: \'pigeon\'' in text
    assert 'HINT: Example: "outbox"' in text


def test_check_command_refuses_a_wrong_setting_as_an_error(bridge):
    bridge(LOCAL_AWS="maybe")

    with pytest.raises(CommandError, match=r"must be True or False, not 'maybe'"):
        call_command("check")
    [message] = check_settings()
    assert message.level == checks.ERROR
    assert message.hint == "Example: True"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("avro", "names no serializer: 'avro'"),
        ("no.such.serializer", "No module named 'no'"),
        (".serializer", "names no serializer: '.serializer'"),
        (f"{__name__}.missing", 'does not define a "missing"'),
        (f"{__name__}.NOT_CALLABLE", "names no callable"),
    ],
)
def test_e021_serializer_that_is_none_is_refused(bridge, name, reason):
    bridge(STREAMS={"default": {"STREAM": "orders", "OPTIONS": {"SERIALIZER": name}}})

    [message] = check_settings()

    assert message.id == "kinesis_bridge.E021"
    assert message.msg.startswith('KINESIS_BRIDGE["STREAMS"]["default"]["OPTIONS"]["SERIALIZER"] ')
    assert reason in message.msg
    assert message.hint == 'Example: "cloudevents"'


@pytest.mark.parametrize("name", ["cloudevents", "json", f"{__name__}.serialize"])
def test_serializer_that_can_be_called_passes(bridge, name):
    bridge(STREAMS={"default": {"STREAM": "orders", "OPTIONS": {"SERIALIZER": name}}})

    assert check_settings() == []


def test_what_a_delivery_says_of_its_stream_is_shown(bridge):
    bridge(STREAMS={"default": {"STREAM": "orders", "DELIVERY": f"{__name__}.Hesitant"}})

    [message] = check_settings()

    assert message.msg == "I would rather not: default"


@pytest.mark.parametrize(
    ("arguments", "number", "reason", "hint"),
    [
        (
            {"fields": ["id", "colour"]},
            "E030",
            "fields= is wrong: testapp.Plain has no",
            "id, name",
        ),
        ({"key": "owner"}, "E031", "key= is wrong: testapp.Plain has no", "id, name"),
        ({"exclude": ["colour"], "fields": None}, "E030", "exclude= is wrong", "id"),
        ({"stream": "orders"}, "E032", "stream='orders' is not in the settings", "default, audit"),
        ({"fields": None}, "W001", "no fields= are given, so every column leaves", '"__all__"'),
    ],
)
def test_wrong_declaration_is_reported_with_its_model(
    bridge, declare, arguments, number, reason, hint
):
    declare(**arguments)

    [message] = check_declarations()

    assert message.id == f"kinesis_bridge.{number}"
    assert message.level == (checks.WARNING if number.startswith("W") else checks.ERROR)
    assert message.obj is Plain
    assert message.msg.startswith("publishes('test.plain') on testapp.Plain: ")
    assert reason in message.msg
    assert hint in message.hint


class Extra(TypedDict):
    id: int
    colour: str


class Odd(TypedDict):
    id: complex


class Optional(TypedDict):
    id: int
    name: NotRequired[str]


DERIVED = [
    (
        {"fields": ["buyer.colour"]},
        "E034",
        "fields= is wrong: 'buyer.colour': 'colour' is",
        "email",
    ),
    ({"fields": {"a": "note.b"}}, "E034", "'note' of testapp.Purchase is no relation", "function"),
    ({"fields": ["tags.name"]}, "E035", "'tags' is related to many rows", "Count"),
    (
        {"payload": lambda row: {}, "select": ["tags"]},
        "E036",
        "select='tags' is no foreign key or one-to-one field of testapp.Purchase",
        "There are: buyer",
    ),
    (
        {"payload": lambda row: {}, "select": ["buyer.colour"]},
        "E036",
        "select='buyer.colour'",
        "buyer",
    ),
    ({"fields": ["id"], "select": ["buyer"]}, "E036", "there is none", "Leave it out"),
    ({"fields": {"a": F("colour")}}, "E037", "F(colour) does not resolve", "annotate()"),
    ({"fields": ["id"], "when": Q(colour=1)}, "E037", "when= is wrong: Cannot resolve", "filter()"),
    ({"fields": None, "schema": Extra}, "E038", "schema= is wrong: testapp.Purchase has no", "id"),
    ({"schema": Extra}, "E038", "schema=Extra requires colour, which fields=", "NotRequired"),
    ({"schema": Odd}, "E039", "schema=Odd cannot be checked: type <class 'complex'>", "msgspec"),
    ({"key": "buyer_id"}, "W002", "key='buyer_id' may be null", "null=False"),
    ({"fields": {"changed": "note"}, "changed": True}, "E033", "named 'changed'", "Leave"),
]


@pytest.mark.parametrize(("arguments", "number", "reason", "hint"), DERIVED)
def test_what_leads_to_nothing_is_reported(bridge, purchase, arguments, number, reason, hint):
    purchase(**arguments)

    [message] = check_declarations()

    assert message.id == f"kinesis_bridge.{number}"
    assert message.level == (checks.WARNING if number.startswith("W") else checks.ERROR)
    assert message.obj is Purchase
    assert message.msg.startswith("publishes('test.check') on testapp.Purchase: ")
    assert reason in message.msg
    assert hint in message.hint


@pytest.mark.parametrize(
    "arguments",
    [
        {"fields": ["buyer.region.code", "label"], "select": ["buyer.region"]},
        {"fields": {"n": Count("tags"), "a": F("buyer__email")}, "when": Q(buyer__email="a")},
        {"fields": ["id"], "schema": Optional},
        {"payload": lambda row: {}, "fields": None, "schema": Extra},
        {"fields": ["id"], "when": bool, "select": ["buyer"]},
    ],
)
def test_what_leads_to_something_passes(bridge, purchase, arguments):
    purchase(**arguments)

    assert check_declarations() == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"fields": ["id"]},
        {"fields": ["name", "pk"], "key": "name", "stream": "audit"},
        {"fields": "__all__"},
    ],
)
def test_right_declaration_passes(bridge, declare, arguments):
    declare(**arguments)

    assert check_declarations() == []


def test_every_wrong_field_is_reported_with_its_name(bridge, declare):
    declare(fields=["colour", "id", "size"], key="weight", stream="orders")

    messages = check_declarations()

    assert ids(messages) == [f"kinesis_bridge.{n}" for n in ("E030", "E030", "E031", "E032")]
    for name, message in zip(("colour", "size", "weight"), messages, strict=False):
        assert repr(name) in message.msg


class Immediate(Delivery):
    """Takes part in the transaction, and writes each event at once."""

    transactional = True

    def deliver(self, event, payload, using):
        raise NotImplementedError


def test_e042_a_delivery_that_cannot_make_one_event_of_several(bridge, declare):
    bridge(STREAMS={"default": {"STREAM": "orders", "DELIVERY": f"{__name__}.Immediate"}})
    declare(coalesce=True)

    [message] = [one for one in check_declarations() if one.obj is Plain]

    assert message.id == "kinesis_bridge.E042"
    assert f"coalesce=True, and the delivery of stream 'default', {__name__}.Imm" in message.msg
    assert "publishes('test.plain') on testapp.Plain" in message.msg


def test_e043_a_database_without_autocommit(bridge, declare, monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "AUTOCOMMIT", False)
    declare(coalesce=True)

    [message] = [one for one in check_declarations() if one.obj is Plain]

    assert message.id == "kinesis_bridge.E043"
    assert 'AUTOCOMMIT out of DATABASES["default"]' in message.hint


@pytest.mark.parametrize("delivery", ["outbox", "background", "direct", "memory", "console"])
def test_every_delivery_of_ours_can(bridge, declare, delivery):
    bridge(STREAMS={"default": {"STREAM": "orders", "DELIVERY": delivery}})
    declare(coalesce=True)

    assert [one for one in check_declarations() if one.obj is Plain] == []


def test_wrong_fields_are_reported_while_the_settings_are_wrong_too(bridge, declare):
    declare(fields=["colour"], stream="orders")
    bridge(LOCAL_AWS="maybe")

    assert ids(check_declarations()) == ["kinesis_bridge.E030"]


@pytest.mark.parametrize("setting", ["DELIVERY", "SERIALIZER"])
@pytest.mark.parametrize(
    "text",
    [
        f"__import__('{__name__}').integration.test_checks.CALLED.append(1)",
        f"{__name__}.CALLED.append(1)",
        f"{__name__}:CALLED",
        f"{__name__}.serialize(None)",
        "os.system('exit 1')",
    ],
)
def test_a_dotted_path_is_imported_and_never_evaluated(bridge, setting, text):
    stream = {"STREAM": "orders"}
    given = {"DELIVERY": text} if setting == "DELIVERY" else {"OPTIONS": {"SERIALIZER": text}}
    bridge(STREAMS={"default": {**stream, **given}})

    [message] = check_settings()

    assert message.id == f"kinesis_bridge.{'E020' if setting == 'DELIVERY' else 'E021'}"
    assert CALLED == []


def test_a_dotted_path_imports_the_module_that_it_names_and_no_other(bridge, tmp_path, monkeypatch):
    for name in ("named", "beside"):
        (tmp_path / f"kinesis_{name}.py").write_text("def serialize(event):\n    return b''\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = "kinesis_named.serialize"
    bridge(STREAMS={"default": {"STREAM": "orders", "OPTIONS": {"SERIALIZER": path}}})

    assert check_settings() == []

    assert "kinesis_named" in sys.modules
    assert "kinesis_beside" not in sys.modules
    del sys.modules["kinesis_named"]
