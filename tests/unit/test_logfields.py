"""The fields of this package's own log lines."""

import pytest

from kinesis_bridge.conf import get_config
from kinesis_bridge.exceptions import StreamError
from kinesis_bridge.logfields import fields, stream_fields

DENIED = StreamError("No.", name="stream-denied", side="account B", code="AccessDenied")


def test_what_is_none_is_left_out():
    assert fields(stream="default", database=None, count=0) == {"stream": "default", "count": 0}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DENIED, {"error": "stream-denied", "code": "AccessDenied", "side": "account B"}),
        (StreamError("No.", name="x", side="site"), {"error": "x", "side": "site"}),
        (ValueError("secret"), {"error": "ValueError"}),
        (None, {}),
    ],
)
def test_an_error_is_its_name(error, expected):
    assert fields(error) == expected


def test_a_stream_names_its_role_and_the_account(settings):
    config = get_config().stream("default")
    assert stream_fields(config, count=3) == {
        "stream": "default",
        "role": "writer",
        "account": "222222222222",
        "count": 3,
    }
    settings.KINESIS_BRIDGE = {"STREAMS": {}}  # the settings changed meanwhile
    assert stream_fields(config) == {"stream": "default", "role": "writer"}
