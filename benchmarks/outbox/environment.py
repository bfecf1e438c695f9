"""The environment of the benchmark's processes."""

from __future__ import annotations

import os


def environment(database: str, sink: str) -> dict[str, str]:
    """Settings that go to this database and to this sink."""
    return {
        "DJANGO_SETTINGS_MODULE": "benchmarks.outbox.settings",
        "DATABASE_URL": database,
        "AWS_ENDPOINT_URL": sink,
        "AWS_ACCESS_KEY_ID": "AKIABENCHMARK0000000",
        "AWS_SECRET_ACCESS_KEY": "made-up-for-the-sink",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
