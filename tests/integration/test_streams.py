"""``publish``, ``apublish`` and ``streams[...]``: events by hand, through a delivery that keeps."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.utils.functional import lazystr

from kinesis_bridge import apublish, publish, signals, streams
from kinesis_bridge.delivery.memory import MemoryDelivery
from kinesis_bridge.exceptions import (
    EventError,
    PartitionKeyError,
    RecordTooLarge,
    SerializationError,
)
from kinesis_bridge.streams import Stream
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).parents[2]


def configure(settings, **stream):
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
        "STREAMS": {
            "default": {"STREAM": "orders", "DELIVERY": "memory", **stream},
            "audit": {"STREAM": "audit", "DELIVERY": "memory"},
        }
    }


@pytest.fixture
def memory(settings):
    configure(settings)
    return streams["default"].delivery


class TestPublish:
    def test_outside_a_transaction_at_once(self, memory):
        event = publish("shop.cart.abandoned", {"cart": 7}, key="customer-9", subject="7")
        assert memory.events == [event]
        assert (event.type, event.key, event.subject) == ("shop.cart.abandoned", "customer-9", "7")
        assert json.loads(memory.payloads[0])["data"] == {"cart": 7}

    def test_inside_a_transaction_at_its_commit(self, memory):
        with transaction.atomic():
            publish("a.b", 1)
            with transaction.atomic():
                publish("a.b", 2)
            assert memory.events == []
        assert [event.data for event in memory.events] == [1, 2]

    def test_what_is_rolled_back_is_not_published(self, memory):
        with rolled_back():
            publish("a.b", 1)
        with transaction.atomic():
            publish("a.b", 2)
            with rolled_back():
                publish("a.b", 3)
                with transaction.atomic():
                    publish("a.b", 4)
            publish("a.b", 5)
        assert [event.data for event in memory.events] == [2, 5]

    def test_the_payload_is_that_of_the_moment_not_of_the_commit(self, memory):
        cart = {"items": 1}
        with transaction.atomic():
            publish("a.b", cart)
            cart["items"] = 2
        assert json.loads(memory.payloads[0])["data"] == {"items": 1}

    def test_without_a_key_the_id_is_the_key(self, memory):
        event = publish("a.b", {})
        assert event.key == event.id

    def test_ids_are_uuid7_and_increase(self, memory):
        ids = [publish("a.b", {}).id for _ in range(300)]
        assert ids == sorted(set(ids))
        assert {UUID(event_id).version for event_id in ids} == {7}

    def test_the_time_is_now_and_the_source_that_of_the_settings(self, memory):
        before = datetime.now(UTC)
        event = publish("a.b", {})
        assert before <= event.time <= datetime.now(UTC)
        assert event.source == "/tests"

    def test_another_stream(self, memory):
        event = publish("a.b", {}, stream="audit")
        assert memory.events == []
        assert streams["audit"].delivery.events == [event]
        assert event.stream == "audit"

    def test_an_unknown_stream_is_refused_with_the_known_ones(self, memory):
        with pytest.raises(ImproperlyConfigured, match=r"no 'orders'.*'default', 'audit'"):
            publish("a.b", {}, stream="orders")


class TestBytes:
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_that_are_json_are_published_as_what_they_say(self, memory, kind):
        assert publish("a.b", kind(b'{"a": [1, 2.5, null]}')).data == {"a": [1, 2.5, None]}

    @pytest.mark.parametrize(
        "data", [b"", b"{bad", b"\xff\xfe\x00", b"NaN", b'{"a": 1} x', b"[" * 100_000]
    )
    def test_that_are_not_json_are_refused_with_the_other_way(self, memory, data):
        with pytest.raises(SerializationError, match=r"bytes that are not JSON.*put_record"):
            publish("a.b", data)
        assert memory.events == []

    def test_a_number_that_does_not_fit_is_refused_not_rounded(self, memory):
        with pytest.raises(SerializationError, match="64-bit"):
            publish("a.b", b"123456789012345678901234567890")


class TestRefused:
    """In the caller's hands: nothing waits for the commit to fail."""

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"key": ""}, PartitionKeyError),
            ({"key": "k" * 257}, PartitionKeyError),
            ({"key": 5}, PartitionKeyError),
            ({"key": "\ud800"}, PartitionKeyError),
            ({"data": object()}, SerializationError),
            ({"data": float("nan")}, SerializationError),
            ({"data": "\ud800"}, SerializationError),
            ({"data": "x" * 2**20}, RecordTooLarge),
            ({"type": ""}, EventError),
            ({"type": None}, EventError),
            ({"subject": 5}, EventError),
        ],
        ids=repr,
    )
    def test_the_error_is_raised_at_publish(self, memory, arguments, error):
        with transaction.atomic(), pytest.raises(error):
            publish(**{"type": "a.b", "data": {}} | arguments)
        assert memory.events == []

    @pytest.mark.parametrize("key", ["k", "é", "😀" * 256])
    def test_a_record_of_exactly_the_limit_passes_one_byte_more_does_not(self, settings, key):
        limit = 2048
        configure(settings, OPTIONS={"MAX_RECORD_BYTES": limit, "SERIALIZER": "json"})
        room = limit - len(key.encode()) - len('""')
        publish("a.b", "x" * room, key=key)
        (payload,) = streams["default"].delivery.payloads
        assert len(payload) + len(key.encode()) == limit
        with pytest.raises(RecordTooLarge, match="2,049 bytes"):
            publish("a.b", "x" * (room + 1), key=key)

    @pytest.mark.parametrize(
        ("name", "message"),
        [("fails", "serializer failed: KeyError"), ("text", "returned str, not bytes")],
    )
    def test_a_serializer_of_the_site_that_misbehaves(self, settings, name, message):
        configure(settings, OPTIONS={"SERIALIZER": f"{__name__}.{name}"})
        with pytest.raises(SerializationError, match=message):
            publish("a.b", {})


