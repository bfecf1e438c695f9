"""Settings of the writers and the relays: what differs from run to run is in the environment.

``CHAOS_DATABASE_URL``: the database. ``CHAOS_OPTIONS``: OPTIONS of the stream, as JSON.
"""

from __future__ import annotations

import json
import os

from benchmarks.chaos.databases import config_of
from benchmarks.jobs import REGION, ROLE, STREAM

SECRET_KEY = "chaos"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["kinesis_bridge", "benchmarks.chaos.app"]
DATABASES = {"default": config_of(os.environ["CHAOS_DATABASE_URL"])}
KINESIS_BRIDGE = {
    "SOURCE": "/chaos",
    "ROLES": {"writer": {"ROLE_ARN": ROLE}},
    "STREAMS": {
        "default": {
            "STREAM": STREAM,
            "ROLE": "writer",
            "REGION": REGION,
            "DELIVERY": "outbox",
            # A request that hangs is given up early: a run has many of them.
            "OPTIONS": {"READ_TIMEOUT": 2.0, **json.loads(os.environ.get("CHAOS_OPTIONS", "{}"))},
        },
    },
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        # As ``logs`` reads it: seconds since 1970 first.
        "line": {"format": "{created:.3f} {levelname} {name} {message}", "style": "{"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"kinesis_bridge": {"level": "INFO"}},
}
