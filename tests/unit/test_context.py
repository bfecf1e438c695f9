"""The context of events: what may be in it, where it begins and ends, whose it is."""

import asyncio
import copy
import json
import pickle
import threading
from contextlib import ExitStack
from contextvars import copy_context
from uuid import UUID

import pytest
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st

from kinesis_bridge import event_context
from kinesis_bridge.context import (
    MAX_BYTES,
    Context,
    as_json,
    current,
    parse_traceparent,
    parse_tracestate,
)
from kinesis_bridge.exceptions import EventError

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
ENVELOPE = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype"]
ENVELOPE += ["dataschema", "partitionkey", "data"]

names = st.from_regex(r"[a-z][a-z0-9]{0,9}x", fullmatch=True)
values = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=20),
    st.integers(-(2**31), 2**31 - 1),
    st.booleans(),
)
contexts = st.dictionaries(names, values, max_size=5)


def now():
    return dict(current() or {})


class TestBlocks:
    def test_without_one_there_is_none(self):
        assert current() is None

    def test_it_holds_within_the_block_and_not_after(self):
        with event_context(requestid="a1", attempt=2, dryrun=False):
            assert now() == {"requestid": "a1", "attempt": 2, "dryrun": False}
        assert current() is None

    def test_an_error_ends_it_too(self):
        with pytest.raises(ZeroDivisionError), event_context(requestid="a1"):
            1 / 0  # noqa: B018
        assert current() is None

    def test_an_inner_one_adds_replaces_and_takes_away(self):
        with event_context(requestid="a1", userid="7"):
            with event_context(requestid="b2", jobname="import", userid=None):
                assert now() == {"requestid": "b2", "jobname": "import"}
            assert now() == {"requestid": "a1", "userid": "7"}

    def test_one_without_values_is_none(self):
        with event_context(userid=None):
            assert current() is None

    @given(st.lists(contexts, max_size=4))
    def test_nested_ones_are_merged_as_dicts_are(self, given_contexts):
        merged = {}
        with ExitStack() as stack:
            for one in given_contexts:
                stack.enter_context(event_context(**one))
                merged |= one
                assert now() == merged
        assert current() is None

    def test_the_same_object_twice_is_refused_and_after_its_end_is_not(self):
        block = event_context(requestid="a1")
        with block, pytest.raises(RuntimeError, match="make one per block"), block:
            pass
        with block:
            assert now() == {"requestid": "a1"}
        assert current() is None

    def test_it_ends_in_another_copy_of_the_context_that_carries_it_on(self):
        def body():
            with event_context(requestid="a1"):
                yield now()

        steps = body()
        first = copy_context()
        assert first.run(next, steps) == {"requestid": "a1"}
        second = first.copy()  # as asgiref: another copy, the same values
        assert second.run(next, steps, "end") == "end"
        assert second.run(now) == {}
        assert current() is None


class TestDecorator:
    def test_of_a_function(self):
        @event_context(jobname="import")
        def work(more):
            """Say what it does."""
            return now() | more

        assert work({"n": 1}) == {"jobname": "import", "n": 1}
        assert (work.__name__, work.__doc__) == ("work", "Say what it does.")
        assert current() is None

    def test_of_a_function_that_calls_itself(self):
        @event_context(jobname="import")
        def work(depth):
            return work(depth - 1) if depth else now()

        assert work(3) == {"jobname": "import"}

    def test_of_an_async_function(self):
        @event_context(jobname=lambda: "import")
        async def work():
            await asyncio.sleep(0)
            return now()

        async def main():
            return await asyncio.gather(work(), work()), now()

        assert asyncio.run(main()) == ([{"jobname": "import"}] * 2, {})

    def test_of_a_generator_is_refused(self):
        def steps():
            yield

        async def asteps():
            yield

        for function in (steps, asteps):
            with pytest.raises(TypeError, match=r"steps is a generator.*inside it"):
                event_context(jobname="import")(function)


