"""The wheel and the sdist, each in a bare Django site outside the tree, as a new user has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.aws import ROLE_ARN, ROOT
from tests.support.distribution import build

UV = Path(sys.executable).parent / "uv"
SETTINGS = """
import environ
from kinesis_bridge.conf import settings_from_env

INSTALLED_APPS += ["kinesis_bridge", "orders"]
KINESIS_BRIDGE = settings_from_env(environ.Env())
"""
MODELS = """
from django.db import models
from kinesis_bridge import publishes

@publishes("shop.order", fields=["id", "status"])
class Order(models.Model):
    status = models.CharField(max_length=20)
"""
SAVE = "from orders.models import Order; Order.objects.create(status='new')"
WHERE = """
import json, sys
from importlib.util import find_spec
names = ["kinesis_bridge", "tests", "benchmarks", "demo_project"]
print(json.dumps([(spec := find_spec(name)) and spec.origin for name in names]))
print(json.dumps(sys.path))
"""


def run(*command, cwd, env=None):
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The folder with both, as ``make dist`` builds them: the wheel from the sdist."""
    return build(tmp_path_factory.mktemp("dist")).parent


@pytest.fixture(scope="module")
def wheel(distributions):
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(distributions):
    (path,) = distributions.glob("*.tar.gz")
    return path


class Site:
    """A project of ``startproject`` with a virtual environment of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "KINESIS_STREAM": "orders",
            "KINESIS_ROLE_ARN": ROLE_ARN,
            "KINESIS_EXTERNAL_ID": "bare-site",
            "KINESIS_REGION": "eu-west-1",
            "KINESIS_LOCAL_AWS": "True",
        }
        self.python = folder / "venv" / "bin" / "python"

    def install(self, distribution):
        limits = {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_RETRIES": "1"}
        made = run(UV, "venv", "--python", sys.executable, self.folder / "venv", cwd=self.folder)
        assert made.returncode == 0, made.stderr
        wanted = f"django-kinesis-bridge[local] @ {distribution.as_uri()}"
        done = run(
            UV, "pip", "install", "--python", self.python, wanted,
            cwd=self.folder, env=os.environ | limits,
        )  # fmt: skip
        if "Failed to fetch" in done.stderr:
            pytest.skip("The package index cannot be reached: nothing can be installed from it.")
        assert done.returncode == 0, done.stderr

    def call(self, *arguments):
        done = run(self.python, *arguments, cwd=self.folder, env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *arguments):
        return self.call("manage.py", *arguments)

    def make(self):
        self.call("-m", "django", "startproject", "shop", ".")
        self.manage("startapp", "orders")
        with (self.folder / "shop" / "settings.py").open("a") as settings:
            settings.write(SETTINGS)
        (self.folder / "orders" / "models.py").write_text(MODELS)
        self.manage("makemigrations", "orders")

    @contextmanager
    def emulator(self):
        """Run ``kinesis_local``, and have the other commands use it."""
        with subprocess.Popen(
            [self.python, "manage.py", "kinesis_local", "--port", "0"],
            cwd=self.folder,
            env=self.env | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                first = process.stdout.readline()  # AWS emulator on http://...: account A is ...
                self.env["KINESIS_LOCAL_AWS_URL"] = first.split()[3].rstrip(":")
                yield
            finally:
                process.terminate()


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def site(request, tmp_path_factory):
    distribution = request.getfixturevalue(request.param)
    made = Site(tmp_path_factory.mktemp("site"))
    made.install(distribution)
    made.make()
    return made


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel):
    held = {
        name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name
    }  # fmt: skip
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "kinesis_bridge").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert held == there
    assert {
        "kinesis_bridge/py.typed",
        "kinesis_bridge/migrations/0001_initial.py",
        "kinesis_bridge/templates/admin/kinesis_bridge/deadletter/confirmation.html",
    } <= held


def test_the_sdist_has_what_a_packager_tests_with_and_nothing_of_this_machine(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "tests/conftest.py",
            "manage.py", "demo_project/settings.py"} <= names  # fmt: skip
    tops = {name.split("/")[0] for name in names}
    assert not [top for top in tops if top.startswith(".venv") or top in {".git", ".env", "dist"}]


def test_nothing_of_the_checkout_can_be_imported_there(site):
    found, path = map(json.loads, site.call("-c", WHERE).splitlines())
    assert Path(found[0]).is_relative_to(site.folder / "venv")
    assert found[1:] == [None, None, None]
    assert not [entry for entry in path if Path(entry).is_relative_to(ROOT)]


def test_a_bare_site_publishes_a_row(site):
    site.manage("migrate", "--verbosity", "0")
    assert "no issues" in site.manage("check", "--database", "default")
    assert "No changes" in site.manage("makemigrations", "--check", "--dry-run")
    site.manage("shell", "--command", SAVE)
    with site.emulator():
        sent = json.loads(site.manage("kinesis_relay", "--once", "--json"))
        (read,) = json.loads(site.manage("kinesis_tail", "--json"))["events"]
    assert (sent["sent"], sent["dead_lettered"]) == (1, 0)
    event = read["event"]
    assert (event["type"], event["source"], event["data"]) == (
        "shop.order.created",
        "/shop",
        {"id": 1, "status": "new"},
    )
