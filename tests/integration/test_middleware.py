"""Requests, and who and why in the events that are made in them, as account B reads them."""

import asyncio
import json
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import alogin, login, logout
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import transaction
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from django.utils.decorators import sync_only_middleware

from kinesis_bridge import apublish, event_context, publish, streams
from kinesis_bridge.context import current
from kinesis_bridge.exceptions import EventError, RecordTooLarge
from kinesis_bridge.middleware import EventContextMiddleware
from tests.support.capture import body_of, records
from tests.testapp.models import Place

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MIDDLEWARE = [
    "kinesis_bridge.middleware.EventContextMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ENVELOPE = {"specversion", "id", "source", "type", "subject", "time", "partitionkey"}
ENVELOPE |= {"datacontenttype", "data"}


@pytest.fixture(params=["memory", "outbox"])
def delivery(request):
    return request.param


@pytest.fixture(autouse=True)
def site(settings, delivery):
    stream = {"STREAM": "orders", "DELIVERY": delivery}
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"STREAMS": {"default": stream}}
    settings.MIDDLEWARE = MIDDLEWARE
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"


@pytest.fixture
def arrived(delivery):
    """What is written, by the name of the place or of the event's data."""

    def read():
        if delivery == "outbox":
            bodies = [body_of(record) for record in records("default")]
        else:
            bodies = [json.loads(payload) for payload in streams["default"].delivery.payloads]
        return {
            body["data"]["name"]: {k: v for k, v in body.items() if k not in ENVELOPE}
            for body in bodies
        }

    return read


@pytest.fixture
def user():
    return User.objects.create(username="ada")


def logged_in(client, user):
    client.force_login(user)
    return client


def use(settings, first):
    settings.MIDDLEWARE = [f"{__name__}.{first}", *MIDDLEWARE[1:]]


def save(name):
    Place(name=name).save()


def save_view(request):
    save("saved")
    if "fail" in request.GET:
        raise RuntimeError
    publish("a.b", {"name": "by hand"})
    return HttpResponse()


def quiet_view(request):
    return HttpResponse()


def login_view(request):
    save("before")
    login(request, User.objects.get())
    save("logged in")
    logout(request)
    save("logged out")
    return HttpResponse()


def nested_view(request):
    with event_context(jobname="import", userid=None):
        save("inner")
    save("outer")
    return HttpResponse()


def steps():
    save("first")
    yield b"1"
    with event_context(part=2):
        save("second")
        yield b"2"
        save("third")
    yield b"3"
    save("last")


async def asteps():
    await sync_to_async(save)("first")
    yield b"1"
    with event_context(part=2):
        await sync_to_async(save)("second")
        yield b"2"
        await sync_to_async(save)("third")
    yield b"3"
    await sync_to_async(save)("last")


def stream_view(request):
    return StreamingHttpResponse(steps())


async def astream_view(request):
    return StreamingHttpResponse(asteps())


def file_view(request):
    return FileResponse(open(__file__, "rb"))  # noqa: PTH123 - closed with the response


async def async_view(request):
    await Place(name="saved").asave()
    if "fail" in request.GET:
        raise RuntimeError
    await apublish("a.b", {"name": "by hand"})
    return HttpResponse()


async def auser_view(request):
    await request.auser()
    await Place(name="saved").asave()
    return HttpResponse()


async def alogin_view(request):
    await Place(name="before").asave()
    await alogin(request, await User.objects.aget())
    await Place(name="logged in").asave()
    return HttpResponse()


async def current_view(request):
    try:
        current()
    except SynchronousOnlyOperation:
        return HttpResponse(str(await sync_to_async(lambda: current()["userid"])()))


CAME = {}


async def meet_view(request, name):
    """Go on once the other request, too, has saved its first place."""
    await Place(name=f"{name} first").asave()
    CAME[name].set()
    await CAME["ab".replace(name, "")].wait()
    await Place(name=f"{name} second").asave()
    return HttpResponse()


