"""The two accounts' documents, word for word."""

import json

import pytest

from kinesis_bridge import iam
from kinesis_bridge.conf import RoleConfig, StreamConfig

ROLE_ARN = "arn:aws:iam::222222222222:role/team/EventWriter"
SITE = "arn:aws:iam::111111111111:role/site"
ORDERS = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
AUDIT = "arn:aws:kinesis:eu-west-1:222222222222:stream/audit"


def role(**settings):
    return RoleConfig(alias="writer", **{"role_arn": ROLE_ARN, **settings})


def stream(name="orders", **settings):
    return StreamConfig(alias="default", stream=name, **settings)


def document(text):
    """Return the statements as JSON text says them, in a whole document."""
    return {"Version": "2012-10-17", "Statement": json.loads(text)}


ACTIONS = [
    ({}, "sts:AssumeRole"),
    ({"source_identity": "shop"}, ["sts:AssumeRole", "sts:SetSourceIdentity"]),
    ({"tags": {"site": "shop"}}, ["sts:AssumeRole", "sts:TagSession"]),
    (
        {"source_identity": "shop", "tags": {"site": "shop"}},
        ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"],
    ),
]


@pytest.mark.parametrize(("settings", "actions"), ACTIONS)
def test_identity_policy_allows_exactly_what_assuming_the_role_takes(settings, actions):
    assert iam.identity_policy(role(**settings)) == document(
        f"""[{{
            "Sid": "AssumeTheBridgeRole",
            "Effect": "Allow",
            "Action": {json.dumps(actions)},
            "Resource": "arn:aws:iam::222222222222:role/team/EventWriter"
        }}]"""
    )


@pytest.mark.parametrize(("settings", "actions"), ACTIONS)
def test_trust_policy_lets_exactly_the_principal_in(settings, actions):
    assert iam.trust_policy(role(**settings), SITE) == document(
        f"""[{{
            "Sid": "LetTheSiteAssumeThisRole",
            "Effect": "Allow",
            "Principal": {{"AWS": "arn:aws:iam::111111111111:role/site"}},
            "Action": {json.dumps(actions)}
        }}]"""
    )


def test_trust_policy_asks_for_the_external_id():
    assert iam.trust_policy(role(external_id="shop-prod"), SITE) == document(
        """[{
            "Sid": "LetTheSiteAssumeThisRole",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111111111111:role/site"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "shop-prod"}}
        }]"""
    )


def test_external_id_is_only_in_account_b_s_trust_policy():
    secret = role(external_id="shop-prod")

    assert "shop-prod" not in json.dumps(iam.identity_policy(secret))


def test_permission_policy_allows_to_write_one_stream():
    assert iam.permission_policy([ORDERS]) == document(
        """[{
            "Sid": "WriteTheStream",
            "Effect": "Allow",
            "Action": ["kinesis:PutRecord", "kinesis:PutRecords"],
            "Resource": "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
        }]"""
    )


def test_permission_policy_allows_to_read_back_where_that_is_asked_for():
    policy = iam.permission_policy(iter([ORDERS, AUDIT]), read=True)

    assert policy == document(
        """[{
            "Sid": "WriteTheStream",
            "Effect": "Allow",
            "Action": ["kinesis:PutRecord", "kinesis:PutRecords"],
            "Resource": [
                "arn:aws:kinesis:eu-west-1:222222222222:stream/audit",
                "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
            ]
        }, {
            "Sid": "ReadTheStreamBack",
            "Effect": "Allow",
            "Action": [
                "kinesis:DescribeStreamSummary",
                "kinesis:GetRecords",
                "kinesis:GetShardIterator",
                "kinesis:ListShards"
            ],
            "Resource": [
                "arn:aws:kinesis:eu-west-1:222222222222:stream/audit",
                "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
            ]
        }]"""
    )


def test_stream_of_two_aliases_is_named_once():
    [statement] = iam.permission_policy([ORDERS, ORDERS])["Statement"]

    assert statement["Resource"] == ORDERS


def test_changing_a_document_changes_no_later_one():
    iam.permission_policy([ORDERS])["Statement"][0]["Action"].append("kinesis:*")

    [statement] = iam.permission_policy([ORDERS])["Statement"]
    assert statement["Action"] == ["kinesis:PutRecord", "kinesis:PutRecords"]


@pytest.mark.parametrize(
    ("settings", "via", "region", "arn"),
    [
        ({"name": ORDERS, "region": "eu-west-1"}, role(), "us-east-1", ORDERS),
        ({"name": ORDERS}, None, None, ORDERS),
        ({"region": "eu-west-1"}, role(), "us-east-1", ORDERS),
        ({}, role(), "eu-west-1", ORDERS),
        ({}, role(), None, "arn:aws:kinesis:*:222222222222:stream/orders"),
        ({}, None, "eu-west-1", "arn:aws:kinesis:eu-west-1:*:stream/orders"),
        (
            {},
            role(role_arn="arn:aws-cn:iam::222222222222:role/R"),
            "cn-north-1",
            "arn:aws-cn:kinesis:cn-north-1:222222222222:stream/orders",
        ),
    ],
)
def test_stream_arn_is_the_settings_or_made_of_role_region_and_name(settings, via, region, arn):
    assert iam.stream_arn(stream(**settings), via, region) == arn


@pytest.mark.parametrize(
    ("caller", "principal"),
    [
        ("arn:aws:iam::111111111111:user/site", "arn:aws:iam::111111111111:user/site"),
        ("arn:aws:iam::111111111111:root", "arn:aws:iam::111111111111:root"),
        ("arn:aws:sts::111111111111:assumed-role/site/i-0123", SITE),
        (
            "arn:aws-us-gov:sts::111111111111:assumed-role/site/web@host",
            "arn:aws-us-gov:iam::111111111111:role/site",
        ),
    ],
)
def test_principal_is_the_user_or_the_role_behind_the_session(caller, principal):
    assert iam.principal_of(caller) == principal
