"""The two accounts' policy documents; pure: settings in, dictionaries and text out.

:mod:`.documents` has the documents one by one, :mod:`.grants` all of one site together (checked by
:mod:`.advice` and :mod:`.limits`, put in order by :mod:`.order`), and :mod:`.cli`,
:mod:`.cloudformation` and :mod:`.terraform` the text to make them with.
"""

from __future__ import annotations

from .cli import to_cli
from .cloudformation import to_cloudformation
from .documents import (
    FIREHOSE_ACTION,
    FIREHOSE_READ_ACTION,
    READ_ACTIONS,
    UNKNOWN_PRINCIPAL,
    WRITE_ACTIONS,
    Document,
    identity_policy,
    key_statement,
    permission_policy,
    principal_of,
    resource_policy,
    stream_arn,
    trust_policy,
)
from .grants import Grants, make_grants
from .parts import Target
from .principals import check_principal
from .terraform import to_terraform

__all__ = [
    "FIREHOSE_ACTION",
    "FIREHOSE_READ_ACTION",
    "READ_ACTIONS",
    "UNKNOWN_PRINCIPAL",
    "WRITE_ACTIONS",
    "Document",
    "Grants",
    "Target",
    "check_principal",
    "identity_policy",
    "key_statement",
    "make_grants",
    "permission_policy",
    "principal_of",
    "resource_policy",
    "stream_arn",
    "to_cli",
    "to_cloudformation",
    "to_terraform",
    "trust_policy",
]
