"""Many-to-many fields: the row that has the field is published with its new list."""

from __future__ import annotations

import threading
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kinesis_bridge.models import OutboxRecord
from tests.support.capture import body_of, records, with_outbox
from tests.support.outbox import OutboxOn
from tests.testapp.models import Owner, Person, Post, Tag
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def post(kinesis_events):
    post = Post.objects.create(title="p")
    kinesis_events.clear()
    return post


@pytest.fixture
def tags():
    return [Tag.objects.create(name=name) for name in "abc"]


def keys(*rows):
    return [row.pk for row in rows]


def changed(events, name="tags"):
    """What each event says that changed; forgets them."""
    found = [(event.type.rsplit(".")[-1], event.data["changed"][name]) for event in events]
    events.clear()
    return found


def test_each_way_to_change_them(post, tags, kinesis_events):
    a, b, c = tags
    post.tags.add(a, b)
    post.tags.remove(a)
    post.tags.set([b, c])
    post.tags.clear()
    assert changed(kinesis_events) == [
        ("updated", [[], keys(a, b)]),
        ("updated", [keys(a, b), keys(b)]),
        ("updated", [keys(b), keys(b, c)]),
        ("updated", [keys(b, c), []]),
    ]


def test_from_the_other_side(post, tags, kinesis_events):
    other = Post.objects.create(title="q")
    kinesis_events.clear()
    a = tags[0]
    a.posts.add(post, other)
    a.posts.remove(other)
    a.posts.clear()
    assert [(event.data["id"], event.data["tags"]) for event in kinesis_events] == [
        (post.pk, [a.pk]),
        (other.pk, [a.pk]),
        (other.pk, []),
        (post.pk, []),
    ]


def test_the_whole_row_goes_with_them(post, tags, kinesis_events):
    post.tags.add(tags[1])
    [event] = kinesis_events
    assert event.type == "test.post.updated"
    assert event.key == event.subject == str(post.pk)
    assert event.data == {
        "id": post.pk,
        "title": "p",
        "tags": [tags[1].pk],
        "fans": [],
        "changed": {"tags": [[], [tags[1].pk]]},
    }


def test_what_changes_nothing_has_no_event(post, tags, kinesis_events):
    post.tags.add(tags[0])
    kinesis_events.clear()
    post.tags.add(tags[0])
    post.tags.remove(tags[1])
    post.tags.set([tags[0]])
    assert not kinesis_events


def test_other_events_of_the_row_have_the_list(post, tags, kinesis_events):
    post.tags.set(tags)
    kinesis_events.clear()
    post.title = "new"
    post.save()
    Post.objects.update(title="newer")
    post.delete()
    assert [event.data["tags"] for event in kinesis_events] == [keys(*tags)] * 3
    assert kinesis_events.types == ["test.post.updated"] * 2 + ["test.post.deleted"]


def test_a_related_row_that_is_deleted_takes_itself_out(post, tags, kinesis_events):
    post.tags.set(tags)
    kinesis_events.clear()
    _, b, c = keys(*tags)
    tags[0].delete()
    Tag.objects.filter(name="b").delete()
    assert [event.data["tags"] for event in kinesis_events] == [[b, c], [c]]


def test_through_a_table_of_its_own(post, kinesis_events):
    ann, bob = (Owner.objects.create(name=name) for name in ("ann", "bob"))
    post.fans.add(ann, bob, through_defaults={"since": 3})
    post.fans.remove(ann)
    assert changed(kinesis_events, "fans") == [
        ("updated", [[], keys(ann, bob)]),
        ("updated", [keys(ann, bob), keys(bob)]),
    ]


def test_both_sides_of_a_symmetrical_one(kinesis_events):
    ann, bob, cid = (Person.objects.create() for _ in range(3))
    kinesis_events.clear()
    ann.friends.add(bob, cid)
    bob.friends.clear()
    assert [(event.data["id"], event.data["friends"]) for event in kinesis_events] == [
        (ann.pk, keys(bob, cid)),
        (bob.pk, keys(ann)),
        (cid.pk, keys(ann)),
        (ann.pk, keys(cid)),
        (bob.pk, []),
    ]


