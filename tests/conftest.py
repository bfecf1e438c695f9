"""What all tests share."""

from __future__ import annotations

import os

import pytest

from kinesis_bridge import conf


@pytest.fixture(autouse=True)
def no_aws_of_this_machine(monkeypatch):
    """Keep the tester's own AWS configuration out of the tests."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "KINESIS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def fresh():
    """Start and end with nothing built: no session, no emulator, no client."""
    conf.reset()
    yield
    conf.reset()
