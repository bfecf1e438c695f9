"""``manage.py kinesis_doctor``: each way in which the path breaks, and what it must say first."""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from kinesis_bridge.findings import FINDINGS
from tests.support.aws import (
    ROLE_ARN,
    SITE_ARN,
    Answers,
    AwsServer,
    Reply,
    bridge,
    caller_identity,
    closed_port,
    environment,
    kinesis_error,
    manage,
    simulated,
    sts_error,
)

ORDERS = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
LAKE = "arn:aws:firehose:eu-west-1:222222222222:deliverystream/lake"
GATE = "arn:aws:iam::333333333333:role/Gate"
HEALTHY = [
    "settings",
    "sts-endpoint",
    "clock",
    "credentials",
    "assume-role",
    "stream-endpoint",
    "stream",
    "permission",
    "outbox",
]


class Site:
    """A site that is well, for a case to break: settings, environment, what AWS answers."""

    def __init__(self, settings, monkeypatch, server, answers, stack):
        self.settings, self.monkeypatch = settings, monkeypatch
        self.server, self.answers, self.stack = server, answers, stack
        self.arguments = []
        self.configure()

    def configure(self, *, role=None, options=None, **stream):
        configured = bridge(EXTERNAL_ID="shop-7f3a", **(role or {}))
        configured["STREAMS"]["default"] |= {
            "DELIVERY": "direct",
            "OPTIONS": options or {},
            **stream,
        }
        self.settings.KINESIS_BRIDGE = configured

    def environ(self, **variables):
        for name, value in variables.items():
            if value is None:
                self.monkeypatch.delenv(name)
            else:
                self.monkeypatch.setenv(name, value)

    def replace(self, **replies):
        self.answers.replaced |= replies


@pytest.fixture
def site(settings, monkeypatch, fresh):
    answers = Answers()
    with AwsServer(answers) as server, ExitStack() as stack:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield Site(settings, monkeypatch, server, answers, stack)


def examine(site):
    """Run the command; return its document."""
    out = StringIO()
    refused = None
    try:
        call_command("kinesis_doctor", "--json", *site.arguments, stdout=out)
    except CommandError as error:
        refused = error
    document = json.loads(out.getvalue())
    assert document["ok"] is (refused is None)
    assert document["ok"] is all(check["ok"] for check in document["checks"])
    return document


# The cases: what breaks the site, the hop that must be the first to fail, and its finding


def wrong_setting(site):
    site.configure(role={"DURATION_SECONDS": 899})


def wrong_alias(site):
    site.arguments = ["--stream", "nope"]


def no_region(site):
    site.configure(REGION=None)


def unknown_name(site):
    site.environ(AWS_ENDPOINT_URL_STS="http://sts.invalid")


def nothing_listens(site):
    site.environ(AWS_ENDPOINT_URL_STS=f"http://127.0.0.1:{closed_port()}")


def packets_are_dropped(site):
    site.monkeypatch.setattr("kinesis_bridge.doctor.network.ANSWER_SECONDS", 0.2)
    listening = site.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(2):  # Linux drops what comes after a full queue
        waiting = site.stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listening.getsockname())
    site.environ(AWS_ENDPOINT_URL_STS=f"http://127.0.0.1:{listening.getsockname()[1]}")


def dead_proxy(site):
    site.environ(
        AWS_ENDPOINT_URL_STS="http://sts.example.com", HTTP_PROXY="http://127.0.0.1:9", NO_PROXY=""
    )


def no_tls(site):
    site.environ(AWS_ENDPOINT_URL_STS=site.server.url.replace("http:", "https:"))


def no_answer(site):
    site.monkeypatch.setattr("kinesis_bridge.doctor.network.ANSWER_SECONDS", 0.2)
    listening = site.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    site.environ(AWS_ENDPOINT_URL_STS=f"http://127.0.0.1:{listening.getsockname()[1]}")


