# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""How engineers prove who they are: the section `[login]` (L2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bastion.auth.factors import (
    CODE,
    FACTORS,
    KEYS,
    OUTSIDE,
    PASSWORD,
    Chain,
    Given,
    Proof,
    chains_of,
    in_order,
    stands_for,
)
from bastion.options import At, option
from bastion.options.kinds import BOOLEAN, choice, duration, list_of, optional, or_off, text
from bastion.options.paths import FILE

_ISSUER = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9 .-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Login:
    """How engineers prove who they are."""

    methods: tuple[str, ...] = option(
        list_of(choice("publickey", "password", "keyboard-interactive"), at_least=1),
        "Methods on offer. Certificates come under publickey; the other two ask the directory.",
        default=("publickey", "password", "keyboard-interactive"),
    )
    revoked_keys: Path | None = option(
        optional(FILE),
        "File of revoked keys and certificates: a KRL of `ssh-keygen -k`, or public keys, one per line. While it"
        " cannot be read, nobody's key or certificate is taken.",
        default=None,
        example='"revoked_keys"',
    )
    require_verify: bool = option(
        BOOLEAN,
        "Refuse security keys that have not verified their owner (PIN or fingerprint). Rules may ask for it too.",
        default=False,
    )
    allow_no_touch: bool = option(
        BOOLEAN,
        "Let security keys do without a touch whose own options or certificate say `no-touch-required`.",
        default=False,
    )
    key_age: float | None = option(
        or_off(duration(86400)),
        "How long a key may have logged in, or certificates for it, until each day on which it does raises an alarm:"
        " `old_key` in the audit log, and a counter. Nobody is refused.",
        default=None,
        example='"365d"',
    )
    require: tuple[Chain, ...] = option(
        list_of(list_of(choice(*FACTORS), at_least=1)),
        "Chains of factors, each of which is enough: all factors of one of them must be proved before anything else is"
        " served. Factors are given in the order certificate, sk-publickey, publickey, totp, password, oidc, radius."
        " Empty: any one proof by a method on offer.",
        default=(),
        example='[["certificate"], ["sk-publickey"], ["publickey", "password"]]',
    )

    factor_ttl: float = option(
        duration(),
        "How long a factor that a rule asked for (`factors`) counts for the connection through which it was given."
        " 0: it is asked for with each session.",
        default=3600.0,
    )

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The chains in the order in which their factors are given."""
        return tuple(in_order(chain) for chain in self.require) or chains_of(self.methods)

    def validate(self, at: At) -> None:
        here = at.child("require")
        for index, chain in enumerate(self.require):
            place = here.child(index)
            if len(set(chain)) < len(chain):
                place.wrong("names a factor twice, which is one factor", "each factor once")
                continue
            if chain == (CODE,):
                place.wrong(
                    "is a code alone, which is half a proof",
                    "a key, a certificate or a password beside it",
                )
            for other in self.require[:index] + self.require[index + 1 :]:
                if set(other) < set(chain):
                    shown = ", ".join(other)
                    place.wrong(f"is never needed: {shown} alone is enough already", "take one of them out")
                    break
            for factor in chain:
                able = _methods_for(factor)
                if not set(able) & set(self.methods):
                    place.wrong(
                        f"{factor} cannot be given by a method on offer", f"login.methods with {able[0]}"
                    )
            if self._code_is_asked_instead(chain):
                text = "can never be whole: where its password is due, keyboard-interactive asks for another one's code"
                place.wrong(text, 'login.methods with "password"')
            self._check_outside(chain, place)

    def _check_outside(self, chain: Chain, place: At) -> None:
        """Others are asked last, and about nobody who has proved nothing; of two ways to go on, who asks takes one."""
        own = set(chain) - set(OUTSIDE)
        if not own:
            text = "asks others about somebody who has proved nothing"
            place.wrong(text, "a key, a certificate, a code or a password beside it")
            return
        for other in self.require:
            rest = set(other) & set(OUTSIDE)
            if other != chain and rest and set(other) - rest <= own:
                shown = ", ".join(other)
                place.wrong(
                    f"is never given: {shown} goes on with {', '.join(sorted(rest))} before", "one of them"
                )
                return

    def _code_is_asked_instead(self, chain: Chain) -> bool:
        """Of the password of `chain`: keyboard-interactive has one question at a time."""
        if PASSWORD not in chain or "keyboard-interactive" not in self.methods or PASSWORD in self.methods:
            return False
        ordered = in_order(chain)
        before = tuple(Proof(stands_for(factor), factor) for factor in ordered[: ordered.index(PASSWORD)])
        return CODE in Given(self.chains, before).wanted


def _methods_for(factor: str) -> tuple[str, ...]:
    if factor in KEYS:
        return ("publickey",)
    return ("password", "keyboard-interactive") if factor == PASSWORD else ("keyboard-interactive",)


@dataclass(frozen=True, slots=True)
class Totp:
    """One-time codes as a second factor (`docs/second-factors.md`)."""

    key_file: Path | None = option(
        optional(FILE),
        "File with the key in its first line, 32 characters or more, closed to others, that the secrets in the state"
        " store are encrypted with. The same for all gateways of one store. Not set: no code is ever right.",
        default=None,
        example='"credential:totp"',
    )
    issuer: str = option(
        text(pattern=_ISSUER, allowed="1 to 64 letters, digits, blanks, dots and hyphens"),
        "What an app on a telephone calls this gateway.",
        default="bastion",
    )
