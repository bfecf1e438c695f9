"""What ``make demo`` runs, on an empty database."""

from __future__ import annotations

import re

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.support.aws import ROOT, environment, manage


def commands():
    """The manage.py lines of the Makefile's demo."""
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [line.split("manage.py ")[1].split() for line in recipe[1].splitlines()]


@pytest.fixture
def env(tmp_path):
    role = "arn:aws:iam::222222222222:role/S3Viewer"
    return environment(tmp_path, KINESIS_LOCAL_AWS="True", KINESIS_S3_ROLE_ARN=role)


def test_make_demo_shows_the_orders_events_in_account_b_and_can_be_run_again(env):
    outputs = []
    for command in [*commands(), commands()[-1]]:
        done = manage(*command, env=env)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        outputs.append(done.stdout)

    assert commands()[-1] == ["place_orders", "--read-back"]
    for shown in outputs[-2:]:
        check_events(shown)


def check_events(shown):
    assert "Stream 'orders' of account 222222222222 now holds:" in shown
    lines = re.findall(r"^  shardId-\d+ (.*)$", shown, re.MULTILINE)
    events = [JSONFormat().read(CloudEvent, line) for line in lines]
    assert "shop.order.created" in [event.get_type() for event in events]
    assert len({event.get_id() for event in events}) == len(events)
    assert {event.get_source() for event in events} == {"/demo-shop"}


def test_placing_no_orders_is_refused(env):
    done = manage("place_orders", "--count", "0", env=env)
    assert done.returncode == 1
    assert "--count must be at least 1, not 0" in done.stderr
