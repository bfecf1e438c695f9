"""A whole process at DEBUG: nothing of a credential or a payload reaches its log."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys

import pytest

from kinesis_bridge import redaction
from tests.support.aws import ROOT, Answers, AwsServer, environment

MARKER = "payload-marker-4711"
# Puts and tails through the bridge, then uses the site's own botocore client; prints what the log
# must not hold.
RUN = """
import json, logging, sys
logging.basicConfig(level=logging.DEBUG, filename=sys.argv[1], force=True)
import django
django.setup()
import botocore.session
from kinesis_bridge import get_client, get_session, publish
from kinesis_bridge.conf import get_config
from kinesis_bridge.tail import Reader

marker, site_url = sys.argv[2], sys.argv[3]
get_client().put_records([(None, marker), (None, marker.encode()), (None, {"text": marker})])
publish("tests.marker", {"text": marker})
reader = Reader(get_config().stream("default"))
assert sum(marker.encode() in record.data for record in reader.tail("oldest")) == 4
get_session("default").client("sts").get_caller_identity()
get_session().client("sts", region_name="eu-west-1").get_caller_identity()

site = botocore.session.Session().create_client(
    "kinesis", region_name="eu-west-1", endpoint_url=site_url,
    aws_access_key_id="AKIASITESOWNCLIENT00", aws_secret_access_key="x" * 40)
site.put_records(StreamName="site-stream", Records=[{"PartitionKey": "site-key", "Data": b"site"}])

secrets = []
for session in (get_session(), get_session("default")):
    credentials = session.get_credentials().get_frozen_credentials()
    secrets += [credentials.secret_key, credentials.token]
secrets.append(credentials.access_key)
print(json.dumps([secret for secret in secrets if secret]))
"""


def run(tmp_path, **changed):
    log = tmp_path / "debug.log"
    with AwsServer(Answers()) as sites_own:
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(log), MARKER, sites_own.url],
            cwd=ROOT,
            env=environment(tmp_path, **changed),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return log.read_text(), json.loads(done.stdout)


def encodings(text):
    """How a payload may look in a request: as it is, or as base64 from any offset."""
    yield text
    for offset in range(3):
        encoded = base64.b64encode(b" " * offset + text.encode()).decode()
        yield encoded[4 if offset else 0 : -4]


def check(log, secrets, *more):
    assert len(secrets) >= 3
    found = [secret for secret in (*secrets, *more) if secret in log]
    assert not found, [line[:300] for line in log.splitlines() if any(s in line for s in found)]
    for text in encodings(MARKER):
        assert text not in log, [line[:300] for line in log.splitlines() if text in line]
    assert "botocore.endpoint" in log, "it did log at DEBUG"
    # The site's own client, in the same process and after ours, logs as it always did.
    assert "site-stream" in log
    assert base64.b64encode(b"site").decode() in log
    assert "AKIASITESOWNCLIENT00" in log


def test_a_run_through_the_emulator_logs_no_secret_and_no_payload(tmp_path):
    log, secrets = run(tmp_path, KINESIS_LOCAL_AWS="True")
    check(log, secrets)


def test_a_run_against_aws_logs_no_secret_and_no_payload(tmp_path):
    with AwsServer(Answers()) as server:
        log, secrets = run(
            tmp_path, **server.environment, AWS_SESSION_TOKEN="token-of-the-site-itself"
        )
    assert "token-of-the-site-itself" in secrets
    check(log, secrets, "secret-of-session-", "token-of-session-", "ASIATEST", "secret-of-the-site")


def logged(caplog, *arguments):
    logger = logging.getLogger("botocore.tests")
    redaction.install()
    with caplog.at_level(logging.DEBUG, "botocore.tests"):
        logger.debug(*arguments)
    return caplog.messages[-1]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("Response body:\n%s", b"bytes"), "Response body:\n[redacted] (bytes)"),
        (("parameters: %s", {"Data": "x"}), "parameters: [redacted] (dict)"),
        (("%s took %d in %.1f s", "PutRecords", 3, 0.5), "PutRecords took 3 in 0.5 s"),
        (("CanonicalRequest:\n%s", "POST\n/\n"), "CanonicalRequest:\n[redacted] (str)"),
    ],
)
def test_a_request_of_ours_keeps_names_and_numbers_only(caplog, arguments, shown):
    logging.getLogger("botocore.tests")
    with redaction.quiet():
        assert logged(caplog, *arguments) == shown


def test_outside_our_requests_only_live_credentials_are_withheld(caplog):
    redaction.protect("a-live-secret", None, "", "short")

    assert logged(caplog, "%s of %r", "a-live-secret", {"b": 1}) == "[redacted] of {'b': 1}"
    assert logged(caplog, "a short body: %s", b"body") == "a short body: b'body'"


def test_quiet_ends_with_its_block_and_nests(caplog):
    with redaction.quiet():
        with redaction.quiet():
            pass
        assert logged(caplog, "%s", b"in") == "[redacted] (bytes)"
    assert logged(caplog, "%s", b"out") == "b'out'"


def test_what_others_log_is_none_of_our_business(caplog):
    redaction.install()
    with redaction.quiet(), caplog.at_level(logging.DEBUG, "shop"):
        logging.getLogger("shop").debug("%s", b"own")
    assert caplog.messages[-1] == "b'own'"
