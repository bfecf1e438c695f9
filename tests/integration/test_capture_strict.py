"""``STRICT``: a write of a declared table that would have no event raises."""

from __future__ import annotations

import asyncio
import io

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.management import call_command
from django.db import connections, migrations, models, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import F

from kinesis_bridge import allow_uncaptured, publishes
from kinesis_bridge.capture import strict
from kinesis_bridge.declarations import forget
from kinesis_bridge.exceptions import UncapturedWrite
from tests.testapp.models import (
    Bar,
    Fan,
    Note,
    Owner,
    Person,
    Pin,
    Place,
    PlaceProxy,
    Plain,
    Post,
    Restaurant,
    Seat,
    Tag,
    Thing,
    Untouched,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def is_on(settings, kinesis_events):
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"STRICT": True}


def run(using, statement, *parameters):
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)


def historical(model):
    """The model as a migration has it."""
    state = ProjectState()
    state.add_model(ModelState.from_model(model))
    return state.apps.get_model(model._meta.app_label, model.__name__)


class TestWhatRaises:
    @pytest.mark.parametrize(
        ("statement", "verb"),
        [
            ("INSERT INTO testapp_place (name) VALUES ('secret')", "INSERT"),
            ("UPDATE testapp_place SET name = 'secret'", "UPDATE"),
            ("DELETE FROM testapp_place", "DELETE"),
            ("WITH a AS (SELECT 1) DELETE FROM testapp_place", "DELETE"),
            ("/* why */ UPDATE testapp_place SET name = 'secret'", "UPDATE"),
        ],
    )
    def test_sql(self, database, statement, verb):
        Place.objects.using(database).create(name="a")
        with pytest.raises(UncapturedWrite) as raised:
            run(database, statement)
        text = str(raised.value)
        assert text.startswith(f"{verb} of table testapp_place is not captured, so it would have")
        assert "testapp.Place, published as test.place" in text
        assert "write through testapp.Place" in text
        assert "with kinesis_bridge.allow_uncaptured()" in text
        assert "secret" not in text
        assert Place.objects.using(database).get().name == "a"

    def test_many_at_once_and_quoted(self, database):
        table = connections[database].ops.quote_name("testapp_place")
        with connections[database].cursor() as cursor, pytest.raises(UncapturedWrite):
            cursor.executemany(f"INSERT INTO {table} (name) VALUES (%s)", [["a"], ["b"]])

    @pytest.mark.parametrize("database", ["postgres"], indirect=True)
    def test_what_postgresql_has_besides(self, database):
        from psycopg import sql

        run_sql = sql.SQL("UPDATE {} SET name = 'b'").format(sql.Identifier("testapp_place"))
        for statement in ("TRUNCATE testapp_place CASCADE", run_sql, b"DELETE FROM testapp_place"):
            with pytest.raises(UncapturedWrite):
                run(database, statement)
        with connections[database].cursor() as cursor:
            with pytest.raises(UncapturedWrite, match="COPY of table testapp_place"):
                cursor.copy("COPY testapp_place (name) FROM STDIN")
            with cursor.copy("COPY testapp_place TO STDOUT") as copy:
                assert list(copy) == []
            with (
                allow_uncaptured(),
                cursor.copy("COPY testapp_place (name) FROM STDIN") as copy,
            ):
                copy.write_row(["copied"])
        assert Place.objects.using(database).get().name == "copied"

    def test_raw_delete(self, database):
        with pytest.raises(UncapturedWrite):
            Place.objects.using(database).all()._raw_delete(database)

    def test_raw_querysets(self, database):
        if not connections[database].features.can_return_columns_from_insert:
            pytest.skip("It has no RETURNING")
        with pytest.raises(UncapturedWrite):
            list(Place.objects.using(database).raw("DELETE FROM testapp_place RETURNING *"))

    def test_models_of_migrations(self, database):
        past = historical(Place)
        rows = past.objects.using(database)
        with allow_uncaptured():
            rows.create(name="a")
        for write in (
            lambda: rows.create(name="b"),
            lambda: rows.get().save(),
            lambda: rows.update(name="b"),
            lambda: rows.bulk_create([past(name="b")]),
            lambda: rows.all().delete(),
            lambda: rows.get().delete(),
        ):
            with pytest.raises(UncapturedWrite):
                write()
        assert Place.objects.using(database).get().name == "a"

    def test_rows_of_a_table_between(self, database):
        post = Post.objects.using(database).create()
        tag = Tag.objects.using(database).create()
        owner = Owner.objects.using(database).create()
        between = Post.tags.through
        with pytest.raises(UncapturedWrite, match=r"the many-to-many field testapp\.Post\.tags"):
            between.objects.using(database).create(post=post, tag=tag)
        with pytest.raises(UncapturedWrite, match=r"add\(\), remove\(\), set\(\) or clear\(\)"):
            Fan.objects.using(database).bulk_create([Fan(post=post, owner=owner)])
        post.tags.add(tag)
        post.fans.add(owner)
        with pytest.raises(UncapturedWrite):
            Fan.objects.using(database).update(since=1)
        with pytest.raises(UncapturedWrite):
            Fan.objects.using(database).all().delete()
        with pytest.raises(UncapturedWrite):
            between.objects.using(database).all().delete()

    def test_a_relation_that_failed_leaves_nothing_open(self, database):
        post = Post.objects.using(database).create()
        tag = Tag.objects.using(database).create()
        with pytest.raises(ValueError, match="Field 'id' expected"):
            post.tags.add("no key")
        with transaction.atomic(using=database):
            post.tags.add(tag)
            with pytest.raises(UncapturedWrite), transaction.atomic(using=database):
                post.tags.through.objects.using(database).create(post=post, tag=tag)

    @pytest.mark.parametrize("database", ["default"], indirect=True)
    @pytest.mark.parametrize("conflicts", ["ignore_conflicts", "update_conflicts"])
    def test_bulk_create_of_which_nobody_can_tell(self, database, conflicts, monkeypatch):
        """As on MySQL, which returns no rows."""
        features = connections[database].features
        given = {conflicts: True}
        if conflicts == "update_conflicts":
            given |= {"update_fields": ["name"], "unique_fields": ["id"]}
        places = Place.objects.using(database)
        places.bulk_create([Place(name="told")], **given)
        for name in ("can_return_rows_from_bulk_insert", "can_return_columns_from_insert"):
            monkeypatch.setitem(features.__dict__, name, False)
        places.bulk_create([Place(pk=99, name="has a key")], **given)
        places.bulk_create(iter([Place(name="no conflicts")]))
        Untouched.objects.using(database).bulk_create([Untouched()], ignore_conflicts=True)
        with pytest.raises(UncapturedWrite) as raised:
            places.bulk_create([Place(name="untold")], **given)
        assert str(raised.value).startswith(
            "bulk_create() with conflicts on testapp.Place is not captured: sqlite does not tell"
        )
        with allow_uncaptured():
            places.bulk_create([Place(name="untold")], **given)
        assert places.count() == 4

    def test_a_model_that_is_declared_later(self, database):
        publishes("test.plain", fields=["id"])(Plain)
        try:
            with pytest.raises(UncapturedWrite):
                run(database, "DELETE FROM testapp_plain")
        finally:
            forget(Plain)
        run(database, "DELETE FROM testapp_plain")


