"""Sessions under fire: credentials that end while threads put, and an STS that fails meanwhile."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count, islice

import pytest
from botocore.config import Config

from benchmarks.sink import Sink
from kinesis_bridge import get_client, get_session
from kinesis_bridge.diagnosis import Path
from kinesis_bridge.exceptions import AssumeRoleError, AwsError, CredentialsError
from kinesis_bridge.producer import STRIPES
from kinesis_bridge.session import assume
from kinesis_bridge.session.assume import who_am_i
from kinesis_bridge.signals import credentials_refreshed
from tests.support.aws import (
    ROLE_ARN,
    SITE_ARN,
    Answers,
    AwsServer,
    assumed,
    bridge,
    kinesis_error,
    sts_error,
)
from tests.support.session import SECRETS, at_once, forks, in_child

OLD, NEW = "ASIATEST000000000001", "ASIATEST000000000002"
HOP_ARN = "arn:aws:iam::333333333333:role/Hop"
SECONDS = 20  # to wait for what takes a moment


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def aws(answers, monkeypatch, settings):
    with AwsServer(answers) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge()
        yield server


@pytest.fixture
def sink(monkeypatch, settings):
    """Kinesis and STS that give credentials for 1.2 seconds, and refuse them from then on."""
    with site_beside(Sink(sts_lifetime=1.2, require_sts=True), monkeypatch, settings) as running:
        yield running


@contextmanager
def site_beside(sink, monkeypatch, settings):
    """A started `sink`, and a site of account A that asks it for everything."""
    with sink as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTSITE00000000")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-site-itself-0123456789abcd")
        settings.KINESIS_BRIDGE = bridge()
        yield running


def put(key=None):
    return get_client().put_record(b"x", key)


def keys_beside(key, number):
    """Keys that wait for no put of `key`: a producer has a lock for several."""
    stripe = hash(key) % STRIPES
    beside = (f"beside-{n}" for n in count())
    return list(islice((one for one in beside if hash(one) % STRIPES != stripe), number))


def credentials_of(role="writer"):
    return get_session(role).get_credentials()


def ahead(seconds):
    """Have the writer's credentials believe that it is so much later."""
    credentials_of()._time_fetcher = lambda: datetime.now(UTC) + timedelta(seconds=seconds)


def eventually(condition):
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


class Putting(ThreadPoolExecutor):
    """Threads that put one record after another until the block ends: `landed`, `failed`."""

    def __init__(self, threads):
        super().__init__(threads)
        self.threads = threads
        self.landed, self.failed = [], []
        self._over = threading.Event()

    def __enter__(self):
        for _ in range(self.threads):
            self.submit(self._work)
        return self

    def __exit__(self, *error):
        self._over.set()
        super().__exit__(*error)

    def _work(self):
        while not self._over.wait(0.03):
            try:
                self.landed.append(put())
            except Exception as error:  # noqa: BLE001 - any is a failed put
                self.failed.append(error)


@contextmanager
def heard(*more):
    """What credentials_refreshed says meanwhile; `more` are receivers too."""
    said = []

    def hear(sender, signal, **facts):
        said.append(facts)

    receivers = (hear, *more)
    for receiver in receivers:
        credentials_refreshed.connect(receiver)
    try:
        yield said
    finally:
        for receiver in receivers:
            credentials_refreshed.disconnect(receiver)


# Many threads


def test_fifty_threads_put_while_their_credentials_end_three_times(aws, answers):
    answers.seconds = 1.0
    born, refused = {}, []

    def assume(request):
        number = next(answers.numbers)
        born[f"ASIATEST{number:012d}"] = time.monotonic()
        return assumed(request, answers.seconds, number)

    def expired(request):
        if time.monotonic() - born[request.access_key] > answers.seconds:
            refused.append(request)
            return kinesis_error("ExpiredTokenException", "The security token has expired")
        return None

    answers.replaced = {"AssumeRole": assume, "PutRecords": expired}
    started = time.monotonic()
    with Putting(50) as putting:
        eventually(
            lambda: sum(time.monotonic() > at + answers.seconds for at in [*born.values()]) > 2
        )
    lasted = time.monotonic() - started

    assert putting.failed == []
    assert len(answers.records) == len(putting.landed) > 50
    # A session serves for at least three quarters of its life, whatever the number of threads.
    assert 4 <= len(born) <= 1 + lasted / (0.75 * answers.seconds) + len(refused)


