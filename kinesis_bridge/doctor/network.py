"""Names, routes and clocks: an endpoint without credentials."""

from __future__ import annotations

import ipaddress
import socket
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kinesis_bridge.diagnosis import explain, explain_named, skew_of
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .check import Found

if TYPE_CHECKING:
    from kinesis_bridge.diagnosis import Path

ANSWER_SECONDS = 3
"""For a connection, and again for an answer."""
TOLERATED_SECONDS = 300.0
"""How wrong a clock may be: "Troubleshoot Signature Version 4 signing", IAM User Guide."""
NOTABLE_SECONDS = 60.0
_PORTS = {"http": 80, "https": 443}


def reach(url: str, path: Path) -> Found:
    """Resolve the host of `url` and connect to it, or to the proxy that botocore would use.

    Raises AwsError: ``dns``, ``refused`` or ``no-route``, and ``proxy`` for any of them there.
    """
    path.endpoint = url
    proxy = proxy_of(url)
    parts = urlsplit(proxy or url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    try:
        address, seconds = _connect(host, port, path)
    except OSError as error:
        if proxy:
            raise explain_named("proxy", path, message=str(error)) from error
        raise _explained(error, host, port, path) from error
    facts = {"url": url, "address": address, "ms": f"{seconds * 1000:.0f}"}
    if proxy:
        template = _("{url} at {address} through the proxy {proxy}, connected in {ms} ms")
        return Found(Text(template, **facts, proxy=f"{host}:{port}"))
    return Found(Text(_template(address), **facts))


def proxy_of(url: str) -> str | None:
    """Return the proxy that botocore takes to `url` (HTTPS_PROXY and NO_PROXY)."""
    from botocore.utils import get_environ_proxies  # noqa: PLC0415 - lazily

    return get_environ_proxies(url).get(urlsplit(url).scheme)


def _connect(host: str, port: int, path: Path) -> tuple[str, float]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    error: OSError | None = None
    for family, kind, protocol, _name, target in found:
        path.facts["address"] = f"{target[0]}:{port}"
        started = time.monotonic()
        try:
            with socket.socket(family, kind, protocol) as connection:
                connection.settimeout(ANSWER_SECONDS)
                connection.connect(target)
        except OSError as failed:
            error = failed
        else:
            return str(target[0]), time.monotonic() - started
    raise error or socket.gaierror("no address")


def _explained(error: OSError, host: str, port: int, path: Path) -> Exception:
    facts = {"host": host, "port": port, "message": error.strerror or str(error)}
    if isinstance(error, socket.gaierror):
        return explain_named("dns", path, **facts)
    if isinstance(error, ConnectionRefusedError):
        return explain_named("refused", path, **facts)
    return explain_named("no-route", path, **facts)


def _template(address: str) -> str:
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if ip.is_loopback:
        return _("{url} at {address} (this machine), connected in {ms} ms")
    if ip.is_private:
        return _("{url} at {address} (private: a VPC endpoint), connected in {ms} ms")
    return _("{url} at {address}, connected in {ms} ms")


def read_clock(url: str, verify: Any, path: Path) -> Found:
    """Compare this machine's clock with the date in a reply of `url`; an unsigned request.

    `verify` is a CA bundle or True. Raises AwsError: ``clock-skew``, or what TLS and HTTP say.
    """
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - lazily
    from botocore.httpsession import URLLib3Session  # noqa: PLC0415

    from kinesis_bridge.session.assume import BOTO_ERRORS  # noqa: PLC0415 - imports boto3

    proxy = proxy_of(url)
    http = URLLib3Session(
        verify=verify,
        proxies={urlsplit(url).scheme: proxy} if proxy else {},
        timeout=ANSWER_SECONDS,
    )
    try:
        reply = http.send(AWSRequest("GET", url).prepare())
    except BOTO_ERRORS as error:
        raise explain(error, path) from error
    finally:
        http.close()
    try:
        theirs = parsedate_to_datetime(reply.headers.get("Date") or "")
        # Without a zone where the header says -0000.
        ahead = (datetime.now(UTC) - theirs.replace(tzinfo=theirs.tzinfo or UTC)).total_seconds()
    except ValueError:
        return Found(
            Text(_("not known: the reply has no date")), Text(_("A proxy may have taken it out."))
        )
    if abs(ahead) > TOLERATED_SECONDS:
        raise explain_named("clock-skew", path, skew=skew_of(ahead))
    if abs(ahead) > NOTABLE_SECONDS:
        way = (
            _("{seconds} seconds ahead of AWS")
            if ahead > 0
            else _("{seconds} seconds behind of AWS")
        )
        return Found(
            Text(way, seconds=f"{abs(ahead):.0f}"),
            Text(_("Set it: from 5 minutes AWS refuses.")),
        )
    return Found(Text(_("agrees with AWS's within a minute")))