class SlowToMake(MemoryDelivery):
    def __init__(self, stream):
        time.sleep(0.02)
        super().__init__(stream)


def fails(event):
    raise KeyError(event.type)


def text(event):
    return "text"


class TestAsync:
    def test_apublish_returns_the_published_event(self, memory):
        async def main():
            event = await apublish("a.b", {"a": lazystr("b")}, key="k", subject="s")
            await sync_to_async(connections.close_all)()
            return event

        event = asyncio.run(main())
        assert memory.events == [event]
        assert (event.key, event.subject) == ("k", "s")

    def test_apublish_refuses_as_publish_does(self, memory):
        with pytest.raises(PartitionKeyError):
            asyncio.run(apublish("a.b", {}, key=""))

    def test_many_at_once_are_all_published(self, memory):
        async def main():
            await asyncio.gather(*(apublish("a.b", n) for n in range(20)))
            await sync_to_async(connections.close_all)()

        asyncio.run(main())
        assert sorted(event.data for event in memory.events) == list(range(20))


class TestStreamObjects:
    def test_one_for_fifty_threads(self, memory, settings):
        configure(settings, DELIVERY=f"{__name__}.SlowToMake")
        start = threading.Barrier(50)
        found = []

        def look():
            start.wait()
            found.append(streams["default"])

        threads = [threading.Thread(target=look) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 50
        assert len(set(map(id, found))) == 1

    def test_changed_settings_make_a_new_one(self, memory, settings):
        before = streams["default"]
        configure(settings, STREAM="others")
        assert streams["default"] is not before
        assert streams["default"].config.stream == "others"

    def test_its_repr_names_the_stream_and_the_delivery(self, memory):
        publish("a.b", {"card": "4111"})
        assert repr(streams["default"]) == (
            "<Stream 'default' by <MemoryDelivery of stream 'default'>>"
        )

    @pytest.mark.parametrize(
        "imports",
        [
            "from kinesis_bridge import streams",
            "import kinesis_bridge.streams\nfrom kinesis_bridge import streams",
            "from kinesis_bridge import publish, streams",
            "import kinesis_bridge.streams as streams",
            "import kinesis_bridge\nstreams = kinesis_bridge.streams",
        ],
    )
    def test_the_public_name_works_in_whatever_order_it_is_imported(self, imports):
        code = f"""
import django
from django.conf import settings
settings.KINESIS_BRIDGE["STREAMS"]["default"]["DELIVERY"] = "memory"
django.setup()
{imports}
streams["default"].publish("a.b", {{}})
from kinesis_bridge import streams as again
print(len(again["default"].delivery.events))
"""
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": ""},
            check=False,
        )
        assert (run.stdout, run.stderr) == ("1\n", "")


class TestSignal:
    @pytest.fixture
    def heard(self):
        heard = []

        def listen(sender, event, stream, **_):
            heard.append((sender, event, stream))

        signals.event_published.connect(listen)
        yield heard
        signals.event_published.disconnect(listen)

    def test_it_is_sent_once_an_event_was_delivered(self, memory, heard):
        with rolled_back():
            publish("a.b", 1)
        with transaction.atomic():
            event = publish("a.b", 2)
            assert heard == []
        assert heard == [(Stream, event, "default")]

    def test_a_receiver_that_raises_is_logged_and_harms_nobody(self, memory, heard, caplog):
        def broken(**_):
            raise RuntimeError("broken receiver")

        signals.event_published.connect(broken)
        try:
            event = publish("a.b", 1)
        finally:
            signals.event_published.disconnect(broken)
        assert memory.events == [event]
        assert "broken receiver" in caplog.text
