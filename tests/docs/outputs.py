"""What commands print, made anew: ``MADE[name](folder)`` for blocks marked ``output NAME``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.sink import Sink
from tests.support.aws import (
    Answers,
    AwsServer,
    environment,
    manage,
    python,
    start_manage,
    sts_error,
)
from tests.support.databases import Cluster
from tests.support.servers import wait_for
from tests.support.trigger_site import CHANGED, Site

PLACE = """
import django; django.setup()
from demo_project.shop.management.commands.place_orders import place_order
for number in range(3): place_order(number)
"""
MANY = """
import django; django.setup()
from django.db import transaction
from kinesis_bridge import publish
with transaction.atomic():
    for number in range(8000):
        publish("shop.order.updated", {"id": number, "status": "paid"}, key=f"customer-{number}")
"""
LETTER = """
import django; django.setup()
from kinesis_bridge.models import DeadLetter
DeadLetter.objects.create(pk=7, outbox_id=7, stream="default", lane=1, partition_key="9",
    event_id="01a202d5-6d0e-7d53-8c07-6a2a3c6f5a11", payload=b"{}", blocks=True,
    code="InvalidArgumentException", message="Record is larger than the stream allows.")
"""


def site(folder, *, waiting=True, **changed):
    """The environment of a site with tables, and three orders whose events wait."""
    env = environment(
        folder, KINESIS_DELIVERY="outbox", KINESIS_SESSION_NAME="shop-web1", **changed
    )
    (folder / "demo.sqlite3").write_bytes(_migrated())
    if waiting:
        made = python("-c", PLACE, env=env)
        assert made.returncode == 0, made.stderr
    return env


@cache
def _migrated():
    """The file of a database with its tables and no rows: made once."""
    with TemporaryDirectory() as folder:
        env = environment(Path(folder), KINESIS_DELIVERY="outbox")
        made = manage("migrate", "--verbosity", "0", env=env)
        assert made.returncode == 0, made.stderr
        return (Path(folder) / "demo.sqlite3").read_bytes()


def printed(*arguments, env):
    done = manage(*arguments, env=env)
    return done.stdout + done.stderr


def send_kinesis_test(folder):
    return printed("send_kinesis_test", env=site(folder, waiting=False, KINESIS_LOCAL_AWS="True"))


def backlog(folder):
    return printed("kinesis_status", env=site(folder))


def dead_letters(folder):
    env = site(folder, waiting=False)
    assert python("-c", LETTER, env=env).returncode == 0
    return printed("kinesis_status", env=env) + printed("kinesis_deadletter", "list", env=env)


def against(folder, *arguments, **replaced):
    """What a command prints where AWS answers so."""
    with AwsServer(Answers(**replaced)) as server:
        return printed(*arguments, env=site(folder, **server.environment))


DENIED = {
    "AssumeRole": sts_error("AccessDenied", "User is not authorized to perform: sts:AssumeRole")
}


def denied_doctor(folder):
    return against(folder, "kinesis_doctor", **DENIED)


def at_its_limit(folder, **sink):
    """A site before a stream of one shard, which refuses single records."""
    running = Sink(region="eu-west-1", external_id="demo-shop", **sink)
    keys = {"AWS_ACCESS_KEY_ID": "AKIATESTSITE00000000", "AWS_SECRET_ACCESS_KEY": "s" * 40}
    return running, lambda **more: site(folder, AWS_ENDPOINT_URL=running.url, **keys, **more)


def throttled(folder):
    sink, env = at_its_limit(folder, faults="throttle=1")
    with sink:
        return printed("kinesis_relay", "--once", env=env())


def throttled_status(folder):
    """As long as each batch gets through, events only go more slowly than they came."""
    sink, site_of = at_its_limit(folder, enforce_rates=True, shard_records=300)
    with sink:
        env = site_of(waiting=False)
        assert python("-c", MANY, env=env).returncode == 0
        relay = start_manage("kinesis_relay", "--batch", "200", env=env)
        try:
            assert wait_for(lambda: _sent_last_minute(env))
            told = printed("kinesis_status", env=env)
        finally:
            relay.terminate()
            _, log = relay.communicate(timeout=60)
        assert sink.stats()["record_errors"]["ProvisionedThroughputExceededException"]
    assert log == "", "it says nothing of what it sends again in time"
    return told


def _sent_last_minute(env):
    [status] = json.loads(printed("kinesis_status", "--json", env=env))["databases"]
    return status["streams"][0]["sent_last_minute"]


def no_tables(folder):
    env = environment(folder, KINESIS_DELIVERY="outbox")
    return printed("kinesis_relay", env=env)


def no_emulator(folder):
    return printed("kinesis_relay", env=site(folder, KINESIS_LOCAL_AWS="True"))


@cache
def _triggers_differ():
    """What is said of triggers of an older declaration, and what of some that were disabled."""
    with TemporaryDirectory() as folder, Cluster() as cluster, AwsServer(Answers()) as server:
        differing = Site(Path(folder), cluster.create_database("shop"))

        def said(*arguments):
            done = differing.manage(*arguments, **server.environment, COLUMNS="80")
            return done.stdout + done.stderr

        differing.write()
        differing.migrate()
        differing.write(CHANGED)
        declared_anew = [said("check", "--database", "default"), said("kinesis_doctor")]
        differing.migrate()
        differing.run(f"ALTER TABLE shop_order DISABLE TRIGGER {differing.triggers()[0]}")
        return (*declared_anew, said("check", "--database", "default"))


MADE = {
    "send_kinesis_test": send_kinesis_test,
    "backlog": backlog,
    "dead letters": dead_letters,
    "denied doctor": denied_doctor,
    "throttled": throttled,
    "throttled status": throttled_status,
    "triggers differ check": lambda _: _triggers_differ()[0],
    "triggers differ doctor": lambda _: _triggers_differ()[1],
    "triggers disabled": lambda _: _triggers_differ()[2],
    "no tables": no_tables,
    "no emulator": no_emulator,
}
