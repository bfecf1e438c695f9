"""What tests of the outbox share; a module whose outbox is another has a fixture of that name."""

from __future__ import annotations

import pytest

from tests.support.outbox import OutboxOn


@pytest.fixture
def outbox(request, database, settings):
    """The alias of the one database that has an outbox; an SQLite file, as threads share it."""
    alias = request.getfixturevalue("sqlite_file") if database == "default" else database
    settings.DATABASE_ROUTERS = [OutboxOn(alias)]
    return alias
