"""Which proofs a login needs, and which of them it has given (L1, pure).

A *chain* is a set of factors that is enough together: `["publickey", "password"]`. Its factors are given in the order
of `FACTORS`, however it is written: a key, which nobody can guess, before a password is checked, so that whoever has no
key learns nothing of a password; and a code before the password, so that whoever has neither learns nothing of it, and
nobody locks an account in the directory. What others judge (`OUTSIDE`) comes last, and is asked of somebody who has
proved all the rest, by who hears of that (`doors.step_up`).

Invariants: what was given only ever grows, and a failed attempt leaves nothing in it (`Given` is a value); a factor
counts once for a chain, and so does a key, whatever it is shown as; what brings no chain on is not taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

KEYS: Final = ("certificate", "sk-publickey", "publickey")
CODE: Final = "totp"
PASSWORD: Final = "password"

OIDC: Final = "oidc"
RADIUS: Final = "radius"
OUTSIDE: Final = (OIDC, RADIUS)
"""What others judge: an identity provider, a RADIUS server."""

FACTORS: Final = (*KEYS, CODE, PASSWORD, *OUTSIDE)
"""Every factor, in the order in which the factors of a chain are given."""

PASSKEY: Final = "passkey"
"""What the review console takes, and SSH does not: a signature by an authenticator that has verified its owner, which
is possession and knowledge, or possession and a finger, in one."""

Chain = tuple[str, ...]

EMERGENCY: Final[tuple[Chain, ...]] = (("publickey", CODE), ("certificate", CODE))
"""What break-glass accounts prove, where nothing else is configured: no key that lies about is enough, no password."""


def in_order(chain: Iterable[str]) -> Chain:
    """The factors of a chain in the order in which they are given."""
    return tuple(sorted(chain, key=(*FACTORS, PASSKEY).index))


def missing(wanted: Iterable[str], given: Sequence[str]) -> Chain:
    """Those of the factors in `wanted` that nothing in `given` stands for, in their order. A security key is a key."""
    names = {*given, *(("publickey",) if "sk-publickey" in given else ())}
    return in_order(set(wanted) - names)


def stands_for(factor: str) -> tuple[str, ...]:
    """What a proof of this factor may be taken for, the best name first: a security key is a key, too."""
    return (factor, "publickey") if factor == "sk-publickey" else (factor,)


def chains_of(methods: Sequence[str]) -> tuple[Chain, ...]:
    """Where nothing more is required: each factor that these SSH methods can give is enough."""
    keys: tuple[Chain, ...] = (("certificate",), ("publickey",)) if "publickey" in methods else ()
    asked = {"password", "keyboard-interactive"} & set(methods)
    return (*keys, (PASSWORD,)) if asked else keys


@dataclass(frozen=True, slots=True)
class Proof:
    """One proof that was verified: the `factors` that it can stand for, the best name first; `key` is the fingerprint
    of the key that signed, if one did."""

    factors: tuple[str, ...]
    key: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What has been proved so far, for one name on one connection, of `chains`."""

    chains: tuple[Chain, ...]
    proofs: tuple[Proof, ...] = ()

    @property
    def whole(self) -> bool:
        """Some chain has every factor."""
        return any(self._covered(chain, self.proofs) == len(chain) for chain in self.chains)

    @property
    def owed(self) -> Chain:
        """Of the first chain that has all its factors but those that others judge: what of these is missing."""
        if self.whole:
            return ()
        for chain in self.chains:
            left = chain[self._covered(chain, self.proofs) :]
            if set(left) <= set(OUTSIDE):
                return left
        return ()

    @property
    def proved(self) -> bool:
        """Nothing is missing that can be proved to this gateway itself."""
        return self.whole or bool(self.owed)

    @property
    def wanted(self) -> frozenset[str]:
        """The factors that can be given next: of each chain the first that is missing."""
        counts = ((chain, self._covered(chain, self.proofs)) for chain in self.chains)
        return frozenset(chain[count] for chain, count in counts if count < len(chain))

    def takes(self, *proofs: Proof) -> bool:
        """Would these proofs, of one attempt, bring some chain on?"""
        more = (*self.proofs, *proofs)
        return any(self._covered(chain, more) > self._covered(chain, self.proofs) for chain in self.chains)

    def plus(self, *proofs: Proof) -> Given:
        """The same with these proofs more."""
        return Given(self.chains, (*self.proofs, *proofs))

    def methods(self, offered: Sequence[str]) -> tuple[str, ...]:
        """Those of the SSH methods on offer that can give a factor which is wanted now (RFC 4252 section 5.1)."""
        wanted = self.wanted
        able = {
            "publickey": not wanted.isdisjoint(KEYS),
            "password": PASSWORD in wanted,
            "keyboard-interactive": not wanted.isdisjoint((CODE, PASSWORD)) or bool(self.owed),
        }
        return tuple(method for method in offered if able.get(method, False))

    @staticmethod
    def _covered(chain: Chain, proofs: Sequence[Proof]) -> int:
        """How many factors of the chain, from its first one on, have a proof of their own."""
        left = list(proofs)
        keys: set[str] = set()
        for count, factor in enumerate(chain):
            found = next((one for one in left if factor in one.factors and one.key not in keys), None)
            if found is None:
                return count
            left.remove(found)
            if found.key:
                keys.add(found.key)
        return len(chain)
