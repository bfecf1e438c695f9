"""The deliveries that need no AWS: memory and console; and what the base class promises."""

import io
import json
import sys
import threading

import pytest

from kinesis_bridge import publish, streams
from kinesis_bridge.checks import check_settings
from kinesis_bridge.delivery.base import Delivery
from kinesis_bridge.delivery.console import ConsoleDelivery
from kinesis_bridge.delivery.memory import MemoryDelivery
from kinesis_bridge.event import Event
from tests.testapp.models import Sample
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def use(settings):
    def use(delivery):
        settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
            "STREAMS": {
                "default": {"STREAM": "orders", "DELIVERY": delivery},
                "audit": {"STREAM": "audit", "DELIVERY": "memory"},
            }
        }
        return streams["default"].delivery

    return use


def in_threads(count, target):
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def eager_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Bare(Delivery):
    def deliver(self, event, payload, using):
        raise NotImplementedError


@pytest.mark.parametrize("name", ["memory", "console", f"{__name__}.Bare"])
def test_every_delivery_keeps_to_the_contract(use, name):
    delivery = use(name)
    assert isinstance(delivery, Delivery)
    assert not delivery.transactional
    assert delivery.flush(timeout=0)
    delivery.close()
    delivery.close()
    assert list(type(delivery).check(delivery.stream)) == []
    assert repr(delivery) == f"<{type(delivery).__name__} of stream 'default'>"
    assert check_settings() == []


def test_the_base_class_delivers_nothing_by_itself():
    with pytest.raises(TypeError, match="deliver"):
        Delivery(None)


class TestMemory:
    def test_it_keeps_the_events_and_their_bytes(self, use):
        memory = use("memory")
        with rolled_back():
            Sample.objects.create(code="gone")
        sample = Sample.objects.create(code="kept")
        event = publish("a.b", {"n": 1})
        assert [e.type for e in memory.events] == ["test.sample.created", "a.b"]
        assert memory.events[1] is event
        assert [json.loads(payload)["id"] for payload in memory.payloads] == [
            e.id for e in memory.events
        ]
        assert json.loads(memory.payloads[0])["subject"] == str(sample.pk)

    def test_threads_do_not_mix_events_and_bytes(self, use, eager_threads):
        memory = use("memory")
        assert isinstance(memory, MemoryDelivery)

        def deliver():
            for _ in range(200):
                event = Event(type="a.b", source="/s", key="k", data=None)
                memory.deliver(event, event.id.encode(), "default")

        in_threads(8, deliver)
        assert len(memory.events) == 1600
        assert [event.id.encode() for event in memory.events] == memory.payloads


class TestConsole:
    def test_one_line_per_event_after_the_commit(self, use, capsys):
        use("console")
        with rolled_back():
            publish("a.b", {"n": 0})
        publish("a.b", {"text": "line\nbreak é"}, key="multi\nline")
        (line,) = capsys.readouterr().out.splitlines()
        head, payload = line.split("] ", 1)
        assert head == "[kinesis default multi\\nline"
        assert json.loads(payload)["data"] == {"text": "line\nbreak é"}

    def test_bytes_that_are_no_text_are_shown_all_the_same(self, use, capsys):
        delivery = use("console")
        event = Event(type="a.b", source="/s", key="k", data=None)
        delivery.deliver(event, b"a\xffb", "default")
        assert capsys.readouterr().out == "[kinesis default k] a\ufffdb\n"

    def test_a_terminal_that_lacks_a_letter_fails_no_request(self, use, monkeypatch):
        use("console")
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
        publish("a.b", "é", key="k")
        assert raw.getvalue().startswith(b"[kinesis default k] ")
        assert rb"\xe9" in raw.getvalue()

    def test_threads_do_not_break_each_others_lines(self, use, capsys, eager_threads):
        console = use("console")
        assert isinstance(console, ConsoleDelivery)
        event = Event(type="a.b", source="/s", key="k", data=None)

        def deliver():
            for _ in range(50):
                console.deliver(event, b"payload", "default")

        in_threads(8, deliver)
        assert set(capsys.readouterr().out.splitlines()) == {"[kinesis default k] payload"}
