"""What is said where IAM, evaluated for real, refuses: tests.support.denials.

By ``send_kinesis_test`` and by ``kinesis_doctor``, and both say the same.

The documents that it shows are made as they are: then it has to work.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from kinesis_bridge import conf, get_client, get_session
from kinesis_bridge.exceptions import CredentialsError
from tests.support.denials import DENIALS, spoil, working
from tests.support.ministack import (
    fixture_ministack,  # noqa: F401
    fixture_world,  # noqa: F401
    run,
)

TITLE = re.compile(r"account (?:[AB] \()?(\d{12})\)?: (\w+) policy of (?:role )?(\S+)")


def send():
    return run("send_kinesis_test", "--no-read-back")


def examine():
    checks = run("kinesis_doctor")["checks"]
    return next(check for check in checks if not check["ok"])


def make(world, documents):
    """Make what the error shows, in the accounts and under the names that it shows."""
    for title, document in documents.items():
        number, kind, name = TITLE.fullmatch(title).groups()
        owner = world.owner(number)
        if kind == "trust":
            owner.put_trust(name, document)
        else:
            owner.put_policy(name if ":" in name else f"role/{name}", document)


@pytest.mark.parametrize("denial", DENIALS, ids=lambda denial: denial.name.replace(" ", "-"))
def test_a_refusal_is_named_and_its_documents_mend_it(world, denial):
    working(world)
    spoil(world, denial)

    error = send()["error"]

    assert (error["name"], error["side"]) == (denial.finding, denial.side), error
    shown = [TITLE.fullmatch(title) for title in error["documents"]]
    assert all(shown), error["documents"]
    assert tuple(title[2] for title in shown) == denial.documents
    told = f"{error['message']}\n{error['hint']}"
    for part in denial.says:
        assert part.format(a=world.a, b=world.b) in told
    for secret in (world.keys["SecretAccessKey"], "x" * 40):
        assert secret not in str(error)
    conf.reset()
    check = examine()
    assert (check["finding"], check["side"]) == (denial.finding, denial.side), check
    assert check["documents"].keys() == error["documents"].keys()
    if denial.mends:
        # One side after the other: what AWS refuses first hides what it would refuse next.
        for _ in range(3):
            make(world, error["documents"])
            conf.reset()
            report = send()
            if "error" not in report:
                break
            error = report["error"]
        assert report.get("sent") == 1, report


class Expiring:
    """Has STS grant sessions that end at once, and the bridge believe that they last `seconds`.

    Such is a session that AWS ends early. After so many `sessions` come good ones; counts all.
    """

    def __init__(self, sessions, seconds):
        self.left, self.seconds, self.asked = sessions, seconds, 0
        events = get_session().events
        events.register("before-call.sts.AssumeRole", self.send)
        events.register("after-call.sts.AssumeRole", self.believe)

    def send(self, params, **event):
        self.asked += 1
        if self.left:
            params["body"]["DurationSeconds"] = 0

    def believe(self, parsed, **event):
        if self.left and "Credentials" in parsed:
            self.left -= 1
            end = datetime.now(UTC) + timedelta(seconds=self.seconds)
            parsed["Credentials"]["Expiration"] = end


def test_a_session_that_aws_ended_is_renewed_and_the_record_arrives(world):
    working(world)
    # For a quarter of that it passes for fresh, which a new one would not be better than.
    ended = Expiring(1, seconds=4)

    assert get_client().put_record("Sample data").shard_id
    assert ended.asked == 2


def test_a_session_that_ends_again_at_once_is_said(world):
    working(world)
    world.configure(streams={"default": {"OPTIONS": {"RETRY_SECONDS": 1}}})
    Expiring(99, seconds=3600)

    with pytest.raises(CredentialsError) as caught:
        get_client().put_record("Sample data")

    assert (caught.value.name, caught.value.side) == ("session-expired", "site")
    assert world.role_arn() in str(caught.value)
    for ask in (send, examine):
        conf.reset()
        Expiring(99, seconds=3600)
        said = ask()
        said = said.get("error", said)
        assert (said.get("finding", said["name"]), said["side"]) == ("session-expired", "site")