urlpatterns = [
    path("save/", save_view),
    path("quiet/", quiet_view),
    path("login/", login_view),
    path("nested/", nested_view),
    path("stream/", stream_view),
    path("astream/", astream_view),
    path("file/", file_view),
    path("async/", async_view),
    path("auser/", auser_view),
    path("alogin/", alogin_view),
    path("current/", current_view),
    path("meet/<name>/", meet_view),
]


class Tenants(EventContextMiddleware):
    attributes = ("requestid", "traceparent", "tracestate", "tenantid")
    request_id_header = None

    def get_tenantid(self, request):
        return request.GET.get("tenant")


@sync_only_middleware
def saving_middleware(get_response):
    def middleware(request):
        save("on the way in")
        response = get_response(request)
        save("on the way out")
        return response

    return middleware


class TestRequests:
    def test_saves_and_events_by_hand_carry_it(self, arrived, user):
        headers = {"X-Request-ID": "abc-1", "traceparent": TRACEPARENT}
        logged_in(Client(headers=headers), user).get("/save/")
        carried = {"requestid": "abc-1", "userid": str(user.pk), "traceparent": TRACEPARENT}
        assert arrived() == {"saved": carried, "by hand": carried}
        assert current() is None

    def test_async_views_too(self, arrived, user):
        client = logged_in(AsyncClient(), user)
        headers = {"X-Request-ID": "abc-1", "traceparent": TRACEPARENT}
        async_to_sync(client.get)("/async/", headers=headers)
        carried = {"requestid": "abc-1", "userid": str(user.pk), "traceparent": TRACEPARENT}
        assert arrived() == {"saved": carried, "by hand": carried}
        assert current() is None

    def test_without_the_middleware_there_is_nothing(self, arrived, user, settings):
        settings.MIDDLEWARE = MIDDLEWARE[1:]
        logged_in(Client(headers={"X-Request-ID": "abc-1"}), user).get("/save/")
        assert arrived() == {"saved": {}, "by hand": {}}

    def test_each_request_without_an_id_has_one_of_its_own(self, arrived):
        ids = set()
        for _ in range(2):
            Client().get("/save/")
            found = [carried["requestid"] for carried in arrived().values()]
            assert UUID(found[0]).version == 7
            assert found[0] == found[1]
            ids.add(found[0])
        assert len(ids) == 2

    @pytest.mark.parametrize("given", ["", "a" * 129, "a b", "<x>", "-a", "é", "a\x00"], ids=ascii)
    def test_what_is_no_id_or_no_trace_is_dropped(self, given, arrived):
        Client(headers={"X-Request-ID": given, "traceparent": given}).get("/save/")
        carried = arrived()["saved"]
        assert carried.keys() == {"requestid"}
        assert UUID(carried["requestid"]).version == 7

    @pytest.mark.parametrize("given", ["a" * 128, "Root=1-67891233-abcdef012345678912345678"])
    def test_an_id_of_another_kind_is_kept(self, given, arrived):
        Client(headers={"X-Request-ID": given}).get("/save/")
        assert arrived()["saved"]["requestid"] == given

    @pytest.mark.parametrize(("client", "url"), [(Client, "/save/"), (AsyncClient, "/async/")])
    def test_a_view_that_raises_ends_it(self, client, url, arrived):
        get = client().get if client is Client else async_to_sync(client().get)
        with pytest.raises(RuntimeError):
            get(f"{url}?fail", headers={"X-Request-ID": "abc-1"})
        assert arrived() == {"saved": {"requestid": "abc-1"}}
        assert current() is None

    def test_blocks_of_the_view_add_and_take_away(self, arrived, user):
        logged_in(Client(headers={"X-Request-ID": "abc-1"}), user).get("/nested/")
        assert arrived() == {
            "inner": {"requestid": "abc-1", "jobname": "import"},
            "outer": {"requestid": "abc-1", "userid": str(user.pk)},
        }

    @pytest.mark.parametrize("client", [Client, AsyncClient])
    def test_it_crosses_a_sync_middleware(self, client, arrived, settings):
        settings.MIDDLEWARE = [MIDDLEWARE[0], f"{__name__}.saving_middleware"]
        get = client().get if client is Client else async_to_sync(client().get)
        get("/save/" if client is Client else "/async/", headers={"X-Request-ID": "abc-1"})
        assert set(arrived()) == {"on the way in", "saved", "by hand", "on the way out"}
        assert all(carried == {"requestid": "abc-1"} for carried in arrived().values())

    def test_two_async_requests_do_not_mix(self, arrived):
        async def main():
            CAME.update(a=asyncio.Event(), b=asyncio.Event())
            get = AsyncClient().get
            both = (get(f"/meet/{name}/", headers={"X-Request-ID": name}) for name in "ab")
            await asyncio.wait_for(asyncio.gather(*both), 60)

        async_to_sync(main)()
        assert {name: carried["requestid"] for name, carried in arrived().items()} == {
            "a first": "a",
            "a second": "a",
            "b first": "b",
            "b second": "b",
        }


