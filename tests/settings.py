"""Settings of the test suite: both accounts in the emulator, two databases and real servers."""

import os

from tests.support.databases import settings_of

SECRET_KEY = "tests"
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "pgtrigger",
    "kinesis_bridge",
    "tests.testapp",
    "tests.triggerapp",
]
SILENCED_SYSTEM_CHECKS = ["kinesis_bridge.W002"]  # keys that are null are tested, too
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    # The server named, or one that conftest.py starts for the tests that ask for it. Until then
    # nothing listens on the discard port.
    "postgres": settings_of(
        os.environ.get("TEST_POSTGRES_URL") or "postgres://postgres@127.0.0.1:9/postgres"
    ),
}
if os.environ.get("TEST_MYSQL_URL"):
    DATABASES["mysql"] = settings_of(os.environ["TEST_MYSQL_URL"])
KINESIS_BRIDGE = {
    "SOURCE": "/tests",
    "ROLES": {
        "writer": {
            "ROLE_ARN": "arn:aws:iam::222222222222:role/EventWriter",
            "EXTERNAL_ID": "tests-external-id",
        },
    },
    "STREAMS": {
        "default": {
            "STREAM": "orders",
            "ROLE": "writer",
            "REGION": "eu-west-1",
            "DELIVERY": "direct",
        },
        "audit": {
            "STREAM": "audit",
            "ROLE": "writer",
            "REGION": "eu-west-1",
            "DELIVERY": "direct",
        },
    },
    "LOCAL_AWS": True,
    # Nothing listens on the discard port: the emulator starts within the process.
    "LOCAL_AWS_URL": "http://127.0.0.1:9",
    # TEST_STRICT=1: every test of capture is to pass with it, too.
    "STRICT": os.environ.get("TEST_STRICT") == "1",
}
