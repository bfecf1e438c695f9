"""The page "Kinesis bridge" within ATOMIC_REQUESTS: what it cannot read breaks no request."""

import json

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, User
from django.db import connections

from kinesis_bridge.models import DeadLetter, OutboxRecord, Stream, StreamStatistic
from tests.support.admin import fixture_browser, fixture_site, text  # noqa: F401 - fixtures
from tests.support.outbox import OutboxOn

DB = "postgres"
PAGE = "/admin/kinesis_bridge/stream/"
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", DB])


class AllOn(OutboxOn):
    """The whole site, its users too, in one database."""

    def db_for_read(self, model, **hints):
        return self.aliases[0]

    db_for_write = db_for_read


class Audited(ModelBackend):
    """Notes within the request's transaction that somebody asked."""

    def has_perm(self, *arguments, **named):
        Group.objects.get_or_create(name="asked for a permission")
        return super().has_perm(*arguments, **named)


def counted(request):
    """A context processor of the site's own, which asks the database."""
    Group.objects.get_or_create(name="rendered")
    return {"users": User.objects.count()}


@pytest.fixture(autouse=True)
def whole_requests(settings, monkeypatch):
    settings.DATABASE_ROUTERS = [AllOn(DB)]
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Audited"]
    options = settings.TEMPLATES[0]["OPTIONS"]
    more = [*options["context_processors"], f"{__name__}.counted"]
    settings.TEMPLATES = [
        {**settings.TEMPLATES[0], "OPTIONS": {**options, "context_processors": more}}
    ]
    monkeypatch.setitem(connections[DB].settings_dict, "ATOMIC_REQUESTS", True)


@pytest.fixture
def without():
    """Take away the table of a model, as it is before migrate."""
    gone = []

    def take(model):
        with connections[DB].schema_editor() as editor:
            editor.delete_model(model)
        gone.append(model)

    yield take
    with connections[DB].schema_editor() as editor:
        for model in gone:
            editor.create_model(model)


def said(url, page):
    return json.loads(page.content)["html"] if url.endswith("live/") else text(page)


@pytest.mark.parametrize("url", [PAGE, f"{PAGE}live/"])
@pytest.mark.parametrize("model", [Stream, StreamStatistic, DeadLetter])
def test_a_table_that_is_missing_is_named_and_the_request_goes_on(browser, without, url, model):
    somebody = browser("view_stream")
    without(model)

    page = somebody.get(url)

    assert page.status_code == 200
    wanted = f"It lacks {model._meta.db_table}. Run: manage.py migrate --database {DB}"
    assert f"It cannot be read: {wanted}" in " ".join(said(url, page).split())
    # Neither what was written before the failure nor what came behind it is lost.
    assert set(Group.objects.values_list("name", flat=True)) == {
        "asked for a permission",
        "rendered",
    }


@pytest.mark.parametrize("url", [PAGE, f"{PAGE}live/"])
def test_a_site_without_the_outbox_is_told_to_migrate(browser, without, url):
    somebody = browser("view_stream")
    without(OutboxRecord)
    page = somebody.get(url)
    assert page.status_code == 200
    assert "its tables are missing. Run: manage.py migrate" in said(url, page)


def test_where_all_is_there_the_page_shows_the_streams(browser):
    page = browser("view_stream").get(PAGE)
    assert 'id="kb-1-1"' in page.content.decode()
