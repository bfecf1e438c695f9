"""How observers are switched on: by their name, and where what they need is installed."""

import subprocess
import sys
import textwrap

import pytest

from tests.support.aws import ROOT, environment

OPTIONAL = ["prometheus_client", "opentelemetry", "health_check"]


def python(tmp_path, code, observed_by=""):
    env = environment(
        tmp_path, DJANGO_SETTINGS_MODULE="tests.observed_settings", OBSERVED_BY=observed_by
    )
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_none_is_imported_unless_it_is_named(tmp_path):
    done = python(
        tmp_path,
        f"""
        import sys, django
        django.setup()
        from kinesis_bridge import publish
        from kinesis_bridge.relay import Relay
        print([name for name in sys.modules
               if name.startswith(("kinesis_bridge.contrib", *{OPTIONAL}))])
        """,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_all_of_them_together(tmp_path):
    apps = [f"kinesis_bridge.contrib.{name}" for name in ("prometheus", "opentelemetry", "emf")]
    code = """
        import django
        django.setup()
        from django.core.management import call_command
        call_command("check")
        from kinesis_bridge import signals
        print(len(signals.batch_settled.receivers))
    """
    done = python(tmp_path, code, ",".join(apps))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n3\n")


@pytest.mark.parametrize(
    ("module", "extra", "wants"),
    [
        ("prometheus_client", "prometheus", "django.setup()"),
        ("opentelemetry", "opentelemetry", "django.setup()"),
        ("health_check", "health", "django.setup(); import kinesis_bridge.contrib.health"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(tmp_path, module, extra, wants):
    code = f"""
        import sys, django
        sys.modules[{module!r}] = None
        {wants}
    """
    app = "" if extra == "health" else f"kinesis_bridge.contrib.{extra}"
    done = python(tmp_path, code, app)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("django.core.exceptions.ImproperlyConfigured: kinesis_bridge.contrib.")
    assert f"pip install 'django-kinesis-bridge[{extra}]'" in last
