"""A site, an emulator and a browser: each a process of its own, for all tests here."""

import json
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import override_settings

from kinesis_bridge.models import (
    DeadLetter,
    OutboxRecord,
    RelayProcess,
    Stream,
    StreamStatistic,
)
from tests.support.aws import ROOT, environment, start_manage
from tests.support.browser import browsing, missing
from tests.support.outbox import OutboxOn
from tests.support.sqlite import sqlite_alias

SETTINGS = "tests.browser.settings"
HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def pytest_collection_modifyitems(items):
    if reason := missing():
        for item in items:
            if item.path.is_relative_to(ROOT / "tests" / "browser"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def window():
    with browsing() as browser:
        yield browser


class Site:
    """The demo shop as it runs: its address, its environment, its database."""

    def __init__(self, url, env, path):
        self.url, self.env, self.path = url, env, path

    @contextmanager
    def relay(self):
        """A relay of it, in a process, until the block ends."""
        command = [sys.executable, "-m", "django", "kinesis_relay", "--poll", "0.1"]
        with subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    env = environment(folder, KINESIS_LOCAL_AWS="True", KINESIS_DELIVERY="outbox")
    emulator = start_manage("kinesis_local", "--port", "0", "--json", env=env)
    try:
        said = iter(emulator.stdout.readline, "}\n")
        env["KINESIS_LOCAL_AWS_URL"] = json.loads("".join([*said, "}"]))["url"]
        env["DJANGO_SETTINGS_MODULE"] = SETTINGS
        migrate = [sys.executable, "-m", "django", "migrate", "-v0"]
        subprocess.run(migrate, cwd=ROOT, env=env, check=True)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.browser.serve"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            port = int(server.stdout.readline())
            yield Site(f"http://127.0.0.1:{port}", env, folder / "demo.sqlite3")
            server.stdin.close()
    finally:
        emulator.kill()
        emulator.communicate()


@pytest.fixture
def alias(site, settings, django_db_blocker):
    """The site's database, empty, for this process."""
    with django_db_blocker.unblock(), sqlite_alias("site", site.path) as name:
        settings.DATABASE_ROUTERS = [OutboxOn(name)]
        for model in (OutboxRecord, DeadLetter, RelayProcess, Stream, StreamStatistic):
            model.objects.using(name).all().delete()
        with connections[name].cursor() as cursor:
            cursor.execute("DELETE FROM django_admin_log")
        User.objects.using(name).all().delete()
        yield name


@pytest.fixture
def user(alias):
    """Make somebody with these permissions, or with all; the password is the name."""

    def make(*permissions, name="ada"):
        with override_settings(PASSWORD_HASHERS=HASHERS):
            given = {"is_staff": True, "is_superuser": not permissions}
            made = User(username=name, password=make_password(name), **given)
        made.save(using=alias)
        rows = Permission.objects.using(alias).filter(codename__in=permissions)
        assert rows.count() == len(permissions)
        made.user_permissions.set(rows)
        return name

    return make


@pytest.fixture
def browser(window, site):
    """The browser, logged in nowhere; at the end its console must have said nothing."""
    window.reset()
    window.url = site.url
    yield window
    complaints = window.complaints()
    window.driver.get("about:blank")
    assert complaints == []


@pytest.fixture
def log(alias):
    """What the admin's log says: flag and message."""

    def read():
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT object_repr, change_message FROM django_admin_log ORDER BY id")
            return cursor.fetchall()

    return read
