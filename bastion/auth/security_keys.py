"""What a login demands of a security key's signature (L1, pure).

A touch always, unless the operator lets keys do without and the key or certificate says that it does; that the
authenticator knows who touched it, where the operator, the key or the certificate says so. Invariant: either side can
only add a demand; taking one away needs both.
"""

from __future__ import annotations

from dataclasses import dataclass

from bastion.errors import AuthReason, Refused
from bastion.wire.security_keys import Assertion


@dataclass(frozen=True, slots=True)
class Demands:
    """What `[login]` says. `verify`: of every security key; `no_touch`: those whose options say so may do without."""

    verify: bool = False
    no_touch: bool = False


TOUCH_ONLY = Demands()
"""What holds where nobody has said anything."""


def check_assertion(
    assertion: Assertion | None, demands: Demands, touch_required: bool, verify_required: bool
) -> None:
    """Is what the authenticator said enough? `*_required`: what the key's options or its certificate say.

    Raises Refused: SK_NOT_TOUCHED, SK_NOT_VERIFIED. None is no assertion, and refused.
    """
    if assertion is None:
        raise Refused(AuthReason.SK_NOT_TOUCHED, "nothing says that the security key was touched")
    if not assertion.touched and (touch_required or not demands.no_touch):
        raise Refused(AuthReason.SK_NOT_TOUCHED, "the security key was not touched")
    if not assertion.verified and (verify_required or demands.verify):
        raise Refused(
            AuthReason.SK_NOT_VERIFIED, "the security key has not verified its owner (PIN or fingerprint)"
        )