def test_fifty_threads_that_start_at_once_assume_each_role_once(aws, settings):
    configured = bridge(VIA="hop")
    configured["ROLES"]["hop"] = {"ROLE_ARN": HOP_ARN}
    configured["ROLES"]["other"] = {"ROLE_ARN": f"{ROLE_ARN}2", "VIA": "hop"}
    configured["STREAMS"]["other"] = {"STREAM": "o", "ROLE": "other", "REGION": "eu-west-1"}
    settings.KINESIS_BRIDGE = configured
    names = ["default", "other"] * 25

    landed = at_once(50, lambda: get_client(names.pop()).put_record(b"x").sequence_number)

    assert len(set(landed)) == 50
    assumed_roles = sorted(r.parameters["RoleArn"] for r in aws.of("AssumeRole"))
    assert assumed_roles == [ROLE_ARN, f"{ROLE_ARN}2", HOP_ARN]


def test_a_session_of_900_seconds_is_fetched_once(aws, answers, settings):
    settings.KINESIS_BRIDGE = bridge(DURATION_SECONDS=900)
    answers.seconds = 900

    at_once(25, lambda: [put() for _ in range(8)])

    assert aws.count("PutRecords") == 200
    assert aws.count("AssumeRole") == 1
    assert aws.of("AssumeRole")[0].parameters["DurationSeconds"] == "900"


# STS fails while it is asked for new credentials


@pytest.mark.parametrize("outage", ["sts_reset", "sts_slow:ms=150"])
def test_no_put_fails_while_sts_fails_and_the_old_credentials_last(sink, outage):
    put()
    sink.set_faults(outage)
    with Putting(10) as putting:
        eventually(lambda: sink.stats()["faults"])
        sink.clear_faults()
        eventually(lambda: sink.stats()["operations"]["AssumeRole"] > 1)
        before = len(putting.landed)
        eventually(lambda: len(putting.landed) > before + 20)

    assert putting.failed == []


@pytest.fixture
def patient(monkeypatch):
    """A bridge that waits for STS for as long as the test may take."""
    config = assume.STS_CONFIG.merge(Config(read_timeout=10 * SECONDS))
    monkeypatch.setattr(assume, "STS_CONFIG", config)


def test_one_thread_waits_for_a_slow_sts_and_the_others_go_on(aws, answers, patient):
    put()
    asked, go_on = threading.Event(), threading.Event()

    def slow(request):
        asked.set()
        go_on.wait(5 * SECONDS)

    answers.replaced["AssumeRole"] = slow
    ahead(3600 - 60)
    with ThreadPoolExecutor(11) as pool:
        waits = pool.submit(put, "waits")
        assert asked.wait(SECONDS)
        for other in [pool.submit(put, key) for key in keys_beside("waits", 50)]:
            other.result(SECONDS)
        assert not waits.done()
        ahead(0)
        go_on.set()
        waits.result(SECONDS)

    assert [r.access_key for r in aws.of("PutRecords")] == [OLD] * 51 + [NEW]


def test_puts_wait_for_sts_that_is_down_past_the_end_of_the_credentials(sink):
    put()
    sink.set_faults("sts_throttled")
    with Putting(10) as putting:
        ends = time.monotonic() + 1.2
        eventually(lambda: time.monotonic() > ends)
        before = len(putting.landed)
        sink.clear_faults()
        eventually(lambda: len(putting.landed) > before + 20)

    assert putting.failed == []


@pytest.mark.parametrize(
    ("outage", "name"), [("sts_throttled", "sts-throttled"), ("sts_reset", "no-answer")]
)
def test_after_the_end_of_the_credentials_the_error_is_that_of_sts(
    aws, settings, monkeypatch, outage, name
):
    """And again well as soon as STS is."""
    configured = bridge()
    configured["STREAMS"]["default"]["OPTIONS"] = {"RETRY_SECONDS": 0}
    with Sink(sts_lifetime=2, require_sts=True) as sink:
        monkeypatch.setenv("AWS_ENDPOINT_URL", sink.url)
        settings.KINESIS_BRIDGE = configured
        put()
        sink.set_faults(outage)
        ended = credentials_of().expires_at
        eventually(lambda: datetime.now(UTC) > ended)

        errors = at_once(10, put)

        assert {error.name for error in errors} == {name}
        for error in errors:
            assert f"STS at {sink.url} gave no session of role {ROLE_ARN}" in str(error)
            assert "expired" not in str(error)
        sink.clear_faults()
        credentials_of()._failed_at -= 2
        assert put().sequence_number


# AWS calls them expired


@pytest.mark.parametrize("refused", ["one reply", "all of the old ones"])
def test_credentials_that_aws_calls_expired_are_renewed_once(aws, answers, refused):
    put()
    credentials_of()._fetched_at -= 60
    left = [1 if refused == "one reply" else 1000]

    def expired(request):
        if request.access_key == OLD and left[0]:
            left[0] -= 1
            return kinesis_error("ExpiredTokenException", "expired")
        return None

    answers.replaced["PutRecords"] = expired

    landed = at_once(20, put)

    assert [result for result in landed if isinstance(result, AwsError)] == []
    assert len(answers.records) == 21
    assert aws.count("AssumeRole") == 2


