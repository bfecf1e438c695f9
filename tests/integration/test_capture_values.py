"""The values in an event: those of the row, not those of the object in memory."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import override as visitors_zone

from tests.testapp.models import Document, Gauge, Owner, Sample, Seat, Thing, Token

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def thing(kinesis_events):
    owner = Owner.objects.create(name="o")
    thing = Thing.objects.create(owner=owner, name="old", price="1.00")
    kinesis_events.clear()
    return thing


@pytest.fixture
def owner(kinesis_events):
    return Owner.objects.create(name="o")


class TestPartialSaves:
    def test_an_unsaved_change_does_not_leak_into_the_event(self, thing, kinesis_events):
        other = Owner.objects.create(name="other")
        thing.name, thing.price, thing.owner = "new", 99, other
        with CaptureQueriesContext(connection) as queries:
            thing.save(update_fields=["name"])
        (event,) = kinesis_events
        assert (event.data["name"], event.data["price"]) == ("new", "1.00")
        assert event.data["owner"] == int(event.key) != other.pk
        assert len([q for q in queries if q["sql"].startswith("SELECT")]) == 1

    def test_a_save_of_unpublished_fields_publishes_nothing(self, thing, kinesis_events):
        thing.secret = "s"
        thing.save(update_fields=["secret"])
        thing.save(update_fields=[])
        assert not kinesis_events

    @pytest.mark.parametrize("name", ["owner", "owner_id"])
    def test_a_save_of_the_key_alone_publishes(self, thing, kinesis_events, name):
        thing.owner = Owner.objects.create(name="next")
        thing.save(update_fields=[name])
        assert kinesis_events[0].key == str(thing.owner_id)

    @pytest.mark.parametrize(
        "partial",
        [
            lambda rows: rows.only("name"),
            lambda rows: rows.defer("price", "owner"),
            lambda rows: rows.only("id"),
        ],
        ids=["only", "defer", "only pk"],
    )
    def test_deferred_fields_are_read_once_and_not_loaded(self, thing, kinesis_events, partial):
        found = partial(Thing.objects).get()
        deferred = found.get_deferred_fields()
        with CaptureQueriesContext(connection) as queries:
            found.name = "new"
            found.save()
        assert len([q for q in queries if q["sql"].startswith("SELECT")]) == 1
        assert found.get_deferred_fields() == deferred - {"name"}
        (event,) = kinesis_events
        assert event.key == str(thing.owner_id)
        assert (event.data["name"], event.data["price"]) == ("new", "1.00")

    def test_a_deferred_row_is_deleted_with_all_its_values(self, thing, kinesis_events):
        with CaptureQueriesContext(connection) as queries:
            Thing.objects.only("id").get().delete()
        assert kinesis_events[0].data["name"] == "old"
        assert len([q for q in queries if q["sql"].startswith("SELECT")]) == 2

    def test_a_row_that_the_base_manager_hides(self, kinesis_events):
        document = Document.objects.create(title="a")
        document.hidden, document.title = True, "b"
        document.save(update_fields=["hidden", "title"])
        Document(pk=document.pk, title="c").delete()
        assert kinesis_events[1].data == {"id": document.pk, "title": "B"}


class TestValues:
    def test_they_are_those_that_the_database_gives_back(self, kinesis_events):
        sample = Sample.objects.create(
            code=17,
            count="5",
            weight="1.5",
            price="9.9",
            active="1",
            when="2026-01-02T03:04:05+02:00",
            day=datetime(2026, 1, 2, 3, tzinfo=UTC),
            lasts=timedelta(days=1, seconds=2),
            token="01890A5DAC96774BBCCEB302099A8057",
            raw=b"\x00",
            doc="a/b.txt",
            extra={1: (2, 3)},
        )
        first = kinesis_events[0].data
        assert first == {
            "id": sample.pk,
            "code": "17",
            "count": 5,
            "doubled": 10,
            "weight": 1.5,
            "price": "9.90",
            "active": True,
            "when": datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC),
            "day": datetime(2026, 1, 2).date(),  # noqa: DTZ001
            "lasts": timedelta(days=1, seconds=2),
            "token": UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
            "raw": b"\x00",
            "doc": "a/b.txt",
            "extra": {"1": [2, 3]},
            "wave": None,
        }
        assert first["when"].utcoffset() == timedelta(0)
        Sample.objects.get().save()
        assert kinesis_events[1].data == first

    @pytest.mark.parametrize("price", [0.125, Decimal("0.125"), "0.135", 1.1, Decimal("3E+1")])
    def test_a_decimal_is_rounded_as_the_database_does(self, kinesis_events, price):
        Sample.objects.create(code="k", price=price)
        assert kinesis_events[0].data["price"] == str(Sample.objects.get().price)

    @pytest.mark.parametrize(("price", "reads"), [("0.12", 0), (1.1, 0), ("0.125", 1)])
    def test_only_a_decimal_that_is_rounded_is_read_back(self, kinesis_events, price, reads):
        # PostgreSQL rounds half up, Python to even: only the database knows.
        with CaptureQueriesContext(connection) as queries:
            Sample.objects.create(code="k", price=price)
        assert len([q for q in queries if q["sql"].startswith("SELECT")]) == reads

    def test_an_aware_time_of_any_zone_is_the_same_event(self, kinesis_events):
        here = datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
        Sample.objects.create(code="k", when=here)
        Sample.objects.get().save()
        assert kinesis_events[0].data == kinesis_events[1].data

    def test_expressions_are_evaluated(self, thing, kinesis_events):
        thing.count = F("count") + 3
        thing.name = Concat(F("name"), Value("er"))
        thing.save()
        assert (kinesis_events[0].data["count"], kinesis_events[0].data["name"]) == (3, "older")

    def test_database_defaults_are_read(self, kinesis_events):
        token = Token.objects.create()
        assert kinesis_events[0].data["stamped"] == Token.objects.get().stamped
        assert kinesis_events[0].key == str(token.pk)

    def test_a_generated_column_is_not_the_stale_one(self, kinesis_events):
        sample = Sample.objects.create(code="k", count=1)
        sample.count = 4
        sample.save()
        sample.count = 5
        sample.save(update_fields=["count"])
        assert [event.data["doubled"] for event in kinesis_events] == [2, 8, 10]

    def test_a_generated_column_alone_goes_out_when_its_source_is_saved(self, kinesis_events):
        gauge = Gauge.objects.create(level=1)
        gauge.level = 4
        gauge.save(update_fields=["level"])
        assert [event.data for event in kinesis_events] == [{"double": 2}, {"double": 8}]

    def test_a_foreign_key_given_as_text(self, owner, kinesis_events):
        Thing.objects.create(owner_id=str(owner.pk))
        assert kinesis_events[0].data["owner"] == owner.pk

    def test_a_composite_primary_key(self, kinesis_events):
        seat = Seat.objects.create(row="C", number="7")
        seat.delete()
        assert kinesis_events.types == ["test.seat.created", "test.seat.deleted"]
        assert {(e.key, e.subject) for e in kinesis_events} == {("C,7", "C,7")}
        assert kinesis_events[1].data == {"row": "C", "number": 7}

    @pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime")
    def test_a_naive_time_is_of_the_sites_zone_not_of_the_visitors(self, kinesis_events, settings):
        settings.TIME_ZONE = "Europe/Berlin"
        with visitors_zone("America/New_York"):
            Sample.objects.create(code="k", when=datetime(2026, 7, 1, 12))  # noqa: DTZ001
        assert kinesis_events[0].data["when"] == datetime(2026, 7, 1, 10, tzinfo=UTC)
        assert Sample.objects.get().when == datetime(2026, 7, 1, 10, tzinfo=UTC)
