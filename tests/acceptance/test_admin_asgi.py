"""The admin's test record on a site under ASGI: each hop is told while the next is under way."""

import json
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.client import HTTPConnection
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.support.aws import ROOT, Answers, AwsServer, environment, manage
from tests.support.servers import free_port, listens, wait_for

TEST = "/admin/kinesis_bridge/stream/test/?stream=default&database=default"
LOGIN = "/admin/login/"


class Site:
    """The demo site under uvicorn, and somebody who is logged in."""

    def __init__(self, url, process, database):
        self.url, self.process, self.database = url, process, database
        self._cookies = CookieJar()
        self._open = build_opener(HTTPCookieProcessor(self._cookies)).open

    def log_in(self, name, password):
        form = {"username": name, "password": password, "next": TEST}
        page = self._open(self.url + LOGIN).read().decode()
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page)[1]
        with self._open(
            self.url + LOGIN, urlencode({**form, "csrfmiddlewaretoken": token}).encode()
        ) as page:
            assert page.url.endswith(TEST)

    def post(self):
        """Send a test record; the connection and its answer, of which nothing is read yet."""
        cookies = {cookie.name: cookie.value for cookie in self._cookies}
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        connection.request(
            "POST",
            TEST,
            urlencode({"stream": "default", "database": "default"}),
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/x-ndjson",
                "Accept-Language": "ja",
                "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
                "X-CSRFToken": cookies["csrftoken"],
            },
        )
        return connection

    def logged(self):
        with closing(sqlite3.connect(self.database)) as database:
            rows = database.execute("SELECT change_message FROM django_admin_log").fetchall()
        return [message for (message,) in rows]

    def end(self):
        """End it; return what it had to complain of."""
        self.process.terminate()
        return self.process.communicate(timeout=60)[1]


class Put:
    """PutRecords is answered once `held` is set, and no hop behind it comes before."""

    def __init__(self):
        self.asked, self.held = threading.Event(), threading.Event()

    def __call__(self, _):
        self.asked.set()
        self.held.wait(20)


@pytest.fixture
def put():
    made = Put()
    yield made
    made.held.set()


@pytest.fixture
def answers(put):
    return Answers(PutRecords=put)


@pytest.fixture
def site(tmp_path, answers):
    with AwsServer(answers) as aws:
        env = environment(
            tmp_path,
            **aws.environment,
            DJANGO_SETTINGS_MODULE="tests.browser.settings",
            DJANGO_SUPERUSER_PASSWORD="ada",
            KINESIS_DELIVERY="outbox",
        )
        for command in (
            ["migrate", "-v0"],
            ["createsuperuser", "--no-input", "--username=ada", "--email=a@example.org"],
        ):
            done = manage(*command, env=env)
            assert done.returncode == 0, done.stderr
        port = free_port()
        command = ["uvicorn", "--factory", "django.core.asgi:get_asgi_application"]
        options = ["--port", str(port), "--lifespan", "off", "--log-level", "warning"]
        with subprocess.Popen(
            [sys.executable, "-m", *command, *options],
            cwd=ROOT,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert wait_for(lambda: listens(port) or process.poll() is not None)
                found = Site(f"http://127.0.0.1:{port}", process, tmp_path / "demo.sqlite3")
                found.log_in("ada", "ada")
                yield found
            finally:
                process.kill()


def test_the_first_hop_is_there_before_the_last_is_made(site, answers, put):
    with closing(site.post()) as connection, connection.getresponse() as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        first = answer.readline()
        assert answers.records == []
        put.held.set()
        lines = [json.loads(line) for line in (first, *answer.read().splitlines())]
    assert [line["ok"] for line in lines] == [True] * 6
    # In the reader's language, the first as the last.
    assert "アカウントAの呼び出し元" in lines[0]["html"]
    assert "読み戻し" in lines[-1]["html"]
    [message] = site.logged()
    assert "shardId-000000000000" in message
    assert site.end() == ""


def test_who_leaves_meanwhile_troubles_nobody(site, answers, put):
    with closing(site.post()) as connection, connection.getresponse() as answer:
        assert answer.readline()
        assert put.asked.wait(10)
    put.held.set()
    assert wait_for(lambda: answers.records)
    with closing(site.post()) as connection, connection.getresponse() as answer:
        assert len(answer.read().splitlines()) == 6
    abandoned, whole = site.logged()
    assert "shardId" not in abandoned
    assert "shardId" in whole
    assert site.end() == ""
