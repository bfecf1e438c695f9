"""``check --deploy``: what must not be on a real site; each with its id, its hint, no secret."""

import io
import logging
import os

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from tests.support.aws import ROLE_ARN, environment, manage

# Django's own checks read settings that its newest version deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The EMAIL_.* setting is deprecated")
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ROLE = {"ROLE_ARN": ROLE_ARN, "EXTERNAL_ID": "shop-7f3a"}
STREAM = {"STREAM": "orders", "ROLE": "writer", "REGION": "eu-west-1"}


@pytest.fixture(autouse=True)
def bridge(settings):
    """Change the settings of a site that has nothing to be told."""

    def change(**top):
        good = {"ROLES": {"writer": ROLE}, "STREAMS": {"default": STREAM}}
        settings.KINESIS_BRIDGE = {**good, **top}

    change()
    return change


def deployed():
    """What ``check --deploy`` prints of ours: (id, line with its hint) by occurrence."""
    output = io.StringIO()
    try:
        call_command("check", "--deploy", "--tag", "security", stdout=output, stderr=output)
        text = output.getvalue()
    except SystemCheckError as error:
        text = str(error)
    lines = text.splitlines()
    found = [
        (line.split("kinesis_bridge.", 1)[1][:4], f"{line}\n{following}")
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("?: (kinesis_bridge.")
    ]
    assert all("\tHINT: " in said for _, said in found)
    return found


def only(number):
    """The text of the one message that there is, which has this number."""
    [(found, text)] = deployed()
    assert found == number
    return text


def test_a_site_with_nothing_to_be_told():
    assert deployed() == []


@pytest.mark.parametrize("others", [{}, {"SOURCE": "my shop"}], ids=["alone", "beside another"])
def test_e050_emulator(bridge, others):
    bridge(LOCAL_AWS=True, **others)

    text = only("E050")

    assert 'KINESIS_BRIDGE["LOCAL_AWS"] is on' in text
    assert "KINESIS_LOCAL_AWS" in text


@pytest.mark.parametrize("local", [{"LOCAL_AWS": False}, {"LOCAL_AWS": "maybe"}])
def test_emulator_that_is_not_on(bridge, local):
    bridge(**local)

    assert deployed() == []


def test_only_check_deploy_speaks_of_it(bridge):
    bridge(LOCAL_AWS=True)

    assert "kinesis_bridge.E050" not in [message.id for message in run_checks(databases=[])]


@pytest.mark.parametrize("service", ["", "_STS", "_KINESIS", "_FIREHOSE", "_S3", "_KMS"])
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4566", "HTTP://vpce-0.kinesis.eu-west-1.vpce.amazonaws.com"]
)
def test_e051_endpoint_of_the_environment(monkeypatch, service, url):
    monkeypatch.setenv(f"AWS_ENDPOINT_URL{service}", url)

    assert f"The environment's AWS_ENDPOINT_URL{service} is plain http" in only("E051")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL_STS", "https://vpce-0.sts.eu-west-1.vpce.amazonaws.com"),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
    ],
)
def test_endpoint_with_tls_or_without_effect(monkeypatch, name, value):
    if name != "AWS_ENDPOINT_URL_STS":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    monkeypatch.setenv(name, value)

    assert deployed() == []


FILE = """
[default]
services = mine
[profile shop]
endpoint_url = http://127.0.0.1:4566
[profile unused]
endpoint_url = http://127.0.0.1:4567
[services mine]
kinesis =
  endpoint_url = http://127.0.0.1:4568
sts =
  endpoint_url = https://sts.example
"""


@pytest.mark.parametrize(
    ("variables", "role", "where"),
    [
        ({}, {}, "profile 'default' of boto3's configuration: endpoint_url of kinesis"),
        ({"AWS_PROFILE": "shop"}, {}, "profile 'shop' of boto3's configuration: endpoint_url"),
        (
            {"AWS_PROFILE": "other"},
            {"PROFILE": "shop"},
            "profile 'shop' of boto3's configuration: endpoint_url",
        ),
    ],
)
def test_e051_endpoint_of_the_files(bridge, monkeypatch, tmp_path, variables, role, where):
    (tmp_path / "config").write_text(FILE)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    bridge(ROLES={"writer": {**ROLE, **role}})

    assert f"The {where} is plain http" in only("E051")