class TestWhose:
    def test_threads_have_their_own(self):
        together, seen = threading.Barrier(2), {}

        def work(name):
            with event_context(requestid=name):
                together.wait(10)
                seen[name] = now()
                together.wait(10)

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert seen == {"a": {"requestid": "a"}, "b": {"requestid": "b"}}
        assert current() is None

    def test_tasks_have_their_own_and_begin_with_their_makers(self):
        async def work(name, mine, other):
            with event_context(requestid=name):
                mine.set()
                await other.wait()
                return now()

        async def main():
            first, second = asyncio.Event(), asyncio.Event()
            with event_context(jobname="import"):
                tasks = [
                    asyncio.create_task(work("a", first, second)),
                    asyncio.create_task(work("b", second, first)),
                ]
            return await asyncio.gather(*tasks)

        assert asyncio.run(main()) == [
            {"jobname": "import", "requestid": "a"},
            {"jobname": "import", "requestid": "b"},
        ]


class TestLazy:
    def test_it_is_called_when_it_is_asked_for_and_not_before(self):
        users = ["7"]
        with event_context(userid=lambda: users[-1]):
            users.append("8")
            assert now() == {"userid": "8"}
            users.append("9")
            assert now() == {"userid": "9"}

    def test_what_has_not_changed_is_the_same_object(self):
        with event_context(requestid="a1", userid=lambda: "7"):
            assert current() is current()

    def test_none_leaves_the_name_out(self):
        with event_context(userid=lambda: None):
            assert current() is None
            with event_context(requestid="a1"):
                assert now() == {"requestid": "a1"}

    def test_an_inner_block_replaces_it_by_a_value_and_a_value_by_it(self):
        def never():
            raise AssertionError

        with event_context(userid=never), event_context(userid="7"):
            assert now() == {"userid": "7"}
            with event_context(userid=lambda: "8"):
                assert now() == {"userid": "8"}
            with event_context(userid=lambda: None):
                assert current() is None
        with event_context(userid=never), event_context(userid=None):
            assert current() is None

    def test_one_that_makes_events_itself_has_an_end(self):
        inside = []

        def look():
            inside.append(now())
            return "7"

        with event_context(requestid="a1", userid=look):
            assert now() == {"requestid": "a1", "userid": "7"}
        assert inside == [{"requestid": "a1"}]

    def test_what_it_returns_is_checked(self):
        with (
            event_context(userid=lambda: ""),
            pytest.raises(EventError, match=r"userid .*is empty"),
        ):
            current()

    def test_what_it_raises_is_the_callers(self):
        with event_context(userid=lambda: 1 / 0, requestid="a1"):
            with pytest.raises(ZeroDivisionError):
                current()
            with event_context(userid=None):
                assert now() == {"requestid": "a1"}


class TestRefused:
    @pytest.mark.parametrize("name", ENVELOPE)
    @pytest.mark.parametrize("value", ["x", None, lambda: "x"], ids=["value", "none", "lazy"])
    def test_the_envelopes_own_names(self, name, value):
        with pytest.raises(EventError, match=f"'{name}' cannot be.*of its own. Choose another"):
            event_context(**{name: value})

    @pytest.mark.parametrize(
        "name", ["request_id", "requestId", "é", "", "a" * 21, "data_base64", "a-b", "a\n"]
    )
    def test_names_that_cloudevents_does_not_have(self, name):
        with pytest.raises(
            EventError, match="lower-case letters a-z and digits, here of at most 2"
        ):
            event_context(**{name: "x"})

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("", "is empty"),
            ("a\nb", "control characters"),
            ("a\x7f", "control characters"),
            ("\x9f", "control characters"),
            ("\ud800", "invalid Unicode"),
            ("\ufdd0", "invalid Unicode"),
            ("\U0010ffff", "invalid Unicode"),
            (1.5, "type float"),
            (b"x", "type bytes"),
            (["x"], "type list"),
            (lazystr("x"), "type __proxy__"),
            (2**31, "32 bits"),
            (-(2**31) - 1, "32 bits"),
        ],
        ids=repr,
    )
    def test_values_that_cloudevents_does_not_have(self, value, reason):
        with pytest.raises(EventError, match=f"jobname in the event context .*{reason}"):
            event_context(jobname=value)

    def test_too_much_at_once_or_with_what_is_around(self):
        room = MAX_BYTES - len('{"jobname":""}')
        with event_context(jobname="x" * room):
            assert current()
            with pytest.raises(EventError, match=r"\(jobname, more\) has 2,059 bytes.*2,048"):  # noqa: SIM117
                with event_context(more="1"):
                    pass
            assert now() == {"jobname": "x" * room}
        with pytest.raises(EventError, match="2,049 bytes"):
            event_context(jobname="é" + "x" * (room - 1))

    @pytest.mark.parametrize("value", [TRACEPARENT.upper(), "x", f"01-{TRACE}-{SPAN}-01"])
    def test_a_traceparent_that_is_not_one(self, value):
        with pytest.raises(EventError, match=r"traceparent .*W3C"):
            event_context(traceparent=value)

    @pytest.mark.parametrize("value", ["x", "a=1,,b=2", "a=1,a=2"])
    def test_a_tracestate_that_is_not_one(self, value):
        with pytest.raises(EventError, match=r"tracestate .*W3C"):
            event_context(tracestate=value)


