"""Settings of the demo shop, from the environment by django-environ."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from kinesis_bridge.conf import settings_from_env

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
dotenv = BASE_DIR / ".env"
env.read_env(dotenv if dotenv.exists() else BASE_DIR / ".env.example")

SECRET_KEY = env("SECRET_KEY")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "kinesis_bridge",
    "demo_project.shop",
    "demo_project.live",
]

KINESIS_BRIDGE = settings_from_env(env)
ROLES = KINESIS_BRIDGE.setdefault("ROLES", {})
if s3_role := env.str("KINESIS_S3_ROLE_ARN", default=""):
    # Reached in the same way as the stream's role: get_session("s3-viewer").client("s3").
    ROLES["s3-viewer"] = {**ROLES.get("default", {}), "ROLE_ARN": s3_role}
if firehose := env.str("KINESIS_FIREHOSE_ARN", default=""):
    KINESIS_BRIDGE["STREAMS"]["logs"] = {
        "STREAM": firehose,
        "ROLE": "default" if "default" in ROLES else None,
        "DELIVERY": "background",
        "OPTIONS": {"BUFFER_BYTES": 8 * 1024 * 1024, "SHUTDOWN_SECONDS": 2.0},
    }
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler", "level": "WARNING"},
            "kinesis": {"class": "kinesis_bridge.logs.KinesisHandler", "stream": "logs"},
        },
        "root": {"level": "INFO", "handlers": ["console", "kinesis"]},
        "loggers": {"django": {"level": "INFO", "handlers": []}},  # by the root's alone
    }

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "demo_project.urls"
WSGI_APPLICATION = "demo_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.db("DATABASE_URL")}
if not DATABASES["default"].get("ENGINE"):
    raise ImproperlyConfigured(
        "DATABASE_URL names no database. Examples: sqlite:////tmp/shop.sqlite3,"
        " postgres://user:password@127.0.0.1:5432/shop"
    )
if not Path(str(DATABASES["default"]["NAME"])).is_absolute() and "sqlite" in str(
    DATABASES["default"]["ENGINE"]
):
    DATABASES["default"]["NAME"] = BASE_DIR / str(DATABASES["default"]["NAME"])
if "mysql" in str(DATABASES["default"]["ENGINE"]) and find_spec("MySQLdb") is None:
    # mysqlclient has to be built. Where it is not, PyMySQL does in a demo.
    import_module("pymysql").install_as_MySQLdb()
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