class TestWhatPasses:
    def test_all_that_is_captured(self, database):
        owner = Owner(name="o")
        owner.save(using=database)
        things = Thing.objects.using(database)
        thing = things.create(owner=owner)
        thing.count = F("count") + 1
        thing.save()
        things.update(name="b")
        things.bulk_update([thing], ["price"])
        things.bulk_create([Thing(owner=owner), Thing(owner=owner)])
        things.get_or_create(pk=99, owner=owner)
        things.filter(pk=thing.pk).delete()
        owner.delete()
        assert not things.exists()

    def test_inheritance_proxies_and_composite_keys(self, database):
        for model in (Bar, Restaurant, PlaceProxy):
            made = model.objects.using(database).create(name="a")
            made.name = "b"
            made.save()
            model.objects.using(database).update(name="c")
            made.delete()
        Bar.objects.using(database).create(name="a")
        Place.objects.using(database).all().delete()
        seat = Seat.objects.using(database).create(row="a", number=1)
        seat.taken = True
        seat.save()

    def test_what_a_delete_takes_along_or_sets(self, database):
        place = Place.objects.using(database).create()
        Pin.objects.using(database).create(place=place)
        place.delete()
        about = Untouched.objects.using(database).create()
        Note.objects.using(database).create(about=about)  # whose deletes are fast
        about.delete()

    def test_relations_from_either_side(self, database):
        post = Post.objects.using(database).create()
        tags = [Tag.objects.using(database).create() for _ in range(3)]
        post.tags.add(*tags[:2])
        post.tags.set(tags[1:])
        post.tags.remove(tags[1])
        tags[0].posts.add(post)
        post.fans.add(Owner.objects.using(database).create())
        tags[0].delete()
        Owner.objects.using(database).all().delete()
        post.tags.clear()
        people = [Person.objects.using(database).create() for _ in range(2)]
        people[0].friends.add(people[1])
        people[0].friends.remove(people[1])
        post.delete()

    def test_what_is_not_declared_and_what_is_read(self, database):
        run(database, "DELETE FROM testapp_untouched")
        run(database, "UPDATE testapp_owner SET name = 'testapp_place'")
        with transaction.atomic(using=database):
            assert list(Place.objects.using(database).select_for_update()) == []

    def test_what_is_meant_so(self, database):
        with allow_uncaptured():
            run(database, "INSERT INTO testapp_place (name) VALUES ('a')")
            with allow_uncaptured():
                run(database, "UPDATE testapp_place SET name = 'b'")
            run(database, "UPDATE testapp_place SET name = 'c'")
        with pytest.raises(UncapturedWrite):
            run(database, "UPDATE testapp_place SET name = 'd'")
        assert Place.objects.using(database).get().name == "c"

    def test_fixtures(self, database, tmp_path):
        Place.objects.using(database).create(name="a")
        path = tmp_path / "places.json"
        call_command("dumpdata", "testapp.Place", database=database, output=str(path))
        with allow_uncaptured():
            Place.objects.using(database).all()._raw_delete(database)
        call_command("loaddata", str(path), database=database, verbosity=0)
        assert Place.objects.using(database).get().name == "a"

    def test_what_empties_a_database_after_a_test(self, database):
        Place.objects.using(database).create(name="a")
        call_command(
            "flush", database=database, interactive=False, verbosity=0, stdout=io.StringIO()
        )
        assert not Place.objects.using(database).exists()

    def test_off_again(self, database, settings):
        settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"STRICT": False}
        run(database, "DELETE FROM testapp_place")

    @pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)
    def test_a_connection_that_was_opened_anew(self, database):
        connections[database].close()
        with pytest.raises(UncapturedWrite):
            run(database, "DELETE FROM testapp_place")
        assert connections[database].execute_wrappers.count(strict._check) == 1


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_async_code(database):
    async def write():
        place = await Place.objects.using(database).acreate(name="a")
        await place.asave()
        await Place.objects.using(database).aupdate(name="b")
        statement = "UPDATE testapp_place SET name = 'c'"
        with pytest.raises(UncapturedWrite):
            await sync_to_async(run)(database, statement)
        with allow_uncaptured():
            await sync_to_async(run)(database, statement)
        await sync_to_async(connections.close_all)()

    asyncio.run(write())
    assert Place.objects.using(database).get().name == "c"


