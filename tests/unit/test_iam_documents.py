"""Settings -> the documents of both accounts: what each needs, and nothing else."""

import json
from dataclasses import replace

import pytest

from kinesis_bridge import iam
from kinesis_bridge.exceptions import PolicyError
from tests.support.iam import AUDIT, FIREHOSE, GATE, KEY, ORDERS, SITE, WRITER, grants, settings

WRITE = ["kinesis:PutRecord", "kinesis:PutRecords"]
READ = [
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:ListShards",
]
THROUGH = {"ROLE": "writer", "REGION": "eu-west-1"}
SHARDS = {"STREAM": "orders", **THROUGH, "OPTIONS": {"AGGREGATE": "shard"}}


def allowed(document):
    """What a document allows: (actions, resources) by Sid."""
    return {
        statement["Sid"]: (statement["Action"], statement["Resource"])
        for statement in document["Statement"]
    }


@pytest.mark.parametrize(
    ("streams", "asked", "expected"),
    [
        ({"default": {"STREAM": "orders", **THROUGH}}, {}, {"WriteTheStream": (WRITE, ORDERS)}),
        (
            {"default": SHARDS},
            {},
            {
                "WriteTheStream": (WRITE, ORDERS),
                "ListItsShards": ("kinesis:ListShards", ORDERS),
            },
        ),
        (
            {"default": SHARDS, "audit": {"STREAM": "audit", **THROUGH}},
            {},
            {
                "WriteTheStream": (WRITE, [AUDIT, ORDERS]),
                "ListItsShards": ("kinesis:ListShards", ORDERS),
            },
        ),
        (
            {"default": SHARDS},
            {"read": True},
            {"WriteTheStream": (WRITE, ORDERS), "ReadTheStreamBack": (READ, ORDERS)},
        ),
        (
            {"default": {"STREAM": "orders", **THROUGH}},
            {"kms_key": KEY},
            {
                "WriteTheStream": (WRITE, ORDERS),
                "UseTheKeyOfTheStream": ("kms:GenerateDataKey", KEY),
            },
        ),
        (
            {"default": {"STREAM": "orders", **THROUGH}},
            {"kms_key": KEY, "read": True},
            {
                "WriteTheStream": (WRITE, ORDERS),
                "ReadTheStreamBack": (READ, ORDERS),
                "UseTheKeyOfTheStream": (["kms:Decrypt", "kms:GenerateDataKey"], KEY),
            },
        ),
        (
            {"default": {"STREAM": FIREHOSE, **THROUGH}},
            {},
            {"WriteToFirehose": ("firehose:PutRecordBatch", FIREHOSE)},
        ),
        (
            {"default": {"STREAM": FIREHOSE, **THROUGH}},
            {"read": True},
            {
                "WriteToFirehose": ("firehose:PutRecordBatch", FIREHOSE),
                "DescribeFirehose": ("firehose:DescribeDeliveryStream", FIREHOSE),
            },
        ),
    ],
    ids=[
        "plain",
        "shard",
        "one of two by shard",
        "read",
        "key",
        "key and read",
        "firehose",
        "firehose and read",
    ],
)
def test_role_may_do_what_settings_and_flags_need(streams, asked, expected):
    made = grants(settings(**streams), **asked)

    assert allowed(made.main.permission) == expected


def test_parts_of_the_json_document():
    made = grants().as_dict()

    assert list(made) == ["account_a", "account_b", "warnings"]
    assert made["account_a"]["account"] == "111111111111"
    assert made["account_a"]["principal"] == SITE
    assert made["account_b"].keys() >= {"role_name", "trust_policy", "permission_policy"}
    assert made["account_b"]["role_name"] == "EventWriter"
    assert made["account_b"]["role_path"] == "/team/"
    assert made["account_b"]["streams"] == ["orders"]
    assert made["account_b"]["max_session_duration"] == 3600


def test_role_may_serve_as_long_as_the_settings_ask():
    role = {"ROLE_ARN": WRITER, "DURATION_SECONDS": 7200}

    assert grants(settings({"writer": role})).main.seconds == 7200


