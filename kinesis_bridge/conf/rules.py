"""What the settings may say: every rule, its id, its message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from kinesis_bridge import arns
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .options import STREAM_OPTIONS, Option, complete, problems
from .problems import Refusals, nearest
from .types import (
    DEFAULT_LOCAL_AWS_URL,
    DEFAULT_SCHEMAS,
    DELIVERIES,
    SETTING,
    BridgeConfig,
    RoleConfig,
    StreamConfig,
)
from .values import BASE_DELIVERY, SOURCE, TEXTS, is_base, is_delivery, is_local_url, tag_problems

if TYPE_CHECKING:
    from .problems import Problem

EXAMPLE_ROLE = "arn:aws:iam::222222222222:role/EventWriter"
EXAMPLE_STREAM = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
EXAMPLE_POLICY = (
    '{"Version": "2012-10-17", "Statement":'
    ' [{"Effect": "Allow", "Action": "kinesis:PutRecords", "Resource": "*"}]}'
)
CHAINED_MAX_SECONDS = 3600
MISSING = _("is missing ({variable} in the environment)")
TOP_KEYS = ("SOURCE", "SCHEMAS", "ROLES", "STREAMS", "LOCAL_AWS", "LOCAL_AWS_URL", "STRICT")
ROLE_KEYS = (
    "ROLE_ARN", "EXTERNAL_ID", "SESSION_NAME", "DURATION_SECONDS", "REGION",
    "SOURCE_IDENTITY", "TAGS", "SESSION_POLICY", "PROFILE", "VIA", "PRINCIPAL",
)  # fmt: skip
STREAM_KEYS = ("STREAM", "ROLE", "REGION", "DELIVERY", "OPTIONS")


def read(raw: object, source: str) -> tuple[BridgeConfig | None, list[Problem]]:
    """Turn the setting into objects; (None, problems) where anything is wrong."""
    reader = _Reader()
    config = reader.bridge(raw, source)
    return (None if reader.problems else config), reader.problems


class _Reader(Refusals):
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
                "E001", '["STREAMS"]', _("names no stream"), '{"default": {"STREAM": "orders"}}'
            )
        streams = {alias: self.stream(alias, value, roles) for alias, value in declared.items()}
        source = _given(top, "SOURCE", default_source)
        if not isinstance(source, str) or not SOURCE.fullmatch(source):
            self.refuse(
                "E017", '["SOURCE"]', _("must be a URI reference without spaces"), '"/shop"'
            )
        schemas = _given(top, "SCHEMAS", DEFAULT_SCHEMAS)
        if schemas != DEFAULT_SCHEMAS and not is_base(schemas):
            self.refuse(
                "E023",
                '["SCHEMAS"]',
                _('must be an absolute URI that ends in "/", not {value}'),
                '"https://shop.example.com/schemas/"',
                value=repr(schemas),
            )
        local, strict = top.get("LOCAL_AWS", False), top.get("STRICT", False)
        wanted = _("must be True or False, not {value}")
        if not isinstance(local, bool):
            self.refuse("E018", '["LOCAL_AWS"]', wanted, "True", value=repr(local))
        if not isinstance(strict, bool):
            self.refuse("E024", '["STRICT"]', wanted, "True", value=repr(strict))
        return BridgeConfig(
            source=str(source),
            roles=MappingProxyType(roles),
            streams=MappingProxyType(streams),
            local_aws=bool(local),
            local_aws_url=self.local_url(_given(top, "LOCAL_AWS_URL", DEFAULT_LOCAL_AWS_URL)),
            schemas=str(schemas),
            strict=bool(strict),
        )

    def local_url(self, url: object) -> str:
        if not is_local_url(str(url)):
            self.refuse(
                "E018",
                '["LOCAL_AWS_URL"]',
                _("must be http://host:port, not {value}"),
                f'"{DEFAULT_LOCAL_AWS_URL}"',
                value=repr(url),
            )
        return str(url).rstrip("/")

    # Roles

    def role(self, alias: str, raw: object) -> RoleConfig:
        path = f'["ROLES"]["{alias}"]'
        given = self.mapping(raw, path, f'{{"ROLE_ARN": "{EXAMPLE_ROLE}"}}')
        self.known(given, ROLE_KEYS, path)
        if given.get("PROFILE") and given.get("VIA"):
            reason = _("has no effect with VIA: set it on the role that is assumed first")
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
                _("must be the ARN of the role or user that the site runs as"),
                '"arn:aws:iam::111111111111:role/shop-web"',
            )
            return None
        return str(value)

    def role_arn(self, value: object, path: str) -> str:
        path += '["ROLE_ARN"]'
        example = f'"{EXAMPLE_ROLE}"'
        if value is None or value == "":
            self.refuse("E003", path, MISSING, example, variable="KINESIS_ROLE_ARN")
        elif not isinstance(value, str) or not (arn := arns.parse(value)):
            self.refuse("E004", path, _("is not an ARN: {value}"), example, value=repr(value))
        elif not arns.role_name(arn):
            reason = _("is the ARN of no role but of {resource}")
            self.refuse("E005", path, reason, example, resource=repr(arn.resource))
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
            _("must be the alias of a role, not {type}"),
            "None",
            type=type(value).__name__,
        )
        return None

    def duration(self, given: Mapping[str, Any], path: str) -> int:
        value = given.get("DURATION_SECONDS", 3600)
        path += '["DURATION_SECONDS"]'
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not 900 <= value <= 43200:
            reason = _("must be 900 to 43200 seconds, not {value}")
            self.refuse("E009", path, reason, "3600", value=repr(value))
            return 3600
        if given.get("VIA") and value > CHAINED_MAX_SECONDS:
            # Role chaining caps the session at an hour: "Roles terms and concepts", IAM User Guide.
            self.refuse("E009", path, _("must be at most 3600 with VIA (role chaining)"), "3600")
        return int(value)

    def tags(self, value: object, path: str) -> Mapping[str, str]:
        path += '["TAGS"]'
        tags = self.mapping(value, path, '{"site": "shop"}')
        for key, reason in tag_problems(tags):
            self.refuse("E013", f'{path}["{key}"]', reason, '"site": "shop"')
        if len(tags) > 50:  # AssumeRole, AWS STS API Reference
            self.refuse("E013", path, _("has more than 50 tags"), '{"site": "shop"}')
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
                _("must be a JSON policy document of at most 2048 characters"),
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
                        self.refuse("E011", path, _("goes in a circle: {loop}"), "None", loop=loop)
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
            example = f'"{nearest(role, roles)}"' if roles else "None"
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
                _option_example(nearest(name, [option.name for option in options]), options),
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
        example = Text(_("{one} or {other}"), one='"orders"', other=f'"{EXAMPLE_STREAM}"')
        if value is None or value == "":
            self.refuse("E003", key, MISSING, example, variable="KINESIS_STREAM")
        elif not isinstance(value, str):
            wanted = _("must be text, not {type}")
            self.refuse("E004", key, wanted, example, type=type(value).__name__)
        elif value.startswith("arn:"):
            arn = arns.parse(value)
            if arn is None or not (arns.stream_name(arn) or arns.delivery_stream_name(arn)):
                reason = _("is not the ARN of a Kinesis or Firehose stream: {value}")
                self.refuse("E004", key, reason, example, value=repr(value))
            elif region and arn.region != region:
                self.refuse(
                    "E006",
                    f'{path}["REGION"]',
                    _("is {region}, but the stream's ARN is in {other}: it may be left out"),
                    f'"{arn.region}"',
                    region=repr(region),
                    other=repr(arn.region),
                )
            else:
                return value, arn.region
        elif not arns.is_stream_name(value):
            self.refuse("E004", key, _("cannot name a stream: {value}"), example, value=repr(value))
        return str(value), None

    def delivery(self, value: object, path: str) -> tuple[str, tuple[Option, ...]]:
        """Find the delivery's dotted path and its options, those of every stream included."""
        dotted = DELIVERIES.get(str(value), str(value))
        names = ", ".join(DELIVERIES)
        reason, why = None, ""
        found: Any = None
        if "." not in dotted:
            reason = _("is not known: {value}; there are {names}, or a dotted path")
        else:
            try:
                found = import_string(dotted)
            except Exception as error:  # noqa: BLE001 - a dotted path runs code of anyone
                reason = _("cannot be imported: {value} ({error})")
                why = f"{type(error).__name__}: {error}"
        if reason is None and not is_delivery(found):
            reason = _("names no delivery: {value} (subclass {base})")
        if reason:
            values = {"value": repr(value), "names": names, "error": why, "base": BASE_DELIVERY}
            self.refuse("E020", f'{path}["DELIVERY"]', reason, '"outbox"', **values)
            return dotted, STREAM_OPTIONS
        return dotted, (*STREAM_OPTIONS, *found.options)


def _given(section: Mapping[str, Any], key: str, default: Any) -> Any:
    """Return the entry; None and "" mean the default, other wrong types are left to be refused."""
    value = section.get(key)
    return default if value is None or value == "" else value


def _no_role(alias: object, roles: Mapping[str, RoleConfig]) -> Text:
    return Text(
        _('is {alias}, which {setting}["ROLES"] does not have; there are: {known}'),
        alias=repr(alias),
        setting=SETTING,
        known=", ".join(map(repr, roles)) or Text(_("none")),
    )


def _option_example(name: str, options: tuple[Option, ...]) -> str:
    default = next(option.default for option in options if option.name == name)
    return f'"{name}": {default!r}'
