"""The documents of ``kinesis_iam`` are enough, and nothing in them is too much.

Made in ministack, which evaluates them. It does not ask for ``sts:SetSourceIdentity`` on either
side, nor for ``sts:TagSession`` in account A, nor for the key of an encrypted stream, and it lets
no account use another's stream without a role even where both policies allow it: what these are
needed for is AWS's documentation's to say, and not proven here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from botocore.exceptions import ClientError

from kinesis_bridge import conf, get_client, get_session, publish
from kinesis_bridge.conf import get_config
from kinesis_bridge.diagnosis import DENIED
from kinesis_bridge.event import Record
from kinesis_bridge.exceptions import AwsError
from tests.support.ministack import (
    World,
    fixture_ministack,  # noqa: F401
    fixture_world,  # noqa: F401
    places,
    run,
)

NOT_ENFORCED = {
    ("identity_policy", "sts:SetSourceIdentity"),
    ("identity_policy", "sts:TagSession"),
    ("trust_policy", "sts:SetSourceIdentity"),
    ("permission_policy", "sts:SetSourceIdentity"),  # of a role on the way
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """Settings, and what account B has for them."""

    name: str
    configure: Callable[[World], None]
    arguments: tuple[str, ...] = ()
    streams: tuple[str, ...] = ("orders",)


def _path(world):
    world.configure(
        ROLE_ARN=world.role_arn("team/a/EventWriter"),
        EXTERNAL_ID=None,
        streams={"default": {"STREAM": world.stream_arn()}},
    )


def _two_streams(world):
    packed = {"STREAM": "audit", "OPTIONS": {"AGGREGATE": "shard"}}
    world.configure(streams={"default": {}, "audit": packed})


def _firehose(world):
    bucket = f"lake-{world.b}"
    world.b.s3.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    target = {"RoleARN": world.role_arn("Firehose"), "BucketARN": f"arn:aws:s3:::{bucket}"}
    world.b.firehose.create_delivery_stream(
        DeliveryStreamName="lake", S3DestinationConfiguration=target
    )
    world.configure(streams={"default": {"STREAM": world.stream_arn("lake", "deliverystream")}})


SITES = [
    Site(name="role", configure=World.configure),
    Site(name="read", configure=World.configure, arguments=("--read",)),
    Site(name="path", configure=_path),
    Site(name="two-streams", configure=_two_streams, streams=("orders", "audit")),
    Site(
        name="tags",
        configure=lambda world: world.configure(TAGS={"team": "shop"}, SOURCE_IDENTITY="shop"),
    ),
    Site(
        name="chain",
        configure=lambda world: world.configure_chain(SOURCE_IDENTITY="shop"),
    ),
    Site(name="firehose", configure=_firehose, arguments=("--read",), streams=()),
]


def set_up(world, configure, *arguments, streams=("orders",)):
    """Make the streams, and what ``kinesis_iam`` prints; return its JSON."""
    for name in streams:
        world.b.make_stream(name, shards=2)
    configure(world)
    return world.grant(*arguments)


def stored(world, name="orders"):
    """The records of a Kinesis stream, as its owner reads them."""
    kinesis, found = world.b.kinesis, []
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        answer = kinesis.get_records(ShardIterator=iterate(kinesis, name, shard["ShardId"]))
        found += [Record(entry["PartitionKey"], entry["Data"]) for entry in answer["Records"]]
    return found


@pytest.mark.django_db(transaction=True)
def test_what_is_published_arrives(world):
    set_up(world, World.configure)

    event = publish("shop.cart.abandoned", {"cart": 7}, key="customer-9")

    [record] = stored(world)
    assert record.partition_key == "customer-9"
    assert json.loads(record.data)["id"] == event.id


def test_what_may_be_read_is_read_back(world):
    set_up(world, World.configure, "--read")

    # AWS knows the stream by the iterator; ministack asks for "*" where the ARN is not named.
    def name_the_stream(params, **event):
        params["StreamARN"] = world.stream_arn()

    events = get_session("writer").events
    events.register("provide-client-params.kinesis.GetRecords", name_the_stream)

    assert run("send_kinesis_test")["read_back"] is True


def test_whole_shards_are_packed_only_by_who_may_list_them(world):
    made = set_up(world, _two_streams, streams=("orders", "audit"))
    records = [(f"customer-{number}", b"x") for number in range(8)]
    get_client("audit").put_records(records)
    packed = len(stored(world, "audit"))

    conf.reset()
    [place] = [place for place in places(made) if place.kind == "permission_policy"]
    [right] = [right for right in allowed(place.document, "") if right[1] == SHARDS]
    world.put(place, without(place.document, right[0]))
    get_client("audit").put_records(records)

    assert packed == 2
    assert len(stored(world, "audit")) == packed + len(records)


def test_the_bridge_itself_needs_put_records_alone(world):
    """PutRecord is for code that has the role's session by ``get_session``."""
    made = set_up(world, World.configure)
    [place] = [place for place in places(made) if place.kind == "permission_policy"]

    world.put(place, without(place.document, 0, action="kinesis:PutRecord"))
    assert get_client().put_record("Sample data").shard_id
    world.put(place, without(place.document, 0, action="kinesis:PutRecords"))
    assert run("send_kinesis_test")["error"]["name"] == "stream-denied"


