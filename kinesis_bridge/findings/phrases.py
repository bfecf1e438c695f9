"""What stands in the texts of a finding where a name is not known, or wants words around it."""

from __future__ import annotations

from kinesis_bridge.words import marked as _

ACCOUNT_A = _("account A")
ACCOUNT_A_NUMBERED = _("account A ({number})")
ACCOUNT_B = _("account B")
ACCOUNT_B_NUMBERED = _("account B ({number})")
ACCOUNT = _("account")
ACCOUNT_NUMBERED = _("account {number}")
EITHER_ACCOUNT = _("account A or account B")
NETWORK = _("network")
SITE = _("site")
SITES_OWN = _("the site's own role or user")
ROLE = _("role {arn} (ROLES[{alias}])")
SAME_EXTERNAL_ID = _("must ask for the same ExternalId as the setting EXTERNAL_ID")
NO_EXTERNAL_ID = _("must ask for no ExternalId, since EXTERNAL_ID is not set")
THE_STREAM = _("the stream")
UNKNOWN_REGION = _("an unknown region")
DEFAULT_PROFILE = _("the default one")
NONE = _("none")
AHEAD = _(": it is {seconds} seconds ahead")
BEHIND = _(": it is {seconds} seconds behind")
IDENTITY_POLICY = _("{account}: identity policy of {principal}")
TRUST_POLICY = _("{account}: trust policy of role {role}")
KEY_STATEMENT = _("{account}: statement of the key's policy")
RESOURCE_POLICY = _("{account}: resource policy of the stream {stream}")
PERMISSION_POLICY = _("{account}: permission policy of role {role}")

SIDES = (ACCOUNT_A, ACCOUNT_B, EITHER_ACCOUNT, NETWORK, SITE)
PHRASES = (
    ACCOUNT_A,
    ACCOUNT_A_NUMBERED,
    ACCOUNT_B,
    ACCOUNT_B_NUMBERED,
    ACCOUNT,
    ACCOUNT_NUMBERED,
    SITES_OWN,
    ROLE,
    SAME_EXTERNAL_ID,
    NO_EXTERNAL_ID,
    THE_STREAM,
    UNKNOWN_REGION,
    DEFAULT_PROFILE,
    NONE,
    AHEAD,
    BEHIND,
)
"""What the values of a finding's texts are, where they are words."""
TITLES = (IDENTITY_POLICY, TRUST_POLICY, KEY_STATEMENT, RESOURCE_POLICY, PERMISSION_POLICY)
"""Of the policy documents."""
