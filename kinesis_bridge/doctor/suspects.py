"""Which account refused AssumeRole, where STS does not say and account A may be asked."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from kinesis_bridge import iam, redaction
from kinesis_bridge.diagnosis import Path, explain_named
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from kinesis_bridge.conf import RoleConfig
    from kinesis_bridge.exceptions import AwsError


def narrowed(
    error: AwsError, role: RoleConfig, caller: str, source: Any, region: str | None
) -> AwsError:
    """Return the finding of the account that refused, or `error` where that cannot be known.

    `source` is account A's session. IAM's simulator looks at A's policies of the caller alone:
    what they allow, B's trust policy refused. It needs iam:SimulatePrincipalPolicy, which most
    sites do not have: without it nothing is lost (SimulatePrincipalPolicy, IAM API Reference).
    """
    if error.name != "assume-role-denied":
        return error
    decision = _simulate(role, caller, source, region)
    if decision is None:
        return error
    allowed = decision == "allowed"
    name = "assume-role-denied-trust" if allowed else "assume-role-denied-identity"
    said = Text(_("IAM's simulator says of A's policies: {decision}."), decision=decision)
    path = Path(hop="assume-role", role=role, caller_arn=caller)
    return explain_named(name, path, message=said)


def _simulate(role: RoleConfig, caller: str, source: Any, region: str | None) -> str | None:
    from botocore.config import Config  # noqa: PLC0415 - lazily

    from kinesis_bridge.session.assume import BOTO_ERRORS, STS_CONFIG  # noqa: PLC0415

    config = STS_CONFIG.merge(Config(retries={"total_max_attempts": 1}))
    try:
        with (
            closing(source.client("iam", region_name=region, config=config)) as client,
            redaction.quiet(),
        ):
            answer = client.simulate_principal_policy(
                PolicySourceArn=iam.principal_of(caller),
                ActionNames=["sts:AssumeRole"],
                ResourceArns=[role.role_arn],
            )
    except BOTO_ERRORS:
        return None
    results = answer.get("EvaluationResults") or [{}]
    decision: str | None = results[0].get("EvalDecision")
    return decision
