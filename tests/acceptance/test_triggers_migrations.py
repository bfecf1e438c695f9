"""``capture="triggers"`` as a site uses it: makemigrations, migrate, and what tells of a drift."""

from __future__ import annotations

import pytest

from tests.support.databases import Cluster
from tests.support.trigger_site import CHANGED, USERS, Site

pytestmark = pytest.mark.skipif(bool(Cluster.missing()), reason=Cluster.missing())


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as running:
        yield running


@pytest.fixture
def site(cluster, tmp_path):
    url = cluster.create_database("shop")
    yield Site(tmp_path, url)
    cluster.drop_database("shop")


def test_the_whole_life_of_a_declaration(site):
    site.write(more=USERS)
    site.migrate()
    assert len(site.triggers()) == 6
    site.run("INSERT INTO shop_order (status, total) VALUES ('new', 9)")
    site.run(
        "INSERT INTO auth_user (username, password, is_superuser, first_name, last_name, email,"
        " is_staff, is_active, date_joined)"
        " VALUES ('ann', '', false, '', '', '', false, true, now())"
    )
    assert [(event["type"], event["source"], event["data"]) for event in site.events()] == [
        ("shop.order.created", "/shop", {"id": 1, "status": "new"}),
        ("auth.user.created", "/shop", {"id": 1, "username": "ann"}),
    ]
    assert site.manage("makemigrations", "--check", "--dry-run").returncode == 0
    assert site.manage("check", "--database", "default").returncode == 0

    # Declared anew, and not yet migrated: it is said, and by what is done it is right again.
    site.write(CHANGED, more=USERS)
    checked = site.manage("check", "--database", "default")
    assert checked.returncode == 1
    assert "kinesis_bridge.E072" in checked.stderr
    assert "of another declaration" in checked.stderr
    assert "manage.py makemigrations, then: manage.py migrate" in checked.stderr
    assert site.manage("makemigrations", "--check", "--dry-run").returncode == 1
    site.migrate()
    assert site.manage("check", "--database", "default").returncode == 0
    site.run("UPDATE shop_order SET status = 'paid'")
    assert site.events()[0]["data"] == {"id": 1, "status": "paid", "total": "9.00"}

    # A setting that stands in the events is a part of them.
    site.write(CHANGED, more=USERS, source="/store")
    assert "kinesis_bridge.E072" in site.manage("check", "--database", "default").stderr
    site.migrate()
    site.run("DELETE FROM shop_order")
    assert [event["source"] for event in site.events()] == ["/store"]

    # By hand behind the migrations' back.
    name = next(name for name in site.triggers() if "insert" in name and "order" in name)
    site.run(f"ALTER TABLE shop_order DISABLE TRIGGER {name}")
    assert f"{name} (disabled)" in site.manage("check", "--database", "default").stderr

    assert site.manage("migrate", "--verbosity", "0").returncode == 0
    checked = site.manage("check", "--database", "default")
    assert f"{name} (disabled)" in checked.stderr, "no migration knows of it"
    assert "manage.py pgtrigger install --database default" in checked.stderr
    assert site.manage("pgtrigger", "install", "--database", "default").returncode == 0
    assert site.manage("check", "--database", "default").returncode == 0

    # No longer declared: nothing is left, and nothing is published.
    site.write("", source="/store")
    site.migrate()
    assert site.triggers() == []
    site.run("INSERT INTO shop_order (status, total) VALUES ('new', 9)")
    assert site.events() == []

    # And back again, by the migrations alone.
    assert site.manage("migrate", "--verbosity", "0", "shop", "0001").returncode == 0
    assert len(site.triggers()) == 6
    site.run("INSERT INTO shop_order (status, total) VALUES ('new', 9)")
    assert [event["data"]["status"] for event in site.events()] == ["new"]


def test_without_pgtrigger_nothing_starts(site):
    site.write(pgtrigger=False)
    done = site.manage("check")
    assert done.returncode == 1
    assert "pip install 'django-kinesis-bridge[triggers]'" in done.stderr
    assert '"pgtrigger" in INSTALLED_APPS' in done.stderr
