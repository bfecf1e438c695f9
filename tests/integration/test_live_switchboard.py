"""The switchboard of ``make live``, asked by the site's own way to it, and by others."""

from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from demo_project.live import control
from demo_project.live.supervisor.switchboard import Switchboard
from tests.support.servers import listens


class Machine:
    """What is behind the switches."""

    def __init__(self):
        self.thrown = []

    def state(self):
        return {"broken": self.thrown, "trouble": None}

    def throw(self, switch):
        if switch not in {"down", "repair"}:
            raise KeyError(switch)
        self.thrown.append(switch)
        return self.state()


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def board(machine):
    made = Switchboard(machine.state, machine.throw)
    yield made
    made.close()


@pytest.fixture
def site(board, monkeypatch):
    """This process is the site of that supervisor."""
    monkeypatch.setenv(control.URL, board.url)
    monkeypatch.setenv(control.TOKEN, board.token)


def ask(board, method, path, **headers):
    address = urlsplit(board.url)
    connection = HTTPConnection(address.hostname, address.port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_site_sees_the_state_and_throws_the_switches(site, machine):
    assert control.state() == {"broken": [], "trouble": None}
    assert control.switch("down") == {"broken": ["down"], "trouble": None}
    assert control.state()["broken"] == machine.thrown == ["down"]


def test_a_switch_that_there_is_not_is_said(site, machine):
    with pytest.raises(control.NoSupervisor, match="There is no switch at /switch/other"):
        control.switch("other")
    assert machine.thrown == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}, {"Authorization": "ü"}],
    ids=["none", "wrong", "empty", "not ASCII"],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/state"), ("POST", "/switch/down")])
def test_nobody_else_sees_or_throws_anything(board, machine, method, path, headers):
    status, body = ask(board, method, path, **headers)
    assert status == 403
    assert "token" in body
    assert board.token not in body
    assert machine.thrown == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/switch/down"), ("POST", "/state"), ("POST", "/down")],
)
def test_there_is_nothing_else(board, machine, method, path):
    status, _ = ask(board, method, path, Authorization=f"Bearer {board.token}")
    assert status == 404
    assert machine.thrown == []


def test_a_token_of_another_run_is_wrong(board, machine, site, monkeypatch):
    other = Switchboard(machine.state, machine.throw)
    try:
        assert other.token != board.token
        monkeypatch.setenv(control.TOKEN, other.token)
        with pytest.raises(control.NoSupervisor, match="token is missing or wrong"):
            control.state()
    finally:
        other.close()


def test_what_is_closed_is_on_this_machine_alone_and_listens_no_more(board, site):
    address = urlsplit(board.url)
    assert address.hostname == "127.0.0.1"
    assert listens(address.port)
    board.close()
    assert not listens(address.port)
    with pytest.raises(control.NoSupervisor, match="does not answer"):
        control.state()


def test_without_a_supervisor_that_is_said(monkeypatch):
    monkeypatch.delenv(control.URL, raising=False)
    assert not control.is_live()
    with pytest.raises(control.NoSupervisor, match="make live"):
        control.state()
