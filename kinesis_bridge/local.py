"""The emulator for development: moto, on this machine only, with both accounts.

Account A is :data:`SITE_ACCOUNT`, whose user `site` has fixed made-up keys; every role and stream
of the settings exists in account B. Unlike moto alone, AssumeRole wants the role to exist and its
trust policy to name the caller and the ExternalId. It is functional, no proof of security.

Used where something listens at ``LOCAL_AWS_URL``; else it starts within this process.
"""

from __future__ import annotations

import inspect
import ipaddress
import json
import os
import socket
import sys
import threading
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import arns, iam
from .conf import get_config, on_reset
from .exceptions import EmulatorError
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

    from .conf import BridgeConfig, RoleConfig, StreamConfig

SITE_ACCOUNT = "111111111111"
STREAM_ACCOUNT = "222222222222"
SITE_USER_ARN = f"arn:aws:iam::{SITE_ACCOUNT}:user/site"
# Made up, and known to nobody but the emulator. moto finds the account by the 20-character key.
SITE_ACCESS_KEY = "AKIALOCALSITE1111111"
SITE_SECRET_KEY = "local-site-secret-for-the-emulator-only-"  # noqa: S105  # nosec B105
DEFAULT_REGION = "us-east-1"
LOOPBACK = "127.0.0.1"
# Commands that only make sense when other processes see the same stream.
_SHARED_COMMANDS = frozenset({"runserver", "kinesis_assume_role", "kinesis_relay", "kinesis_tail"})


class Emulator:
    """A running emulator; on this machine's loopback, unless asked to be seen."""

    def __init__(self, port: int = 0, host: str = LOOPBACK, *, exposed: bool = False) -> None:
        """Start serving in a thread of this process; `port` 0 takes a free one.

        Raises EmulatorError where `host` is no loopback address and it is not to be `exposed`,
        where the port is taken, or moto is not installed.
        """
        if not exposed and not _is_loopback(host):
            raise EmulatorError(
                Text(
                    _(
                        "The emulator does not listen on {host}: whoever reaches it there can read"
                        " and write all of it, and has the keys of both accounts. Leave --host out,"
                        " or say --expose as well, within a container's own network for instance."
                    ),
                    host=host,
                )
            )
        application = _application()
        try:
            self._socket = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        except OSError as error:
            raise EmulatorError(
                Text(
                    _(
                        "The emulator cannot listen on {host}:{port}: {error}. Stop what does, or"
                        " choose another --port (and LOCAL_AWS_URL with it)."
                    ),
                    host=host,
                    port=port,
                    error=error.strerror or str(error),
                )
            ) from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        try:
            furnish(get_config())
            self._server = _make_server(application, self._socket, host)
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(0.05,),  # how soon it notices that it shall stop
            name="kinesis-local",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and forget every account."""
        from moto.moto_api._internal import moto_api_backend  # noqa: PLC0415

        self._server.shutdown()
        self._thread.join()
        self.close_socket()
        moto_api_backend.reset()

    def close_socket(self) -> None:
        """Let go of the port (in a forked child: without ending the parent's server)."""
        self._server.socket.close()
        self._socket.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


# This process's own emulator, or the one of the process that it was forked from.
_lock = threading.Lock()
_own: Emulator | None = None
_parents_url: str | None = None


def endpoint_url() -> str:
    """Return the URL of the emulator, starting it in this process where none listens.

    Raises EmulatorError where moto is not installed, and in ``runserver`` and the like, to which
    an emulator of their own would be of no use.
    """
    global _own  # noqa: PLW0603 - one emulator a process
    url = get_config().local_aws_url
    with _lock:
        if _own is not None:
            return _own.url
        for known in (url, _parents_url):
            if known is not None and _listens(known):
                return known
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        if command in _SHARED_COMMANDS:
            raise EmulatorError(
                Text(
                    _(
                        "LOCAL_AWS is on, nothing listens at {url}, and {command} needs an emulator"
                        " that other processes see too. Start it first, in another terminal: python"
                        " manage.py kinesis_local --port {port}"
                    ),
                    url=url,
                    command=command,
                    port=urlsplit(url).port or 80,
                )
            )
        _own = Emulator()
        return _own.url


def stop() -> None:
    """Stop this process's own emulator, if there is one."""
    global _own
    with _lock:  # to its end: another would find the accounts of this one, and lose its own
        emulator, _own = _own, None
        if emulator is not None:
            emulator.stop()


def _after_fork_in_child() -> None:
    global _lock, _own, _parents_url  # noqa: PLW0603 - one emulator a process
    _lock = threading.Lock()
    if _own is not None:
        # The parent serves on. Held open here, its port would seem alive after the parent's end.
        _own.close_socket()
        _parents_url, _own = _own.url, None


os.register_at_fork(after_in_child=_after_fork_in_child)
on_reset(stop, last=True)


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1):
            return True
    except OSError:
        return False


