"""The demo shop behind a strict Content-Security-Policy, and with a stream that account B lacks."""

from demo_project.settings import *  # noqa: F403
from demo_project.settings import KINESIS_BRIDGE, MIDDLEWARE

MIDDLEWARE = [
    "tests.browser.serve.strict",
    *MIDDLEWARE,
    "django.middleware.locale.LocaleMiddleware",  # as the browser or its cookie wants it
]
LANGUAGES = [("en", "English"), ("ja", "日本語")]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEBUG = False
KINESIS_BRIDGE["STREAMS"]["audit"] = {**KINESIS_BRIDGE["STREAMS"]["default"], "STREAM": "gone"}