def clock(minutes):
    def broken(site):
        then = datetime.now(UTC) + timedelta(minutes=minutes)
        site.server.date = format_datetime(then, usegmt=True)

    return broken


def no_credentials(site):
    site.environ(
        AWS_ACCESS_KEY_ID=None,
        AWS_SECRET_ACCESS_KEY=None,
        AWS_CONFIG_FILE="/dev/null",
        AWS_SHARED_CREDENTIALS_FILE="/dev/null",
    )


def missing_profile(site):
    site.configure(role={"PROFILE": "nowhere"})


def sts(action, code, message="no", status=403):
    return lambda site: site.replace(**{action: sts_error(code, message, status)})


def login_page(action):
    page = Reply(200, b"<html><body>Log in to the guest network</body></html>")
    return lambda site: site.replace(**{action: page})


def who(arn):
    return lambda site: site.replace(GetCallerIdentity=caller_identity(arn))


def refused(reason="", action="sts:AssumeRole"):
    return sts(
        "AssumeRole",
        "AccessDenied",
        f"User: {SITE_ARN} is not authorized to perform: {action} on resource: {ROLE_ARN}{reason}",
    )


def simulated_as(decision):
    def broken(site):
        refused()(site)
        site.replace(SimulatePrincipalPolicy=simulated(decision))

    return broken


def invalid(message):
    return sts("AssumeRole", "ValidationError", message, 400)


def gate_is_closed(site):
    site.configure(role={"VIA": "gate"})
    configured = dict(site.settings.KINESIS_BRIDGE)
    configured["ROLES"]["gate"] = {"ROLE_ARN": GATE}
    site.settings.KINESIS_BRIDGE = configured
    refused()(site)


def no_stream_endpoint(site):
    site.environ(AWS_ENDPOINT_URL_KINESIS=f"http://127.0.0.1:{closed_port()}")


def kinesis(action, code, message="no"):
    return lambda site: site.replace(**{action: kinesis_error(code, message)})


def put_refused(code, message="no"):
    return kinesis("PutRecords", code, message)


def summary(**told):
    return lambda site: site.answers.summary.update(told)


def larger_records_than_the_stream_takes(site):
    site.configure(options={"MAX_RECORD_BYTES": 2 * 1024 * 1024})


def managed_key_without_a_role(site):
    summary(EncryptionType="KMS", KeyId="alias/aws/kinesis")(site)
    site.configure(STREAM=ORDERS, ROLE=None)


def denied_without_a_role(site):
    site.configure(STREAM=ORDERS, ROLE=None)
    put_refused("AccessDeniedException")(site)


def shards_are_not_listed(site):
    site.configure(options={"AGGREGATE": "shard"})
    kinesis("ListShards", "AccessDeniedException")(site)


def firehose(**told):
    def broken(site):
        site.configure(STREAM=LAKE)
        summary(**told)(site)

    return broken


def canary_is_replaced(site):
    def other(request):
        site.answers.records[0]["Data"] = "b3RoZXI="

    site.arguments = ["--write"]
    site.replace(GetRecords=other)


def canary_is_refused(site):
    site.arguments = ["--write"]
    put_refused("AccessDeniedException")(site)


def events_go_nowhere(site):
    site.configure(DELIVERY="memory")


