"""``manage.py kinesis_assume_role``: what a shell or a script does with what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from kinesis_bridge.session import temporary_credentials
from tests.support.aws import Answers, AwsServer, bridge, environment, manage, sts_error

ARN = "arn:aws:sts::222222222222:assumed-role/EventWriter/tests"
WHO = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
ODD = "tok'en\"$(exit 3)`exit 4`\\"


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture(autouse=True)
def aws(answers, monkeypatch, settings):
    with AwsServer(answers) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge(SESSION_NAME="tests")
        yield server


def run(*arguments):
    out = StringIO()
    call_command("kinesis_assume_role", *arguments, stdout=out)
    return out.getvalue()


def test_a_shell_that_evaluates_it_is_the_role(aws):
    script = f'eval "$GIVEN"; exec {sys.executable} -c "{WHO}"'
    done = subprocess.run(
        ["sh", "-euc", script],
        env={**aws.environment, "GIVEN": run("writer")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == ARN, done.stderr


@pytest.mark.parametrize("arguments", [("--format", "json"), ("--json",)])
def test_json_is_what_the_aws_cli_prints(arguments):
    given = json.loads(run("writer", *arguments))
    assert given["AssumedRoleUser"] == {"Arn": ARN}
    credentials = given["Credentials"]
    assert credentials.keys() == {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert credentials["AccessKeyId"].startswith("ASIATEST")
    left = datetime.fromisoformat(credentials["Expiration"]) - datetime.now(UTC)
    assert 3500 < left.total_seconds() <= 3600


def test_what_a_shell_would_run_is_quoted(monkeypatch):
    given = temporary_credentials("writer")._replace(token=ODD)
    name = "kinesis_bridge.management.commands.kinesis_assume_role.temporary_credentials"
    monkeypatch.setattr(name, lambda _: given)
    script = 'eval "$GIVEN"; printf %s "$AWS_SESSION_TOKEN"'
    done = subprocess.run(
        ["sh", "-euc", script], env={"GIVEN": run("writer")}, capture_output=True, check=True
    )
    assert done.stdout.decode() == ODD


def test_what_is_denied_names_the_fix_and_no_secret(answers, capsys):
    message = f"User: {ARN} is not authorized to perform: sts:AssumeRole on resource: x"
    answers.replaced["AssumeRole"] = sts_error("AccessDenied", message)
    with pytest.raises(CommandError, match="Fix: "):
        run("writer")
    assert "export" not in capsys.readouterr().out


def test_a_role_that_the_settings_do_not_have():
    with pytest.raises(CommandError, match="reader"):
        run("reader")


def test_the_repr_shows_no_secret():
    given = temporary_credentials("writer")
    assert repr(given) == f"<TemporaryCredentials of {ARN}>"


def test_of_an_emulator_of_its_own_they_would_be_of_no_use(tmp_path):
    env = environment(tmp_path, KINESIS_LOCAL_AWS="True")
    done = manage("kinesis_assume_role", "default", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "python manage.py kinesis_local" in done.stderr
