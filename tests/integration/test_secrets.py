"""Canaries for secrets and payloads: on no path do they reach a log, an error or a page."""

import base64
import json
import logging
import pickle
import sys
from contextlib import contextmanager, suppress
from io import StringIO

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.views.debug import ExceptionReporter

from kinesis_bridge import conf, get_client, get_session, redaction
from kinesis_bridge.client import producers
from kinesis_bridge.conf import get_config
from kinesis_bridge.event import Event, PutResult, Record, RejectedRecord
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.models import DeadLetter, OutboxRecord
from kinesis_bridge.session import temporary_credentials
from kinesis_bridge.streams import streams
from tests.support.admin import APPS, SITE
from tests.support.aws import (
    Answers,
    AwsServer,
    Reply,
    closed_port,
    kinesis_error,
    kinesis_reply,
    sts_error,
)
from tests.support.outbox import OutboxOn, dead, waiting
from tests.support.producer import configured

PAYLOAD = "payload-canary-8b1f"
EXTERNAL_ID = "external-id-canary-77aa"
SECRETS = {
    "A's access key": "AKIATESTSITE00000000",
    "A's secret": "secret-of-the-site-itself-0123456789abcd",
    "A's token": "token-of-the-site-itself-0123456789",
    "B's access key": "ASIATEST0",
    "B's secret": "secret-of-session-",
    "B's token": "token-of-session-",
    "the external id": EXTERNAL_ID,
}
DENIED = kinesis_error("AccessDeniedException", "not authorized to perform: kinesis:PutRecords")
PATHS = {
    "all well": {},
    "put refused": {"PutRecords": DENIED},
    "put expired": {"PutRecords": kinesis_error("ExpiredTokenException", "")},
    "record refused": {"PutRecords": kinesis_error("ValidationException", "No.")},
    "login page": {"PutRecords": Reply(200, b"<html>Please log in</html>")},
    "half a reply": {"PutRecords": Reply(200, b'{"FailedRecordCount":0,"Records":[{"Seq')},
    "one failed": {
        "PutRecords": kinesis_reply(
            {"FailedRecordCount": 1, "Records": [{"ErrorCode": "InternalFailure"}]}
        )
    },
    "assume denied": {
        "AssumeRole": sts_error(
            "AccessDenied",
            "User: arn:aws:iam::111111111111:user/site is not authorized to perform: sts:AssumeRole"
            " on resource: arn:aws:iam::222222222222:role/EventWriter",
        )
    },
    "A unknown": {"AssumeRole": sts_error("InvalidClientTokenId", "invalid")},
    "nothing listens": {},
    "no stream listens": {},
}
FAILING = [name for name in PATHS if name != "all well"]


def forms(text):
    """How a text may stand somewhere: as it is, and in base64 from any offset."""
    yield text
    for offset in range(3):
        encoded = base64.b64encode(b" " * offset + text.encode()).decode()
        yield encoded[4 if offset else 0 : -4]


def leaked(text, *, payload=True, external_id=True):
    """The names of what stands in `text` and must not."""
    canaries = {**SECRETS, "the payload": PAYLOAD}
    if not payload:
        del canaries["the payload"]
    if not external_id:
        del canaries["the external id"]
    return [name for name, canary in canaries.items() if any(f in text for f in forms(canary))]


@contextmanager
def site(path="all well", **options):
    """A site whose every secret is a canary, on one of the paths."""
    replies = {**PATHS[path]}
    if "PutRecords" in replies:
        replies["PutRecordBatch"] = replies["PutRecords"]
    nowhere = f"http://127.0.0.1:{closed_port()}"
    environment = {"AWS_SESSION_TOKEN": SECRETS["A's token"], "AWS_CONFIG_FILE": "/dev/null"}
    if path == "no stream listens":
        environment |= {"AWS_ENDPOINT_URL_KINESIS": nowhere, "AWS_ENDPOINT_URL_FIREHOSE": nowhere}
    stream = {"STREAM": options.pop("STREAM")} if "STREAM" in options else None
    with (
        AwsServer(Answers(**replies)) as server,
        configured(
            nowhere if path == "nothing listens" else server.url,
            role=True, environment=environment, stream=stream, RETRY_SECONDS=0.05, **options,
        ),
    ):  # fmt: skip
        settings.KINESIS_BRIDGE["ROLES"]["writer"]["EXTERNAL_ID"] = EXTERNAL_ID
        conf.reset()
        try:
            yield server
        finally:
            conf.reset()


