"""The contract as one AsyncAPI 3.0 document, for the owners of the streams in account B."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import orjson

from kinesis_bridge import arns
from kinesis_bridge.conf import get_config

from .schema import CLOUDEVENTS, messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinesis_bridge.conf import StreamConfig

    from .schema import Message

VERSION = "3.0.0"
_ABOUT = (
    "What a Django site publishes of its own rows, once their change is committed. At least once: a"
    " repeat has the same `id`. The events of one `partitionkey` keep their order. New fields may"
    " come into `data`, and new attributes beside it: readers must bear them."
)
_PACKED = " Records are packed in the KPL's aggregation format: read them with the KCL or unpack."


def document(stream: str | None = None) -> dict[str, Any]:
    """Return the document of all streams that have declared events, or of one.

    The schemas are those that :func:`~kinesis_bridge.contract.schema.messages` yields. Kinesis has
    no binding in AsyncAPI: where a channel is stands in its ``x-aws``. No server is named, since
    which endpoint a reader takes is its own affair.

    Raises ImproperlyConfigured for a stream that the settings do not have.
    """
    config = get_config()
    found = list(messages(stream))
    aliases = list(dict.fromkeys(message.stream for message in found))
    channels = _names(aliases)
    names = _names([_place(message) for message in found], [message.type for message in found])
    by_stream = {alias: [one for one in found if one.stream == alias] for alias in aliases}
    body: dict[str, Any] = {
        "channels": {
            channels[alias]: _channel(
                config.stream(alias), [names[_place(message)] for message in of_stream]
            )
            for alias, of_stream in by_stream.items()
        },
        "operations": {
            f"publish_{channel}": _operation(
                channel, [names[_place(message)] for message in by_stream[alias]]
            )
            for alias, channel in channels.items()
        },
        "components": {
            "messages": {
                names[_place(message)]: _message(message, names[_place(message)])
                for message in found
            },
            "schemas": {names[_place(message)]: message.schema for message in found},
        },
    }
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return {
        "asyncapi": VERSION,
        "info": {
            "title": f"Events of {config.source}",
            # It changes with the contract, and with nothing else.
            "version": f"0.0.0+{digest[:12]}",
            "description": _ABOUT,
        },
        "defaultContentType": CLOUDEVENTS,
        **body,
    }


def _place(message: Message) -> str:
    return f"{message.type}\n{message.stream}"


def _names(keys: Iterable[str], wanted: Iterable[str] | None = None) -> dict[str, str]:
    """Return a name for each key that AsyncAPI and a JSON Pointer take as it is; all differ.

    AsyncAPI 3.0.0, "Components Object": letters, digits, ``.``, ``-`` and ``_``.
    """
    names: dict[str, str] = {}
    keys = list(keys)
    for key, text in zip(keys, wanted or keys, strict=True):
        name = plain = re.sub(r"[^A-Za-z0-9._-]", "_", text)
        number = 2
        while name in names.values():
            name, number = f"{plain}_{number}", number + 1
        names[key] = name
    return names


def _channel(stream: StreamConfig, names: list[str]) -> dict[str, Any]:
    kind = "Firehose delivery stream" if stream.is_firehose else "Kinesis data stream"
    packed = _PACKED if stream.options["AGGREGATE"] != "none" else ""
    return {
        "address": stream.name,
        "title": stream.alias,
        "description": f"The {kind} {stream.name}.{packed}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "x-aws": _place_in_aws(stream),
    }


def _place_in_aws(stream: StreamConfig) -> dict[str, Any]:
    role = get_config().role_of(stream)
    parsed = arns.parse(stream.stream)
    place = {
        "service": "firehose" if stream.is_firehose else "kinesis",
        "stream": stream.name,
        "arn": stream.arn,
        "account": (parsed and parsed.account) or (role and role.account),
        "region": stream.region,
        "role": role and role.role_arn,
        "aggregation": stream.options["AGGREGATE"],
    }
    return {name: value for name, value in place.items() if value is not None}


def _operation(channel: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": "The site sends; account B reads.",
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _message(message: Message, name: str) -> dict[str, Any]:
    change = message.type.rsplit(".", 1)[-1]
    what = "as it is now" if change == "snapshot" else f"was {change}"
    return {
        "name": message.type,
        "title": message.type,
        "summary": f"A row of {' or '.join(message.models)} {what}.",
        "contentType": message.content_type,
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }
