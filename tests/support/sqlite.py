"""SQLite files as databases of Django's, for the time of a test."""

from contextlib import contextmanager

from django.db import connections


@contextmanager
def sqlite_alias(alias, path):
    """Add the SQLite file at `path` to DATABASES, as it is."""
    added = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}
    configured = connections.configure_settings({"default": {}, alias: added})
    connections.settings[alias] = configured[alias]
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]
