"""ministack, an AWS that enforces IAM: one server for all tests, and new accounts for each.

It pins a botocore of its own, so it lives in its own virtual environment: ``.ministack/`` in the
repository, made at the first use. Any 12 digits are an account of it; as an access key they are
that account's root, whom no policy holds back.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import StringIO
from itertools import count
from pathlib import Path

import boto3.session
import pytest
from botocore.config import Config
from botocore.loaders import create_loader
from django.core.management import CommandError, call_command

from tests.support.servers import HOST, Unavailable, free_port, wait_for

VERSION = "1.5.33"
ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-west-1"
SECRET = "root-of-every-account"
EXTERNAL_ID = "shop-7f3a"
# The end of its standard input is the end of the tests, however they ended.
START = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
from ministack.app import main
main()
"""
# Policies say what fails: nothing is sent twice. Parameters are the server's to refuse.
CONFIG = Config(retries={"total_max_attempts": 1}, parameter_validation=False)


def installed():
    """The Python that has ministack; makes its environment once. Raises Unavailable."""
    home = ROOT / ".ministack"
    home.mkdir(exist_ok=True)
    folder = home / f"{VERSION}-{sys.implementation.cache_tag}"
    stamp = folder / "complete"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test run may be making it
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", folder)
            _run(folder / "bin/python", "-m", "pip", "install", "-q", f"ministack=={VERSION}")
            stamp.touch()
    return folder / "bin/python"


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise Unavailable(f"ministack {VERSION} cannot be installed: {last[0]}")


class Ministack:
    """The server's process on a port of 127.0.0.1; a context manager."""

    def __enter__(self):
        python = installed()
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._folder = tempfile.TemporaryDirectory(prefix="ministack-")
        self._log = Path(self._folder.name) / "log"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-c", START],
                cwd=self._folder.name,
                env={
                    **kept,
                    "AUTH": "true",
                    "AWS_SECRET_ACCESS_KEY": SECRET,
                    "BIND_HOST": HOST,
                    "GATEWAY_PORT": str(self.port),
                    "LOG_LEVEL": "WARNING",
                    "TMPDIR": self._folder.name,
                },
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is not for it
            )
        if not wait_for(lambda: self._answers() or self._process.poll() is not None, 60):
            self.__exit__()
            raise RuntimeError("ministack did not answer within 60 seconds.")
        if self._process.poll() is not None:
            said = self._log.read_text(errors="replace")
            self.__exit__()
            raise RuntimeError(f"ministack did not start:\n{said}")
        return self

    def __exit__(self, *exc):
        with self._process as process:
            process.kill()
        self._folder.cleanup()

    def _answers(self):
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5):
            return True
        return False


_running = pytest.StashKey()


@pytest.fixture(scope="session", name="ministack")
def fixture_ministack(request):
    """One server for the whole run, whichever modules import this fixture."""
    stash = request.config.stash
    if _running not in stash:
        try:
            stash[_running] = Ministack().__enter__()
        except Unavailable as reason:
            stash[_running] = reason
        else:
            request.config.add_cleanup(stash[_running].__exit__)
    if isinstance(stash[_running], Unavailable):
        # Where the tests are the gate, a proof that was not held must not look like one that was.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(stash[_running]))
    return stash[_running]


_numbers = count(100_000_000_001)
_loader = cache(create_loader)
_clients = boto3.session.Session()  # reads boto's models once


class Account:
    """One account, as its owner sees it: clients of its root."""

    def __init__(self, url, number):
        self.number = number
        self._url = url
        self._made = {}

    def __str__(self):
        return self.number

    def client(self, service, *, key=None, secret=SECRET, token=None, region=REGION):
        """Boto3's client, by default of the account's root."""
        return _clients.client(
            service,
            region_name=region,
            endpoint_url=self._url,
            aws_access_key_id=key or self.number,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=CONFIG,
        )

    def __getattr__(self, service):
        """The root's client of a service: ``account.iam.list_roles()``."""
        if service.startswith("_"):
            raise AttributeError(service)
        if service not in self._made:
            self._made[service] = self.client(service)
        return self._made[service]

    def make_stream(self, name="orders", shards=1):
        self.kinesis.create_stream(StreamName=name, ShardCount=shards)

    def put_policy(self, principal, policy):
        """Replace what a role or user of the account may do; None: nothing."""
        kind, name = principal.split(":")[-1].split("/")[0], principal.rsplit("/", 1)[-1]
        given = {f"{kind.title()}Name": name, "PolicyName": "kinesis-bridge"}
        if policy is None:
            getattr(self.iam, f"delete_{kind}_policy")(**given)
        else:
            put = getattr(self.iam, f"put_{kind}_policy")
            put(**given, PolicyDocument=json.dumps(policy))

    def put_trust(self, role, policy):
        """Replace whom a role of the account trusts; a role that is not there is made."""
        name, text = role.rsplit("/", 1)[-1], json.dumps(policy)
        try:
            self.iam.update_assume_role_policy(RoleName=name, PolicyDocument=text)
        except self.iam.exceptions.NoSuchEntityException:
            self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=text)

    def put_stream_policy(self, arn, policy):
        """Replace a stream's own policy; None: it has none."""
        if policy is None:
            self.kinesis.delete_resource_policy(ResourceARN=arn)
        else:
            self.kinesis.put_resource_policy(ResourceARN=arn, Policy=json.dumps(policy))