# The accounts


def furnish(config: BridgeConfig) -> None:
    """Make the site's user in A, and in B every role and stream of the settings.

    The roles get the documents of :mod:`kinesis_bridge.iam`, as an owner of B would attach them.
    """
    from moto.iam.models import iam_backends  # noqa: PLC0415
    from moto.kinesis.models import kinesis_backends  # noqa: PLC0415

    site = iam_backends[SITE_ACCOUNT]["aws"]
    site.create_user(region_name=DEFAULT_REGION, user_name="site")
    key = site.create_access_key(user_name="site")
    del site.access_keys[key.access_key_id]
    key.access_key_id, key.secret_access_key = SITE_ACCESS_KEY, SITE_SECRET_KEY
    site.access_keys[SITE_ACCESS_KEY] = key

    for role in config.roles.values():
        _make_role(iam_backends, config, role)
    for stream in config.streams.values():
        account, region = _home(config, stream)
        if stream.is_firehose:
            _make_firehose(stream.name, account, region)
            continue
        backend = kinesis_backends[account][region]
        if stream.name not in backend.streams:
            backend.create_stream(stream.name, 1, {"StreamMode": "ON_DEMAND"})


def _make_firehose(name: str, account: str, region: str) -> None:
    """Make a Firehose stream that delivers to the bucket ``<name>-delivered`` of its account."""
    from moto.firehose.models import firehose_backends  # noqa: PLC0415
    from moto.s3.models import s3_backends  # noqa: PLC0415

    backend = firehose_backends[account][region]
    if name in backend.delivery_streams:
        return
    bucket = f"{name.lower()}-delivered"
    s3_backends[account]["aws"].create_bucket(bucket, region)
    unused = inspect.signature(backend.create_delivery_stream).parameters
    given = {
        "region": region,
        "delivery_stream_name": name,
        "delivery_stream_type": "DirectPut",
        "extended_s3_destination_configuration": {
            "RoleARN": f"arn:aws:iam::{account}:role/firehose",
            "BucketARN": f"arn:aws:s3:::{bucket}",
        },
        "tags": [],
    }
    backend.create_delivery_stream(**{parameter: {} for parameter in unused} | given)


def _make_role(iam_backends: Any, config: BridgeConfig, role: RoleConfig) -> None:
    backend = iam_backends[role.account][role.arn.partition]
    principal = config.role(role.via).role_arn if role.via else SITE_USER_ARN
    trust = iam.trust_policy(role, principal)
    if any(existing.name == role.name for existing in backend.get_roles()):
        # Two aliases of one role: whoever may come by either.
        document = json.loads(backend.get_role(role.name).assume_role_policy_document)
        trust["Statement"] += document["Statement"]
        backend.update_assume_role_policy(role.name, json.dumps(trust))
    else:
        backend.create_role(
            role_name=role.name,
            assume_role_policy_document=json.dumps(trust),
            path=role.arn.resource.removeprefix("role").removesuffix(role.name),
            permissions_boundary=None,
            description="Made by kinesis_local from the settings",
            tags=[],
            max_session_duration=str(max(3600, role.duration_seconds)),
        )
    streams = [
        iam.stream_arn(stream, role, _home(config, stream)[1])
        for stream in config.streams.values()
        if stream.role and config.role(stream.role).role_arn == role.role_arn
    ]
    if streams:
        policy = json.dumps(iam.permission_policy(streams, read=True))
        backend.put_role_policy(role.name, "kinesis-bridge", policy)


