"""What the demo's processes find in their environment: nothing of the user's own AWS."""

import os
import secrets

from demo_project.live import lifeline

ACCOUNT_B = "222222222222"
EXTERNAL_ID = "demo-shop"
WRONG_EXTERNAL_ID = "another-shop"


def environment(database: str) -> dict[str, str]:
    """Return what all of them share; `database` is a DATABASE_URL."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "KINESIS_"))}
    return {
        **kept,
        lifeline.VARIABLE: "1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DJANGO_SETTINGS_MODULE": "demo_project.settings",
        "DATABASE_URL": database,
        "DEBUG": "False",
        "SECRET_KEY": secrets.token_urlsafe(32),
        "KINESIS_STREAM": "orders",
        "KINESIS_ROLE_ARN": f"arn:aws:iam::{ACCOUNT_B}:role/EventWriter",
        "KINESIS_EXTERNAL_ID": EXTERNAL_ID,
        "KINESIS_REGION": "eu-west-1",
        "KINESIS_SESSION_NAME": "shop-web-1",
        "KINESIS_PROFILE": "",
        "KINESIS_DELIVERY": "outbox",
        "KINESIS_SOURCE": "/demo-shop",
        "KINESIS_SCHEMAS": "",
        "KINESIS_STRICT": "False",
        "KINESIS_S3_ROLE_ARN": "",
        "KINESIS_FIREHOSE_ARN": "",
        "KINESIS_LOCAL_AWS": "True",
    }
