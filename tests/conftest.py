"""What all tests share."""

from __future__ import annotations

import os
import signal

import pytest

from kinesis_bridge import conf


def pytest_configure():
    """Let Ctrl-C reach what the tests start, also in a background job of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
