"""All of AWS as a role of B: the demo's S3 commands, Firehose and logs, over two accounts."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from demo_project.shop.management.commands import get_object, list_buckets
from kinesis_bridge import get_session, local
from tests.support.aws import ROLE_ARN, ROOT, environment, manage, start_manage

S3_ROLE = "arn:aws:iam::222222222222:role/S3Viewer"
FIREHOSE = "arn:aws:firehose:eu-west-1:222222222222:deliverystream"
SHOWN = """\
===== Account A Buckets =====
shop-uploads
shop-backups
===== Account B Buckets =====
site-logs-delivered
analytics-reports
analytics-raw
"""


def of_demo(tmp_path, **changed):
    return environment(
        tmp_path,
        KINESIS_LOCAL_AWS="True",
        KINESIS_S3_ROLE_ARN=S3_ROLE,
        KINESIS_FIREHOSE_ARN=f"{FIREHOSE}/site-logs",
        **changed,
    )


@pytest.fixture
def here(settings, fresh):
    """The demo's roles, for what this process asks; the emulator is in it unless a URL is given."""

    def here(url="http://127.0.0.1:9", external_id="demo-shop"):
        role = {"EXTERNAL_ID": external_id, "REGION": "eu-west-1"}
        settings.KINESIS_BRIDGE = {
            "ROLES": {
                "default": {**role, "ROLE_ARN": ROLE_ARN},
                "s3-viewer": {**role, "ROLE_ARN": S3_ROLE},
            },
            "STREAMS": {"default": {"STREAM": f"{FIREHOSE}/lake", "ROLE": "default"}},
            "LOCAL_AWS": True,
            "LOCAL_AWS_URL": url,
        }

    return here


def run(command, *arguments):
    out = StringIO()
    call_command(command.Command(), *arguments, stdout=out)
    return json.loads(out.getvalue())


def objects(bucket):
    """The bodies in a bucket of B, by key."""
    s3 = get_session("s3-viewer").client("s3")
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def events(bucket):
    """What Firehose has delivered: it writes records one behind the other, with nothing between."""
    decoder, found = json.JSONDecoder(), []
    for body in objects(bucket).values():
        rest = body.decode()
        while rest:
            event, end = decoder.raw_decode(rest)
            found.append(event)
            rest = rest[end:].lstrip()
    return found


def test_the_first_command_on_a_fresh_clone_shows_the_buckets_of_both_accounts(tmp_path):
    done = manage("list_buckets", env=of_demo(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, SHOWN, "")


def test_orders_and_logs_come_to_firehose_and_objects_out_of_s3(tmp_path, here):
    env = of_demo(tmp_path, KINESIS_STREAM=f"{FIREHOSE}/lake")
    emulator = start_manage("kinesis_local", "--port", "0", env=env)
    try:
        env["KINESIS_LOCAL_AWS_URL"] = emulator.stdout.readline().split()[3].rstrip(":")
        here(env["KINESIS_LOCAL_AWS_URL"])
        assert run(list_buckets, "--json") == {
            "account_a": {"account": "111111111111", "buckets": ["shop-uploads", "shop-backups"]},
            "account_b": {
                "account": "222222222222",
                "buckets": [
                    "lake-delivered", "site-logs-delivered", "analytics-reports", "analytics-raw"
                ],
            },
        }  # fmt: skip

        assert manage("migrate", "--verbosity", "0", env=env).returncode == 0
        done = manage("place_orders", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        types = [event["type"] for event in events("lake-delivered")]
        assert sorted(types) == [
            "shop.customer.created", "shop.line.created", "shop.order.created",
            "shop.order.updated",
        ]  # fmt: skip
        # The process flushed at its end.
        logged = {event["data"]["message"]: event for event in events("site-logs-delivered")}
        log = logged["Order 1 placed"]
        assert (log["type"], log["source"]) == ("demo_project.log", "/demo-shop")
        assert log["data"]["extra"] == {"total": "4.50"}

        check_streaming(tmp_path, env)
    finally:
        emulator.kill()
        emulator.communicate()


def check_streaming(tmp_path, env):
    body = random.Random(3).randbytes(3 * 1024 * 1024 + 1)
    get_session("s3-viewer").client("s3").put_object(Bucket="analytics-raw", Key="a/b", Body=body)

    command = [sys.executable, "manage.py", "get_object", "analytics-raw", "a/b"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == body

    output = tmp_path / "b"
    answer = run(get_object, "analytics-raw", "a/b", "--output", str(output), "--json")
    assert answer == {
        "bucket": "analytics-raw", "key": "a/b", "bytes": len(body), "output": str(output)
    }  # fmt: skip
    assert output.read_bytes() == body

    with pytest.raises(CommandError, match=r"account B \(222222222222\) has no analytics-raw/no"):
        call_command(get_object.Command(), "analytics-raw", "no", "--output", str(tmp_path / "no"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "demo.sqlite3"]
    with pytest.raises(CommandError, match="nowhere/no cannot be written: No such file"):
        call_command(get_object.Command(), "analytics-raw", "a/b", "--output", "nowhere/no")
    with pytest.raises(CommandError, match="name an --output"):
        call_command(get_object.Command(), "analytics-raw", "a/b", "--json", stdout=StringIO())


@pytest.fixture
def enforcing(monkeypatch):
    """Have moto ask the policies of users and roles, as far as it does."""
    from moto import settings

    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)


def allow_the_site(*actions):
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam = get_session().client("iam")
    iam.put_user_policy(UserName="site", PolicyName="tests", PolicyDocument=document)


@pytest.mark.parametrize(
    ("allowed", "account", "who", "policy"),
    [
        (["sts:AssumeRole"], "account A (111111111111)",
         "arn:aws:iam::111111111111:user/site", "identity policy"),
        (["sts:AssumeRole", "s3:ListAllMyBuckets"], "account B (222222222222)",
         f"role {S3_ROLE} (ROLES['s3-viewer'])", "permission policy"),
    ],
    ids=["A", "B"],
)  # fmt: skip
def test_a_denial_names_the_account_the_role_and_the_permission(
    here, request, capsys, allowed, account, who, policy
):
    here()
    run(list_buckets, "--json")  # makes the buckets
    allow_the_site(*allowed)
    request.getfixturevalue("enforcing")  # from here on

    with pytest.raises(CommandError) as caught:
        call_command(list_buckets.Command(), "--json", stdout=StringIO())

    said = str(caught.value)
    assert f"S3 refused s3:ListAllMyBuckets: {who} of {account} may not." in said
    assert f"Add the statement to the {policy} in {account}." in said
    assert caught.value.returncode == 1


def test_a_refused_assumption_is_explained(here):
    here()
    running = local.Emulator()  # made from the settings with the right ExternalId
    try:
        here(running.url, external_id="another")
        with pytest.raises(CommandError, match="may not assume role"):
            call_command(list_buckets.Command(), stdout=StringIO())
    finally:
        running.stop()


def test_without_the_role_the_settings_are_named(settings, fresh):
    with pytest.raises(CommandError, match=r"""\["ROLES"\] has no 's3-viewer'"""):
        call_command(list_buckets.Command(), stdout=StringIO())
