"""``background`` in whole processes: its memory, its end, its children, its interrupts.

Each script runs in a Python of its own and, where it says so, repeats a race fifty times.
"""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import defaultdict

import pytest

from benchmarks.sink import Sink, check
from tests.support.aws import ROLE_ARN, ROOT

MIB = 1024 * 1024
HEAD = """
import json, os, random, signal, sys, threading, time, traceback
import django
from django.conf import settings
settings.KINESIS_BRIDGE = json.loads(os.environ["BRIDGE"])
django.setup()
from kinesis_bridge.delivery.background import BackgroundDelivery
from kinesis_bridge.exceptions import BufferClosed, BufferFull
from kinesis_bridge.event import Event
from kinesis_bridge.streams import streams

delivery = streams["default"].delivery

def give(key, n, size=0):
    payload = json.dumps({"key": key, "n": n, "filler": "x" * size}).encode()
    event = Event(type="a.b", source="/s", key=key, data=None)
    delivery.deliver(event, payload, "default")

def in_child(work, seconds=60):
    # Fork; end the child by SIGALRM if it is stuck; return its id.
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)

def wait(child):
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, "stuck" if status == -signal.SIGALRM else status
"""


def environment(sink, **options):
    bridge = {
        "SOURCE": "/tests",
        "ROLES": {"writer": {"ROLE_ARN": ROLE_ARN}},
        "STREAMS": {
            "default": {
                "STREAM": "orders",
                "ROLE": "writer",
                "REGION": "eu-west-1",
                "DELIVERY": "background",
                "OPTIONS": options,
            }
        },
    }
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": sink.url,
        "AWS_ACCESS_KEY_ID": "AKIATESTSITE00000000",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-site-itself-0123456789abcd",
        "BRIDGE": json.dumps(bridge),
    }


def start(script, sink, **options):
    return subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-X",
            "faulthandler",
            "-c",
            HEAD + textwrap.dedent(script),
        ],
        cwd=ROOT,
        env=environment(sink, **options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script, sink, *, seconds=90, **options):
    """Run a script to its end; return (what it printed as JSON, stderr)."""
    process = start(script, sink, **options)
    out, err = ended(process, seconds)
    assert process.returncode == 0, err
    return (json.loads(out) if out else None), err


