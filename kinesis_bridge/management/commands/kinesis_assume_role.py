"""``manage.py kinesis_assume_role``: temporary credentials of a role, for a person."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext

from kinesis_bridge.conf import get_config
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.session import temporary_credentials
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from kinesis_bridge.session import TemporaryCredentials


class Command(BridgeCommand):
    """Assumes a role of the settings as the site does, and prints what AWS gave for it."""

    help = _(
        "Assume a role of KINESIS_BRIDGE['ROLES'] and print its temporary credentials:"
        ' eval "$(manage.py kinesis_assume_role ROLE)"'
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "role", metavar="ROLE", help=gettext("Alias of a role of the settings.")
        )
        parser.add_argument(
            "--format",
            choices=("env", "json"),
            default="env",
            help=gettext("env: for a POSIX shell; json: as aws sts assume-role prints it."),
        )

    def run(self, **options: Any) -> dict[str, Any] | None:
        given = temporary_credentials(options["role"])
        document = {
            "Credentials": {
                "AccessKeyId": given.access_key,
                "SecretAccessKey": given.secret_key,
                "SessionToken": given.token,
                "Expiration": given.expires_at.isoformat(),
            },
            "AssumedRoleUser": {"Arn": given.arn},
        }
        if self.as_json:
            return document
        if options["format"] == "json":
            self.print_json(document)
        else:
            self.stdout.write("\n".join(_exports(given)))
        return None


def _exports(given: TemporaryCredentials) -> list[str]:
    """Return the lines that ``aws configure export-credentials --format env`` prints, and more."""
    values = {
        "AWS_ACCESS_KEY_ID": given.access_key,
        "AWS_SECRET_ACCESS_KEY": given.secret_key,
        "AWS_SESSION_TOKEN": given.token,
        "AWS_CREDENTIAL_EXPIRATION": given.expires_at.isoformat(),
        "AWS_DEFAULT_REGION": given.region,
    }
    config = get_config()
    if config.local_aws:
        values["AWS_ENDPOINT_URL"] = config.local_aws_url
    return [f"export {name}={shlex.quote(value)}" for name, value in values.items() if value]
