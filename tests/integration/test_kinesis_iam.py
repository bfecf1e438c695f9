"""``kinesis_iam``: what it prints where, whom it takes for the site, what it refuses."""

import json
from io import StringIO

import pytest
import yaml
from django.core.management import CommandError, call_command

from tests.support.aws import Answers, AwsServer, bridge, caller_identity, closed_port, sts_error
from tests.support.iam import said_by_terraform

SITE = "arn:aws:iam::111111111111:user/site"
NAMED = "arn:aws:iam::111111111111:role/team/shop-web"
ROLE = "arn:aws:iam::222222222222:role/EventWriter"
ORDERS = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
KEY = "arn:aws:kms:eu-west-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"

pytestmark = pytest.mark.usefixtures("fresh")


def run(*arguments):
    """Return what the command writes to stdout and to stderr."""
    out, err = StringIO(), StringIO()
    call_command("kinesis_iam", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def printed(*arguments):
    return json.loads(run(*arguments)[0])


def refused(*arguments):
    """Return what the command says when it fails, having printed nothing."""
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("kinesis_iam", *arguments, stdout=out, stderr=StringIO())
    assert caught.value.returncode == 1
    assert out.getvalue() == ""
    return str(caught.value)


@pytest.fixture
def caller(monkeypatch, settings):
    """Have STS say that the caller is this one, or answer with this reply."""
    servers = []

    def be(answer):
        reply = caller_identity(answer) if isinstance(answer, str) else answer
        server = AwsServer(Answers(GetCallerIdentity=reply))
        servers.append(server)
        server.__enter__()
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge()

    yield be
    for server in servers:
        server.__exit__(None, None, None)


def streams(**given):
    return {"ROLES": {"writer": {"ROLE_ARN": ROLE}}, "STREAMS": given}


@pytest.mark.parametrize("flag", [(), ("--json",), ("--format", "json")])
def test_stdout_is_the_document_and_nothing_else(flag):
    out, err = run(*flag, "--principal", NAMED)

    made = json.loads(out)
    assert list(made) == ["account_a", "account_b", "warnings"]
    assert made["account_a"]["identity_policy"]["Statement"][0]["Resource"] == ROLE
    assert made["account_b"]["role_name"] == "EventWriter"
    [trust] = made["account_b"]["trust_policy"]["Statement"]
    assert trust["Principal"] == {"AWS": NAMED}
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "tests-external-id"}}
    assert made["account_b"]["streams"] == ["orders", "audit"]
    assert (made["warnings"], err) == ([], "")


def test_one_stream_alone():
    [write] = printed("--stream", "default", "--principal", NAMED)["account_b"][
        "permission_policy"
    ]["Statement"]

    assert write["Resource"] == ORDERS


def test_flags_reach_the_documents():
    policy = printed("--principal", NAMED, "--read", "--kms-key", KEY)["account_b"][
        "permission_policy"
    ]

    assert [statement["Sid"] for statement in policy["Statement"]] == [
        "WriteTheStream",
        "ReadTheStreamBack",
        "UseTheKeyOfTheStream",
    ]


def test_tags_of_the_credentials_go_along_to_every_role_of_a_chain(settings):
    settings.KINESIS_BRIDGE = {
        "ROLES": {
            "first": {"ROLE_ARN": "arn:aws:iam::222222222222:role/First"},
            "writer": {"ROLE_ARN": ROLE, "VIA": "first"},
        },
        "STREAMS": {"default": {"STREAM": "orders", "ROLE": "writer", "REGION": "eu-west-1"}},
    }
    made = printed("--principal", NAMED, "--session-tags")
    without = printed("--principal", NAMED)

    assert '"sts:TagSession"' not in json.dumps(without)
    [first] = made["others"]
    for statement in (
        *made["account_a"]["identity_policy"]["Statement"],
        *first["trust_policy"]["Statement"],
        *first["permission_policy"]["Statement"],
        *made["account_b"]["trust_policy"]["Statement"],
    ):
        assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]


def test_script():
    out, _ = run("--format", "cli", "--principal", NAMED)

    assert out.startswith("#!/bin/sh\n")
    assert out.endswith("esac\n")
    assert "--role-name=EventWriter" in out


def test_templates():
    out, _ = run("--format", "cloudformation", "--principal", NAMED)

    assert len(list(yaml.safe_load_all(out))) == 2


def test_terraform():
    out, _ = run("--format", "terraform", "--principal", NAMED)

    assert len(said_by_terraform(out)) == 3


def test_resource_policy():
    made = printed("--resource-policy", "--stream", "default", "--principal", NAMED)

    assert made["account_b"]["stream_arn"] == ORDERS
    [statement] = made["account_b"]["resource_policy"]["Statement"]
    assert statement["Principal"] == {"AWS": NAMED}
    assert made["account_a"]["identity_policy"]["Statement"][0]["Resource"] == ORDERS
    assert "role_name" not in made["account_b"]


def test_stream_without_a_role(settings):
    settings.KINESIS_BRIDGE = streams(default={"STREAM": ORDERS})

    made = printed("--stream", "default", "--principal", NAMED)

    assert made["account_b"]["resource_policy"]["Statement"][0]["Resource"] == ORDERS


def test_stream_without_role_and_arn_is_in_the_sites_account(settings):
    settings.KINESIS_BRIDGE = streams(default={"STREAM": "orders", "REGION": "eu-west-1"})

    made = printed("--stream", "default", "--principal", NAMED)

    assert made["account_b"]["account"] == "111111111111"