def test_files_that_cannot_be_read_are_boto3s_to_tell(monkeypatch, tmp_path):
    (tmp_path / "config").write_text("no = section\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    assert deployed() == []


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("AWS_SECRET_ACCESS_KEY", SECRET, "AWS_SECRET_ACCESS_KEY"),
        ("AWS_S3_ACCESS_KEY_ID", "something", "AWS_S3_ACCESS_KEY_ID"),
        ("BROKER_URL", f"sqs://{KEY_ID}:{SECRET}@", "BROKER_URL"),
        (
            "STORES",
            {"a": [{}, {"OPTIONS": {"access_key": KEY_ID.replace("AKIA", "ASIA")}}]},
            "STORES['a'][1]['OPTIONS']['access_key']",
        ),
        (
            "STORES",
            {"x": {"aws_secret_access_key": SECRET}},
            "STORES['x']['aws_secret_access_key']",
        ),
        ("KEYS", {KEY_ID: ({KEY_ID},)}, "KEYS['...'][0][0]"),
    ],
)
def test_e052_key_in_the_settings(settings, name, value, path):
    setattr(settings, name, value)

    text = only("E052")

    assert f"settings.{path} holds an AWS key" in text
    assert SECRET not in text
    assert KEY_ID not in text
    assert "ASIA" not in text


def test_e052_key_in_our_own_settings(bridge):
    bridge(ROLES={"writer": {**ROLE, "TAGS": {"made": KEY_ID}}})

    assert "settings.KINESIS_BRIDGE['ROLES']['writer']['TAGS']['made'] holds" in only("E052")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_ACCESS_KEY_ID", None),
        ("WORD", f"X{KEY_ID}"),
        ("WORD", "AKIA is a prefix"),
    ],
)
def test_what_is_no_key(settings, name, value):
    setattr(settings, name, value)

    assert deployed() == []


def test_settings_that_hold_themselves(settings):
    settings.CIRCLE = circle = {}
    circle["again"] = circle

    assert deployed() == []


@pytest.mark.parametrize(
    "delivery", ["memory", "console", "kinesis_bridge.delivery.memory.MemoryDelivery"]
)
def test_e053_delivery_to_nowhere(bridge, delivery):
    bridge(STREAMS={"default": STREAM, "audit": {**STREAM, "DELIVERY": delivery}})

    text = only("E053")

    assert 'KINESIS_BRIDGE["STREAMS"]["audit"]["DELIVERY"] is' in text
    assert "sent nowhere" in text


def test_w050_long_lived_key_in_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    text = only("W050")

    assert KEY_ID not in text
    assert SECRET not in text


def test_w051_token_in_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID.replace("AKIA", "ASIA"))
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRET)

    assert SECRET not in only("W051")

    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    assert deployed() == []


@pytest.mark.parametrize("name", ["botocore", "boto3", "urllib3"])
def test_w052_loggers_at_debug(caplog, name):
    with caplog.at_level(logging.DEBUG, name):
        assert f"The loggers {name} are at DEBUG" in only("W052")


def test_w052_is_seen_where_the_root_logger_is_at_debug(caplog):
    with caplog.at_level(logging.DEBUG):
        assert "botocore, boto3, urllib3" in only("W052")


def test_w053_role_without_an_external_id(bridge):
    bridge(ROLES={"writer": {"ROLE_ARN": ROLE_ARN}})

    text = only("W053")

    assert 'KINESIS_BRIDGE["ROLES"]["writer"] has no EXTERNAL_ID' in text
    assert "account 222222222222" in text


def test_w054_a_whole_account_that_is_to_be_trusted(bridge):
    bridge(ROLES={"writer": {**ROLE, "PRINCIPAL": "arn:aws:iam::111111111111:root"}})

    text = only("W054")

    assert "the whole account: arn:aws:iam::111111111111:root" in text
    assert ROLE_ARN in text


def test_one_role_that_is_to_be_trusted(bridge):
    bridge(ROLES={"writer": {**ROLE, "PRINCIPAL": "arn:aws:iam::111111111111:role/shop-web"}})
    assert deployed() == []


def test_next_role_of_a_chain_in_the_same_account_needs_no_external_id(bridge):
    following = {"ROLE_ARN": f"{ROLE_ARN}2", "VIA": "writer"}
    other = {"ROLE_ARN": ROLE_ARN.replace("2" * 12, "3" * 12), "VIA": "writer"}
    bridge(ROLES={"writer": ROLE, "next": following})
    assert deployed() == []

    bridge(ROLES={"writer": ROLE, "next": following, "other": other})
    assert '["other"]' in only("W053")


def test_process_of_its_own(tmp_path):
    env = environment(
        tmp_path,
        KINESIS_LOCAL_AWS="True",
        KINESIS_DELIVERY="console",
        KINESIS_EXTERNAL_ID="",
        AWS_ENDPOINT_URL_KINESIS="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID=KEY_ID,
        AWS_SESSION_TOKEN=SECRET,
        AWS_EC2_METADATA_DISABLED="true",
        PYTHONWARNINGS="ignore",
        PATH=os.environ["PATH"],
    )

    done = manage("check", "--deploy", "--tag", "security", env=env)

    assert done.returncode == 1
    for number in ("E050", "E051", "E053", "W050", "W051", "W053"):
        assert f"(kinesis_bridge.{number})" in done.stderr
    assert KEY_ID not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
