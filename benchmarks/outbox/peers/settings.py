"""Settings of a process that measures another package: which one is said by ``OUTBOX_PEER``."""

import os
from urllib.parse import urlsplit

from benchmarks.outbox.peers.packages import package

PEER = package(os.environ["OUTBOX_PEER"])

_url = urlsplit(os.environ["DATABASE_URL"])

SECRET_KEY = "benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    *PEER.apps,
    "benchmarks.outbox.peers",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.hostname,
        "PORT": _url.port,
        "USER": _url.username,
        "NAME": _url.path.lstrip("/"),
    }
}
if "STOMP_PORT" in os.environ:
    DJANGO_OUTBOX_PATTERN = {
        "DEFAULT_STOMP_HOST_AND_PORTS": [("127.0.0.1", int(os.environ["STOMP_PORT"]))]
    }

globals().update(PEER.settings)