def test_each_role_of_a_chain_trusts_the_one_before_and_may_assume_the_next():
    roles = {
        "gate": {"ROLE_ARN": GATE, "SOURCE_IDENTITY": "shop"},
        "writer": {"ROLE_ARN": WRITER, "VIA": "gate"},
    }

    made = grants(settings(roles))

    gate, writer = made.roles
    both = ["sts:AssumeRole", "sts:SetSourceIdentity"]
    assert made.main == writer
    assert allowed(made.site.policy) == {"AssumeTheBridgeRole": (both, GATE)}
    assert gate.trust["Statement"][0]["Principal"] == {"AWS": SITE}
    assert allowed(gate.permission) == {"AssumeTheBridgeRole": (both, WRITER)}
    assert writer.trust["Statement"][0]["Principal"] == {"AWS": GATE}
    assert writer.trust["Statement"][0]["Action"] == both
    assert [other["role_name"] for other in made.as_dict()["others"]] == ["Gate"]


def test_role_of_two_aliases_is_one_role_with_both_their_documents():
    roles = {
        "writer": {"ROLE_ARN": WRITER, "EXTERNAL_ID": "one"},
        "again": {"ROLE_ARN": WRITER, "EXTERNAL_ID": "two"},
    }
    streams = {
        "default": {"STREAM": "orders", **THROUGH},
        "audit": {"STREAM": "audit", **THROUGH, "ROLE": "again"},
    }

    [role] = grants(settings(roles, **streams)).roles

    assert [statement["Sid"] for statement in role.trust["Statement"]] == [
        "LetTheSiteAssumeThisRole",
        "LetTheSiteAssumeThisRole2",
    ]
    assert allowed(role.permission) == {"WriteTheStream": (WRITE, [AUDIT, ORDERS])}


def test_every_role_gets_its_documents():
    roles = {"writer": {"ROLE_ARN": WRITER}, "viewer": {"ROLE_ARN": GATE}}

    made = grants(settings(roles), unused_roles=True)

    assert [role.name for role in made.roles] == ["EventWriter", "Gate"]
    assert [resource for _, resource in allowed(made.site.policy).values()] == [WRITER, GATE]
    assert made.roles[1].permission is None
    assert 'ROLES["viewer"] serves no stream' in made.warnings[0]
    assert grants(settings(roles)).roles == made.roles[:1]


def test_without_a_role_the_stream_lets_the_site_in_and_the_site_may_write():
    made = grants(settings(default={"STREAM": ORDERS}), kms_key=KEY)

    assert made.main.policy == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "LetTheSiteWrite",
                "Effect": "Allow",
                "Principal": {"AWS": SITE},
                "Action": WRITE,
                "Resource": ORDERS,
            }
        ],
    }
    assert allowed(made.site.policy) == {
        "WriteTheStream": (WRITE, ORDERS),
        "UseTheKeyOfTheStream": ("kms:GenerateDataKey", KEY),
    }
    assert "its key policy must allow them" in made.warnings[0]


@pytest.mark.parametrize(
    ("asked", "sid", "action"),
    [
        ({"read": True}, "LetTheSiteReadBack", READ),
        ({"list_shards": True}, "LetTheSiteListItsShards", "kinesis:ListShards"),
    ],
)
def test_resource_policy_allows_more_where_that_is_needed(asked, sid, action):
    _, statement = iam.resource_policy(ORDERS, SITE, **asked)["Statement"]

    assert (statement["Sid"], statement["Action"]) == (sid, action)


def test_resource_policy_in_place_of_a_role_says_which_settings_use_it():
    made = grants(without_role=True)

    assert made.roles == ()
    assert made.main.arn == ORDERS
    assert f'"STREAM": "{ORDERS}", "ROLE": None' in made.warnings[0]


def test_firehose_has_no_resource_policy():
    with pytest.raises(PolicyError, match="through a role"):
        grants(settings(default={"STREAM": FIREHOSE}))


def test_stream_of_the_sites_own_account_needs_no_resource_policy():
    own = ORDERS.replace("222222222222", "111111111111")

    assert "identity policy alone" in grants(settings(default={"STREAM": own})).warnings[0]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("alias/orders", "ARN of a key"),
        ("arn:aws:kms:eu-west-1:222222222222:alias/orders", "not of an alias"),
        (KEY + "*", "ARN of a key"),
        (KEY.replace("eu-west-1", "us-east-1"), "own region"),
    ],
)
def test_key_that_no_policy_can_name_is_refused(key, reason):
    with pytest.raises(PolicyError, match=reason):
        grants(kms_key=key)


