"""Fixtures for the tests of the sink: boto3 clients that never retry and check nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig

from benchmarks.sink import Sink

Connect = Callable[..., Any]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Clients of a sink: ``connect(sink, "kinesis", token="...", timeout=2.0)``."""
    clients = []

    def make(sink: Sink, service: str = "kinesis", token: str | None = None, **keys: Any) -> Any:
        client = boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=sink.url,
            aws_access_key_id=keys.get("access_key", "AKIAEXAMPLE"),
            aws_secret_access_key=keys.get("secret_key", "secret"),
            aws_session_token=token,
            config=BotoConfig(
                retries={"total_max_attempts": 1},
                connect_timeout=2,
                read_timeout=keys.get("timeout", 10.0),
                max_pool_connections=20,
                parameter_validation=False,  # what AWS refuses is to be sent
            ),
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
