"""The document of the whole: as AsyncAPI has it, and the same schemas as of each event."""

import fcntl
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from kinesis_bridge import publishes
from kinesis_bridge.contract.asyncapi import document
from kinesis_bridge.contract.schema import messages
from kinesis_bridge.declarations import forget
from tests.testapp.models import Plain

# Its licence is Apache-2.0; it is fetched and not kept.
PACKAGE = "@asyncapi/specs@6.11.1"
MEMBER = "package/schemas/3.0.0-without-$id.json"
HOME = Path(__file__).resolve().parents[2] / ".asyncapi"


@pytest.fixture(scope="module")
def official():
    """AsyncAPI's own schema of a 3.0.0 document, fetched by npm once."""
    HOME.mkdir(exist_ok=True)
    kept = HOME / f"{PACKAGE.rsplit('@', 1)[-1]}.json"
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test run may be fetching it
        if not kept.exists():
            fetch(kept)
    schema = json.loads(kept.read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def fetch(kept):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not on this machine: it fetches AsyncAPI's schema ({PACKAGE})")
    command = [npm, "pack", PACKAGE, "--silent", "--fetch-retries=1", "--fetch-timeout=20000"]
    try:
        done = subprocess.run(
            command, cwd=HOME, capture_output=True, text=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not fetch {PACKAGE} within 60 seconds")
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        pytest.skip(f"npm cannot fetch {PACKAGE}: {last[0]}")
    archive = HOME / done.stdout.split()[-1]
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as files:
        part = kept.with_suffix(".part")
        part.write_bytes(files.extractfile(MEMBER).read())
    archive.unlink()
    part.rename(kept)


@pytest.fixture
def declared():
    """Declare `Plain` for the test alone."""
    yield lambda *args, **kwargs: publishes(*args, **kwargs)(Plain)
    forget(Plain)


@pytest.fixture
def stream(settings):
    """Replace what the settings say of the stream ``audit``."""

    def change(**given):
        streams = settings.KINESIS_BRIDGE["STREAMS"]
        settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
            "STREAMS": streams | {"audit": streams["audit"] | given}
        }

    return change


def found(official, made):
    """What AsyncAPI has against it."""
    return [f"{error.json_path}: {error.message[:200]}" for error in official.iter_errors(made)]


def resolved(made, reference):
    place = made
    assert reference.startswith("#/")
    for step in reference[2:].split("/"):
        place = place[step]
    return place


def references(part):
    if isinstance(part, dict):
        for name, inner in part.items():
            yield from [inner] if name == "$ref" else references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_it_is_as_asyncapi_has_it(official):
    assert found(official, document()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made["info"].pop("version"),
        lambda made: made["channels"]["default"].update(adress="orders"),
        lambda made: made["operations"]["publish_default"].update(action="publish"),
        lambda made: made["components"]["schemas"]["test.pin.created"].update(type="text"),
        lambda made: made["components"]["messages"]["test.pin.created"].update(body={}),
    ],
    ids=["info", "channel", "operation", "schema", "message"],
)
def test_one_that_is_not_would_be_found(official, spoil):
    made = document()
    spoil(made)

    assert found(official, made)


def test_any_names_and_any_place_are_as_asyncapi_has_them(official, declared, settings, stream):
    stream(
        STREAM="arn:aws:firehose:eu-central-1:222222222222:deliverystream/logs",
        REGION="eu-central-1",
        DELIVERY="background",
        OPTIONS={"SERIALIZER": "json"},
    )
    streams = settings.KINESIS_BRIDGE["STREAMS"]
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
        "STREAMS": streams | {"a/b ~": streams["default"], "a_b_~": streams["default"]}
    }
    declared("caf\u00e9/menu #1", stream="a/b ~", fields="__all__")
    declared("caf\u00e9/menu #2", stream="a_b_~", fields="__all__")
    declared("caf\u00e9/menu_#2", stream="a_b_~", fields="__all__")
    made = document()

    assert found(official, made) == []
    assert [one["address"] for one in made["channels"].values()] == [
        "orders",
        "logs",
        "orders",
        "orders",
    ]
    assert list(made["channels"]) == ["default", "audit", "a_b__", "a_b___2"]
    names = list(made["components"]["messages"])
    assert names[-3:] == [f"caf__menu__2.{k}_2" for k in ("created", "updated", "deleted")]
    assert made["components"]["messages"][names[-1]]["name"] == "caf\u00e9/menu_#2.deleted"
    assert all(resolved(made, one) for one in references(made))
    # Components Object, AsyncAPI 3.0.0; its schema does not look at others.
    parts = [*made["components"].values(), made["channels"], made["operations"]]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for part in parts for name in part)
    assert made["channels"]["audit"]["x-aws"] == {
        "service": "firehose",
        "stream": "logs",
        "arn": "arn:aws:firehose:eu-central-1:222222222222:deliverystream/logs",
        "account": "222222222222",
        "region": "eu-central-1",
        "role": "arn:aws:iam::222222222222:role/EventWriter",
        "aggregation": "none",
    }


def test_every_reference_leads_to_something():
    made = document()

    for reference in references(made):
        assert resolved(made, reference), reference


def test_each_channel_has_its_own_events():
    made = document()

    for alias in ("default", "audit"):
        types = [message.type for message in messages(alias)]
        assert list(made["channels"][alias]["messages"]) == types
        sent = made["operations"][f"publish_{alias}"]
        assert (sent["action"], sent["channel"]) == ("send", {"$ref": f"#/channels/{alias}"})
        assert [resolved(made, one["$ref"])["$ref"] for one in sent["messages"]] == [
            f"#/components/messages/{type_}" for type_ in types
        ]
    assert made["channels"]["default"]["address"] == "orders"


def test_the_schemas_are_those_of_each_event():
    assert document()["components"]["schemas"] == {one.type: one.schema for one in messages()}


def test_one_stream_alone_tells_of_no_other():
    made = document("audit")

    assert list(made["channels"]) == ["audit"]
    assert list(made["components"]["schemas"]) == ["test.token.created", "test.token.deleted"]
    assert "orders" not in json.dumps(made)


def test_no_secret_is_told():
    assert "tests-external-id" not in json.dumps(document())


def test_that_records_are_packed_is_told(stream):
    assert "aggregation" not in document()["channels"]["audit"]["description"]
    stream(OPTIONS={"AGGREGATE": "key"})

    assert "KPL's aggregation format" in document()["channels"]["audit"]["description"]


def test_the_version_changes_with_the_contract_alone(declared, stream):
    first = document()["info"]["version"]
    assert document()["info"]["version"] == first

    declared("test.plain", fields=["id"])
    assert document()["info"]["version"] != first


def test_without_declared_events_it_is_empty_and_valid(official, settings):
    streams = settings.KINESIS_BRIDGE["STREAMS"]
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
        "STREAMS": streams | {"logs": streams["audit"]}
    }
    made = document("logs")

    assert found(official, made) == []
    assert made["channels"] == {}