def test_the_role_on_the_way_is_renewed_where_sts_calls_it_expired(aws, answers, settings):
    configured = bridge(VIA="hop")
    configured["ROLES"]["hop"] = {"ROLE_ARN": HOP_ARN}
    settings.KINESIS_BRIDGE = configured
    put()
    credentials_of("hop")._fetched_at -= 60
    credentials_of("writer")._fetched_at -= 60
    assert credentials_of("writer").drop()
    answers.replaced["AssumeRole"] = lambda request: (
        sts_error("ExpiredToken", "The security token included in the request is expired")
        if request.access_key == OLD
        else None
    )

    put()

    asked = [(r.parameters["RoleArn"], r.access_key[-1]) for r in aws.of("AssumeRole")]
    assert asked[2:] == [(ROLE_ARN, "1"), (HOP_ARN, "0"), (ROLE_ARN, "3")]


# The source's own credentials


@pytest.fixture
def process(monkeypatch, tmp_path, settings, aws):
    """A profile whose credentials a program gives; returns how to say when they end."""
    config, answer, runs = tmp_path / "config", tmp_path / "answer", tmp_path / "runs"
    program = tmp_path / "program.py"
    program.write_text(
        f"open({str(runs)!r}, 'a').write('.')\nprint(open({str(answer)!r}).read())\n"
    )
    config.write_text(f"[profile site]\ncredential_process = {sys.executable} {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    settings.KINESIS_BRIDGE = bridge(PROFILE="site")

    def ends_in(seconds):
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        answer.write_text(
            json.dumps(
                {
                    "Version": 1,
                    "AccessKeyId": "AKIATESTPROCESS00000",
                    "SecretAccessKey": "secret-of-the-process-0123456789abcdefgh",
                    "SessionToken": "token-of-the-process",
                    "Expiration": ends.isoformat(),
                }
            )
        )
        return runs

    return ends_in


def test_a_source_that_botocore_always_refreshes_is_asked_only_when_the_role_is_assumed(
    aws, process
):
    runs = process(300)

    for _ in range(5):
        put()

    assert aws.count("AssumeRole") == 1
    assert aws.of("AssumeRole")[0].access_key == "AKIATESTPROCESS00000"
    assert len(runs.read_text()) < 10


def test_a_source_that_gives_expired_credentials_is_explained(aws, process):
    process(-60)

    with pytest.raises(CredentialsError) as caught:
        put()

    assert caught.value.name == "credentials-expired"
    assert aws.count("AssumeRole") == 0
    assert not [secret for secret in SECRETS if secret in f"{caught.value!r} {caught.value}"]


# Forks


@forks
@pytest.mark.parametrize("earlier", ["the first use", "a refresh"])
def test_a_fork_while_another_thread_assumes_the_role_does_not_hang_the_child(
    aws, answers, patient, earlier
):
    if earlier == "a refresh":
        put()
        ahead(3600 - 60)
    asked, go_on = threading.Event(), threading.Event()

    def slow_once(request):
        if not asked.is_set():
            asked.set()
            go_on.wait(5 * SECONDS)

    answers.replaced["AssumeRole"] = slow_once
    with ThreadPoolExecutor(1) as pool:
        parents = pool.submit(put)
        assert asked.wait(SECONDS)
        before = len(answers.records)
        landed = [in_child(lambda: put().sequence_number) for _ in range(2)]
        assert not parents.done()
        go_on.set()
        parents.result(SECONDS)

    assert landed == [str(before + number) for number in (1, 2)]


# How long a session may be


@pytest.mark.parametrize(
    ("message", "name", "side", "fix"),
    [
        pytest.param(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by"
            " role chaining",
            "role-chaining-cap",
            "site",
            "3600",
            id="chained",
        ),
        pytest.param(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            "assume-role-duration",
            "account B",
            "account B",
            id="maximum",
        ),
    ],
)
def test_a_session_that_is_longer_than_allowed_is_explained(
    aws, answers, settings, message, name, side, fix
):
    settings.KINESIS_BRIDGE = bridge(DURATION_SECONDS=7200)
    answers.replaced["AssumeRole"] = sts_error("ValidationError", message, 400)

    with pytest.raises(AssumeRoleError) as caught:
        put()

    error = caught.value
    assert (error.name, error.side, error.retryable) == (name, side, False)
    assert ROLE_ARN in error.message
    assert "7200" in error.message
    assert "DURATION_SECONDS" in error.hint
    assert fix in error.hint
    assert aws.count("AssumeRole") == 1, "it is not asked again: nothing would change"


def test_a_caller_that_is_a_role_is_told_of_its_limit_by_sts_itself(settings, monkeypatch):
    """The sink knows its own sessions again, and refuses as STS does."""
    with site_beside(Sink(require_sts=True), monkeypatch, settings):
        given = who_is_a_role()
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge(DURATION_SECONDS=7200)

        with pytest.raises(AssumeRoleError) as caught:
            put()

    assert caught.value.name == "role-chaining-cap"


def who_is_a_role():
    frozen = credentials_of().get_frozen_credentials()
    return {
        "AWS_ACCESS_KEY_ID": frozen.access_key,
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
        "AWS_SESSION_TOKEN": frozen.token,
    }


# Clocks


def sts_whose_clock_is(minutes, answers, *, date=True, seconds=900):
    """STS of another time than this machine: the reply's Date, and the end of the credentials."""
    off = timedelta(minutes=minutes)

    def assume(request):
        reply = assumed(request, seconds + off.total_seconds(), next(answers.numbers))
        stamp = format_datetime(datetime.now(UTC) + off, usegmt=True)
        reply.headers["Date"] = stamp if date else "at noon"
        return reply

    answers.replaced["AssumeRole"] = assume


@pytest.mark.parametrize("minutes", [-60, 10])
def test_a_wrong_clock_makes_no_storm(aws, answers, settings, minutes):
    settings.KINESIS_BRIDGE = bridge(DURATION_SECONDS=900)
    sts_whose_clock_is(minutes, answers)

    for _ in range(5):
        put()

    assert aws.count("AssumeRole") == 1
    left = credentials_of()._expiry_time - datetime.now(UTC)
    assert timedelta(seconds=800) < left <= timedelta(seconds=901), "their real life"
    ends = datetime.now(UTC) + timedelta(minutes=minutes, seconds=900)
    assert abs(credentials_of().expires_at - ends) < timedelta(seconds=60), "by AWS's own clock"


def test_a_clock_that_is_behind_makes_no_session_longer_than_asked_for(aws, answers, settings):
    settings.KINESIS_BRIDGE = bridge(DURATION_SECONDS=900)
    sts_whose_clock_is(60, answers, date=False)

    put()

    assert credentials_of()._expiry_time - datetime.now(UTC) <= timedelta(seconds=900)


@pytest.mark.parametrize(
    ("minutes", "seconds", "date"),
    [
        pytest.param(-60, 900, False, id="a clock that is ahead, and no Date to tell"),
        pytest.param(0, -5, True, id="over by its own clock"),
    ],
)
def test_credentials_that_are_over_when_they_come_are_explained(
    aws, answers, minutes, seconds, date
):
    sts_whose_clock_is(minutes, answers, date=date, seconds=seconds)

    errors = at_once(10, put)

    assert {(type(error), error.name) for error in errors} == {(CredentialsError, "clock-skew")}
    assert ROLE_ARN in errors[0].message
    assert re.search(r"ended at .* \d+ seconds ago by this machine's clock", errors[0].message)
    assert "Set the clock" in errors[0].hint
    assert not [secret for secret in SECRETS if secret in f"{errors[0]!r} {errors[0]}"]
    assert aws.count("AssumeRole") < 5
    assert aws.count("PutRecords") == 0


# credentials_refreshed


def test_each_refresh_is_announced_once_and_without_secrets(aws):
    with heard() as said:
        at_once(10, put)
        credentials_of()._fetched_at -= 60
        credentials_of().drop()
        at_once(10, put)

    assert [(facts["role"], facts["role_arn"]) for facts in said] == [("writer", ROLE_ARN)] * 2
    for facts in said:
        assert facts.keys() == {"role", "role_arn", "session_arn", "expires_at"}
        assert facts["session_arn"].startswith("arn:aws:sts::222222222222:assumed-role/")
        left = facts["expires_at"] - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
        assert not [secret for secret in SECRETS if secret in repr(facts)]


def test_a_receiver_that_raises_hurts_nobody(aws):
    def stumble(**_):
        raise ValueError("a receiver")

    with heard(stumble) as said:
        assert put().sequence_number == "1"

    assert len(said) == 1


def test_a_receiver_may_use_the_session_that_it_hears_of(aws, answers, settings):
    """Also that of a role whose own credentials are being made with those that it hears of."""
    configured = bridge(VIA="hop")
    configured["ROLES"]["hop"] = {"ROLE_ARN": HOP_ARN}
    settings.KINESIS_BRIDGE = configured
    callers = []

    def call(role, **_):
        put()
        callers.append((role, who_am_i(get_session("writer"), Path(hop="credentials"))))

    with heard(call) as said:
        # Daemons: a deadlock fails the test, and is not waited for.
        threads = [threading.Thread(target=put, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    assert [facts["role"] for facts in said] == ["hop", "writer"]
    assert sorted(role for role, _ in callers) == ["hop", "writer"]
    assert SITE_ARN not in {arn for _, arn in callers}
    assert len(answers.records) == 6