CASES = [
    (wrong_setting, "settings", "settings"),
    (wrong_alias, "settings", "settings"),
    (no_region, "sts-endpoint", "no-region"),
    (missing_profile, "sts-endpoint", "profile-missing"),
    (unknown_name, "sts-endpoint", "dns"),
    (nothing_listens, "sts-endpoint", "refused"),
    (packets_are_dropped, "sts-endpoint", "no-route"),
    (dead_proxy, "sts-endpoint", "proxy"),
    (no_tls, "clock", "tls"),
    (no_answer, "clock", "no-answer"),
    (clock(30), "clock", "clock-skew"),
    (clock(-30), "clock", "clock-skew"),
    (no_credentials, "credentials", "no-credentials"),
    (sts("GetCallerIdentity", "ExpiredToken"), "credentials", "credentials-expired"),
    (sts("GetCallerIdentity", "InvalidClientTokenId"), "credentials", "credentials-invalid"),
    (sts("GetCallerIdentity", "InternalFailure", status=500), "credentials", "aws-down"),
    (login_page("GetCallerIdentity"), "credentials", "no-answer"),
    (login_page("AssumeRole"), "assume-role", "no-answer"),
    (who("arn:aws:iam::111111111111:root"), "credentials", "caller-root"),
    (who("arn:aws:sts::111111111111:federated-user/x"), "credentials", "caller-federated"),
    (refused(), "assume-role", "assume-role-denied"),
    (simulated_as("allowed"), "assume-role", "assume-role-denied-trust"),
    (simulated_as("implicitDeny"), "assume-role", "assume-role-denied-identity"),
    (
        refused(" because no identity-based policy allows the sts:AssumeRole action"),
        "assume-role",
        "assume-role-denied-identity",
    ),
    (
        refused(" because no role trust policy allows the sts:AssumeRole action"),
        "assume-role",
        "assume-role-denied-trust",
    ),
    (
        refused(" with an explicit deny in a service control policy"),
        "assume-role",
        "assume-role-denied-organization",
    ),
    (
        refused(" with an explicit deny in an identity-based policy"),
        "assume-role",
        "assume-role-denied-explicitly",
    ),
    (sts("AssumeRole", "Throttling", "Rate exceeded", 400), "assume-role", "sts-throttled"),
    (
        refused(" because no permissions boundary allows the sts:AssumeRole action"),
        "assume-role",
        "assume-role-denied-boundary",
    ),
    (
        refused(" because no VPC endpoint policy allows the sts:AssumeRole action"),
        "assume-role",
        "assume-role-denied-endpoint",
    ),
    (refused(action="sts:TagSession"), "assume-role", "assume-role-tags"),
    (refused(action="sts:SetSourceIdentity"), "assume-role", "assume-role-source-identity"),
    (
        sts("AssumeRole", "AccessDenied", "Roles may not be assumed by root accounts."),
        "assume-role",
        "root-cannot-assume",
    ),
    (
        invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by"
            " role chaining"
        ),
        "assume-role",
        "role-chaining-cap",
    ),
    (
        invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."),
        "assume-role",
        "assume-role-duration",
    ),
    (
        sts("AssumeRole", "MalformedPolicyDocument", "Syntax errors in policy.", 400),
        "assume-role",
        "assume-role-invalid",
    ),
    (sts("AssumeRole", "RegionDisabledException"), "assume-role", "region-disabled"),
    (gate_is_closed, "assume-role:gate", "assume-role-denied"),
    (no_stream_endpoint, "stream-endpoint", "refused"),
    (
        kinesis("DescribeStreamSummary", "ResourceNotFoundException"),
        "stream",
        "stream-missing",
    ),
    (
        kinesis("DescribeStreamSummary", "UnrecognizedClientException"),
        "stream",
        "session-invalid",
    ),
    (
        kinesis(
            "DescribeStreamSummary",
            "InvalidSignatureException",
            "Credential should be scoped to a valid region, not 'eu-west-1'",
        ),
        "stream",
        "wrong-region",
    ),
    (summary(StreamStatus="CREATING"), "stream", "stream-not-ready"),
    (summary(RecordDistributionStrategy="AUTO"), "stream", "record-distribution"),
    (larger_records_than_the_stream_takes, "stream", "record-limit"),
    (managed_key_without_a_role, "stream", "managed-key-across-accounts"),
    (firehose(DeliveryStreamStatus="CREATING_FAILED"), "stream", "stream-not-ready"),
    (firehose(DeliveryStreamType="KinesisStreamAsSource"), "stream", "firehose-source"),
    (shards_are_not_listed, "shards", "stream-denied"),
    (put_refused("AccessDeniedException"), "permission", "stream-denied"),
    (
        put_refused("AccessDeniedException", "because no session policy allows it"),
        "permission",
        "stream-denied-session",
    ),
    (
        put_refused("AccessDeniedException", "with an explicit deny in a VPC endpoint policy"),
        "permission",
        "stream-denied-endpoint",
    ),
    (
        put_refused("AccessDeniedException", "with an explicit deny in a permissions boundary"),
        "permission",
        "stream-denied-boundary",
    ),
    (
        put_refused("AccessDeniedException", "with an explicit deny in a service control policy"),
        "permission",
        "stream-denied-organization",
    ),
    (
        put_refused("AccessDeniedException", "with an explicit deny in an identity-based policy"),
        "permission",
        "stream-denied-explicitly",
    ),
    (denied_without_a_role, "permission", "stream-denied-caller"),
    (put_refused("KMSAccessDeniedException"), "permission", "kms-denied"),
    (put_refused("KMSDisabledException"), "permission", "kms-unusable"),
    (put_refused("ExpiredTokenException"), "permission", "session-expired"),
    (put_refused("ProvisionedThroughputExceededException"), "permission", "throttled"),
    (canary_is_refused, "write", "stream-denied"),
    (canary_is_replaced, "write", "canary-lost"),
    (events_go_nowhere, "outbox", "delivery-keeps"),
]


