"""What no policy can say is refused; what is better said another way is warned of; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kinesis_bridge import arns
from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kinesis_bridge.conf import RoleConfig

    from .parts import Role, Site, Target

EXAMPLE_KEY = "arn:aws:kms:eu-west-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def check_text(role: RoleConfig) -> None:
    """Refuse a role whose settings no policy, or no format of one, can hold."""
    for text in (role.role_arn, role.external_id or ""):
        if not text.isprintable() or "{{resolve:" in text:
            # CloudFormation would resolve the second: "Using dynamic references", its User Guide.
            said = _("{role} holds what no policy can hold: {text}")
            raise PolicyError(Text(said, role=f'ROLES["{role.alias}"]', text=repr(text)))


def check_key(kms_key: str | None, targets: Iterable[Target]) -> None:
    """Refuse what is not the ARN of a key that can encrypt one of the streams.

    An alias names no key in a policy: "Specifying KMS keys in IAM policy statements", AWS KMS
    Developer Guide.
    """
    if kms_key is None:
        return
    arn = arns.parse(kms_key)
    if arn is None or arn.service != "kms" or not re.fullmatch(r"key/[A-Za-z0-9-]+", arn.resource):
        raise PolicyError(
            Text(
                _(
                    "--kms-key must be the ARN of a key, and not of an alias, not {given}. Example:"
                    " {example}"
                ),
                given=repr(kms_key),
                example=EXAMPLE_KEY,
            )
        )
    regions = {target.arn.split(":")[3] for target in targets if not target.stream.is_firehose}
    if regions != {arn.region}:
        none = Text(_("none: Firehose needs no key of its writers"))
        raise PolicyError(
            Text(
                _(
                    "--kms-key is in {region}, the Kinesis streams are in: {where}. A key encrypts"
                    " streams of its own region; choose one with --stream."
                ),
                region=arn.region,
                where=", ".join(sorted(regions)) or none,
            )
        )


def warnings_of(
    site: Site,
    roles: Iterable[Role],
    direct: Iterable[Target],
    kms_key: str | None,
    targets: Iterable[Target],
) -> Iterator[str]:
    """Yield what the owners of both accounts should know."""
    if site.kind == "root":
        yield Text(
            _(
                "{principal} is the whole account {account}: every role and user of it whose own"
                " policy allows sts:AssumeRole may become the role. Name one role or user instead."
            ),
            principal=site.principal,
            account=site.account,
        )
    for role in roles:
        if role.permission is None:
            yield Text(
                _(
                    "{role} serves no stream: its permission policy is not kinesis_bridge's to"
                    " write."
                ),
                role=f'ROLES["{role.config.alias}"]',
            )
    for target in direct:
        stream = f'STREAMS["{target.stream.alias}"]'
        if target.arn.split(":")[4] == site.account:
            enough = _(
                "{stream} is in the site's own account: the identity policy alone is enough."
            )
            yield Text(enough, stream=stream)
        elif target.stream.role or not target.stream.arn:
            setting = f'"STREAM": "{target.arn}", "ROLE": None'
            yield Text(_("The resource policy is used with {setting}."), setting=setting)
    owners = {target.arn.split(":")[4] for target in targets if not target.stream.is_firehose}
    key_account = kms_key.split(":")[4] if kms_key else None
    users = {role.account for role in roles if role.streams} | ({site.account} if direct else set())
    if key_account and (users | owners) != {key_account}:
        yield Text(
            _(
                "The key is of account {account}, and whoever writes is not: its key policy must"
                " allow them too."
            ),
            account=key_account,
        )
