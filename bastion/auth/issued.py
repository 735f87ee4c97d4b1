"""What a certificate that was issued here carries of the login that got it (L1, pure).

It stands in an extension of our own, which its CA signs with the rest and which an sshd passes over. Invariants: only
the word of a CA that this gateway issues with counts for anything; a factor that was given by a key counts for that
key alone; and whoever logged in with such a certificate, of whatever CA, gets no other one by it, or a morning would
last for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bastion.auth.factors import FACTORS, KEYS, Chain, Given, Proof, stands_for
from bastion.errors import ProtocolError
from bastion.wire.data import Reader, namelist, string, uint64

EXTENSION: Final = "factors@bastion"
"""Its name. The data is one string, which holds a name-list of factors, a uint64 (seconds since the epoch at which the
last of them was proved) and a string: the immutable id of the account."""

MAX_CARRIED: Final = 512
"""Bytes of it: all factors and an id of 256."""

CERTIFICATE: Final = "certificate"


@dataclass(frozen=True, slots=True)
class Carried:
    """The `factors` of that login, `at` which second they had been given, and whose account it was. Empty: somebody
    else's word, which carries nothing."""

    factors: Chain = ()
    at: int = 0
    uid: str = ""

    def plus(self, other: Carried | None) -> Carried:
        """What two certificates of one login carry together: no younger than the older one."""
        if other is None:
            return self
        factors = tuple(dict.fromkeys((*self.factors, *other.factors)))
        return Carried(factors, min(self.at, other.at), self.uid)

    def encode(self) -> bytes:
        """What stands in the string of the extension."""
        return namelist(self.factors) + uint64(self.at) + string(self.uid)

    @classmethod
    def read(cls, data: bytes) -> Carried:
        """Of the extension's data. Raises ProtocolError for anything that was not written here."""
        outer = Reader(data)
        reader = Reader(outer.string(MAX_CARRIED))
        outer.end()
        factors, at, uid = reader.namelist(MAX_CARRIED), reader.uint64(), reader.text(MAX_CARRIED)
        reader.end()
        if not set(factors) <= set(FACTORS) or len(set(factors)) < len(factors) or not uid:
            raise ProtocolError("certificate carries factors that nobody knows, or nobody's")
        return cls(factors, at, uid)

    def proofs(self, key: str) -> tuple[Proof, ...]:
        """What a login with the certificate of this key (its fingerprint) has proved.

        Its own proof stands for a certificate, or for the key that was proved then: it is one key. What was proved
        besides counts by itself.
        """
        keys = [factor for factor in self.factors if factor in KEYS]
        own = dict.fromkeys((CERTIFICATE, *(stands_for(keys[0]) if keys else ())))
        others = (*keys[1:], *(factor for factor in self.factors if factor not in KEYS))
        return Proof(tuple(own), key), *(Proof(stands_for(factor)) for factor in others)


NOTHING: Final = Carried()
"""Of a certificate that was not issued here."""


def qualifies(factors: Sequence[str], chains: Sequence[Chain]) -> bool:
    """Has a login that gave these factors given all of one of `chains`?"""
    return Given(tuple(chains), tuple(Proof(stands_for(factor), factor) for factor in factors)).whole


def kept_by(factors: Sequence[str], same_key: bool) -> Chain:
    """Those of a login's factors that a certificate carries; `same_key`: it is for the key that logged in."""
    return tuple(factor for factor in factors if same_key or factor not in KEYS)