SHARDS = "kinesis:ListShards"
# Each action of the documents, used; on the stream that the statement names.
OPERATIONS = {
    "kinesis:PutRecord": lambda use, name: use.kinesis.put_record(
        StreamName=name, Data=b"1", PartitionKey="1"
    ),
    "kinesis:PutRecords": lambda use, name: use.kinesis.put_records(
        StreamName=name, Records=[{"Data": b"1", "PartitionKey": "1"}]
    ),
    "kinesis:DescribeStreamSummary": lambda use, name: use.kinesis.describe_stream_summary(
        StreamName=name
    ),
    SHARDS: lambda use, name: use.kinesis.list_shards(StreamName=name),
    "kinesis:GetShardIterator": lambda use, name: iterate(use.kinesis, name),
    "kinesis:GetRecords": lambda use, name: use.kinesis.get_records(
        StreamARN=use.world.stream_arn(name), ShardIterator=iterate(use.world.b.kinesis, "orders")
    ),
    "firehose:DescribeDeliveryStream": lambda use, name: use.firehose.describe_delivery_stream(
        DeliveryStreamName=name
    ),
    "firehose:PutRecordBatch": lambda use, name: use.firehose.put_record_batch(
        DeliveryStreamName=name, Records=[{"Data": b"1"}]
    ),
}


def iterate(kinesis, name, shard="shardId-000000000000"):
    answer = kinesis.get_shard_iterator(
        StreamName=name, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )
    return answer["ShardIterator"]


class Use:
    """What the role may do, through the bridge's sessions."""

    def __init__(self, world):
        self.world = world
        session = get_session("writer")
        self.kinesis = session.client("kinesis", region_name="eu-west-1")
        self.firehose = session.client("firehose", region_name="eu-west-1")
        roles = get_config().roles.values()
        self.aliases = {role.role_arn: role.alias for role in roles}

    def may(self, action, resource):
        """Whether this is let through; whatever STS is asked for is part of becoming a role."""
        try:
            if action.startswith("sts:"):
                # Again, though its session is still good.
                get_session(self.aliases[resource]).get_credentials()._fetch()
            else:
                OPERATIONS[action](self, resource.rsplit("/", 1)[-1])
        except (AwsError, ClientError) as error:
            if code_of(error) not in DENIED:
                raise
            return False
        return True


def code_of(error):
    return error.code if isinstance(error, AwsError) else error.response["Error"]["Code"]


def listed(one_or_all):
    return [one_or_all] if isinstance(one_or_all, str) else one_or_all


def allowed(document, of):
    """Every (statement, action, resource) of a document; a trust policy is of its role."""
    return [
        (number, action, resource)
        for number, statement in enumerate(document["Statement"])
        for action in listed(statement["Action"])
        for resource in listed(statement.get("Resource", of))
    ]


def without(document, number, **cut):
    """The document less one statement, or less one ``action`` or ``resource`` of it."""
    statements = [dict(statement) for statement in document["Statement"]]
    for key, value in cut.items():
        rest = [one for one in listed(statements[number].get(key.title(), ())) if one != value]
        if rest:
            statements[number][key.title()] = rest
            return {**document, "Statement": statements}
    del statements[number]
    return {**document, "Statement": statements}


def cuts(place):
    """The document less each statement, each action and each resource; each result once."""
    found = []
    for number, action, resource in allowed(place.document, place.of):
        for cut in ({}, {"action": action}, {"resource": resource}):
            less = without(place.document, number, **cut)
            if less not in found:
                found.append(less)
    return found


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_they_are_enough_and_nothing_in_them_is_too_much(world, site):
    """Less any statement, action or resource: what needs it fails, and the rest does not."""
    made = set_up(world, site.configure, *site.arguments, streams=site.streams)
    for alias in ("default", *site.streams[1:]):
        report = run("send_kinesis_test", "--no-read-back", "--stream", alias)
        assert report.get("sent") == 1, report
        assert report["account"] == world.b.number

    use = Use(world)
    for place in places(made):
        rights = {right[1:] for right in allowed(place.document, place.of)}
        assert all(use.may(*right) for right in rights)
        for action, resource in rights:
            assert action.startswith("sts:") or not use.may(action, f"{resource}-2")
        for less in cuts(place):
            world.put(place, less if less["Statement"] or place.kind == "trust_policy" else None)
            kept = {right[1:] for right in allowed(less, place.of)}
            lost = {right for right in rights - kept if (place.kind, right[0]) not in NOT_ENFORCED}
            without_sts = {resource for action, resource in lost if action.startswith("sts:")}
            assert not [right for right in lost if use.may(*right)], (place, less)
            assert all(use.may(*right) for right in kept if right[1] not in without_sts), less
            world.put(place, place.document)


def test_the_resource_policy_lets_the_site_itself_write(world):
    """Both accounts' documents are needed, each statement of them.

    ministack finds a stream in the caller's own account only: who is let through is told that
    there is no such stream, who is not is told so.
    """

    def without_a_role(world):
        world.configure(roles={}, streams={"default": {"STREAM": world.stream_arn(), "ROLE": None}})

    made = set_up(world, without_a_role, "--resource-policy")

    def answer():
        return run("send_kinesis_test", "--no-read-back")["error"]["name"]

    assert answer() == "stream-missing"
    for place in places(made):
        for less in (None, without(place.document, 0, action="kinesis:PutRecords")):
            world.put(place, less)
            assert answer() == "stream-denied-caller"
        world.put(place, place.document)
    assert answer() == "stream-missing"
