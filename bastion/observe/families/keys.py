"""What is counted of keys and certificates: how old, until when, how many made (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.observe.family import Label, Merge, counter, gauge

KEY_USES: Final = ("host_keys", "login_ca", "upstream_ca", "front_host_ca", "recording", "issue")
"""As the ledger of keys calls them (`ca.ledger.KeyName`)."""

CERTIFICATE_USES: Final = ("front_host", "metrics")

KEY_MADE: Final = gauge(
    "key_made_seconds",
    "When the oldest key in use was made, by the ledger of keys or else its file, as seconds since 1970; 0: none.",
    Label("use", KEY_USES),
    merge=Merge.EARLIEST,
)
KEY_RETIRES: Final = gauge(
    "key_retires_seconds",
    "When the overlap of a rotation ends and the old key is to be retired, as seconds since 1970; 0: none is rotated.",
    Label("use", KEY_USES),
    merge=Merge.EARLIEST,
)
CERTIFICATE_EXPIRES: Final = gauge(
    "certificate_expires_seconds",
    "When the first certificate that the gateway shows ends, as seconds since 1970; 0: it has shown none.",
    Label("use", CERTIFICATE_USES),
    merge=Merge.EARLIEST,
)
UPSTREAM_CERTIFICATES: Final = counter(
    "upstream_certificates_total", "Certificates made to log in to targets with, each for one session."
)