class TestUser:
    def test_a_request_without_events_touches_neither_session_nor_database(
        self, user, django_assert_num_queries
    ):
        client = logged_in(Client(), user)
        with django_assert_num_queries(0):
            response = client.get("/quiet/")
        assert "Cookie" not in response.headers.get("Vary", "")  # the session was not looked at

    def test_it_is_looked_up_once(self, user, django_assert_max_num_queries):
        client = logged_in(Client(), user)
        client.get("/save/")  # the connection is prepared
        with django_assert_max_num_queries(20) as queries:
            client.get("/save/")
        assert sum("auth_user" in query["sql"] for query in queries.captured_queries) == 1

    def test_it_is_who_it_was_at_the_change(self, arrived, user):
        Client().get("/login/")
        who = {name: carried.get("userid") for name, carried in arrived().items()}
        assert who == {"before": None, "logged in": str(user.pk), "logged out": None}

    def test_it_is_who_it_was_at_the_change_in_async_views(self, arrived, user):
        async_to_sync(AsyncClient().get)("/alogin/")
        who = {name: carried.get("userid") for name, carried in arrived().items()}
        assert who == {"before": None, "logged in": str(user.pk)}

    def test_a_view_may_have_fetched_it_before(self, arrived, user):
        async_to_sync(logged_in(AsyncClient(), user).get)("/auser/")
        assert arrived()["saved"]["userid"] == str(user.pk)

    def test_the_event_loop_is_not_held_up_for_it(self, user):
        response = async_to_sync(logged_in(AsyncClient(), user).get)("/current/")
        assert response.content == str(user.pk).encode()

    @pytest.mark.parametrize("pk", [("a", 7), "a,7"])
    def test_a_key_of_several_columns_is_written_as_the_subject_is(self, pk):
        request = RequestFactory().get("/")
        request.user = User()
        request.user.__dict__["id"] = pk
        assert EventContextMiddleware(quiet_view).get_userid(request) == "a,7"

    def test_one_that_cannot_be_carried_fails_the_save(self, arrived, user, monkeypatch):
        monkeypatch.setattr(EventContextMiddleware, "get_userid", lambda self, request: "a\nb")
        with pytest.raises(EventError, match="userid in the event context holds control"):
            Client().get("/save/")
        assert arrived() == {}
        assert not Place.objects.exists()