class TestMigrations:
    def test_changes_of_the_schema_pass(self, database):
        """A column that is NULL no more is filled by an UPDATE."""
        connection = connections[database]

        def alter(old, new):
            for field in (old, new):
                field.set_attributes_from_name("name")
                field.model = Plain
            with connection.schema_editor() as editor:
                editor.alter_field(Plain, old, new)

        empty = models.CharField(max_length=50, null=True)
        filled = models.CharField(max_length=50, default="filled")
        publishes("test.plain", fields=["id"])(Plain)
        try:
            alter(models.CharField(max_length=50), empty)
            with allow_uncaptured():
                run(database, "INSERT INTO testapp_plain (name) VALUES (NULL)")
            alter(empty, filled)
            assert Plain.objects.using(database).get().name == "filled"
        finally:
            forget(Plain)

    def apply(self, using, operation):
        migration = migrations.Migration("changed", "testapp")
        migration.operations = [operation]
        editor = connections[using].schema_editor(atomic=False)
        migration.apply(ProjectState.from_apps(apps), editor)

    @pytest.mark.parametrize(
        "operation",
        [
            migrations.RunSQL("UPDATE testapp_place SET name = 'b'"),
            migrations.RunPython(
                lambda apps, editor: (
                    apps.get_model("testapp", "Place")
                    .objects.using(editor.connection.alias)
                    .update(name="b")
                )
            ),
        ],
        ids=["sql", "python"],
    )
    def test_changes_of_data_do_not(self, database, operation):
        Place.objects.using(database).create(name="a")
        with pytest.raises(UncapturedWrite):
            self.apply(database, operation)
        with allow_uncaptured():
            self.apply(database, operation)
        assert Place.objects.using(database).get().name == "b"


def test_the_making_of_a_test_database_passes():
    """It runs all migrations, those of data too."""
    seen = []

    class Creation(strict.BaseDatabaseCreation):
        def _get_test_db_name(self):
            seen.append(strict._is_allowed.get())
            raise LookupError

    with pytest.raises(LookupError):
        Creation(connections["default"]).create_test_db()
    assert seen == [True]


def test_where_it_is_off_nothing_is_wrapped():
    import subprocess
    import sys

    code = (
        "import os; os.environ.pop('TEST_STRICT', None);"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings';"
        "import django; django.setup();"
        "from django.db import connection, models;"
        "connection.cursor();"
        "assert not connection.execute_wrappers;"
        "assert models.Model._do_insert.__module__ == 'django.db.models.base';"
        "assert not hasattr(models.Model._do_insert, '__wrapped__');"
        "assert not hasattr(models.QuerySet.update.__wrapped__, '__wrapped__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
