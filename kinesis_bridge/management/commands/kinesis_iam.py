"""``manage.py kinesis_iam``: what the owners of both accounts must set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.translation import gettext

from kinesis_bridge import iam
from kinesis_bridge.access import grants_of
from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.words import Text, text_of, translated
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser

TEXTS = {
    "cli": iam.to_cli,
    "cloudformation": iam.to_cloudformation,
    "terraform": iam.to_terraform,
}


class Command(BridgeCommand):
    """Prints the documents of both accounts; changes nothing."""

    help = _("Print the IAM policies of both accounts, or what makes them.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--stream", help=gettext("Alias of one stream; default: all."))
        parser.add_argument(
            "--principal", help=gettext("ARN of the site's role or user; default: asked.")
        )
        parser.add_argument("--kms-key", help=gettext("ARN of the key that encrypts the stream."))
        parser.add_argument("--read", action="store_true", help=gettext("Allow to read back, too."))
        parser.add_argument(
            "--format", choices=("json", *TEXTS), default="json", help=gettext("What to print.")
        )
        parser.add_argument(
            "--resource-policy",
            action="store_true",
            help=gettext("The stream's policy in place of a role."),
        )
        parser.add_argument(
            "--session-tags",
            action="store_true",
            help=gettext("The site's credentials bring session tags: EKS Pod Identity."),
        )

    def run(self, **options: Any) -> None:
        text = TEXTS.get(options["format"])
        if self.as_json and text:
            raise CommandError(
                Text(
                    _("--json and --format {format} exclude each other."), format=options["format"]
                )
            )
        try:
            grants = grants_of(
                options["stream"],
                principal=options["principal"],
                kms_key=options["kms_key"],
                read=options["read"],
                without_role=options["resource_policy"],
                session_tags=options["session_tags"],
            )
            document = text(grants) if text else None
        except PolicyError as error:
            raise CommandError(text_of(error)) from error
        for warning in grants.warnings:
            told = gettext("Warning: {warning}").format(warning=translated(warning))
            self.stderr.write(told, style_func=self.style.WARNING)
        if document is None:
            self.print_json(grants.as_dict())
        else:
            self.stdout.write(document, ending="")
