"""The site's way to its supervisor: what is broken now, break it, repair it."""

import json
import os
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

URL, TOKEN = "LIVE_CONTROL_URL", "LIVE_CONTROL_TOKEN"
PASSWORD = "LIVE_ADMIN_PASSWORD"  # noqa: S105 - a name  # nosec B105
"""Of the admin's user ``demo``, whom the site makes in a database that goes with the demo."""
SECONDS = 30.0
"""More than a relay may take to finish its batch and end."""


class NoSupervisor(Exception):
    """Nobody started this site with ``make live``, or its supervisor has ended."""


def is_live() -> bool:
    """Tell whether ``manage.py live`` started this process."""
    return URL in os.environ


def state() -> dict[str, Any]:
    """Return what :meth:`~demo_project.live.supervisor.Supervisor.state` has."""
    return _ask("GET", "/state")


def switch(name: str) -> dict[str, Any]:
    """Throw a switch of :data:`~demo_project.live.supervisor.SWITCHES`; return the new state."""
    return _ask("POST", f"/switch/{name}")


def _ask(method: str, path: str) -> dict[str, Any]:
    address = urlsplit(os.environ.get(URL, ""))
    if not address.hostname:
        raise NoSupervisor("This site was not started by `make live`.")
    connection = HTTPConnection(address.hostname, address.port or 80, timeout=SECONDS)
    try:
        token = os.environ.get(TOKEN, "")
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        document: dict[str, Any] = json.loads(answer.read())
    except (OSError, HTTPException, ValueError) as error:
        raise NoSupervisor("The supervisor of `make live` does not answer.") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise NoSupervisor(str(document.get("error")))
    return document