class TestStreaming:
    @pytest.mark.parametrize(
        ("client", "url"), [(Client, "/stream/"), (AsyncClient, "/astream/")], ids=["sync", "async"]
    )
    def test_what_is_made_while_streaming_is_of_the_request(self, client, url, arrived):
        async def aread():
            response = await client().get(url, headers={"X-Request-ID": "abc-1"})
            assert current() is None
            return [(part, current()) async for part in response.streaming_content]

        def read():
            response = client().get(url, headers={"X-Request-ID": "abc-1"})
            assert current() is None
            return [(part, current()) for part in response.streaming_content]

        parts = read() if client is Client else async_to_sync(aread)()
        assert parts == [(b"1", None), (b"2", None), (b"3", None)]
        assert arrived() == {
            "first": {"requestid": "abc-1"},
            "second": {"requestid": "abc-1", "part": 2},
            "third": {"requestid": "abc-1", "part": 2},
            "last": {"requestid": "abc-1"},
        }
        assert current() is None

    def test_a_file_stays_one_that_the_server_may_send_itself(self):
        response = EventContextMiddleware(file_view)(RequestFactory().get("/"))
        assert response.file_to_stream.name == __file__
        response.close()


class TestSubclasses:
    def test_it_says_what_is_carried(self, arrived, settings):
        use(settings, "Tenants")
        headers = {
            "X-Request-ID": "abc-1",
            "traceparent": TRACEPARENT,
            "tracestate": "a=1, b=2",
        }
        Client(headers=headers).get("/save/?tenant=acme")
        carried = arrived()["saved"]
        assert UUID(carried.pop("requestid")).version == 7
        assert carried == {
            "traceparent": TRACEPARENT,
            "tracestate": "a=1,b=2",
            "tenantid": "acme",
        }

    def test_a_tracestate_says_nothing_without_its_traceparent(self, arrived, settings):
        use(settings, "Tenants")
        Client(headers={"traceparent": "x", "tracestate": "a=1"}).get("/save/")
        assert arrived()["saved"].keys() == {"requestid"}

    @pytest.mark.parametrize(
        ("names", "reason"),
        [
            (("requestid", "teamid"), "no attribute 'get_teamid'"),
            (("id",), "'id' cannot be in the event context"),
            (("user_id",), "lower-case letters"),
        ],
    )
    def test_a_wrong_name_is_told_when_the_site_starts(self, names, reason):
        class Wrong(EventContextMiddleware):
            attributes = names

        with pytest.raises(ImproperlyConfigured, match=rf"Wrong\.attributes: .*{reason}.*Example"):
            Wrong(quiet_view)


class TestTransactions:
    def test_the_context_is_that_of_the_change_not_of_the_commit(self, arrived):
        with event_context(jobname="commit"), transaction.atomic():
            with event_context(requestid="a1", jobname=None):
                save("a saved")
                publish("a.b", {"name": "a by hand"})
            with event_context(requestid="b2", jobname=None):
                place = Place.objects.get(name="a saved")
                place.name = "b saved"
                place.save(update_fields=["name"])
            with event_context(requestid="c3", jobname=lambda: None):
                place.name = "c saved"
                place.save()
            with event_context(requestid="d4"):
                Place.objects.get().delete()
                save("d saved")
            assert arrived() == {}

        assert arrived() == {
            "a saved": {"requestid": "a1"},
            "a by hand": {"requestid": "a1"},
            "b saved": {"requestid": "b2"},
            "c saved": {"jobname": "commit", "requestid": "d4"},  # deleted
            "d saved": {"jobname": "commit", "requestid": "d4"},
        }

    def test_a_context_that_makes_the_record_too_large_is_refused_at_the_save(
        self, arrived, settings, delivery
    ):
        options = {"MAX_RECORD_BYTES": 2000}
        stream = {"STREAM": "orders", "DELIVERY": delivery, "OPTIONS": options}
        settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"STREAMS": {"default": stream}}
        with transaction.atomic():
            save("fits")
            long = event_context(jobname="x" * 1900)
            with long, pytest.raises(RecordTooLarge), transaction.atomic():
                save("does not")
        assert arrived() == {"fits": {}}