def _home(config: BridgeConfig, stream: StreamConfig) -> tuple[str, str]:
    """Return the account and the region in which `stream` is made."""
    parsed = arns.parse(stream.stream)
    role = config.role_of(stream)
    account = parsed.account if parsed else role.account if role else SITE_ACCOUNT
    return account, stream.region or _default_region()


def _default_region() -> str:
    import botocore.session  # noqa: PLC0415

    region: str | None = botocore.session.Session().get_config_variable("region")
    return region or DEFAULT_REGION


# moto, mended


@cache
def _application() -> Any:
    try:
        from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
            DomainDispatcherApplication,
            create_backend_app,
        )
    except ImportError as error:
        raise EmulatorError(
            Text(
                _(
                    "LOCAL_AWS needs moto, which cannot be imported ({error}): {install}. On a real"
                    " site switch LOCAL_AWS off."
                ),
                error=str(error),
                install="pip install 'django-kinesis-bridge[local]'",
            )
        ) from error
    _mend_shards()
    _guard_assume_role()
    return DomainDispatcherApplication(create_backend_app)


def _make_server(application: Any, listening: socket.socket, host: str) -> BaseWSGIServer:
    from moto.moto_server.werkzeug_app import MotoRequestHandler  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

    class Quiet(MotoRequestHandler):  # type: ignore[misc]
        def log(self, *_: object) -> None:
            """Say nothing: a line a request helps nobody."""

    port = listening.getsockname()[1]
    return make_server(
        host, port, application, threaded=True, request_handler=Quiet, fd=listening.fileno()
    )


def _mend_shards() -> None:
    """Serialise each shard: moto gives two threads one sequence number, and a record is lost."""
    from moto.kinesis.models import Shard  # noqa: PLC0415

    lock = threading.Lock()
    put, get = Shard.put_record, Shard.get_records

    def put_record(self: Any, *args: Any) -> str:
        with lock:
            number: str = put(self, *args)
            return number

    def get_records(self: Any, *args: Any) -> Any:
        with lock:
            return get(self, *args)

    Shard.put_record, Shard.get_records = put_record, get_records
    # moto copies all its keys to find the last one.
    Shard.get_max_sequence_number = lambda self: next(reversed(self.records), 0)


_DENIED = """\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>User: {caller} is not authorized to perform: sts:AssumeRole on \
resource: {role}</Message></Error><RequestId></RequestId></ErrorResponse>"""


def _guard_assume_role() -> None:
    """Ask the role's trust policy, which moto does not."""
    from moto.iam.models import iam_backends  # noqa: PLC0415
    from moto.sts.responses import TokenResponse  # noqa: PLC0415

    assume = TokenResponse.assume_role

    def assume_role(self: Any) -> Any:
        access_key = self.get_access_key()
        _, caller, _ = self.backend.get_caller_identity(access_key, self.region)
        wanted = str(self._get_param("RoleArn"))
        arn = arns.parse(wanted)
        backend = iam_backends[arn.account][arn.partition] if arn else None
        role = next((r for r in backend.get_roles() if r.arn == wanted), None) if backend else None
        external_id = self._get_param("ExternalId")
        if role is None or not _trusts(role.assume_role_policy_document, caller, external_id):
            # Not by an exception: moto warns of codes that its model of STS does not list.
            return 403, {"status": 403}, _DENIED.format(caller=escape(caller), role=escape(wanted))
        return assume(self)

    TokenResponse.assume_role = assume_role


def _trusts(document: str, caller: str, external_id: str | None) -> bool:
    """Tell whether a trust policy of ours lets `caller` in; no evaluation of IAM's full grammar."""
    for statement in json.loads(document)["Statement"]:
        asked = statement.get("Condition", {}).get("StringEquals", {}).get("sts:ExternalId")
        if statement["Principal"]["AWS"] == _principal(caller) and asked in {None, external_id}:
            return True
    return False


def _principal(caller: str) -> str:
    """Return the ARN that a trust policy names; moto's roles of the settings may have a path."""
    principal = iam.principal_of(caller)
    for role in get_config().roles.values():
        if role.account == principal.split(":")[4] and role.name == principal.rsplit("/", 1)[-1]:
            return role.role_arn
    return principal
