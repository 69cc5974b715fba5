# SPDX-License-Identifier: Apache-2.0
"""Why clients were turned away before they could ask anything."""

import logging
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum

LOG = logging.getLogger(__name__)

# A scanner, or a controller with an expired certificate, comes again and again.
_LOG_INTERVAL_S = 10.0


class Cause(StrEnum):
    """What went wrong in a TLS handshake, from the amphora's side."""

    NO_CERTIFICATE = "no client certificate"
    UNKNOWN_CA = "client certificate of an unknown CA"
    EXPIRED = "client certificate expired"
    NOT_YET_VALID = "client certificate not yet valid"
    BAD_CERTIFICATE = "client certificate not acceptable"
    PLAIN_HTTP = "plain HTTP"
    UNSUPPORTED_VERSION = "unsupported TLS version"
    NOT_TLS = "not TLS"
    REFUSED_BY_CLIENT = "refused by the client"
    CLOSED_BY_CLIENT = "closed by the client"
    TIMEOUT = "timeout"
    CROWDED_OUT = "crowded out by other connections"
    OTHER = "other"


# OpenSSL's names of errors, as ssl.SSLError.reason has them.
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Cause.NO_CERTIFICATE,
    "HTTP_REQUEST": Cause.PLAIN_HTTP,
    "HTTPS_PROXY_REQUEST": Cause.PLAIN_HTTP,
    "UNSUPPORTED_PROTOCOL": Cause.UNSUPPORTED_VERSION,
    "VERSION_TOO_LOW": Cause.UNSUPPORTED_VERSION,
    "UNKNOWN_PROTOCOL": Cause.NOT_TLS,
    "WRONG_VERSION_NUMBER": Cause.NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": Cause.NOT_TLS,
    "RECORD_LAYER_FAILURE": Cause.NOT_TLS,
    "CERTIFICATE_VERIFY_FAILED": Cause.BAD_CERTIFICATE,
}

# X509_V_ERR_*, x509_vfy.h
_VERIFY_CODES = {
    2: Cause.UNKNOWN_CA,  # UNABLE_TO_GET_ISSUER_CERT
    9: Cause.NOT_YET_VALID,  # CERT_NOT_YET_VALID
    10: Cause.EXPIRED,  # CERT_HAS_EXPIRED
    18: Cause.UNKNOWN_CA,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: Cause.UNKNOWN_CA,  # SELF_SIGNED_CERT_IN_CHAIN
    20: Cause.UNKNOWN_CA,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: Cause.UNKNOWN_CA,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
}


def cause_of(error: OSError) -> Cause:
    """The cause behind the exception that ended a handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(error.verify_code, Cause.BAD_CERTIFICATE)
    # An alert that arrived, such as "unknown ca" from a client that does not trust the amphora.
    # Some alerts have names that begin as those of our own errors do, hence the exact words.
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if "_ALERT_" in reason:
            return Cause.REFUSED_BY_CLIENT
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return Cause.CLOSED_BY_CLIENT
        return _REASONS.get(reason, Cause.OTHER)
    if isinstance(error, TimeoutError):
        return Cause.TIMEOUT
    return Cause.CLOSED_BY_CLIENT


class Failures:
    """Counts failed handshakes by cause, and logs each cause at most once per interval.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: Counter[Cause] = Counter()
        self._logged_at: dict[Cause, float] = {}
        self._unlogged: dict[Cause, tuple[int, str]] = {}

    @property
    def counts(self) -> Mapping[Cause, int]:
        """Failures since the start."""
        return dict(self._counts)

    def record(self, cause: Cause, client: str, detail: str = "") -> None:
        """Count a failure, and log it unless its cause was logged a moment ago."""
        self._counts[cause] += 1
        number, _ = self._unlogged.get(cause, (0, ""))
        self._unlogged[cause] = (number + 1, f"{client}: {detail}" if detail else client)
        self.tell()

    def tell(self) -> None:
        """Log what was held back and is due now."""
        now = self._clock()
        for cause, (number, last) in list(self._unlogged.items()):
            if now - self._logged_at.get(cause, -_LOG_INTERVAL_S) >= _LOG_INTERVAL_S:
                self._logged_at[cause] = now
                del self._unlogged[cause]
                LOG.warning("TLS handshakes failed, %s: %d, last with %s", cause, number, last)
