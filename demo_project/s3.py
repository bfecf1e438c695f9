"""S3 of both accounts: clients, and errors that say which side lacks which permission."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from kinesis_bridge import get_session
from kinesis_bridge.conf import get_config
from kinesis_bridge.diagnosis import DENIED, Path, explain
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.session import source_of
from kinesis_bridge.session.assume import BOTO_ERRORS, who_am_i

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boto3.session import Session

    from kinesis_bridge.conf import RoleConfig

ROLE = "s3-viewer"
PAGE = 1000


class Account:
    """One account's S3, as the caller there may see it."""

    def __init__(self, session: Session, name: str, arn: str, role: RoleConfig | None) -> None:
        self.name = name
        """``account A`` or ``account B``."""
        self.arn = arn
        """Who asks: the site's own role or user, or the role of B."""
        self.role = role
        self.number = arn.split(":")[4]
        self.client: Any = session.client("s3")

    def buckets(self) -> list[str]:
        """Return the names of the account's buckets.

        In pages: an account may have more than ListBuckets tells at once (ListBuckets, Amazon S3
        API Reference).
        """
        pages = self.client.get_paginator("list_buckets")
        with self.explained("s3:ListAllMyBuckets", "*"):
            return [
                bucket["Name"]
                for page in pages.paginate(PaginationConfig={"PageSize": PAGE})
                for bucket in page["Buckets"]
            ]

    @contextmanager
    def explained(self, action: str, resource: str) -> Iterator[None]:
        """Turn boto's errors into ours; a denial names `action`, which S3 itself may not."""
        try:
            yield
        except BOTO_ERRORS as error:
            code = str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""
            if code in DENIED:
                raise self._denied(code, action, resource) from error
            if code in {"NoSuchBucket", "NoSuchKey"}:
                raise AwsError(
                    f"{self.name} ({self.number}) has no {resource}.",
                    name="s3-missing",
                    side=self.name,
                    code=code,
                    hint="Compare with list_buckets; names are case-sensitive.",
                ) from error
            endpoint = self.client.meta.endpoint_url
            path = Path(hop="credentials", role=self.role, endpoint=endpoint)
            raise explain(error, path) from error

    def _denied(self, code: str, action: str, resource: str) -> AwsError:
        who = f"role {self.arn} (ROLES[{ROLE!r}])" if self.role else self.arn
        named = f"{self.name} ({self.number})"
        arn = resource if resource == "*" else f"arn:aws:s3:::{resource}"
        on = "" if resource == "*" else f" on {resource}"
        statement = {"Effect": "Allow", "Action": action, "Resource": arn}
        kind = "permission" if self.role else "identity"
        return AwsError(
            f"S3 refused {action}{on}: {who} of {named} may not.",
            name="s3-denied",
            side=self.name,
            code=code,
            hint=f"Add the statement to the {kind} policy in {named}. If it is there, look for a"
            " Deny: in the bucket's policy, a permissions boundary, or the organization's (SCP)."
            # GetObject, Amazon S3 API Reference.
            + (on and " A missing object is refused, too, where s3:ListBucket is not allowed."),
            documents={
                f"{named}: {kind} policy of {self.arn}": {
                    "Version": "2012-10-17",
                    "Statement": [statement],
                }
            },
        )


def account_a() -> Account:
    """Return account A: the credentials from which the role of B is assumed, and no role."""
    session = source_of(get_config().role(ROLE))
    return Account(session, "account A", who_am_i(session, Path(hop="credentials")), None)


def account_b() -> Account:
    """Return account B through the role; ImproperlyConfigured where the settings have none."""
    role = get_config().role(ROLE)
    return Account(get_session(ROLE), "account B", role.role_arn, role)
