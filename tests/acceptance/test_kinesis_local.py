"""``manage.py kinesis_local``: the emulator as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.aws import ROLE_ARN, environment, manage, start_manage


def document(stream):
    """Read one JSON document, as soon as it is whole."""
    lines = []
    for line in stream:
        lines.append(line)
        if line == "}\n":
            break
    return json.loads("".join(lines))


@contextmanager
def running(tmp_path, *arguments, **changed):
    env = environment(tmp_path, KINESIS_LOCAL_AWS="True", **changed)
    process = start_manage("kinesis_local", "--port", "0", *arguments, env=env)
    try:
        yield process, env
    finally:
        process.kill()
        process.communicate()


def test_it_announces_serves_other_processes_and_ends_by_sigterm(tmp_path):
    with running(tmp_path, "--json") as (process, env):
        announced = document(process.stdout)
        assert announced == {
            "url": announced["url"],
            "site_account": "111111111111",
            "roles": [ROLE_ARN],
            "streams": ["orders"],
        }
        url = urlsplit(announced["url"])
        assert url.hostname == "127.0.0.1"

        env["KINESIS_LOCAL_AWS_URL"] = announced["url"]
        done = manage("send_kinesis_test", "--json", "--key", "k", env=env)
        assert json.loads(done.stdout)["read_back"] is True, done.stderr
        tail = manage("kinesis_tail", "--json", env=env)
        assert [event["partition_key"] for event in json.loads(tail.stdout)["events"]] == ["k"]

        given = manage("kinesis_assume_role", "default", env=env)
        assert f"export AWS_ENDPOINT_URL={announced['url']}" in given.stdout.splitlines()

        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((url.hostname, url.port), timeout=2)


def test_a_signal_right_after_the_announcement_ends_it_well(tmp_path):
    with running(tmp_path) as (process, _):
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert first.startswith("AWS emulator on http://127.0.0.1:")
    assert (process.returncode, err) == (0, "")


def test_ctrl_c_ends_it_though_its_shell_ignores_the_signal_for_background_jobs(tmp_path):
    env = environment(tmp_path, KINESIS_LOCAL_AWS="True")
    process = start_manage("kinesis_local", "--port", "0", env=env, in_background=True)
    try:
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()


def test_people_see_where_it_listens_and_what_it_has(tmp_path):
    with running(tmp_path) as (process, _):
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
    text = "".join(lines)
    for fact in ("account A is 111111111111", f"role    {ROLE_ARN}", "stream  orders"):
        assert fact in text


def test_a_taken_port_is_an_error_and_not_a_second_emulator(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = environment(tmp_path, KINESIS_LOCAL_AWS="True")
        done = manage("kinesis_local", "--port", port, "--json", env=env)

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in json.loads(done.stdout)["error"]["message"]
    assert "--port" in done.stderr


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_does_not_exist_is_refused(tmp_path, port):
    done = manage("kinesis_local", f"--port={port}", env=environment(tmp_path))
    assert done.returncode == 1
    assert f"not {port}" in done.stderr


@pytest.mark.parametrize("command", [["kinesis_tail"], ["kinesis_tail", "--json"]], ids=" ".join)
def test_what_needs_it_says_how_to_start_it(tmp_path, command):
    env = environment(tmp_path, KINESIS_LOCAL_AWS="True")
    port = urlsplit(env["KINESIS_LOCAL_AWS_URL"]).port

    done = manage(*command, env=env)

    assert done.returncode == 1
    assert f"python manage.py kinesis_local --port {port}" in done.stderr
    if "--json" in command:
        assert json.loads(done.stdout)["error"]["name"] == "EmulatorError"
    else:
        assert done.stdout == ""


def test_a_relay_that_has_nothing_to_send_yet_warns_when_it_starts(tmp_path):
    """Its first event would end it; and it may be started at the same time as the emulator."""
    env = environment(tmp_path, KINESIS_LOCAL_AWS="True", KINESIS_DELIVERY="outbox")
    port = urlsplit(env["KINESIS_LOCAL_AWS_URL"]).port
    assert manage("migrate", env=env).returncode == 0
    relay = start_manage("kinesis_relay", env=env)
    try:
        assert "Sends what is committed" in relay.stdout.readline()
        relay.terminate()
        _, err = relay.communicate(timeout=60)
    finally:
        relay.kill()
    assert err.startswith("Warning: LOCAL_AWS is on, nothing listens at http://")
    assert f"python manage.py kinesis_local --port {port}" in err
    assert relay.returncode == 0