def test_default_stream_is_the_main_one_wherever_it_stands(settings):
    settings.KINESIS_BRIDGE = {
        "ROLES": {"a": {"ROLE_ARN": ROLE + "-a"}, "b": {"ROLE_ARN": ROLE}},
        "STREAMS": {
            "first": {"STREAM": "first", "ROLE": "a", "REGION": "eu-west-1"},
            "default": {"STREAM": "orders", "ROLE": "b", "REGION": "eu-west-1"},
        },
    }

    made = printed("--principal", NAMED)

    assert made["account_b"]["role_name"] == "EventWriter"
    assert [other["role_name"] for other in made["others"]] == ["EventWriter-a"]
    assert len(made["account_a"]["identity_policy"]["Statement"]) == 2
    assert "others" not in printed("--principal", NAMED, "--stream", "default")


def test_emulators_user_is_the_principal_under_local_aws_and_that_is_said():
    out, err = run()

    made = json.loads(out)
    assert made["account_a"]["principal"] == SITE
    assert err.startswith("Warning: LOCAL_AWS is on")
    assert made["warnings"] == [err.removeprefix("Warning: ").rstrip("\n")]


def test_sts_says_who_the_site_is(caller):
    caller("arn:aws:sts::111111111111:assumed-role/shop-web/i-0123")

    out, err = run("--format", "cli")

    assert "arn:aws:iam::111111111111:role/shop-web" in out
    assert "Warning" not in out
    assert "leaves out the role's path" in err


@pytest.mark.parametrize(
    ("arn", "reason"),
    [
        ("arn:aws:iam::111111111111:root", "root user"),
        ("arn:aws:sts::111111111111:federated-user/bob", "federated user"),
    ],
)
def test_caller_who_can_assume_no_role(caller, arn, reason):
    caller(arn)

    assert reason in refused()


def test_root_that_is_asked_for_is_warned_of():
    out, err = run("--principal", "arn:aws:iam::111111111111:root")

    assert json.loads(out)["account_a"]["principal"].endswith(":root")
    assert "Warning: arn:aws:iam::111111111111:root is the whole account" in err


def test_sts_that_cannot_be_asked(caller):
    caller(sts_error("InvalidClientTokenId", "The security token is invalid."))

    said = refused()

    assert "STS cannot be asked who the site is" in said
    assert "--principal arn:aws:iam::111111111111:role/shop-web" in said


def test_no_credentials_at_all(settings):
    settings.KINESIS_BRIDGE = bridge()

    assert "--principal" in refused()


def test_nothing_is_asked_where_the_principal_is_given(settings, monkeypatch):
    settings.KINESIS_BRIDGE = bridge()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")

    assert printed("--principal", NAMED)["account_a"]["principal"] == NAMED


def test_nothing_is_asked_where_the_settings_name_it(settings, monkeypatch):
    settings.KINESIS_BRIDGE = bridge(PRINCIPAL=NAMED)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")

    assert printed()["account_a"]["principal"] == NAMED
    assert printed("--principal", SITE)["account_a"]["principal"] == SITE


def test_two_principals_are_two_runs(settings):
    settings.KINESIS_BRIDGE = {
        "ROLES": {
            "one": {"ROLE_ARN": ROLE, "PRINCIPAL": NAMED},
            "two": {"ROLE_ARN": ROLE + "2", "PRINCIPAL": SITE},
        },
        "STREAMS": {
            "default": {"STREAM": "orders", "ROLE": "one", "REGION": "eu-west-1"},
            "audit": {"STREAM": "audit", "ROLE": "two", "REGION": "eu-west-1"},
        },
    }
    with pytest.raises(CommandError, match=r"different principals .* --stream"):
        run()
    assert printed("--stream", "audit")["account_a"]["principal"] == SITE


def test_two_callers_are_two_runs(settings, monkeypatch, tmp_path):
    with (
        AwsServer(Answers(GetCallerIdentity=caller_identity(SITE))) as one,
        AwsServer(Answers(GetCallerIdentity=caller_identity(NAMED))) as two,
    ):
        keys = "aws_access_key_id = AKIAONE\naws_secret_access_key = x\nregion = eu-west-1\n"
        config = tmp_path / "config"
        config.write_text(
            f"[profile one]\nendpoint_url = {one.url}\n{keys}"
            f"[profile two]\nendpoint_url = {two.url}\n{keys}"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        settings.KINESIS_BRIDGE = {
            "ROLES": {
                "one": {"ROLE_ARN": ROLE, "PROFILE": "one"},
                "two": {"ROLE_ARN": ROLE + "2", "PROFILE": "two"},
            },
            "STREAMS": {
                "default": {"STREAM": "orders", "ROLE": "one", "REGION": "eu-west-1"},
                "audit": {"STREAM": "audit", "ROLE": "two", "REGION": "eu-west-1"},
            },
        }

        assert "different callers" in refused()
        assert printed("--stream", "audit")["account_a"]["principal"] == NAMED


def test_wildcard_is_refused():
    assert "wildcard" in refused("--principal", "*")


def test_key_that_is_none_is_refused():
    assert "--kms-key" in refused("--principal", NAMED, "--kms-key", "alias/orders")


def test_unknown_stream_is_refused():
    assert "'nope'" in refused("--stream", "nope", "--principal", NAMED)


def test_unknown_region_is_refused(settings):
    settings.KINESIS_BRIDGE = streams(default={"STREAM": "orders", "ROLE": "writer"})

    assert "names no region" in refused("--principal", NAMED)


def test_json_and_another_format_exclude_each_other():
    out = StringIO()
    with pytest.raises(CommandError, match="exclude each other"):
        call_command("kinesis_iam", "--json", "--format", "cli", stdout=out)
    assert json.loads(out.getvalue())["error"]["name"] == "usage"
