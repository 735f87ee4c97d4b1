# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""Certificates that the gateway issues to those who have logged in: the section `[issue]` (L2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bastion.auth.factors import CODE, FACTORS, OUTSIDE, Chain, in_order
from bastion.config.login import Login
from bastion.options import At, option
from bastion.options.kinds import choice, duration, list_of, optional
from bastion.options.paths import FILE

if TYPE_CHECKING:  # whoever reads the options alone loads no directory
    from bastion.auth.embedded import Users

OWN_KEYS = ("login", "own", "any")
"""Which keys are certified: the one that logged in; all of the account too; any that is nobody else's."""


SHOWN: Final = 5
"""Accounts that a warning names."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Certificates for those who have logged in: `ssh alice@bastion cert` (`docs/certificates.md`)."""

    require: tuple[Chain, ...] = option(
        list_of(list_of(choice(*FACTORS), at_least=1)),
        "Chains of factors, one of which a login must have given to get a certificate. A login with a certificate that"
        " was issued here never gets one. Empty: none is issued.",
        default=(),
        example='[["sk-publickey"], ["publickey", "password"]]',
    )
    key: Path | None = option(
        optional(FILE),
        "Private key of the CA that signs them, a key of its own. Its certificates are taken at the login, and targets"
        " must never trust it.",
        default=None,
        example='"keys/issuing_ca"',
    )
    passphrase_file: Path | None = option(
        optional(FILE),
        "File with the key's passphrase in its first line, closed to others. Not set: the key is not encrypted.",
        default=None,
        example='"credential:issuing_ca"',
    )
    agent: Path | None = option(
        optional(FILE),
        "Socket of an ssh-agent with the private key (in a token, a KMS); `key` is then the file of its public half.",
        default=None,
        example='"/run/bastion/agent.sock"',
    )
    lifetime: float = option(
        duration(300, 86400),
        "How long after the login a certificate is valid: its second factor counts as long.",
        default=10 * 3600.0,
    )
    keys: str = option(
        choice(*OWN_KEYS),
        'Which keys are certified. "login": the one that logged in. "own": that, and those that the directory has for'
        ' the account. "any": others too, unless they are known as somebody else\'s (`docs/certificates.md`).',
        default="own",
    )

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The chains in the order in which their factors are given."""
        return tuple(in_order(chain) for chain in self.require)

    def validate(self, at: At) -> None:
        if bool(self.require) != (self.key is not None):
            missing, there = ("key", "require") if self.key is None else ("require", "key")
            at.child(missing).wrong(
                f"is not set, and issue.{there} is: no certificate could be issued", "both"
            )
        for index, chain in enumerate(self.require):
            place = at.child("require").child(index)
            if len(set(chain)) < len(chain):
                place.wrong("names a factor twice, which is one factor", "each factor once")
            elif not set(chain) - {CODE, *OUTSIDE}:
                text = "is a second factor alone, which is half a proof"
                place.wrong(text, "a key, a certificate or a password beside it")


def never_given(issue: Issue, login: Login) -> tuple[int, ...]:
    """Which of the chains no login gives: as soon as one of `[login] require` is whole, nothing more is asked."""
    return tuple(
        index
        for index, chain in enumerate(issue.require)
        if not any(set(chain) <= _given_by(given) for given in login.chains)
    )


def _given_by(chain: Chain) -> set[str]:
    return {*chain, "publickey"} if "sk-publickey" in chain else set(chain)


def bound_by_name(issue: Issue, users: Users) -> str:
    """What is wrong with embedded accounts to which certificates are issued; "" for nothing."""
    if not issue.require:
        return ""
    names = [user.name for user in users.values() if user.id is None and user.kind == "person"]
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    text = "certificates that are issued to them count for whoever has the name next"
    return f"has accounts without an id: {', '.join(names[:SHOWN])}{more}; {text}"
