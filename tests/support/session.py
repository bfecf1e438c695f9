"""What tests of sessions share: many threads at once, forked children."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kinesis_bridge.exceptions import AwsError

SECRETS = ("secret-of-", "token-of-", "ASIATEST", "AKIATEST")

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def at_once(number, function):
    """Call `function` on `number` threads at the same moment; return results and errors."""
    barrier = threading.Barrier(number)

    def call(_):
        barrier.wait()
        try:
            return function()
        except AwsError as error:
            return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(call, range(number)))


def in_child(function, seconds=60):
    """Return what `function` returns in a forked child, as JSON; the alarm ends a deadlock."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        try:
            answer = json.dumps(function())
        except BaseException as error:  # noqa: BLE001 - a child must not return into pytest
            answer = json.dumps(f"raised {error!r}")
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status), "the child hung and was killed by its alarm"
    return json.loads(answer)
