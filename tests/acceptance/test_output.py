"""``--json``: one document, and stdout has nothing else, whatever the process does besides."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.aws import ROOT, Answers, AwsServer, environment, kinesis_error

EMF = "kinesis_bridge.contrib.emf"


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def aws(answers):
    with AwsServer(answers) as running:
        yield running


@pytest.fixture
def command(aws, tmp_path):
    """Run commands of a site that EMF observes."""

    def run(*arguments, code=0, stdout=subprocess.PIPE):
        env = environment(
            tmp_path,
            **aws.environment,
            DJANGO_SETTINGS_MODULE="tests.observed_settings",
            OBSERVED_BY=EMF,
            KINESIS_DELIVERY="outbox",
            PYTHONUNBUFFERED="",  # the tester's own
        )
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env=env,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    run("migrate", "--verbosity", "0")
    return run


def metrics(text):
    """What of these lines CloudWatch takes: every one."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line["_aws"]["CloudWatchMetrics"] for line in lines)
    names = ("RecordsSent", "EventsSent")
    return {name: line[name] for line in lines for name in names if name in line}


def test_the_metrics_of_a_relay_are_beside_its_document(command):
    command("place_orders")
    done = command("kinesis_relay", "--once", "--json")
    totals = json.loads(done.stdout)
    assert totals["sent"] > 0
    assert metrics(done.stderr) == {
        "RecordsSent": totals["sent"],
        "EventsSent": totals["sent"],
    }


def test_without_it_they_are_on_stdout(command):
    command("place_orders")
    done = command("kinesis_relay", "--once")
    said, *lines = done.stdout.splitlines()
    assert said.startswith("sent ")
    assert metrics("\n".join(lines))["EventsSent"] > 0
    assert done.stderr == ""


def test_the_metrics_of_a_test_record_are_beside_its_report(command):
    done = command("send_kinesis_test", "--json")
    assert json.loads(done.stdout)["sent"] == 1
    assert metrics(done.stderr) == {"RecordsSent": 1}


def test_they_are_beside_an_error_too(command, answers):
    """The record was sent; that it cannot be read back is not known before."""
    answers.replaced["GetRecords"] = kinesis_error("KMSDisabledException", "disabled")
    done = command("send_kinesis_test", "--json", code=1)
    assert json.loads(done.stdout)["error"]["code"] == "KMSDisabledException"
    *said, line = done.stderr.splitlines()
    assert metrics(line) == {"RecordsSent": 1}
    assert "Fix: " in "\n".join(said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only: /dev/full is a full disk.")
def test_a_document_that_cannot_be_written_is_no_success(command):
    with Path("/dev/full").open("w") as full:
        done = command("send_kinesis_test", "--json", code=1, stdout=full)
    assert "No space left on device" in done.stderr
