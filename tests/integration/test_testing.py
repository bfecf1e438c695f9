"""The door for a site's own tests: what they see, in every kind of test case."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings

from kinesis_bridge import publish, streams
from kinesis_bridge.event import Event
from kinesis_bridge.testing import assert_not_published, assert_published, capture_events
from tests.testapp.models import Owner, Sample, Thing
from tests.testapp.rollback import rolled_back

ROOT = Path(__file__).parents[2]


class Checks:
    """The same for test cases that commit and for those that never do."""

    def test_a_save_is_published(self):
        with capture_events() as events:
            sample = Sample.objects.create(code="k", price="9.9")
        assert events.types == ["test.sample.created"]
        found = assert_published("test.sample.created", key="k", data={"price": Decimal("9.90")})
        assert found is events[0]
        assert found.subject == str(sample.pk)

    def test_an_open_transaction_holds_its_events_back(self):
        with capture_events() as events:
            publish("before", {})
            with transaction.atomic():
                publish("outer", {})
                with transaction.atomic():
                    publish("inner", {})
                assert events.types == ["before"]
                assert_not_published("inner")
            assert events.types == ["before", "outer", "inner"]

    def test_what_is_rolled_back_is_never_seen(self):
        with capture_events() as events:
            with rolled_back():
                publish("gone", {})
                with transaction.atomic():
                    publish("gone", {})
                assert not events
            with transaction.atomic():
                publish("kept", {})
                with rolled_back():
                    publish("gone", {})
            assert events.types == ["kept"]
        assert events.types == ["kept"]

    def test_commit_callbacks_that_are_executed_do_not_double(self):
        with capture_events() as events:
            publish("first", {})
            with TestCase.captureOnCommitCallbacks(execute=True):
                publish("second", {})
            publish("third", {})
            assert events.types == ["first", "second", "third"]

    def test_clear_forgets_what_was_seen_and_only_that(self):
        with capture_events() as events:
            publish("first", {})
            with transaction.atomic():
                publish("second", {})
                events.clear()
                assert not events
            assert events.types == ["second"]
            events.clear()
            publish("third", {})
            assert events.types == ["third"]

    def test_clear_does_not_disturb_the_commit_callbacks(self):
        with capture_events() as events:
            publish("first", {})
            with TestCase.captureOnCommitCallbacks(execute=True):
                events.clear()
                publish("second", {})
                transaction.on_commit(lambda: publish("third", {}))
            assert events.types == ["second", "third"]

    def test_a_block_within_a_block_takes_the_events(self):
        with capture_events() as outer:
            publish("first", {})
            with capture_events() as inner:
                publish("second", {})
                assert_published("second")
                assert_not_published("first")
            publish("third", {})
            assert_published("first")
        assert inner.types == ["second"]
        assert outer.types == ["first", "third"]

    def test_settings_changed_within_the_block_do_not_end_it(self):
        with capture_events() as events, override_settings(TIME_ZONE="Europe/Berlin"):
            publish("first", {})
            with override_settings(
                KINESIS_BRIDGE={"STREAMS": {"default": {"STREAM": "x", "DELIVERY": "console"}}}
            ):
                publish("second", {})
        assert events.types == ["first", "second"]

    def test_it_is_a_sequence_of_events(self):
        with capture_events() as events:
            published = [publish("a.b", n) for n in range(3)]
        assert list(events) == published
        assert events[-1] is published[-1]
        assert events[1:] == published[1:]
        assert published[0] in events
        assert len(events) == 3
        assert all(isinstance(event, Event) for event in events)

    def test_after_the_block_nothing_is_captured(self):
        before = type(streams["audit"].delivery)
        with capture_events():
            assert type(streams["audit"].delivery) is not before
        assert type(streams["audit"].delivery) is before


class TestInTestCase(Checks, TestCase):
    databases = ("default", "other")

    @classmethod
    def setUpTestData(cls):
        cls.owner = Owner.objects.create(name="o")
        cls.thing = Thing.objects.create(owner=cls.owner, name="from set-up")

    def test_what_was_set_up_before_the_block_is_not_seen(self):
        with capture_events() as events:
            assert not events
            self.thing.save()
        assert events.types == ["test.thing.updated"]

    def test_the_other_database(self):
        with capture_events() as events, transaction.atomic():
            Sample(code="k").save(using="other")
            assert events.types == ["test.sample.created"]


class TestInTransactionTestCase(Checks, TransactionTestCase):
    databases = ("default", "other")


@pytest.mark.django_db
class TestInPytest(Checks):
    pass


@pytest.mark.django_db(transaction=True)
class TestInPytestWithTransactions(Checks):
    def test_a_block_within_a_transaction_sees_the_commit_later(self):
        with transaction.atomic():
            with capture_events() as events:
                publish("a.b", {})
            assert not events
        assert events.types == ["a.b"]


@pytest.mark.django_db
class TestAssertions:
    @pytest.fixture(autouse=True)
    def published(self, kinesis_events):
        publish("a.b", {"n": 1, "price": Decimal("9.90"), "tags": ["x"]}, key="k")
        publish("c.d", [1, 2], key="k2")

    @pytest.mark.parametrize(
        "wanted",
        [
            {},
            {"key": "k"},
            {"data": {}},
            {"data": {"n": 1}},
            {"data": {"price": "9.90"}},
            {"data": {"tags": ["x"], "price": Decimal("9.90")}, "key": "k"},
        ],
        ids=repr,
    )
    def test_what_was_published_is_found(self, wanted):
        assert assert_published("a.b", **wanted).key == "k"

    @pytest.mark.parametrize(
        "wanted",
        [
            {"type": "a"},
            {"type": "a.b", "key": "k2"},
            {"type": "a.b", "data": {"n": 2}},
            {"type": "a.b", "data": {"n": 1, "missing": None}},
            {"type": "a.b", "data": {"tags": []}},
            {"type": "c.d", "data": {"n": 1}},
        ],
        ids=repr,
    )
    def test_what_was_not_published_fails_with_what_was(self, wanted):
        with pytest.raises(AssertionError) as failure:
            assert_published(**wanted)
        message = str(failure.value)
        assert f"type={wanted['type']!r}" in message.splitlines()[0]
        assert "type='a.b', key='k', data={'n': 1" in message
        assert "type='c.d', key='k2', data=[1, 2]" in message

    def test_nothing_at_all_is_said_in_words(self, kinesis_events):
        kinesis_events.clear()
        with pytest.raises(AssertionError, match="Published: nothing"):
            assert_published("a.b")

    def test_assert_not_published(self):
        assert_not_published("a")
        assert_not_published("a.b", key="k2")
        with pytest.raises(AssertionError, match=r"type='a\.b'.*was published"):
            assert_not_published("a.b")
        with pytest.raises(AssertionError, match="was published"):
            assert_not_published("a.b", key="k")


def test_the_plugin_brings_the_fixture_and_keeps_tests_apart(tmp_path):
    (tmp_path / "test_site.py").write_text("""
import pytest
from kinesis_bridge import publish
from kinesis_bridge.testing import assert_published, capture_events


@pytest.mark.django_db
def test_with_the_fixture(kinesis_events):
    publish("a.b", {"n": 1}, key="k")
    assert kinesis_events.types == ["a.b"]
    assert_published("a.b", key="k", data={"n": 1})


@pytest.mark.parametrize("assertion", [assert_published])
def test_another_tests_events_are_not_seen(assertion):
    with pytest.raises(AssertionError, match="Nothing was captured"):
        assertion("a.b")
""")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error"),
            *("-c", "/dev/null", "--rootdir", tmp_path, "--ds", "tests.settings", tmp_path),
        ],
        env={k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"},  # of this run alone
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert "2 passed" in run.stdout, run.stdout + run.stderr