class TestContext:
    def test_ids_become_text(self):
        number = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
        with event_context(userid=2**40, requestid=number, tenantid=number):
            assert now() == {
                "userid": "1099511627776",
                "requestid": str(number),
                "tenantid": str(number),
            }

    def test_it_cannot_be_changed_and_equal_ones_are_one(self):
        context = Context({"requestid": "a1", "n": 1})
        with pytest.raises(TypeError):
            context["requestid"] = "b2"
        assert {context, Context({"n": 1, "requestid": "a1"})} == {context}
        assert context != Context({"n": 2, "requestid": "a1"})

    def test_what_was_given_may_change_after(self):
        given_values = {"requestid": "a1"}
        context = Context(given_values)
        given_values["requestid"] = "b2"
        assert dict(context) == {"requestid": "a1"}

    def test_its_repr_has_names_only(self):
        assert repr(Context({"userid": "ada"})) == "<Context userid>"

    def test_it_survives_copies_and_pickles(self):
        context = Context({"requestid": "a1"})
        assert copy.deepcopy(context) == pickle.loads(pickle.dumps(context)) == context

    @given(contexts)
    def test_as_json_is_what_it_holds(self, held):
        assert json.loads(as_json(Context(held))) == held
        with event_context(**json.loads(as_json(Context(held)))):  # in another process
            assert now() == held

    def test_none_as_json_is_an_empty_object(self):
        assert as_json(None) == "{}"


class TestTraceContext:
    @pytest.mark.parametrize("flags", ["00", "01", "02", "ff"])
    def test_a_traceparent_of_version_00_is_itself(self, flags):
        assert parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}") == f"00-{TRACE}-{SPAN}-{flags}"

    @pytest.mark.parametrize("more", ["", "-", "-what-comes"])
    def test_of_a_later_version_only_what_is_known_is_kept(self, more):
        assert parse_traceparent(f"cc-{TRACE}-{SPAN}-0b{more}") == TRACEPARENT

    @pytest.mark.parametrize(
        "text",
        [
            "",
            f"00-{TRACE}-{SPAN}",
            f"00-{TRACE}-{SPAN}-1",
            f"00-{TRACE}-{SPAN}-01-x",
            f"00-{TRACE}-{SPAN}-01-",
            f"00-{TRACE}-{SPAN}-01\n",
            f" 00-{TRACE}-{SPAN}-01",
            f"00-{TRACE.upper()}-{SPAN}-01",
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"ff-{TRACE}-{SPAN}-01",
            f"01-{TRACE}-{SPAN}-01x",
            f"00-{TRACE[:-1]}٣-{SPAN}-01",
        ],
    )
    def test_others_are_none(self, text):
        assert parse_traceparent(text) is None

    @given(st.text(st.sampled_from("0af-"), max_size=60) | st.text(max_size=60))
    def test_what_is_taken_from_outside_is_never_refused_here(self, text):
        for name, parse in (("traceparent", parse_traceparent), ("tracestate", parse_tracestate)):
            if (taken := parse(text)) is not None:
                assert Context({name: taken})[name] == parse(taken) == taken

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            (" a=1 ,\t, b@c=2 3,", "a=1,b@c=2 3"),
            ("1a/_-*=x=y", None),
            ("", None),
            (" , ", None),
            ("A=1", None),
            ("a=", None),
            ("a=é", None),
            ("a=1,a=2", None),
            (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
            (",".join(f"k{n}=v" for n in range(33)), None),
            ("a=" + "x" * 256, "a=" + "x" * 256),
            ("a=" + "x" * 257, None),
            (f"a={'x' * 256},b={'y' * 251}", f"a={'x' * 256},b={'y' * 251}"),
            (f"a={'x' * 256},b={'y' * 252}", None),
        ],
    )
    def test_tracestate(self, text, kept):
        assert parse_tracestate(text) == kept