@pytest.fixture
def debug_log(caplog):
    """All that is logged, at DEBUG, as it would be written."""
    with caplog.at_level(logging.DEBUG):
        yield (
            lambda: (
                caplog.text
                + "".join(
                    f"{record.getMessage()} {record.args!r} {record.exc_text}"
                    for record in caplog.records
                )
            )
        )


class Reporter(ExceptionReporter):
    """Django's, which keeps what its page is made of."""

    def get_traceback_data(self):
        self.data = super().get_traceback_data()
        return self.data


@contextmanager
def page():
    """Collect the frames of Django's page for the error of the block, and the page itself."""
    shown = {}
    try:
        yield shown
    except AwsError as error:
        shown["error"] = error
        logging.getLogger("site").exception("It failed.")
        with override_settings(DEBUG=True):
            reporter = Reporter(None, *sys.exc_info())
            shown["html"] = reporter.get_traceback_html()
            shown["frames"] = reporter.data["frames"]


# They have what the site's own code has just given them, and shows in its own frames.
CALLED_BY_THE_SITE = (__file__,)


FIREHOSE = "arn:aws:firehose:us-east-1:222222222222:deliverystream/lake"
WAYS = {
    "fast": {"TRANSPORT": "fast"},
    "boto3": {"TRANSPORT": "boto3"},
    "firehose": {"STREAM": FIREHOSE},
}
# The fast way on every path; the others where boto's frames differ.
TAKEN = [
    *(pytest.param(path, "fast", id=f"{path}-fast") for path in FAILING),
    *(
        pytest.param(path, way, id=f"{path}-{way}")
        for path in ("put refused", "assume denied", "no stream listens")
        for way in ("boto3", "firehose")
    ),
]


@pytest.mark.parametrize(("path", "way"), TAKEN)
def test_failed_put_on_djangos_page_in_the_log_and_in_its_words(debug_log, path, way):
    with site(path, **WAYS[way]), page() as shown:
        get_client().put_record({"text": PAYLOAD}, "k")

    error = shown["error"]
    # Documents are for the eyes of B's owner, who knows the ExternalId.
    attributes = {**vars(error), "documents": None}
    assert leaked(f"{error} {error!r} {attributes} {error.__cause__} {error.__cause__!r}") == []
    assert leaked(repr(pickle.dumps(error)), external_id=False) == []
    frames = [frame for frame in shown["frames"] if "vars" in frame]
    assert any(frame["filename"].endswith("kinesis_bridge/client.py") for frame in frames)
    for frame in frames:
        if not frame["filename"].endswith(CALLED_BY_THE_SITE):
            values = "".join(value for _, value in frame["vars"])
            assert leaked(values) == [], (frame["filename"], frame["function"])
    # Django lists the settings on it, too, and EXTERNAL_ID is no secret to Django, nor to AWS.
    assert leaked(shown["html"], external_id=False, payload=False) == []
    log = debug_log()
    assert leaked(log) == [], [line[:300] for line in log.splitlines() if leaked(line)]
    assert "botocore" in log


@pytest.mark.parametrize("path", ["assume denied", "nothing listens", "A unknown"])
def test_role_that_cannot_be_assumed_on_djangos_page(path):
    with site(path), page() as shown:
        temporary_credentials("writer")

    assert leaked(shown["html"], external_id=False) == []
    frames = [frame for frame in shown["frames"] if "vars" in frame]
    for frame in frames:
        if frame["filename"] != __file__:
            assert leaked("".join(value for _, value in frame["vars"])) == [], frame["filename"]


def test_record_that_arrives_is_in_no_log(debug_log):
    with site() as server:
        get_client().put_records([("k1", {"text": PAYLOAD}), (None, PAYLOAD.encode())])
        assert server.count("PutRecords") == 1

    log = debug_log()
    assert leaked(log) == [], [line[:300] for line in log.splitlines() if leaked(line)]


def test_page_would_show_what_boto_has_in_its_frames(monkeypatch):
    monkeypatch.setattr(redaction, "forget_frames", lambda error: None)

    with site("no stream listens", TRANSPORT="boto3"), page() as shown:
        get_client().put_record({"text": PAYLOAD}, "k")

    assert set(leaked(shown["html"])) >= {"B's token", "the payload"}


def test_what_led_to_an_error_stays_in_its_chain():
    with site("put refused"), pytest.raises(AwsError) as caught:
        get_client().put_record(b"x")

    assert "AccessDeniedException" in str(caught.value.__cause__)


def test_what_the_site_was_handling_itself_keeps_its_frames():
    with site("no stream listens"):
        try:
            int("the site's own")
        except ValueError as error:
            own = error
            with pytest.raises(AwsError):
                get_client().put_record(b"x")

    assert own.__traceback__ is not None


