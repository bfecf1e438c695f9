"""Ways in which the path to account B is refused: each breaks a world that works.

One table for whoever explains refusals: parametrise over :data:`DENIALS` with :func:`working`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from kinesis_bridge import conf
from tests.support.ministack import EXTERNAL_ID, REGION, World

BOTH = ("identity", "trust")


@dataclass(frozen=True, kw_only=True)
class Denial:
    """One way to be refused, and what must be said of it."""

    name: str
    spoil: Callable[[World], None]
    """Breaks what :func:`working` made."""
    finding: str
    """``error.name`` of ``send_kinesis_test --json``; a name in ``kinesis_bridge.findings``."""
    side: str
    documents: tuple[str, ...] = ()
    """The documents to be shown, by kind: identity, trust, permission."""
    says: tuple[str, ...] = ()
    """Parts of the message and the hint; ``{a}`` and ``{b}`` are the accounts."""
    mends: bool = False
    """Whether both accounts get it to work by making what is shown, error after error."""


def working(world):
    """One stream and the documents of ``kinesis_iam``, made; the bridge can write."""
    world.b.make_stream()
    world.configure()
    # Said, it is not asked: what STS answers has its own proof.
    return world.grant("--principal", world.site)


def spoil(world, denial):
    """Break it, for a bridge that has opened nothing yet."""
    denial.spoil(world)
    conf.reset()


def _trust(world, principal):
    world.b.put_trust(
        "EventWriter",
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": principal},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
                }
            ],
        },
    )


def _role_missing(world):
    world.b.put_policy(world.role_arn(), None)
    world.b.iam.delete_role(RoleName="EventWriter")


def _other_role_in_identity(world):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": world.role_arn("Other")}
    world.a.put_policy(world.site, {"Version": "2012-10-17", "Statement": [statement]})


def _another_stream(world):
    world.b.make_stream("other")
    world.configure(streams={"default": {"STREAM": "other"}})


def _another_region(world):
    world.b.client("kinesis", region="us-east-1").create_stream(StreamName="orders", ShardCount=1)
    world.configure(streams={"default": {"REGION": "us-east-1"}})


def _explicit_deny(world):
    statement = {"Effect": "Deny", "Action": "kinesis:*", "Resource": "*"}
    world.b.iam.put_role_policy(
        RoleName="EventWriter",
        PolicyName="stop",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )


def _through_a_gate(world):
    """Go through a role of C that exists and trusts the site, and may not go on from there."""
    world.configure_chain()
    world.grant("--principal", world.site)
    world.c.put_policy(world.role_arn("Gate", world.c), None)


def _wrong_secret(world):
    world.be(world.keys["AccessKeyId"], "x" * 40)


def _unknown_key(world):
    world.be("AKIAIOSFODNN7EXAMPLE", world.keys["SecretAccessKey"])


def _inactive_key(world):
    key = world.keys["AccessKeyId"]
    world.a.iam.update_access_key(UserName="site", AccessKeyId=key, Status="Inactive")


def _deleted_key(world):
    world.a.iam.delete_access_key(UserName="site", AccessKeyId=world.keys["AccessKeyId"])


def session_of_a(world, seconds=3600):
    """Have the bridge run as a role of A; ministack grants also sessions of no length."""
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{world.a}:root"}}
    trust["Action"] = "sts:AssumeRole"
    world.a.put_trust("Web", {"Version": "2012-10-17", "Statement": [trust]})
    arn = world.role_arn("Web", world.a)
    answer = world.a.sts.assume_role(RoleArn=arn, RoleSessionName="web", DurationSeconds=seconds)
    given = answer["Credentials"]
    world.be(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


EITHER = "account A or account B"
DENIALS = [
    Denial(
        name="another ExternalId",
        spoil=lambda world: world.configure(EXTERNAL_ID="shop-other"),
        finding="assume-role-denied",
        side=EITHER,
        documents=BOTH,
        says=("the same ExternalId as the setting EXTERNAL_ID",),
        mends=True,
    ),
    Denial(
        name="no ExternalId",
        spoil=lambda world: world.configure(EXTERNAL_ID=None),
        finding="assume-role-denied",
        side=EITHER,
        documents=BOTH,
        says=("no ExternalId, since EXTERNAL_ID is not set",),
        mends=True,
    ),
    Denial(
        name="another user is trusted",
        spoil=lambda world: _trust(world, f"arn:aws:iam::{world.a}:user/other"),
        finding="assume-role-denied",
        side=EITHER,
        documents=BOTH,
        says=("arn:aws:iam::{a}:user/site", "account B ({b})"),
        mends=True,
    ),
    Denial(
        name="another account is trusted",
        spoil=lambda world: _trust(world, f"arn:aws:iam::{world.c}:root"),
        finding="assume-role-denied",
        side=EITHER,
        documents=BOTH,
        mends=True,
    ),
    Denial(
        name="the site runs as another role",
        spoil=session_of_a,
        finding="assume-role-denied-identity",
        side="account A",
        documents=("identity",),
        says=("arn:aws:iam::{a}:role/Web",),
        mends=True,
    ),
    Denial(
        name="tags that the trust policy does not allow",
        spoil=lambda world: world.configure(TAGS={"team": "shop"}),
        finding="assume-role-tags",
        side=EITHER,
        documents=BOTH,
        says=("sts:TagSession on both sides",),
        mends=True,
    ),
    Denial(
        name="no role",
        spoil=_role_missing,
        finding="assume-role-denied",
        side=EITHER,
        documents=BOTH,
        says=("nor whether the role exists", "role EventWriter must exist"),
        mends=True,
    ),
    Denial(
        name="no identity policy",
        spoil=lambda world: world.a.put_policy(world.site, None),
        finding="assume-role-denied-identity",
        side="account A",
        documents=("identity",),
        says=("arn:aws:iam::{a}:user/site in account A ({a})", "identity policy below"),
        mends=True,
    ),
    Denial(
        name="the identity policy names another role",
        spoil=_other_role_in_identity,
        finding="assume-role-denied-identity",
        side="account A",
        documents=("identity",),
        mends=True,
    ),
    Denial(
        name="the role on the way may not go on",
        spoil=_through_a_gate,
        finding="assume-role-denied-identity",
        side="account A",
        documents=("identity",),
        says=("role/Gate", "role/a/b/Behind"),
        mends=True,
    ),
    Denial(
        name="no permission policy",
        spoil=lambda world: world.b.put_policy(world.role_arn(), None),
        finding="stream-denied",
        side="account B",
        documents=("permission",),
        says=("role/EventWriter", "'orders'"),
        mends=True,
    ),
    Denial(
        name="another stream",
        spoil=_another_stream,
        finding="stream-denied",
        side="account B",
        documents=("permission",),
        says=("'other'",),
        mends=True,
    ),
    Denial(
        name="another stream, which is not there",
        spoil=lambda world: world.configure(streams={"default": {"STREAM": "other"}}),
        finding="stream-denied",
        side="account B",
        documents=("permission",),
        says=("'other'",),
    ),
    Denial(
        name="the stream of another region",
        spoil=_another_region,
        finding="stream-denied",
        side="account B",
        documents=("permission",),
        says=("us-east-1",),
        mends=True,
    ),
    Denial(
        name="denied explicitly",
        spoil=_explicit_deny,
        finding="stream-denied-explicitly",
        side="account B",
        says=("explicit deny", "no Allow overrules it"),
    ),
    Denial(
        name="no stream",
        spoil=lambda world: world.b.kinesis.delete_stream(StreamName="orders"),
        finding="stream-missing",
        side="account B",
        says=("'orders'", "{b}", REGION),
    ),
    Denial(
        name="a wrong secret",
        spoil=_wrong_secret,
        finding="credentials-invalid",
        side="account A",
    ),
    Denial(
        name="an unknown access key",
        spoil=_unknown_key,
        finding="credentials-invalid",
        side="account A",
    ),
    Denial(
        name="an inactive access key",
        spoil=_inactive_key,
        finding="credentials-invalid",
        side="account A",
    ),
    Denial(
        name="a deleted access key",
        spoil=_deleted_key,
        finding="credentials-invalid",
        side="account A",
    ),
    Denial(
        name="an expired session of the site's own",
        spoil=lambda world: session_of_a(world, seconds=0),
        finding="credentials-expired",
        side="account A",
    ),
]
