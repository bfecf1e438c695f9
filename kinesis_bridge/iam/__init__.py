"""The two accounts' policy documents; pure: settings in, dictionaries and text out.

:mod:`.documents` has the documents one by one, :mod:`.grants` all of one site together, and
:mod:`.cli`, :mod:`.cloudformation` and :mod:`.terraform` the text to make them with.
"""

from __future__ import annotations

from .cli import to_cli
from .cloudformation import to_cloudformation
from .documents import (
    FIREHOSE_ACTION,
    READ_ACTIONS,
    UNKNOWN_PRINCIPAL,
    WRITE_ACTIONS,
    Document,
    identity_policy,
    permission_policy,
    principal_of,
    resource_policy,
    stream_arn,
    trust_policy,
)
from .grants import Grants, Target, make_grants
from .principals import check_principal
from .terraform import to_terraform

__all__ = [
    "FIREHOSE_ACTION",
    "READ_ACTIONS",
    "UNKNOWN_PRINCIPAL",
    "WRITE_ACTIONS",
    "Document",
    "Grants",
    "Target",
    "check_principal",
    "identity_policy",
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
