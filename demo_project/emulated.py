"""Something to see in the emulator's S3: buckets in both accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinesis_bridge.conf import get_config

if TYPE_CHECKING:
    from .s3 import Account

BUCKETS = {
    "account A": ("shop-uploads", "shop-backups"),
    "account B": ("analytics-reports", "analytics-raw"),
}
KEY = "hello.txt"


def furnish(*accounts: Account) -> None:
    """Make the accounts' buckets, with an object in each, where the emulator has none yet.

    With real AWS it does nothing.
    """
    if not get_config().local_aws:
        return
    for account in accounts:
        there = account.buckets()
        region = account.client.meta.region_name
        # S3's way to say us-east-1: CreateBucket, Amazon S3 API Reference.
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        for bucket in BUCKETS[account.name]:
            if bucket in there:
                continue
            account.client.create_bucket(Bucket=bucket, **(place if region != "us-east-1" else {}))
            body = f"This is {bucket} of {account.name} ({account.number}).\n".encode()
            account.client.put_object(Bucket=bucket, Key=KEY, Body=body)
