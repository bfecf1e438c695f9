"""What having the app installed costs a Django start-up."""

from __future__ import annotations

import json

import pytest

from tests.support.aws import environment, python

LOADED = """
import json, sys
{body}
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture
def loaded(tmp_path):
    """Return the modules that a fresh process has after `body`."""

    def load(body):
        done = python("-c", LOADED.format(body=body), env=environment(tmp_path))
        assert done.returncode == 0, done.stderr
        return set(json.loads(done.stdout))

    return load


def of(modules, *packages):
    return sorted(name for name in modules if name.split(".")[0] in packages)


def test_a_start_up_imports_neither_boto3_nor_the_emulator(loaded):
    modules = loaded("import django; django.setup()")

    assert "kinesis_bridge.capture.signals" in modules, "the app is there, and ready"
    assert of(modules, "boto3", "botocore", "moto", "urllib3", "werkzeug", "rich") == []
    extras = ("psycopg", "pgtrigger", "prometheus_client", "opentelemetry", "health_check")
    assert of(modules, *extras) == [], "a site on SQLite has no use for them"


def test_the_checks_import_no_boto3(loaded):
    modules = loaded(
        "import django; django.setup()\n"
        "from django.core.management import call_command; call_command('check', verbosity=0,"
        " stdout=sys.stderr)"
    )

    assert of(modules, "boto3", "botocore", "moto") == []


def test_importtime_agrees(tmp_path):
    done = python(
        "-X", "importtime", "-c", "import django; django.setup()", env=environment(tmp_path)
    )

    imported = [line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()]
    assert "kinesis_bridge.checks" in imported
    assert not [name for name in imported if name.startswith(("boto3", "botocore", "moto"))]


def test_importing_the_package_imports_no_models(loaded):
    modules = loaded("import kinesis_bridge")

    assert "kinesis_bridge" in modules
    assert "django.db.models" not in modules
    assert of(modules, "boto3", "botocore", "moto") == []


def test_the_whole_face_is_there_before_boto3_is(loaded):
    modules = loaded(
        "import django; django.setup()\n"
        "from kinesis_bridge import Event, apublish, get_client, get_session, publish, publishes,"
        " streams\n"
        "get_client()"
    )

    assert of(modules, "boto3", "botocore", "moto") == []


def test_the_first_session_brings_boto3_and_without_the_emulator_no_moto(loaded):
    modules = loaded(
        "import django; django.setup()\n"
        "from kinesis_bridge import get_session\n"
        "get_session('default').client('kinesis')"
    )

    assert "boto3.session" in modules
    assert of(modules, "moto", "werkzeug") == []