def test_key_is_of_no_use_to_a_writer_of_firehose():
    with pytest.raises(PolicyError, match="Firehose needs no key"):
        grants(settings(default={"STREAM": FIREHOSE, "ROLE": "writer"}), kms_key=KEY)


def test_root_lets_the_whole_account_in_and_that_is_said():
    made = grants(principal="arn:aws:iam::111111111111:root")

    assert "whole account 111111111111" in made.warnings[0]


def test_what_means_more_than_itself_to_iam_is_written_so_that_it_does_not():
    role = iam.identity_policy(settings().roles["writer"])
    odd = replace(
        settings().roles["writer"],
        role_arn="arn:aws:iam::222222222222:role/a*b?${c}/R",
        external_id="${aws:username}",
    )

    assert role["Statement"][0]["Resource"] == WRITER
    assert iam.identity_policy(odd)["Statement"][0]["Resource"] == (
        "arn:aws:iam::222222222222:role/a${*}b${?}${$}{c}/R"
    )
    assert iam.trust_policy(odd, SITE)["Statement"][0]["Condition"] == {
        "StringEquals": {"sts:ExternalId": "${$}{aws:username}"}
    }


@pytest.mark.parametrize("external_id", ["a\nb", "a\x00b", "{{resolve:ssm:x}}"])
def test_what_no_format_can_carry_is_refused(external_id):
    config = settings()
    role = replace(config.roles["writer"], external_id=external_id)

    with pytest.raises(PolicyError, match="no policy can hold"):
        grants(replace(config, roles={"writer": role}))


@pytest.mark.parametrize(
    "principal",
    [
        SITE,
        "arn:aws:iam::111111111111:user/site",
        "arn:aws:iam::111111111111:user/team/a/site@shop",
    ],
)
@pytest.mark.parametrize("given", [True, False])
def test_role_or_user_is_the_principal_as_it_is(principal, given):
    assert iam.check_principal(principal, given=given, partition="aws") == (principal, [])


def test_session_is_its_role_whose_path_is_unknown():
    session = "arn:aws:sts::111111111111:assumed-role/shop-web/i-0123"

    principal, warnings = iam.check_principal(session, given=False, partition="aws")

    assert principal == SITE
    assert "leaves out the role's path" in warnings[0]


def test_root_is_a_principal_only_where_it_is_asked_for():
    root = "arn:aws:iam::111111111111:root"

    assert iam.check_principal(root, given=True, partition="aws") == (root, [])
    with pytest.raises(PolicyError, match="root user of account 111111111111"):
        iam.check_principal(root, given=False, partition="aws")


@pytest.mark.parametrize(
    ("principal", "reason"),
    [
        ("*", "wildcard"),
        ("arn:aws:iam::111111111111:role/*", "wildcard"),
        ("arn:aws:iam::111111111111:role/a?b/R", "wildcard"),
        ("arn:aws:iam::*:role/R", "wildcard"),
        ("111111111111", "ARN of a role or user"),
        ("shop-web", "ARN of a role or user"),
        ("arn:aws:iam::111111111111:group/devs", "ARN of a role or user"),
        ("arn:aws:iam::111111111111:role/a\nb", "ARN of a role or user"),
        ("arn:aws:kinesis:eu-west-1:111111111111:stream/orders", "ARN of a role or user"),
        ("arn:aws:sts::111111111111:federated-user/bob", "federated user"),
        ("arn:aws-cn:iam::111111111111:role/R", "partition"),
    ],
)
@pytest.mark.parametrize("given", [True, False])
def test_principal_that_no_role_can_trust_is_refused(principal, reason, given):
    with pytest.raises(PolicyError, match=reason) as caught:
        iam.check_principal(principal, given=given, partition="aws")
    assert "--principal" in str(caught.value) or "partition" in str(caught.value)


def test_documents_are_json():
    assert json.loads(json.dumps(grants().as_dict())) == grants().as_dict()
