"""Which failures cost something (L1, pure): what is a guess, and what is nobody's fault or everybody's habit."""

from __future__ import annotations

from bastion.errors import AuthReason

# Offering a key that is not accepted is how every client with several keys begins, and keys are not guessed.
# Those offers cost nothing whatever the account, so that penalties do not tell known names from unknown ones.
FREE_WITH_KEYS = frozenset(AuthReason) - {
    AuthReason.BAD_SIGNATURE,
    AuthReason.KEY_MALFORMED,
    AuthReason.CERT_MALFORMED,
    AuthReason.TOO_MANY_ATTEMPTS,
}
# Nobody's guess: our own trouble, an unfinished login, an attempt that was not judged. Not ABANDONED: whoever hangs
# up while the directory thinks has guessed.
FREE_ALWAYS = frozenset(
    (
        AuthReason.OK,
        AuthReason.OVER_BUDGET,
        AuthReason.PARTIAL,
        AuthReason.DIRECTORY_UNAVAILABLE,
        AuthReason.DIRECTORY_TIMEOUT,
        AuthReason.INTERNAL_ERROR,
        AuthReason.THROTTLED,
        AuthReason.METHOD_NOT_OFFERED,
        AuthReason.FACTOR_NOT_WANTED,
        AuthReason.CODES_UNAVAILABLE,
        AuthReason.FACTOR_UNAVAILABLE,
        AuthReason.FACTOR_BUSY,
        AuthReason.KEY_NOT_AUTHORISED,
        AuthReason.KEY_UNSUPPORTED,
        AuthReason.KEY_REVOKED,
        AuthReason.REVOCATION_UNKNOWN,
        AuthReason.SK_NOT_TOUCHED,  # its signature was right
        AuthReason.SK_NOT_VERIFIED,
        AuthReason.LOCKED,
    )
)
CODES = frozenset(
    (
        AuthReason.BAD_CODE,
        AuthReason.CODE_USED,
        AuthReason.NOT_ENROLLED,
        AuthReason.FACTOR_DENIED,
        AuthReason.FACTOR_TIMEOUT,
        AuthReason.FACTOR_MISMATCH,
        AuthReason.FACTOR_INVALID,
    )
)  # no password was tried
KEY_METHODS = frozenset(("publickey", "certificate", "none"))


def is_free(reason: AuthReason, method: str) -> bool:
    """Does a failure for this reason, by this method, cost whoever made it nothing?"""
    return reason in FREE_ALWAYS or (method in KEY_METHODS and reason in FREE_WITH_KEYS)
