"""Between the site and AWS: names, routes, TLS, proxies, clocks, AWS itself."""

from __future__ import annotations

from kinesis_bridge.exceptions import CredentialsError, EndpointError
from kinesis_bridge.words import marked as _

from .finding import AWS, Finding

NETWORK: tuple[Finding, ...] = (
    Finding(
        name="dns",
        hops=("network",),
        side="network",
        cause=_("The name {host} of {endpoint} cannot be resolved: {message}."),
        fix=_(
            "Correct the region {region}. In a private subnet: let the VPC resolve DNS"
            " (enableDnsSupport), and give the interface endpoint its private DNS name."
        ),
        error=EndpointError,
        retryable=True,
    ),
    Finding(
        name="refused",
        hops=("network",),
        side="network",
        cause=_("{address} refuses the connection to {endpoint}."),
        fix=_(
            "Nothing listens there: correct AWS_ENDPOINT_URL or endpoint_url, or the proxy's port;"
            " remove them for AWS's own endpoints."
        ),
        error=EndpointError,
        retryable=True,
    ),
    Finding(
        name="no-route",
        hops=("network",),
        side="network",
        cause=_(
            "{address} of {endpoint} does not answer: packets are lost on the way ({message})."
        ),
        fix=_(
            "Open port {port}: the security groups of this machine and of the VPC endpoint, the"
            " network ACLs, and a route out (NAT gateway) where there is no VPC endpoint. Behind a"
            " proxy set HTTPS_PROXY."
        ),
        error=EndpointError,
        retryable=True,
    ),
    Finding(
        name="clock-skew",
        hops=AWS,
        codes=(
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "RequestExpired",
            "RequestTimeTooSkewed",
        ),
        says=r"Signature expired|not yet current|RequestExpired|TooSkewed|time.*too large",
        side="site",
        error=CredentialsError,
        cause=_("AWS refused the signature because this machine's clock is wrong{skew}."),
        fix=_("Set the clock (chrony, ntpd or systemd-timesyncd): AWS tolerates 5 minutes."),
    ),
    Finding(
        name="wrong-region",
        hops=AWS,
        codes=("SignatureDoesNotMatch", "InvalidSignatureException"),
        says=r"scoped to a valid region",
        side="site",
        error=EndpointError,
        cause=_(
            "The request was signed for region {region} and reached another one at {endpoint}."
        ),
        fix=_("Set REGION of the stream (KINESIS_REGION) to the region that the stream is in."),
    ),
    Finding(
        name="no-region",
        hops=AWS,
        codes=("NoRegionError", "InvalidRegionError", "UnknownRegionError"),
        side="site",
        error=EndpointError,
        cause=_("No AWS region is known for this call."),
        fix=_(
            "Set REGION of the stream (KINESIS_REGION=eu-west-1), or AWS_REGION for the process."
        ),
    ),
    Finding(
        name="tls",
        hops=AWS,
        codes=("SSLError",),
        side="network",
        error=EndpointError,
        cause=_("No trusted TLS connection to {endpoint}: {message}"),
        fix=_("Name your proxy's certificate authority in AWS_CA_BUNDLE."),
    ),
    Finding(
        name="proxy",
        hops=AWS,
        codes=("ProxyConnectionError",),
        side="network",
        error=EndpointError,
        retryable=True,
        cause=_("The proxy on the way to {endpoint} does not answer."),
        fix=_("Correct HTTPS_PROXY, or exempt AWS in NO_PROXY."),
    ),
    Finding(
        name="unreachable",
        hops=AWS,
        codes=("EndpointConnectionError", "ConnectTimeoutError", "ConnectionError"),
        side="network",
        error=EndpointError,
        retryable=True,
        cause=_("{endpoint} cannot be reached."),
        fix=_(
            "Check the name of region {region}, DNS, the route out (NAT gateway or VPC endpoint),"
            " security groups on port 443, and HTTPS_PROXY."
        ),
    ),
    Finding(
        name="no-answer",
        hops=AWS,
        codes=("ReadTimeoutError", "ConnectionClosedError", "HTTPClientError",
               "ResponseParserError", "IncompleteReadError", "ProtocolError"),
        side="network",
        error=EndpointError,
        retryable=True,
        cause=_("{endpoint} took the request and gave no whole answer."),
        fix=_(
            "It is retried by itself. If it lasts, look for a proxy or firewall that cuts it off."
        ),
    ),
    Finding(
        name="aws-down",
        hops=AWS,
        codes=("InternalFailure", "InternalServerError", "ServiceUnavailable",
               "ServiceUnavailableException", "500", "502", "503", "504"),
        side="network",
        error=EndpointError,
        retryable=True,
        cause=_("{endpoint} fails on its own side: {message}"),
        fix=_("It is retried by itself. If it lasts, see the AWS Health Dashboard."),
    ),
)  # fmt: skip
