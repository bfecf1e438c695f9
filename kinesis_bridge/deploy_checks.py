"""System checks of a real site (``check --deploy``): the emulator, open ways to AWS, lasting keys.

Nothing is asked of AWS: only settings, environment and boto3's configuration files are read.

===========  ==================================================================================
E050         LOCAL_AWS is on
E051         an endpoint of AWS is plain http: in the environment, or in boto3's configuration
E052         a setting, ours or another, holds an AWS key
E053         DELIVERY is memory or console: events go nowhere
W050         the environment holds a long-lived access key
W051         the environment holds a session token, which nothing renews
W052         boto's loggers are at DEBUG, which shows bodies and headers
W053         a role of another account is assumed without an EXTERNAL_ID
W054         a role's PRINCIPAL is a whole account: all of it may assume the role
===========  ==================================================================================
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Tags, register

from .check_messages import Error
from .check_messages import Warning as CheckWarning
from .conf import SETTING, find_problems, get_config
from .conf.types import DELIVERIES
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Prefixes: "IAM identifiers", IAM User Guide.
_KEY_ID = re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])")
_KEY_NAMES = ("SECRET_ACCESS_KEY", "ACCESS_KEY_ID", "AWS_SESSION_TOKEN")
_DEEPEST = 8
_MOST_VALUES = 20_000
_NOWHERE = {
    "memory": (DELIVERIES["memory"], _("kept in this process and sent nowhere")),
    "console": (DELIVERIES["console"], _("printed, payload and all, and sent nowhere")),
}
_LOGGERS = ("botocore", "boto3", "urllib3")


@register(Tags.security, deploy=True)
def check_emulator(**_given: Any) -> list[CheckMessage]:
    """Refuse to deploy with the emulator on."""
    # Read from the settings as written: said also where something else in them is wrong.
    written = getattr(settings, SETTING, None)
    if not isinstance(written, Mapping) or written.get("LOCAL_AWS") is not True:
        return []
    return [
        Error(
            Text(_("{key} is on: nothing would reach AWS."), key=f'{SETTING}["LOCAL_AWS"]'),
            hint=Text(_("Set it to False (KINESIS_LOCAL_AWS) on a real site.")),
            id="kinesis_bridge.E050",
        )
    ]


@register(Tags.security, deploy=True)
def check_endpoints(**_given: Any) -> list[CheckMessage]:
    """Refuse endpoints without TLS: tokens and payloads would travel in the open.

    On this machine and in a VPC too: what listens there is not AWS, or could have TLS.
    """
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return []  # "Service-specific endpoints", AWS SDKs and Tools Reference Guide
    return [
        Error(
            Text(
                _("{where} is plain http: credentials and events would travel unencrypted."),
                where=where,
            ),
            hint=Text(_("Use https://, or remove it: boto3 knows AWS's own endpoints.")),
            id="kinesis_bridge.E051",
        )
        for where, url in (*_of_environment(), *_of_files())
        if urlsplit(url.strip()).scheme == "http"
    ]


def _of_environment() -> Iterator[tuple[Text, str]]:
    for name, value in sorted(os.environ.items()):
        if name.startswith("AWS_ENDPOINT_URL"):
            yield Text(_("The environment's {name}"), name=name), value


def _of_files() -> Iterator[tuple[Text, str]]:
    """Yield the endpoints of the profiles that the site uses, as boto3 reads its files."""
    import botocore.session  # noqa: PLC0415 - slow, and only files are read with it
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        files: Mapping[str, Any] = botocore.session.Session().full_config
    except BotoCoreError:
        return  # unreadable: boto3 will say so itself, wherever it is used
    sections = files.get("services", {})
    for name in _profiles():
        profile = files.get("profiles", {}).get(name, {})
        where = Text(
            _("The profile {name} of boto3's configuration: endpoint_url"), name=repr(name)
        )
        services = sections.get(profile.get("services"), {})
        found = {"": profile, **services} if isinstance(services, Mapping) else {"": profile}
        for service, given in found.items():
            url = given.get("endpoint_url") if isinstance(given, Mapping) else None
            if isinstance(url, str):
                of = Text(_("{where} of {service}"), where=where, service=service)
                yield (of if service else where), url


def _profiles() -> list[str]:
    usual = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    config = None if find_problems() else get_config()
    named = [role.profile for role in config.roles.values() if role.profile] if config else []
    return list(dict.fromkeys([usual, *named]))


@register(Tags.security, deploy=True)
def check_keys_in_settings(**_given: Any) -> list[CheckMessage]:
    """Refuse keys of AWS in settings: they lie in files and last. Only their places are named."""
    names = sorted({name for name in dir(settings) if name.isupper()})
    places = (place for name in names for place in _keys(name, name, getattr(settings, name), 0))
    return [
        Error(
            Text(_("settings.{place} holds an AWS key."), place=place),
            hint=Text(
                _(
                    "Leave it out: boto3 finds the credentials of the role that the site runs as."
                    " Withdraw the key if it was ever committed."
                )
            ),
            id="kinesis_bridge.E052",
        )
        for place in islice(places, 20)
    ]


def _keys(path: str, name: str, value: object, depth: int) -> Iterator[str]:
    """Yield where `value`, of the name `name`, holds what looks like a key."""
    if isinstance(value, str):
        if _KEY_ID.search(value) or (value.strip() and name.upper().endswith(_KEY_NAMES)):
            yield path
    elif depth < _DEEPEST:
        inner: Iterable[tuple[str, str, object]] = ()
        if isinstance(value, Mapping):
            inner = ((f"{path}[{_KEY_ID.sub('...', repr(key))}]", str(key), value[key])
                     for key in value)  # fmt: skip
        elif isinstance(value, list | tuple | set | frozenset):
            inner = ((f"{path}[{place}]", "", item) for place, item in enumerate(value))
        for where, key, item in islice(inner, _MOST_VALUES):
            yield from _keys(where, key, item, depth + 1)


@register(Tags.security, deploy=True)
def check_keys_in_environment(**_given: Any) -> list[CheckMessage]:
    """Warn of credentials that do not change, or end, in the environment."""
    messages: list[CheckMessage] = []
    if os.environ.get("AWS_ACCESS_KEY_ID", "").startswith("AKIA"):
        messages.append(
            CheckWarning(
                Text(_("The environment's AWS_ACCESS_KEY_ID is a long-lived key of a user.")),
                hint=Text(
                    _(
                        "Let the site run as a role (ECS, EKS, EC2, Lambda, IAM Roles Anywhere),"
                        " whose credentials change by themselves."
                    )
                ),
                id="kinesis_bridge.W050",
            )
        )
    # Lambda sets it, and starts anew before it ends.
    if os.environ.get("AWS_SESSION_TOKEN") and not os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        messages.append(
            CheckWarning(
                Text(
                    _(
                        "The environment's AWS_SESSION_TOKEN ends within hours, and nothing renews"
                        " it."
                    )
                ),
                hint=Text(_("Let boto3 find the role that the site runs as, or name a PROFILE.")),
                id="kinesis_bridge.W051",
            )
        )
    return messages


@register(Tags.security, deploy=True)
def check_logging(**_given: Any) -> list[CheckMessage]:
    """Warn where boto logs at DEBUG: requests and replies, with payloads and tokens."""
    names = [name for name in _LOGGERS if logging.getLogger(name).isEnabledFor(logging.DEBUG)]
    if not names:
        return []
    return [
        CheckWarning(
            Text(
                _(
                    "The loggers {names} are at DEBUG. kinesis_bridge keeps its own requests out of"
                    " that, but no other client of boto3's: tokens and bodies would be in the log."
                ),
                names=", ".join(names),
            ),
            hint=Text(
                _("Set them to INFO or higher in LOGGING, as in {example}."),
                example='"loggers": {"botocore": ...}',
            ),
            id="kinesis_bridge.W052",
        )
    ]


@register(Tags.security, deploy=True)
def check_roles_and_deliveries(**_given: Any) -> list[CheckMessage]:
    """Say which events would go nowhere, and which role anyone's mistake could make us assume."""
    if find_problems():
        return []  # check_settings says what is wrong
    config = get_config()
    messages: list[CheckMessage] = []
    for stream in config.streams.values():
        for name, (dotted, what) in _NOWHERE.items():
            if stream.delivery_class == dotted:
                messages.append(
                    Error(
                        Text(
                            _("{key} is {name}: events would be {what}."),
                            key=f'{SETTING}["STREAMS"]["{stream.alias}"]["DELIVERY"]',
                            name=repr(name),
                            what=Text(what),
                        ),
                        hint=Text(_('Use "outbox" (KINESIS_DELIVERY) on a real site.')),
                        id="kinesis_bridge.E053",
                    )
                )
    for role in config.roles.values():
        if role.principal and role.principal.endswith(":root"):
            messages.append(
                CheckWarning(
                    Text(
                        _(
                            "{key} is the whole account: {principal}. With that trust policy every"
                            " role and user of it whose own policy allows sts:AssumeRole may become"
                            " {role_arn}."
                        ),
                        key=f'{SETTING}["ROLES"]["{role.alias}"]["PRINCIPAL"]',
                        principal=role.principal,
                        role_arn=role.role_arn,
                    ),
                    hint=Text(_("Name the one role or user that the site runs as.")),
                    id="kinesis_bridge.W054",
                )
            )
        before = config.role(role.via).account if role.via else None
        if role.external_id is None and before != role.account:
            messages.append(
                CheckWarning(
                    Text(
                        _(
                            "{key} has no EXTERNAL_ID, and account {account} may be somebody"
                            " else's."
                        ),
                        key=f'{SETTING}["ROLES"]["{role.alias}"]',
                        account=role.account,
                    ),
                    hint=Text(
                        _(
                            "Agree on one with its owner, whose trust policy then asks for it:"
                            " without, whoever can have another ROLE_ARN entered here can use the"
                            ' site\'s access to it ("The confused deputy problem", IAM User Guide).'
                            " Silence this where both accounts are yours."
                        )
                    ),
                    id="kinesis_bridge.W053",
                )
            )
    return messages
