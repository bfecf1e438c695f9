"""The checks for django-health-check, through its own view."""

import json
from datetime import timedelta

import pytest
from django.db import connections
from django.test import RequestFactory
from django.utils import timezone
from health_check.views import HealthCheckView

from kinesis_bridge.models import RelayProcess
from tests.support.aws import Answers, AwsServer, sts_error
from tests.support.outbox import OutboxOn, dead, now, waiting
from tests.support.producer import configured

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def outbox(sqlite_file, settings):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    return sqlite_file


async def health(name, **limits):
    """The status and the text for one check, as the view answers."""
    view = HealthCheckView.as_view(checks=[(f"kinesis_bridge.contrib.health.{name}", limits)])
    response = await view(RequestFactory().get("/", {"format": "json"}))
    (text,) = json.loads(response.content).values()
    return response.status_code, text


def check(name, **limits):
    from asgiref.sync import async_to_sync

    return async_to_sync(health)(name, **limits)


def relay(alias, ago=0):
    seen = timezone.now() - timedelta(seconds=ago)
    RelayProcess.objects.using(alias).create(
        id=f"r{ago}", host="web-1", pid=1, started=seen, seen=seen
    )


def test_an_outbox_that_moves_is_well(outbox):
    waiting(outbox)
    assert check("Outbox") == (200, "OK")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, "events waiting: 2, the oldest for 40"),
        ({"max_age_seconds": 500, "max_events": 1}, "events waiting: 2, the limit is 1."),
        ({"max_age_seconds": 500, "max_events": 2}, None),
        ({"stream": "audit"}, None),
        ({"max_age_seconds": 500, "database": "sqlite_file"}, None),
    ],
)
def test_the_limits_of_an_outbox(outbox, limits, says):
    for _ in range(2):
        waiting(outbox, created=now() - timedelta(seconds=400))
    status, text = check("Outbox", **limits)
    assert (status, says is None) == ((200, True) if says is None else (500, False)), text
    assert says is None or says in text


def test_an_outbox_that_cannot_be_read(outbox):
    with connections[outbox].schema_editor() as editor:
        editor.execute("ALTER TABLE kinesis_bridge_deadletter RENAME TO away")
    status, text = check("Outbox")
    assert status == 500
    assert text == f"Unavailable: The outbox of database {outbox} cannot be read."


@pytest.mark.parametrize("name", ["Outbox", "Relay", "DeadLetters"])
def test_a_database_without_an_outbox(outbox, name):
    status, text = check(name, database="default")
    assert status == 500
    assert "manage.py migrate --database default" in text


def test_a_relay_that_runs(outbox):
    assert "manage.py kinesis_relay" in check("Relay")[1]
    relay(outbox, ago=60)
    assert check("Relay")[0] == 500
    relay(outbox)
    assert check("Relay") == (200, "OK")
    assert "1 relays run, and 2 should" in check("Relay", relays=2)[1]


def test_dead_letters(outbox):
    assert check("DeadLetters") == (200, "OK")
    dead(outbox)
    status, text = check("DeadLetters")
    assert (status, "1 dead letters" in text) == (500, True)
    assert check("DeadLetters", max_letters=1) == (200, "OK")


def test_credentials_that_can_be_had(fresh):
    with AwsServer(Answers()) as server, configured(server.url, role=True):
        assert check("Credentials") == (200, "OK")
        assert check("Credentials", role="writer") == (200, "OK")


def test_credentials_that_are_refused(fresh):
    denied = sts_error("AccessDenied", "User: arn:aws:iam::111111111111:user/x is not authorized")
    with AwsServer(Answers(AssumeRole=denied)) as server, configured(server.url, role=True):
        status, text = check("Credentials")
    assert status == 500
    assert "Role writer: no credentials (" in text
    assert "kinesis_doctor" in text
    assert "111111111111" not in text
