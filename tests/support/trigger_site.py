"""A site of its own whose model is captured by triggers: a project in a folder, on PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing

from tests.support.aws import ROOT
from tests.support.databases import connect

SETTINGS = """
import environ
SECRET_KEY = "tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", {pgtrigger}"kinesis_bridge", "shop",
]
DATABASES = {{"default": environ.Env.db_url_config("{url}")}}
KINESIS_BRIDGE = {{
    "SOURCE": "{source}",
    "STREAMS": {{"default": {{"STREAM": "orders", "REGION": "eu-west-1"}}}},
}}
"""
ORDER = """
from django.contrib.auth.models import User
from django.db import models
from kinesis_bridge import publishes

{decorator}
class Order(models.Model):
    status = models.CharField(max_length=20)
    total = models.DecimalField(max_digits=10, decimal_places=2)

{more}
"""
DECLARED = '@publishes("shop.order", fields=["id", "status"], capture="triggers")'
CHANGED = '@publishes("shop.order", fields=["id", "status", "total"], capture="triggers")'
USERS = """
@publishes("auth.user", fields=["id", "username"], capture="triggers")
class SiteUser(User):
    class Meta:
        proxy = True
"""


class Site:
    """A project in a folder of its own, on a database of its own."""

    def __init__(self, folder, url):
        self.folder = folder
        self.url = url
        (folder / "shop" / "migrations").mkdir(parents=True)
        for path in ("shop/__init__.py", "shop/migrations/__init__.py"):
            (folder / path).touch()

    def write(self, decorator=DECLARED, *, more="", source="/shop", pgtrigger=True):
        models = ORDER.format(decorator=decorator, more=more)
        (self.folder / "shop/models.py").write_text(models)
        installed = '"pgtrigger", ' if pgtrigger else ""
        settings = SETTINGS.format(url=self.url, source=source, pgtrigger=installed)
        (self.folder / "settings.py").write_text(settings)

    def manage(self, *arguments, **environment):
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "django", *arguments],
            cwd=self.folder,
            env=os.environ
            | {
                "DJANGO_SETTINGS_MODULE": "settings",
                "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
                "PYTHONDONTWRITEBYTECODE": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def migrate(self):
        for arguments in (["makemigrations", "shop"], ["migrate", "--verbosity", "0"]):
            done = self.manage(*arguments)
            assert done.returncode == 0, done.stderr

    def run(self, statement):
        with closing(connect(self.url)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def events(self):
        rows = self.run("DELETE FROM kinesis_bridge_outboxrecord RETURNING payload")
        return [json.loads(payload) for (payload,) in rows]

    def triggers(self):
        return [
            name for (name,) in self.run("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
        ]
