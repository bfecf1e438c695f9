"""Settings of the processes of the benchmark, from the environment."""

import os

import environ

SECRET_KEY = "benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "pgtrigger",
    "kinesis_bridge",
    "benchmarks.outbox.app",
]
DATABASES = {"default": environ.Env.db_url_config(os.environ["DATABASE_URL"])}
KINESIS_BRIDGE = {
    "SOURCE": "/benchmarks",
    "STREAMS": {
        "default": {"STREAM": "bench", "REGION": "eu-west-1", "DELIVERY": "outbox"},
    },
}
