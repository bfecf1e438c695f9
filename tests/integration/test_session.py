"""Sessions that assume a role, against a server that answers as STS and Kinesis do."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from kinesis_bridge import get_client, get_session
from kinesis_bridge.conf import get_config
from kinesis_bridge.exceptions import AssumeRoleError, CredentialsError
from kinesis_bridge.session import renew
from kinesis_bridge.session.assume import default_session_name
from tests.support.aws import (
    ROLE_ARN,
    Answers,
    AwsServer,
    bridge,
    sts_error,
)
from tests.support.session import SECRETS, at_once, forks, in_child


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def aws(answers, monkeypatch, settings):
    with AwsServer(answers) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge()
        yield server


def kinesis(role="writer"):
    return get_session(role).client("kinesis", region_name="eu-west-1")


# What is sent, and when


def test_nothing_is_sent_before_the_first_use(aws):
    client = kinesis()
    repr(get_session("writer").get_credentials())

    assert aws.requests == []
    client.list_shards(StreamName="orders")
    assert [request.action for request in aws.requests] == ["AssumeRole", "ListShards"]


def test_only_what_is_set_is_asked_of_sts(aws):
    kinesis().list_shards(StreamName="orders")

    (request,) = aws.of("AssumeRole")
    request.parameters.pop("Version")
    assert request.parameters == {
        "RoleArn": ROLE_ARN,
        "RoleSessionName": default_session_name(),
        "DurationSeconds": "3600",
    }


def test_every_parameter_of_the_role_reaches_sts(aws, settings):
    policy = '{"Version": "2012-10-17", "Statement": []}'
    settings.KINESIS_BRIDGE = bridge(
        EXTERNAL_ID="external-1",
        SESSION_NAME="shop@prod",
        DURATION_SECONDS=900,
        SOURCE_IDENTITY="deployer",
        TAGS={"team": "shop", "stage": "prod"},
        SESSION_POLICY=policy,
    )

    kinesis().list_shards(StreamName="orders")

    (request,) = aws.of("AssumeRole")
    expected = {
        "ExternalId": "external-1",
        "RoleSessionName": "shop@prod",
        "DurationSeconds": "900",
        "SourceIdentity": "deployer",
        "Tags.member.1.Key": "team",
        "Tags.member.1.Value": "shop",
        "Tags.member.2.Key": "stage",
        "Tags.member.2.Value": "prod",
    }
    assert {name: request.parameters[name] for name in expected} == expected
    assert json.loads(request.parameters["Policy"]) == json.loads(policy)


@pytest.mark.parametrize("host", ["web 1/ü", "h" * 100, ""])
def test_the_default_session_name_is_one_that_sts_takes(host, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: host)

    name = default_session_name()

    assert name.startswith("tests-")
    assert 2 <= len(name) <= 64
    assert all(c.isascii() and (c.isalnum() or c in "_+=,.@-") for c in name)


def test_without_the_emulator_sts_is_asked_in_the_streams_region(settings):
    settings.KINESIS_BRIDGE = bridge()

    assert get_session("writer").region_name == "eu-west-1"
    client = get_session("writer").client("sts")
    assert client.meta.endpoint_url == "https://sts.eu-west-1.amazonaws.com"


def test_no_region_in_the_environment_is_needed_where_the_stream_has_one(aws):
    kinesis().list_shards(StreamName="orders")

    assert aws.of("AssumeRole")[0].scope == ("eu-west-1", "sts")


def test_the_roles_own_region_wins(aws, settings):
    settings.KINESIS_BRIDGE = bridge(REGION="eu-central-1")

    assert get_session("writer").region_name == "eu-central-1"
    get_session("writer").client("kinesis").list_shards(StreamName="orders")
    assert aws.of("AssumeRole")[0].scope == ("eu-central-1", "sts")
    assert aws.of("ListShards")[0].scope == ("eu-central-1", "kinesis")


def test_a_role_reached_via_another_is_assumed_with_the_others_credentials(aws, settings):
    configured = bridge(VIA="hop")
    configured["ROLES"]["hop"] = {"ROLE_ARN": "arn:aws:iam::333333333333:role/Hop"}
    settings.KINESIS_BRIDGE = configured

    kinesis().list_shards(StreamName="orders")

    first, second = aws.of("AssumeRole")
    assert first.parameters["RoleArn"] == "arn:aws:iam::333333333333:role/Hop"
    assert first.access_key == "AKIATESTSITE00000000"
    assert first.scope == ("eu-west-1", "sts")
    assert second.parameters["RoleArn"] == ROLE_ARN
    assert second.access_key == "ASIATEST000000000001"
    assert aws.of("ListShards")[0].access_key == "ASIATEST000000000002"


def test_the_source_credentials_come_from_the_profile(aws, settings, monkeypatch, tmp_path):
    config = tmp_path / "config"
    config.write_text(
        "[profile site]\naws_access_key_id = AKIAPROFILE000000000\n"
        "aws_secret_access_key = secret-of-the-profile-0123456789abcdefgh\nregion = eu-west-3\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    settings.KINESIS_BRIDGE = bridge(PROFILE="site")

    kinesis().list_shards(StreamName="orders")

    assert aws.of("AssumeRole")[0].access_key == "AKIAPROFILE000000000"


def test_a_profile_that_this_machine_lacks_is_named(aws, settings):
    settings.KINESIS_BRIDGE = bridge(PROFILE="nowhere")

    with pytest.raises(CredentialsError, match="AWS profile 'nowhere' is not in") as caught:
        get_session("writer")
    assert caught.value.name == "profile-missing"


def test_a_missing_profile_of_the_environment_is_named(aws, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "of-the-shell")

    with pytest.raises(CredentialsError, match="AWS profile 'of-the-shell' is not in"):
        get_session("writer")


# Refreshing


def test_the_old_credentials_serve_on_while_sts_fails_in_the_advisory_window(aws, answers):
    client = kinesis()
    client.list_shards(StreamName="orders")
    credentials = get_session("writer").get_credentials()
    answers.replaced["AssumeRole"] = sts_error("AccessDenied", "not now")

    def ahead(seconds):
        credentials._time_fetcher = lambda: datetime.now(UTC) + timedelta(seconds=seconds)

    ahead(3600 - 700)
    for _ in range(3):
        client.list_shards(StreamName="orders")
        credentials._failed_at -= 5
    assert aws.count("AssumeRole") == 2, "tried once, then left alone"
    assert {r.access_key for r in aws.of("ListShards")} == {"ASIATEST000000000001"}

    credentials._failed_at -= 20
    client.list_shards(StreamName="orders")
    assert aws.count("AssumeRole") == 3, "and again after the pause"

    ahead(3600 - 5)
    credentials._failed_at -= 2
    with pytest.raises(AssumeRoleError):
        client.list_shards(StreamName="orders")

    del answers.replaced["AssumeRole"]
    credentials._failed_at -= 2
    ahead(0)
    credentials._fetched_at -= 60
    assert credentials.drop()
    client.list_shards(StreamName="orders")
    assert aws.of("ListShards")[-1].access_key == "ASIATEST000000000002"


def test_threads_that_waited_share_the_failure(aws, answers, caplog):
    def deny(request):
        time.sleep(0.3)  # so that all of them wait
        return sts_error("AccessDenied", "denied")

    answers.replaced["AssumeRole"] = deny
    client = kinesis()

    errors = at_once(50, lambda: client.list_shards(StreamName="orders"))

    assert all(isinstance(error, AssumeRoleError) for error in errors)
    assert aws.count("AssumeRole") <= 2
    warnings = [line for line in caplog.messages if "Refreshing temporary" in line]
    assert len(warnings) == aws.count("AssumeRole"), "no traceback in the log for each thread"
    assert aws.count("ListShards") == 0


def test_a_denied_role_names_the_caller_that_sts_did_not(aws, answers):
    answers.replaced["AssumeRole"] = sts_error("AccessDenied", "denied")

    with pytest.raises(AssumeRoleError) as caught:
        kinesis().list_shards(StreamName="orders")

    assert "arn:aws:iam::111111111111:user/site may not assume" in caught.value.message
    assert ROLE_ARN in caught.value.message
    assert len(caught.value.documents) == 2


def test_credentials_fresh_from_sts_are_not_dropped(aws):
    stream = get_config().stream("default")
    kinesis().list_shards(StreamName="orders")

    assert renew(stream) is False
    kinesis().list_shards(StreamName="orders")
    assert aws.count("AssumeRole") == 1


def test_all_threads_that_find_the_session_expired_are_told_to_retry(aws):
    stream = get_config().stream("default")
    client = kinesis()
    client.list_shards(StreamName="orders")
    get_session("writer").get_credentials()._fetched_at -= 60

    assert at_once(8, lambda: renew(stream)) == [True] * 8
    client.list_shards(StreamName="orders")
    assert aws.count("AssumeRole") == 2


def test_account_as_own_credentials_are_not_ours_to_renew(aws, settings):
    settings.KINESIS_BRIDGE = {"STREAMS": {"default": {"STREAM": "orders", "REGION": "eu-west-1"}}}

    assert renew(get_config().stream("default")) is False


# One per process


def test_one_session_per_alias(aws):
    assert get_session("writer") is get_session("writer")
    assert get_session() is get_session()
    assert get_session("writer") is not get_session()


def test_an_alias_that_the_settings_lack_is_named(aws):
    with pytest.raises(ImproperlyConfigured, match=r"has no 'reader'; there are: 'writer'"):
        get_session("reader")


def test_twenty_threads_make_clients_at_once(aws):
    shards = at_once(20, lambda: kinesis().list_shards(StreamName="orders")["Shards"])

    assert all(len(answer) == 1 for answer in shards)
    assert aws.count("AssumeRole") == 1


@forks
def test_a_forked_child_has_a_session_of_its_own(aws):
    session = get_session("writer")
    get_client().put_record(b"parent")

    def child():
        get_client().put_record(b"child")
        return get_session("writer") is session

    assert in_child(child) is False
    assert get_session("writer") is session
    assert [r.access_key[-1] for r in aws.of("PutRecords")] == ["1", "2"]


# No secret to be seen


def test_no_repr_shows_a_secret(aws, settings):
    settings.KINESIS_BRIDGE = bridge(EXTERNAL_ID="external-secret")
    client = kinesis()
    client.list_shards(StreamName="orders")
    session = get_session("writer")
    credentials = session.get_credentials()
    frozen = credentials.get_frozen_credentials()
    assert frozen.secret_key.startswith("secret-of-session")

    shown = [
        *(session, client, credentials, frozen, get_client(), get_session()),
        *(get_config(), get_config().role("writer")),
    ]
    text = " ".join(f"{value!r} {value!s}" for value in shown)

    assert not [secret for secret in (*SECRETS, "external-secret") if secret in text]
    assert ":assumed-role/EventWriter/" in repr(credentials)


def test_no_error_shows_a_secret(aws, answers, settings):
    settings.KINESIS_BRIDGE = bridge(EXTERNAL_ID="external-secret")
    answers.replaced["AssumeRole"] = sts_error("AccessDenied", "denied")

    with pytest.raises(AssumeRoleError) as caught:
        kinesis().list_shards(StreamName="orders")

    text = f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert not [secret for secret in (*SECRETS, "external-secret") if secret in text]