class World:
    """Accounts A, B and (for chains) C, new and empty; the bridge has the keys of A's user."""

    def __init__(self, server, monkeypatch, settings):
        self.url = server.url
        self.a, self.b, self.c = (self.account() for _ in range(3))
        self._monkeypatch, self._settings = monkeypatch, settings
        self.site = self.a.iam.create_user(UserName="site")["User"]["Arn"]
        self.keys = self.a.iam.create_access_key(UserName="site")["AccessKey"]
        self.be(self.keys["AccessKeyId"], self.keys["SecretAccessKey"])

    def account(self):
        return Account(self.url, str(next(_numbers)))

    @property
    def environment(self):
        """What makes boto3 of this or another process come here, as account A's user."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.keys["SecretAccessKey"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def be(self, key, secret, token=None):
        """Give the bridge other credentials of account A."""
        given = {**self.environment, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        self._monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        if token:
            given["AWS_SESSION_TOKEN"] = token
        for name, value in given.items():
            self._monkeypatch.setenv(name, value)

    def role_arn(self, name="EventWriter", account=None):
        return f"arn:aws:iam::{account or self.b}:role/{name}"

    def stream_arn(self, name="orders", kind="stream"):
        service = "firehose" if kind == "deliverystream" else "kinesis"
        return f"arn:aws:{service}:{REGION}:{self.b}:{kind}/{name}"

    def configure(self, *, roles=None, streams=None, **role):
        """Set KINESIS_BRIDGE: one role (with `role` changed) and one stream, if not told others."""
        writer = {"ROLE_ARN": self.role_arn(), "EXTERNAL_ID": EXTERNAL_ID, **role}
        stream = {"STREAM": "orders", "ROLE": "writer", "REGION": REGION, "DELIVERY": "direct"}
        self._settings.KINESIS_BRIDGE = {
            "SOURCE": "/shop",
            "ROLES": {"writer": writer} if roles is None else roles,
            "STREAMS": {
                alias: {**stream, **changed}
                for alias, changed in (streams or {"default": {}}).items()
            },
        }

    def configure_chain(self, **gate):
        """Set KINESIS_BRIDGE: A goes through a role of C to the one of B; both have paths."""
        first = {"ROLE_ARN": self.role_arn("team/Gate", self.c), "EXTERNAL_ID": "gate-1", **gate}
        second = {"ROLE_ARN": self.role_arn("a/b/Behind"), "EXTERNAL_ID": EXTERNAL_ID}
        self.configure(roles={"gate": first, "writer": {**second, "VIA": "gate"}})

    def grant(self, *arguments):
        """Make what ``kinesis_iam`` prints, as each account's root; return its JSON."""
        made = run("kinesis_iam", *arguments)
        self.apply(made)
        return made

    def apply(self, made):
        """Make what the JSON document of ``kinesis_iam`` says, as each account's root."""
        for part in [*made.get("others", ()), made["account_b"]]:
            if "role_name" in part:
                self.owner(part["account"]).iam.create_role(
                    RoleName=part["role_name"],
                    Path=part["role_path"],
                    MaxSessionDuration=part["max_session_duration"],
                    AssumeRolePolicyDocument=json.dumps(part["trust_policy"]),
                )
        for place in places(made):
            self.put(place, place.document)

    def put(self, place, document):
        """Replace one document; None: there is none."""
        owner = self.owner(place.account)
        puts = {"trust_policy": owner.put_trust, "resource_policy": owner.put_stream_policy}
        puts.get(place.kind, owner.put_policy)(place.of, document)

    def owner(self, number):
        """The account with these 12 digits."""
        return next(account for account in (self.a, self.b, self.c) if account.number == number)


@dataclass(frozen=True)
class Place:
    """One policy document, and where it belongs."""

    account: str
    kind: str
    of: str
    document: dict


def places(made):
    """Every document of ``kinesis_iam``'s JSON."""
    for part in (made["account_a"], made["account_b"], *made.get("others", ())):
        of = part.get("principal") or part.get("role_arn") or part["stream_arn"]
        for kind in ("identity_policy", "trust_policy", "permission_policy", "resource_policy"):
            if kind in part:
                yield Place(part["account"], kind, of, part[kind])


def run(command, *arguments):
    """Run a command with --json in this process; return its one document, also of a failure."""
    out = StringIO()
    with suppress(CommandError):
        call_command(command, "--json", *arguments, stdout=out, stderr=StringIO())
    return json.loads(out.getvalue())


@pytest.fixture(name="world")
def fixture_world(ministack, monkeypatch, settings):
    """Accounts of the test's own, and a bridge in A that has to be configured."""
    # Each session reads and parses botocore's models anew: a third of the time of these tests.
    monkeypatch.setattr("botocore.session.create_loader", _loader)
    return World(ministack, monkeypatch, settings)