def test_no_object_shows_or_pickles_a_secret(debug_log):
    said = []
    with site():
        client = get_client()
        result = client.put_record(PAYLOAD)
        session = get_session("writer")
        credentials = session.get_credentials()
        config = get_config()
        event = Event(type="t", source="/s", key="k", data={"text": PAYLOAD})
        objects = [
            client, producers["default"], producers["default"].statistics, session, get_session(),
            credentials, credentials.get_frozen_credentials(), temporary_credentials("writer"),
            session.client("sts"), streams["default"], config.roles["writer"], config.streams,
            event, Record("k", PAYLOAD.encode()), result, [Record("k", PAYLOAD.encode())],
            PutResult("s", "1"), RejectedRecord("code", "message"), streams["default"].delivery,
        ]  # fmt: skip
        said += [text for one in objects for text in (repr(one), str(one))]
        # Settings are no secret to a pickle of themselves; of credentials there is none.
        for one in (client, producers["default"], session, credentials):
            with suppress(TypeError, AttributeError, pickle.PicklingError):
                said.append(repr(pickle.dumps(one)))

    assert leaked("".join(said)) == []
    assert leaked(debug_log()) == []


COMMANDS = {
    "send_kinesis_test": ["send_kinesis_test", "--data", json.dumps({"text": PAYLOAD})],
    "send_kinesis_test --json": ["send_kinesis_test", "--json", "--data", json.dumps(PAYLOAD)],
    "kinesis_status": ["kinesis_status"],
    "kinesis_status --json": ["kinesis_status", "--json"],
    "kinesis_deadletter": ["kinesis_deadletter", "list"],
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("command", "path"),
    [
        *((command, "all well") for command in COMMANDS),
        ("send_kinesis_test", "put refused"),
        ("send_kinesis_test --json", "assume denied"),
        ("send_kinesis_test", "assume denied"),
    ],
)
def test_commands_print_none(command, path, debug_log, capfd):
    waiting("default", payload=json.dumps({"text": PAYLOAD}).encode())
    dead("default", payload=PAYLOAD.encode())
    out, err, said = StringIO(), StringIO(), ""
    with site(path), override_settings(DATABASE_ROUTERS=[OutboxOn("default")]):
        try:
            call_command(*COMMANDS[command], stdout=out, stderr=err)
        except CommandError as error:
            said = f"{error} {error!r}"

    printed = capfd.readouterr()
    said += out.getvalue() + err.getvalue() + printed.out + printed.err
    assert said
    # A policy of B's names the ExternalId, and B's owner is to compare it: no secret between them.
    named = ["the external id"] if "sts:ExternalId" in said else []
    assert leaked(said) == named
    assert leaked(debug_log()) == []


def test_relay_writes_none_beside_a_dead_letter(sqlite_file, debug_log):
    waiting(sqlite_file, payload=json.dumps({"text": PAYLOAD}).encode())
    out = StringIO()
    with site("record refused"), override_settings(DATABASE_ROUTERS=[OutboxOn(sqlite_file)]):
        call_command("kinesis_relay", "--once", "--json", "--database", sqlite_file, stdout=out)

    letter = DeadLetter.objects.using(sqlite_file).get()
    assert leaked(letter.message + letter.code + repr(letter) + str(letter) + out.getvalue()) == []
    assert leaked(debug_log()) == []


def test_policies_name_the_external_id_and_nothing_else(debug_log):
    out = StringIO()
    with site():
        call_command("kinesis_iam", stdout=out, stderr=StringIO())

    assert leaked(out.getvalue()) == ["the external id"]
    assert leaked(debug_log()) == []


@pytest.mark.parametrize("page", ["", "{id}/change/"])
@pytest.mark.django_db
def test_admin_pages_show_payloads_to_those_who_may_view_them_and_no_secret(client, page):
    with site(), override_settings(INSTALLED_APPS=[*APPS, *settings.INSTALLED_APPS], **SITE):
        letters = {
            "outboxrecord": waiting("default", payload=PAYLOAD.encode()),
            "deadletter": dead("default", payload=PAYLOAD.encode()),
        }
        user = User.objects.create(username="somebody", is_staff=True)
        client.force_login(user)
        for name, letter in letters.items():
            url = f"/admin/kinesis_bridge/{name}/{page.format(id=letter.pk)}"
            user.user_permissions.clear()
            assert client.get(url).status_code == 403
            user.user_permissions.set(Permission.objects.filter(codename=f"view_{name}"))
            answer = client.get(url)
            assert answer.status_code == 200
            assert leaked(answer.text) == (["the payload"] if page else [])
        assert OutboxRecord.objects.count() == 1
