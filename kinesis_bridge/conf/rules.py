"""What the settings may say: every rule, its id, its message.

One :class:`Problem` per wrong key. Ids are stable: they are the ids of the system checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from kinesis_bridge import arns

from .options import STREAM_OPTIONS, Option, complete, problems
from .types import (
    DEFAULT_LOCAL_AWS_URL,
    DELIVERIES,
    SETTING,
    BridgeConfig,
    RoleConfig,
    StreamConfig,
)
from .values import BASE_DELIVERY, SOURCE, TEXTS, is_delivery, is_local_url, tag_problems

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE_ROLE = "arn:aws:iam::222222222222:role/EventWriter"
EXAMPLE_STREAM = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
EXAMPLE_POLICY = (
    '{"Version": "2012-10-17", "Statement":'
    ' [{"Effect": "Allow", "Action": "kinesis:PutRecords", "Resource": "*"}]}'
)
CHAINED_MAX_SECONDS = 3600
TOP_KEYS = ("SOURCE", "ROLES", "STREAMS", "LOCAL_AWS", "LOCAL_AWS_URL")
ROLE_KEYS = (
    "ROLE_ARN", "EXTERNAL_ID", "SESSION_NAME", "DURATION_SECONDS", "REGION",
    "SOURCE_IDENTITY", "TAGS", "SESSION_POLICY", "PROFILE", "VIA", "PRINCIPAL",
)  # fmt: skip
STREAM_KEYS = ("STREAM", "ROLE", "REGION", "DELIVERY", "OPTIONS")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One wrong setting."""

    id: str
    """Stable id of the system check."""
    key: str
    """The key as a person writes it: ``KINESIS_BRIDGE["ROLES"]["x"]["ROLE_ARN"]``."""
    reason: str
    """What is wrong."""
    example: str
    """Something right to write there."""

    def __str__(self) -> str:
        return f"{self.key} {self.reason}. Example: {self.example} ({self.id})"


def read(raw: object, source: str) -> tuple[BridgeConfig | None, list[Problem]]:
    """Turn the setting into objects; (None, problems) where anything is wrong."""
    reader = _Reader()
    config = reader.bridge(raw, source)
    return (None if reader.problems else config), reader.problems


