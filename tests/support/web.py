"""What a server on this machine answers."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def get(url, *, accept="*/*", timeout=30):
    """The status, the content type and the body."""
    try:
        with urlopen(Request(url, headers={"Accept": accept}), timeout=timeout) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def get_json(url):
    """The status and the document."""
    status, content_type, body = get(url)
    assert content_type == "application/json"
    return status, json.loads(body)