def ended(process, seconds):
    """Wait for its end; return what is left of its output."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler tells where its threads are
        raise AssertionError(f"stuck: {process.communicate()}") from None


def numbers(sink):
    """The numbers of the events of each key, in the order in which they were accepted."""
    found = defaultdict(list)
    for record in sink.accepted():
        event = json.loads(record.data)
        found[event["key"]].append(event["n"])
    return dict(found)


@pytest.fixture
def sink():
    with Sink(shards=4) as sink:
        yield sink


@pytest.mark.parametrize("size", [50, 1000, 100_000])
def test_a_full_buffer_of_64_mib_costs_less_than_100_while_aws_hangs(sink, size):
    """From a process that has not even imported boto3, to its peak."""
    sink.set_faults("hang=1")
    script = f"""
    def memory(name):
        for line in open("/proc/self/status"):
            if line.startswith(name):
                return int(line.split()[1]) / 1024

    before = memory("VmRSS")
    n = 0
    while not delivery.statistics.dropped:
        for _ in range(1000 if {size} < 10_000 else 20):
            n += 1
            delivery.deliver(
                Event(type="a.b", source="/s", key=f"customer-{{n}}", data=None),
                b"%d" % n + bytes({size}), "default",
            )
    time.sleep(2)  # the requests under way, again and again
    statistics = delivery.statistics
    print(json.dumps([memory("VmHWM") - before, statistics.buffered_bytes, statistics.sent]))
    """
    (grown, buffered, sent), _ = run(
        script,
        sink,
        WHEN_FULL="drop",
        READ_TIMEOUT=0.4,
        RETRY_SECONDS=1,
        SHUTDOWN_SECONDS=0,
    )
    assert sent == 0
    assert 50 * MIB < buffered <= 52 * MIB
    assert grown < 100


class TestExit:
    def test_a_process_that_ends_at_once_sends_everything(self, sink):
        script = """
        for n in range(3000):
            give(f"key-{n % 7}", n)
        """
        _, err = run(script, sink)
        assert err == ""
        verdict = check(sink.accepted(), {f"key-{k}": list(range(k, 3000, 7)) for k in range(7)})
        assert verdict.exact, verdict

    def test_what_other_threads_publish_after_the_main_one_is_sent_too(self, sink):
        script = """
        def late():
            for n in range(100):
                time.sleep(0.002)
                give("late", n)

        give("early", 0)
        threading.Thread(target=late).start()
        """
        _, err = run(script, sink)
        assert err == ""
        assert numbers(sink) == {"early": [0], "late": list(range(100))}

    def test_a_child_of_multiprocessing_sends_everything(self, sink):
        script = """
        import multiprocessing
        def work():
            for n in range(100):
                give("child", n)

        give("parent", 0)
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        """
        _, err = run(script, sink)
        assert err == ""
        assert numbers(sink) == {"parent": [0], "child": list(range(100))}

    def test_while_aws_hangs_it_ends_in_time_and_says_what_was_left(self, sink):
        sink.set_faults("hang=1")
        script = """
        for n in range(700):
            give("k", n)
        print(time.time())
        """
        began, err = run(script, sink, SHUTDOWN_SECONDS=1)
        assert 1 <= time.time() - began < 8
        assert re.findall(r"\d+ events were not delivered.*", err) == [
            "700 events were not delivered within SHUTDOWN_SECONDS (1 s)"
        ]

    def test_while_aws_hangs_it_ends_in_time_fifty_times(self, sink):
        """Idle, with a thread that waits for room, with a task that does; five at once."""
        sink.set_faults("hang=1")
        script = """
        def fill(n=0):
            while True:
                give("k", n, 1000)
                n += 1

        def end(kind):
            if kind == "quiet":
                give("k", 0)
            elif kind == "thread":
                threading.Thread(target=fill).start()
                time.sleep(0.3)
            else:
                import asyncio
                from asgiref.sync import sync_to_async
                async def main():
                    task = asyncio.create_task(sync_to_async(fill)())
                    await asyncio.sleep(0.3)
                    raise SystemExit
                loop = asyncio.new_event_loop()
                try:
                    loop.run_until_complete(main())
                except SystemExit:
                    pass

        import kinesis_bridge.transport.fast  # once, and not in each of the children
        os.close(2)
        os.open(os.devnull, os.O_WRONLY)  # fifty reports of what was left
        took = []
        for _ in range(10):
            began = {}
            for kind in ["quiet", "thread", "task", "thread", "task"]:
                reading, writing = os.pipe()
                child = os.fork()
                if not child:
                    end(kind)
                    os.write(writing, str(time.time()).encode())
                    sys.exit(0)
                os.close(writing)
                began[child] = reading
            left = dict(began)
            limit = time.time() + 60
            while left and time.time() < limit:
                child, _ = os.waitpid(-1, os.WNOHANG)
                if child:
                    with os.fdopen(left.pop(child)) as pipe:
                        took.append(time.time() - float(pipe.read()))
                time.sleep(0.01)
            for child in left:
                os.kill(child, signal.SIGKILL)
            assert not left, f"{len(left)} are stuck"
        print(json.dumps(took))
        """
        took, _ = run(script, sink, seconds=300, SHUTDOWN_SECONDS=0.5, BUFFER_BYTES=64 * 1024)
        assert len(took) == 50
        assert min(took) >= 0.4
        # Ending five interpreters at once takes its time where others use the processors too.
        assert sorted(took)[25] < 10
        assert max(took) < 30


class TestInterrupts:
    def test_fifty_interrupts_while_the_buffer_is_full(self, sink):
        sink.set_faults("hang=1")
        script = """
        def interrupt():
            time.sleep(random.uniform(0.001, 0.02))
            os.kill(os.getpid(), signal.SIGINT)

        # First: an interrupt within an import is another story, and Python's own.
        give("k", 0)
        given, interrupted = 1, 0
        for _ in range(50):
            thread = threading.Thread(target=interrupt)
            try:
                thread.start()
                while True:
                    give("k", given, 300)
                    given += 1
            except KeyboardInterrupt:
                interrupted += 1
            thread.join()
        s = delivery.statistics
        assert given <= s.accepted <= given + 1, (given, s)
        assert s.accepted == s.buffered_records and not delivery._buffer._turns
        print(json.dumps([interrupted, s.accepted]), flush=True)
        delivery.flush()
        """
        process = start(script, sink, BUFFER_BYTES=64 * 1024, READ_TIMEOUT=0.4, RETRY_SECONDS=0.5)
        interrupted, accepted = json.loads(process.stdout.readline())
        sink.clear_faults()
        _, err = ended(process, 60)
        assert process.returncode == 0, err
        assert interrupted == 50
        # Once each: of a request under way when the faults end, the answer may come too late.
        assert list(dict.fromkeys(numbers(sink)["k"])) == list(range(accepted))

    def test_ctrl_c_during_the_flush_at_the_end_ends_it(self, sink):
        sink.set_faults("hang=1")
        script = """
        give("k", 0)
        print(1, flush=True)
        """
        process = start(script, sink, SHUTDOWN_SECONDS=60)
        process.stdout.readline()
        time.sleep(1.5)
        for _ in range(2):  # the end has two steps
            process.send_signal(signal.SIGINT)
            time.sleep(1)
        _, err = ended(process, 30)
        assert "1 events were not delivered" in err


class TestFork:
    def test_fifty_children_of_a_busy_parent(self, sink):
        """Each sends its own and nothing of the parent's, whatever was under way at the fork."""
        script = """
        stop = threading.Event()
        told = [0, 0]

        def busy(thread):
            while not stop.is_set():
                give(f"parent-{thread}", told[thread])
                told[thread] += 1
                if not told[thread] % 5:
                    time.sleep(0.01)

        threads = [threading.Thread(target=busy, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)

        def child():
            assert delivery.statistics.accepted == 0
            for n in range(3):
                give(f"child-{os.getpid()}", n)
            assert delivery.flush(30) and delivery.statistics.sent == 3
            delivery.close()

        children = []
        for _ in range(50):
            time.sleep(random.uniform(0, 0.01))
            children.append(in_child(child))
            wait(children[-1])
        stop.set()
        for thread in threads:
            thread.join()
        assert delivery.flush(30)
        print(json.dumps([children, told]))
        """
        (children, told), _ = run(script, sink, seconds=300, BUFFER_BYTES=256 * 1024)
        expected = {f"child-{child}": list(range(3)) for child in children}
        expected |= {f"parent-{n}": list(range(count)) for n, count in enumerate(told)}
        assert numbers(sink) == expected

    def test_a_fork_waits_for_the_first_imports_of_another_thread(self, sink):
        """Or the child could never import them."""
        script = """
        imports = threading.Event()

        class Slow:
            @staticmethod
            def find_spec(name, *_):
                if name == "kinesis_bridge.transport.fast":
                    imports.set()
                    time.sleep(1)

        sys.meta_path.insert(0, Slow)
        thread = threading.Thread(target=give, args=("parent", 0))
        thread.start()
        assert imports.wait(30)

        def child():
            give("child", 0)
            assert delivery.flush(30)

        wait(in_child(child))
        thread.join()
        assert delivery.flush(30)
        """
        run(script, sink)
        assert numbers(sink) == {"parent": [0], "child": [0]}

    def test_fifty_children_while_a_thread_holds_every_lock(self, sink):
        script = """
        give("parent", 0)
        assert delivery.flush(30)
        stop = threading.Event()

        def hold():
            while not stop.is_set():
                with delivery._buffer._lock, delivery._claiming, delivery._troubles._lock:
                    time.sleep(0.001)

        threading.Thread(target=hold).start()

        def child():
            give("child", os.getpid())
            assert delivery.flush(30)

        try:
            for _ in range(50):
                wait(in_child(child))
        finally:
            stop.set()
        """
        run(script, sink, seconds=300)
        found = numbers(sink)
        assert len(found["child"]) == len(set(found["child"])) == 50
        assert found["parent"] == [0]

    def test_children_of_a_parent_that_has_just_begun(self, sink):
        """Its first event imports boto3: a fork meanwhile must not leave modules locked."""
        script = """
        def fresh(delay):
            give("parent", os.getpid())
            time.sleep(delay)
            def child():
                give("child", os.getpid())
                assert delivery.flush(30)
            wait(in_child(child))
            assert delivery.flush(30)

        assert "botocore" not in sys.modules
        for n in range(12):
            wait(in_child(lambda: fresh(0.01 * n)))
        """
        run(script, sink)
        assert {key: len(found) for key, found in numbers(sink).items()} == {
            "parent": 12,
            "child": 12,
        }

    def test_a_prefork_server_that_loaded_the_site_first(self, sink):
        """As gunicorn with preload: the master has published already, workers end by sys.exit."""
        script = """
        import socket
        listening = socket.create_server(("127.0.0.1", 0))

        def give(key, n):  # as publish does: a worker's stream is another one than the master's
            payload = json.dumps({"key": key, "n": n}).encode()
            event = Event(type="a.b", source="/s", key=key, data=None)
            streams["default"].delivery.deliver(event, payload, "default")

        for n in range(100):
            give("master", n)

        def worker():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            served = 0
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(100)
                    give(f"worker-{os.getpid()}", served)
                    served += 1
                    connection.sendall(b"ok")

        workers = []
        for _ in range(3):
            child = os.fork()
            if not child:
                worker()
            workers.append(child)
        served = 0
        for _ in range(200):
            with socket.create_connection(listening.getsockname(), 5) as client:
                client.sendall(b"GET /")
                served += client.recv(10) == b"ok"
        for child in workers:
            os.kill(child, signal.SIGTERM)
        for child in workers:
            wait(child)
        print(json.dumps([workers, served]))
        """
        (workers, served), err = run(script, sink)
        assert err == ""
        found = numbers(sink)
        assert found.pop("master") == list(range(100))
        assert set(found) <= {f"worker-{worker}" for worker in workers}
        assert all(one == list(range(len(one))) for one in found.values())
        assert sum(map(len, found.values())) == served == 200