class _Reader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def refuse(self, number: str, path: str, reason: str, example: str) -> None:
        self.problems.append(
            Problem(
                id=f"kinesis_bridge.{number}",
                key=f"{SETTING}{path}",
                reason=reason,
                example=example,
            )
        )

    def refused(self, path: str) -> bool:
        return any(problem.key == f"{SETTING}{path}" for problem in self.problems)

    def mapping(self, value: object, path: str, example: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            self.refuse("E001", path, f"must be a dictionary, not {type(value).__name__}", example)
            return {}
        for key in value:
            if not isinstance(key, str):
                self.refuse("E001", path, f"must have text for keys, not {key!r}", example)
        return {key: item for key, item in value.items() if isinstance(key, str)}

    def known(self, value: Mapping[str, Any], keys: tuple[str, ...], path: str) -> None:
        for key in value:
            if key not in keys:
                self.refuse(
                    "E002",
                    f'{path}["{key}"]',
                    f"is not known here; there are {', '.join(keys)}",
                    f'"{_nearest(key, keys)}": ...',
                )

    def bridge(self, raw: object, default_source: str) -> BridgeConfig:
        top = self.mapping(raw, "", '{"STREAMS": {"default": {"STREAM": "orders"}}}')
        self.known(top, TOP_KEYS, "")
        roles = {
            alias: self.role(alias, value)
            for alias, value in self.mapping(
                top.get("ROLES", {}),
                '["ROLES"]',
                f'{{"default": {{"ROLE_ARN": "{EXAMPLE_ROLE}"}}}}',
            ).items()
        }
        self.chains(roles)
        declared = self.mapping(
            top.get("STREAMS", {}), '["STREAMS"]', '{"default": {"STREAM": "orders"}}'
        )
        if not declared and not (self.refused("") or self.refused('["STREAMS"]')):
            self.refuse(
                "E001", '["STREAMS"]', "names no stream", '{"default": {"STREAM": "orders"}}'
            )
        streams = {alias: self.stream(alias, value, roles) for alias, value in declared.items()}
        source = _given(top, "SOURCE", default_source)
        if not isinstance(source, str) or not SOURCE.fullmatch(source):
            self.refuse("E017", '["SOURCE"]', "must be a URI reference without spaces", '"/shop"')
        local = top.get("LOCAL_AWS", False)
        if not isinstance(local, bool):
            self.refuse("E018", '["LOCAL_AWS"]', f"must be True or False, not {local!r}", "True")
        return BridgeConfig(
            source=str(source),
            roles=MappingProxyType(roles),
            streams=MappingProxyType(streams),
            local_aws=bool(local),
            local_aws_url=self.local_url(_given(top, "LOCAL_AWS_URL", DEFAULT_LOCAL_AWS_URL)),
        )

    def local_url(self, url: object) -> str:
        if not is_local_url(str(url)):
            self.refuse(
                "E018",
                '["LOCAL_AWS_URL"]',
                f"must be http://host:port, not {url!r}",
                f'"{DEFAULT_LOCAL_AWS_URL}"',
            )
        return str(url).rstrip("/")

    # Roles

    def role(self, alias: str, raw: object) -> RoleConfig:
        path = f'["ROLES"]["{alias}"]'
        given = self.mapping(raw, path, f'{{"ROLE_ARN": "{EXAMPLE_ROLE}"}}')
        self.known(given, ROLE_KEYS, path)
        if given.get("PROFILE") and given.get("VIA"):
            reason = "has no effect with VIA: set it on the role that is assumed first"
            self.refuse("E019", f'{path}["PROFILE"]', reason, "None")
        return RoleConfig(
            alias=alias,
            role_arn=self.role_arn(given.get("ROLE_ARN"), path) if isinstance(raw, Mapping) else "",
            external_id=self.text(given, "EXTERNAL_ID", path),
            session_name=self.text(given, "SESSION_NAME", path),
            duration_seconds=self.duration(given, path),
            region=self.text(given, "REGION", path),
            source_identity=self.text(given, "SOURCE_IDENTITY", path),
            tags=self.tags(_given(given, "TAGS", {}), path),
            session_policy=self.session_policy(given.get("SESSION_POLICY"), path),
            profile=self.text(given, "PROFILE", path),
            via=self.alias(given, "VIA", "E011", path),
            principal=self.principal(given.get("PRINCIPAL"), path),
        )

    def principal(self, value: object, path: str) -> str | None:
        if value is None:
            return None
        arn = arns.parse(value) if isinstance(value, str) else None
        is_named = arn is not None and arn.resource.startswith(("role/", "user/"))
        if arn is None or arn.service != "iam" or not (is_named or arn.resource == "root"):
            self.refuse(
                "E022",
                f'{path}["PRINCIPAL"]',
                "must be the ARN of the role or user that the site runs as",
                '"arn:aws:iam::111111111111:role/shop-web"',
            )
            return None
        return str(value)

    def role_arn(self, value: object, path: str) -> str:
        path += '["ROLE_ARN"]'
        example = f'"{EXAMPLE_ROLE}"'
        if value is None or value == "":
            self.refuse("E003", path, "is missing (KINESIS_ROLE_ARN in the environment)", example)
        elif not isinstance(value, str) or not (arn := arns.parse(value)):
            self.refuse("E004", path, f"is not an ARN: {value!r}", example)
        elif not arns.role_name(arn):
            self.refuse("E005", path, f"is the ARN of no role but of {arn.resource!r}", example)
        return str(value)

    def text(self, given: Mapping[str, Any], key: str, path: str) -> str | None:
        value = given.get(key)
        if value is None:
            return None
        rule = TEXTS[key]
        if not isinstance(value, str) or not rule.pattern.fullmatch(value):
            # The value itself is not repeated: an ExternalId is shared between two parties only.
            number = rule.id.removeprefix("kinesis_bridge.")
            self.refuse(number, f'{path}["{key}"]', rule.reason, rule.example)
            return None
        return value

    def alias(self, given: Mapping[str, Any], key: str, number: str, path: str) -> str | None:
        value = given.get(key)
        if value is None or isinstance(value, str):
            return value
        self.refuse(
            number,
            f'{path}["{key}"]',
            f"must be the alias of a role, not {type(value).__name__}",
            "None",
        )
        return None

    def duration(self, given: Mapping[str, Any], path: str) -> int:
        value = given.get("DURATION_SECONDS", 3600)
        path += '["DURATION_SECONDS"]'
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not 900 <= value <= 43200:
            self.refuse("E009", path, f"must be 900 to 43200 seconds, not {value!r}", "3600")
            return 3600
        if given.get("VIA") and value > CHAINED_MAX_SECONDS:
            # Role chaining caps the session at an hour: "Roles terms and concepts", IAM User Guide.
            self.refuse("E009", path, "must be at most 3600 with VIA (role chaining)", "3600")
        return int(value)

    def tags(self, value: object, path: str) -> Mapping[str, str]:
        path += '["TAGS"]'
        tags = self.mapping(value, path, '{"site": "shop"}')
        for key, reason in tag_problems(tags):
            self.refuse("E013", f'{path}["{key}"]', reason, '"site": "shop"')
        if len(tags) > 50:  # AssumeRole, AWS STS API Reference
            self.refuse("E013", path, "has more than 50 tags", '{"site": "shop"}')
        return MappingProxyType({key: str(text) for key, text in tags.items()})

    def session_policy(self, value: object, path: str) -> str | None:
        if value is None:
            return None
        try:
            document = json.loads(value) if isinstance(value, str) else value
            text = json.dumps(document, separators=(",", ":"))
        except (TypeError, ValueError):
            document, text = None, ""
        if not isinstance(document, Mapping) or "Statement" not in document or len(text) > 2048:
            self.refuse(
                "E015",
                f'{path}["SESSION_POLICY"]',
                "must be a JSON policy document of at most 2048 characters",
                EXAMPLE_POLICY,
            )
        return text

    def chains(self, roles: Mapping[str, RoleConfig]) -> None:
        for alias, role in roles.items():
            path = f'["ROLES"]["{alias}"]["VIA"]'
            seen, step = [alias], role
            while step.via is not None:
                if step.via not in roles:
                    if step is role:
                        self.refuse("E011", path, _no_role(step.via, roles), "None")
                    break
                if step.via in seen:
                    # Reported by the members of the loop, not by those that lead into it.
                    if step.via == alias:
                        loop = " -> ".join([*seen, alias])
                        self.refuse("E011", path, f"goes in a circle: {loop}", "None")
                    break
                seen.append(step.via)
                step = roles[step.via]

    # Streams

    def stream(self, alias: str, raw: object, roles: Mapping[str, RoleConfig]) -> StreamConfig:
        path = f'["STREAMS"]["{alias}"]'
        given = self.mapping(raw, path, '{"STREAM": "orders"}')
        self.known(given, STREAM_KEYS, path)
        role = self.alias(given, "ROLE", "E010", path)
        if role is not None and role not in roles and not self.refused('["ROLES"]'):
            example = f'"{_nearest(role, roles)}"' if roles else "None"
            self.refuse("E010", f'{path}["ROLE"]', _no_role(role, roles), example)
        region = self.text(given, "REGION", path)
        stream, arn_region = "", None
        if isinstance(raw, Mapping):
            stream, arn_region = self.stream_name(given.get("STREAM"), region, path)
        delivery = _given(given, "DELIVERY", "outbox")
        dotted, options = self.delivery(delivery, path)
        chosen = self.mapping(_given(given, "OPTIONS", {}), f'{path}["OPTIONS"]', "{}")
        for name, reason in problems(options, chosen):
            self.refuse(
                "E012",
                f'{path}["OPTIONS"]["{name}"]',
                reason,
                _option_example(_nearest(name, [option.name for option in options]), options),
            )
        role_region = roles[role].region if role is not None and role in roles else None
        return StreamConfig(
            alias=alias,
            stream=stream,
            role=role,
            region=region or arn_region or role_region,
            delivery=str(delivery),
            delivery_class=dotted,
            options=MappingProxyType(complete(options, chosen)),
        )

    def stream_name(self, value: object, region: str | None, path: str) -> tuple[str, str | None]:
        key = f'{path}["STREAM"]'
        example = f'"orders" or "{EXAMPLE_STREAM}"'
        if value is None or value == "":
            self.refuse("E003", key, "is missing (KINESIS_STREAM in the environment)", example)
        elif not isinstance(value, str):
            self.refuse("E004", key, f"must be text, not {type(value).__name__}", example)
        elif value.startswith("arn:"):
            arn = arns.parse(value)
            if arn is None or not (arns.stream_name(arn) or arns.delivery_stream_name(arn)):
                reason = f"is not the ARN of a Kinesis or Firehose stream: {value!r}"
                self.refuse("E004", key, reason, example)
            elif region and arn.region != region:
                self.refuse(
                    "E006",
                    f'{path}["REGION"]',
                    f"is {region!r}, but the stream's ARN is in {arn.region!r}: it may be left out",
                    f'"{arn.region}"',
                )
            else:
                return value, arn.region
        elif not arns.is_stream_name(value):
            self.refuse("E004", key, f"cannot name a stream: {value!r}", example)
        return str(value), None

    def delivery(self, value: object, path: str) -> tuple[str, tuple[Option, ...]]:
        """Find the delivery's dotted path and its options, those of every stream included."""
        dotted = DELIVERIES.get(str(value), str(value))
        names = ", ".join(DELIVERIES)
        reason = None
        found: Any = None
        if "." not in dotted:
            reason = f"is not known: {value!r}; there are {names}, or a dotted path"
        else:
            try:
                found = import_string(dotted)
            except Exception as error:  # noqa: BLE001 - a dotted path runs code of anyone
                reason = f"cannot be imported: {value!r} ({type(error).__name__}: {error})"
        if reason is None and not is_delivery(found):
            reason = f"names no delivery: {value!r} (subclass {BASE_DELIVERY})"
        if reason:
            self.refuse("E020", f'{path}["DELIVERY"]', reason, '"outbox"')
            return dotted, STREAM_OPTIONS
        return dotted, (*STREAM_OPTIONS, *found.options)


def _given(section: Mapping[str, Any], key: str, default: Any) -> Any:
    """Return the entry; None and "" mean the default, other wrong types are left to be refused."""
    value = section.get(key)
    return default if value is None or value == "" else value


def _no_role(alias: object, roles: Mapping[str, RoleConfig]) -> str:
    known = ", ".join(map(repr, roles)) or "none"
    return f'is {alias!r}, which {SETTING}["ROLES"] does not have; there are: {known}'


def _nearest(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for an error's example

    spelled = {known.upper(): known for known in names}
    return spelled[get_close_matches(name.upper(), spelled, 1, 0)[0]]


def _option_example(name: str, options: tuple[Option, ...]) -> str:
    default = next(option.default for option in options if option.name == name)
    return f'"{name}": {default!r}'