@pytest.mark.parametrize(
    ("broken", "hop", "finding"), CASES, ids=[f"{hop}-{name}" for _, hop, name in CASES]
)
def test_a_broken_set_up_is_named_first(site, broken, hop, finding):
    broken(site)

    document = examine(site)

    first = next(check for check in document["checks"] if not check["ok"])
    assert (first["name"], first["finding"]) == (hop, finding), first
    row = next(row for row in FINDINGS if row.name == finding)
    assert first["side"] == row.side
    assert len(first["documents"]) == len(row.documents)
    for text in (first["detail"], first["hint"]):
        assert text
        assert not re.search(r"[{}]|\bNone\b", text), text


def test_what_is_well_has_a_line_for_each_hop(site):
    document = examine(site)

    assert document["ok"] is True
    assert [check["name"] for check in document["checks"]] == HEALTHY
    assert {"name", "ok", "detail", "hint"} <= document["checks"][0].keys()
    said = {check["name"]: check["detail"] for check in document["checks"]}
    assert said["credentials"] == f"{SITE_ARN} (from env)"
    assert "assumed-role/EventWriter" in said["assume-role"]
    assert f"{ORDERS} is ACTIVE: on-demand, 4 open shards" in said["stream"]
    assert said["permission"].startswith("kinesis:PutRecords is allowed")
    assert site.answers.records == []


def test_a_canary_is_written_and_read_back_only_when_asked(site):
    site.arguments = ["--write"]

    document = examine(site)

    written = document["checks"][-2]
    assert (written["name"], written["ok"]) == ("write", True)
    assert "read back" in written["detail"]
    [event] = map(json.loads, site.answers.payloads)
    assert event["type"] == "kinesis_bridge.test"


@pytest.mark.parametrize("action", ["DescribeStreamSummary", "GetShardIterator", "GetRecords"])
def test_a_missing_optional_permission_is_no_error(site, action):
    site.arguments = ["--write"]
    kinesis(action, "AccessDeniedException")(site)

    document = examine(site)

    assert document["ok"] is True
    assert "optional" in json.dumps(document)


def test_the_stream_of_an_endpoint_that_knows_no_dry_run_is_said_to_be_written(site):
    site.replace(PutRecords=lambda request: request.parameters.pop("DryRun", None) and None)

    document = examine(site)

    [check] = [check for check in document["checks"] if check["name"] == "permission"]
    assert "wrote the canary" in check["detail"]
    assert len(site.answers.records) == 1


def test_a_clock_that_is_two_minutes_wrong_is_only_noted(site):
    clock(2)(site)
    [check] = [check for check in examine(site)["checks"] if check["name"] == "clock"]
    assert check["ok"] is True
    assert "behind" in check["detail"]


