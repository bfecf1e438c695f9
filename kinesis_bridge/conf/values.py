"""What single values may look like: text parameters, tags, the local URL, a delivery's class."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.utils.module_loading import import_string

from kinesis_bridge import arns
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class TextRule:
    """A text parameter of AssumeRole: which characters, how many."""

    id: str
    pattern: re.Pattern[str]
    reason: str
    example: str


# Patterns and lengths: AssumeRole, AWS STS API Reference.
TEXTS: Mapping[str, TextRule] = MappingProxyType(
    {
        "EXTERNAL_ID": TextRule(
            "kinesis_bridge.E007",
            re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII),
            _("must be 2 to 1224 characters out of letters, digits and _+=,.@:/-"),
            '"shop-prod-7f3a"',
        ),
        "SESSION_NAME": TextRule(
            "kinesis_bridge.E008",
            re.compile(r"[\w+=,.@-]{2,64}", re.ASCII),
            _("must be 2 to 64 characters out of letters, digits and _+=,.@- (no spaces)"),
            '"shop-web"',
        ),
        "SOURCE_IDENTITY": TextRule(
            "kinesis_bridge.E014",
            re.compile(r"[\w+=,.@-]{2,64}", re.ASCII),
            _("must be 2 to 64 characters out of letters, digits and _+=,.@- (no spaces)"),
            '"shop"',
        ),
        "REGION": TextRule(
            "kinesis_bridge.E016", arns.REGION, _("is not the name of an AWS region"), '"eu-west-1"'
        ),
        "PROFILE": TextRule(
            "kinesis_bridge.E019",
            re.compile(r"\S(.*\S)?"),
            _("must be the name of a profile in ~/.aws/config"),
            '"shop"',
        ),
    }
)
# CloudEvents 1.0: source is a non-empty URI-reference. Characters: RFC 3986, section 2.
SOURCE = re.compile(r"(?:[\w.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)
# Tag, AWS STS API Reference: letters, digits, spaces and these. \s would let line breaks through.
_TAG = re.compile(r"[\w .:/=+@-]*")


def tag_problems(tags: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong with the tag) for each that AssumeRole would refuse.

    Sources: Tag and AssumeRole, AWS STS API Reference; "Tags for IAM resources", IAM User Guide.
    """
    seen: set[str] = set()
    for key, text in tags.items():
        if not (_TAG.fullmatch(key) and 1 <= len(key) <= 128):
            yield key, _("must have a key of 1 to 128 letters, digits, spaces and _.:/=+@-")
        elif key.lower().startswith("aws:"):
            yield key, _("must not start with aws: (reserved by AWS)")
        elif key.lower() in seen:
            yield key, _("is there twice: AWS does not tell upper from lower case in keys")
        elif not (isinstance(text, str) and _TAG.fullmatch(text) and len(text) <= 256):
            yield key, _("must be at most 256 letters, digits, spaces and _.:/=+@-")
        seen.add(key.lower())


def is_local_url(url: str) -> bool:
    """Tell whether `url` is ``http://host:port`` and nothing else, which would not be used."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "http"
            and bool(parts.hostname)
            and parts.port != 0
            and url.rstrip("/") == f"http://{parts.netloc}"
            and not re.search(r"[\s@]", parts.netloc)
        )
    except ValueError:  # of the port, too
        return False


def is_base(given: object) -> bool:
    """Tell whether it is an absolute URI that ends in "/", to which a name can be added."""
    if not isinstance(given, str) or not SOURCE.fullmatch(given) or not given.endswith("/"):
        return False
    try:
        parts = urlsplit(given)
    except ValueError:  # of a bracket that stays open
        return False
    is_web = parts.scheme in {"http", "https"}
    return bool(parts.scheme) and (bool(parts.hostname) or not is_web) and not parts.fragment


# By name: the deliveries stand above the settings, and import them.
BASE_DELIVERY = "kinesis_bridge.delivery.base.Delivery"


def is_delivery(found: object) -> bool:
    """Tell whether `found` is a class that can deliver."""
    base: type = import_string(BASE_DELIVERY)
    return isinstance(found, type) and issubclass(found, base) and not inspect.isabstract(found)
