"""``kinesis_relay`` in a process of its own, with its port, and with what observes it."""

import re
import subprocess
import sys
from contextlib import contextmanager, suppress

from django.db import connections

from .aws import ROOT, environment
from .databases import database_url
from .producer import KEYS


@contextmanager
def relay(alias, sink, tmp_path, *arguments, observed_by="", **environ):
    """The process; killed at the end, if it still runs."""
    env = environment(
        tmp_path,
        **KEYS,
        AWS_ENDPOINT_URL=sink.url,
        DATABASE_URL=database_url(connections[alias].settings_dict),
        DJANGO_SETTINGS_MODULE="tests.observed_settings",
        OBSERVED_BY=observed_by,
        KINESIS_STREAM="orders",
        KINESIS_REGION="us-east-1",
        KINESIS_DELIVERY="outbox",
        **environ,
    )
    command = [sys.executable, "-m", "django", "kinesis_relay", "--json", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):
                child.kill()


def url_of(child):
    """Where it answers, as it says first."""
    line = child.stderr.readline()
    found = re.fullmatch(r"Health: (http://127\.0\.0\.1:\d+)/readyz\n", line)
    assert found, line
    return found[1]
