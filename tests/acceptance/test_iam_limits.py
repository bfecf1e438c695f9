"""What the documents of ``kinesis_iam`` do not allow: to others, on the way, and to the role."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from kinesis_bridge import get_session
from kinesis_bridge.conf import get_config
from kinesis_bridge.diagnosis import DENIED
from tests.support.ministack import (
    EXTERNAL_ID,
    REGION,
    World,
    fixture_ministack,  # noqa: F401
    fixture_world,  # noqa: F401
)


def set_up(world, configure=World.configure):
    world.b.make_stream()
    configure(world)
    world.grant()


def answer(operation, **request):
    """``done``, or AWS's code."""
    try:
        operation(**request)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "done"


def test_nobody_else_becomes_the_role(world):
    """Whatever their own accounts allow: the trust policy names one user and the ExternalId."""
    set_up(world)
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }

    def user(account, name):
        account.iam.create_user(UserName=name)
        account.put_policy(f"user/{name}", everything)
        key = account.iam.create_access_key(UserName=name)["AccessKey"]
        return account.client("sts", key=key["AccessKeyId"], secret=key["SecretAccessKey"])

    site = world.a.client(
        "sts", key=world.keys["AccessKeyId"], secret=world.keys["SecretAccessKey"]
    )
    asking = {
        "A's other user": (user(world.a, "other"), EXTERNAL_ID),
        "A's root": (world.a.sts, EXTERNAL_ID),
        "B's user": (user(world.b, "site"), EXTERNAL_ID),
        "C's user of the same name": (user(world.c, "site"), EXTERNAL_ID),
        "the site with no ExternalId": (site, None),
        "the site with another ExternalId": (site, "shop-7f3b"),
        "the site with the ExternalId in capitals": (site, EXTERNAL_ID.upper()),
    }
    told = {}
    for who, (sts, external) in asking.items():
        given = {"ExternalId": external} if external else {}
        told[who] = answer(
            sts.assume_role, RoleArn=world.role_arn(), RoleSessionName="tests", **given
        )

    assert told == dict.fromkeys(asking, "AccessDenied")
    given = {"RoleArn": world.role_arn(), "RoleSessionName": "tests"}
    assert answer(site.assume_role, **given, ExternalId=EXTERNAL_ID) == "done"


def trusting(principal):
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.mark.parametrize(
    "configure", [World.configure, World.configure_chain], ids=["role", "chain"]
)
def test_nobody_on_the_way_becomes_another_role(world, configure):
    """Not even one that trusts everyone and differs in its last letter."""
    set_up(world, configure)
    for owner in (world.b, world.c):
        owner.put_trust("EventWriter2", trusting("*"))
    told = set()
    for alias in (None, *get_config().roles):
        sts = get_session(alias).client("sts", region_name=REGION)
        for owner in (world.b, world.c):
            arn = world.role_arn("EventWriter2", owner)
            told.add(answer(sts.assume_role, RoleArn=arn, RoleSessionName="tests"))

    assert told == {"AccessDenied"}
    # A's root, whom nothing holds back.
    arn = world.role_arn("EventWriter2")
    assert answer(world.a.sts.assume_role, RoleArn=arn, RoleSessionName="tests") == "done"


def test_the_role_may_do_nothing_else(world):
    set_up(world, World.configure)
    world.b.make_stream("other")
    world.b.put_trust("Other", trusting(world.role_arn()))
    session = get_session("writer")
    record = {"Data": b"1", "PartitionKey": "1"}
    orders = {"StreamName": "orders"}
    shard = {**orders, "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    iterator = world.b.kinesis.get_shard_iterator(**shard)["ShardIterator"]
    asked = {
        "kinesis": {
            "create_stream": {"StreamName": "new", "ShardCount": 1},
            "delete_stream": orders,
            "describe_stream": orders,
            "describe_stream_summary": orders,
            "get_records": {"ShardIterator": iterator, "StreamARN": world.stream_arn()},
            "get_shard_iterator": shard,
            "list_shards": orders,
            "list_streams": {},
            "put_record": {"StreamName": "other", **record},
            "put_records": {"StreamName": "other", "Records": [record]},
            "put_resource_policy": {"ResourceARN": world.stream_arn(), "Policy": "{}"},
            "split_shard": {
                **orders, "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "9"
            },
        },
        "s3": {"list_buckets": {}},
        "iam": {
            "list_users": {},
            "put_role_policy": {
                "RoleName": "EventWriter", "PolicyName": "more", "PolicyDocument": "{}"
            },
        },
        "sts": {
            "assume_role": {"RoleArn": world.role_arn("Other"), "RoleSessionName": "tests"},
        },
    }  # fmt: skip
    let_through = []
    for service, operations in asked.items():
        client = session.client(service, region_name=REGION)
        for operation, request in operations.items():
            if answer(getattr(client, operation), **request) not in DENIED:
                let_through.append(f"{service}.{operation}")

    assert let_through == []
    kinesis = session.client("kinesis", region_name=REGION)
    assert answer(kinesis.put_record, **orders, **record) == "done"