def test_a_token_that_nobody_renews_is_noted(site):
    site.environ(AWS_SESSION_TOKEN="token-of-a-person-0123456789")
    document = examine(site)
    [check] = [check for check in document["checks"] if check["name"] == "credentials"]
    assert check["ok"] is True
    assert "AWS_SESSION_TOKEN" in check["hint"]
    assert "token-of-a-person" not in json.dumps(document)


def test_a_customer_managed_key_is_named_with_what_it_needs(site):
    key = "arn:aws:kms:eu-west-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    summary(EncryptionType="KMS", KeyId=key)(site)
    [check] = [check for check in examine(site)["checks"] if check["name"] == "stream"]
    assert check["ok"] is True
    assert key in check["detail"]
    assert "kms:GenerateDataKey" in check["hint"]


def test_each_role_of_a_chain_has_a_line(site):
    site.configure(role={"VIA": "gate"})
    configured = dict(site.settings.KINESIS_BRIDGE)
    configured["ROLES"]["gate"] = {"ROLE_ARN": GATE}
    site.settings.KINESIS_BRIDGE = configured
    names = [check["name"] for check in examine(site)["checks"]]
    assert names[names.index("credentials") :][:3] == [
        "credentials",
        "assume-role:gate",
        "assume-role",
    ]


def test_a_firehose_stream_is_described_and_needs_no_kinesis(site):
    firehose()(site)
    document = examine(site)
    assert document["ok"] is True, document
    assert site.server.count("DescribeDeliveryStream") == 1
    assert site.server.count("PutRecords") == 0


# As people see it


def test_the_demo_is_well_on_the_emulator(tmp_path):
    env = environment(tmp_path, KINESIS_LOCAL_AWS="True")

    done = manage("kinesis_doctor", "--write", env=env)

    assert done.returncode == 0, done.stderr
    marks = [line.split()[:2] for line in done.stdout.splitlines() if not line.startswith("      ")]
    assert marks == [["ok", name] for name in [*HEALTHY[:-1], "write", HEALTHY[-1]]]


def test_what_is_wrong_is_shown_with_side_fix_and_documents(tmp_path):
    answers = Answers(PutRecords=kinesis_error("KMSAccessDeniedException", "no key for you"))
    with AwsServer(answers) as server:
        done = manage("kinesis_doctor", env=environment(tmp_path, **server.environment))

    assert done.returncode == 1
    shown = done.stdout
    assert "FAIL  permission" in shown
    assert "no key for you" in shown
    assert "Who: account B" in shown
    assert "Fix: In account B add the statement below to the key's policy" in shown
    title = "account B (222222222222): statement of the key's policy"
    statement, _ = json.JSONDecoder().raw_decode(shown.split(title)[1].lstrip())
    assert statement["Principal"] == {"AWS": ROLE_ARN}
    assert done.stderr.strip().endswith("Not well: permission.")


def test_wrong_settings_are_a_finding_and_no_system_check_error(tmp_path):
    done = manage("kinesis_doctor", "--json", env=environment(tmp_path, KINESIS_REGION="nowhere"))

    assert done.returncode == 1
    [check] = json.loads(done.stdout)["checks"]
    assert (check["name"], check["finding"]) == ("settings", "settings")
    assert "REGION" in check["detail"]


def test_the_table_has_every_finding_but_the_outboxs_own():
    named = {name for _, _, name in CASES}
    elsewhere = {row.name for row in FINDINGS if row.hops == ("outbox",)}
    unreachable_here = {
        "role-missing",  # IAM's own answer: STS says AccessDenied
        "unreachable",  # the doctor says which of dns, refused and no-route it is
        "sso-login",  # wants a login in a browser
        "record-refused",  # the doctor's own record is always valid
    }
    assert {row.name for row in FINDINGS} == named | unreachable_here | elsewhere
