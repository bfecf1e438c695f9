"""A site with the admin, for the tests of its pages: fixtures to be imported."""

import re

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import override_settings

APPS = ["django.contrib.admin", "django.contrib.sessions", "django.contrib.messages"]
SITE = {
    "ROOT_URLCONF": "tests.admin_urls",
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
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
    ],
    # No table for sessions.
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "STATIC_URL": "static/",
}


@pytest.fixture(scope="module", autouse=True, name="site")
def fixture_site(django_db_setup, django_db_blocker):
    """A site with the admin, whose log has a table; its pages are fresh, however slow."""
    from django.conf import settings

    with (
        override_settings(INSTALLED_APPS=[*APPS, *settings.INSTALLED_APPS], **SITE),
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr("kinesis_bridge.dashboard.seldom.CHEAP_SECONDS", float("inf"))
        log = apps.get_model("admin.LogEntry")
        with django_db_blocker.unblock():
            with connection.schema_editor() as editor:
                editor.create_model(log)
            yield
            with connection.schema_editor() as editor:
                editor.delete_model(log)


@pytest.fixture(name="browser")
def fixture_browser(client):
    """A browser in which somebody with these permissions is logged in."""

    def of(*permissions, **attributes):
        user = User.objects.create(username="somebody", is_staff=True, **attributes)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert user.user_permissions.count() == len(permissions)
        client.force_login(user)
        return client

    return of


@pytest.fixture(name="everything")
def fixture_everything(browser):
    return browser(is_superuser=True)


def text(page):
    assert page.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", page.content.decode()).split())


def log():
    entries = apps.get_model("admin.LogEntry").objects.order_by("id")
    return [(e.user.username, e.action_flag, e.object_repr, e.change_message) for e in entries]