def test_what_is_rolled_back_is_not_published(post, tags, kinesis_events):
    with rolled_back():
        post.tags.add(tags[0])
    post.tags.add(tags[1])
    assert [event.data["tags"] for event in kinesis_events] == [[tags[1].pk]]


def test_a_new_row_asks_for_no_list(kinesis_events):
    with CaptureQueriesContext(connection) as queries:
        Post.objects.create(title="p")
    assert not [one for one in queries if "post_tags" in one["sql"]]
    assert kinesis_events[0].data["tags"] == []


numbers = st.integers(0, 3)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "remove"]), numbers, numbers),
        st.tuples(st.just("set"), numbers, st.sets(numbers)),
        st.tuples(st.sampled_from(["clear", "reverse_clear", "delete_tag", "save"]), numbers),
        st.tuples(st.just("reverse_set"), numbers, st.sets(numbers)),
    ),
    max_size=8,
)


@hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
def test_a_copy_of_the_lists_equals_them(kinesis_events, steps):
    Post.objects.all().delete()
    Tag.objects.all().delete()
    kinesis_events.clear()
    posts = [Post.objects.create() for _ in range(4)]
    tags = [Tag.objects.create(name=str(n)) for n in range(4)]
    for name, number, *more in steps:
        post, there = posts[number], [tag for tag in tags if tag.pk]
        if name in {"add", "remove"} and tags[more[0]].pk:
            getattr(post.tags, name)(tags[more[0]])
        elif name == "set":
            post.tags.set([tag for tag in there if tags.index(tag) in more[0]])
        elif name == "clear":
            post.tags.clear()
        elif name == "save":
            post.title += "x"
            post.save()
        elif name == "reverse_clear" and tags[number].pk:
            tags[number].posts.clear()
        elif name == "reverse_set" and tags[number].pk:
            tags[number].posts.set([posts[n] for n in more[0]])
        elif name == "delete_tag" and tags[number].pk:
            tags[number].delete()
    copy = {event.data["id"]: event.data["tags"] for event in kinesis_events}
    assert copy == {post.pk: sorted(keys(*post.tags.all())) for post in posts}


@pytest.fixture
def outbox(settings):
    """The alias of a server, whose outbox has the events."""
    settings.DATABASE_ROUTERS = [OutboxOn("postgres")]
    with_outbox(settings)
    return "postgres"


def lists(using):
    return [body_of(record)["data"]["tags"] for record in records(using)]


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_two_that_add_at_once_end_with_both(outbox):
    post = Post.objects.using(outbox).create()
    first, second = (Tag.objects.using(outbox).create(name=name) for name in "ab")
    OutboxRecord.objects.using(outbox).all().delete()
    other = threading.Thread(target=in_thread, args=(post, second))
    with transaction.atomic(using=outbox):
        post.tags.add(first)
        other.start()
        other.join(0.5)  # it waits for this one's commit
        assert other.is_alive()
    other.join(20)

    assert lists(outbox) == [[first.pk], [first.pk, second.pk]]


def in_thread(post, tag):
    try:
        Post.objects.using(post._state.db).get(pk=post.pk).tags.add(tag)
    finally:
        connections.close_all()


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_snapshot_has_the_lists(outbox):
    tag = Tag.objects.using(outbox).create(name="a")
    for n in range(2):
        Post.objects.using(outbox).create(title=str(n)).tags.add(tag)
    OutboxRecord.objects.using(outbox).all().delete()

    arguments = ["testapp.Post", "--database", outbox, "--json"]
    call_command("kinesis_snapshot", *arguments, stdout=StringIO())

    assert lists(outbox) == [[tag.pk]] * 2
