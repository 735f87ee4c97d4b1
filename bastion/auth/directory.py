"""The directory: where accounts come from (L2). One Protocol, and what all of them refuse.

Invariants: no password is ever stored or cached; a name that is no login name and a password that no
directory may be asked about are refused before any call; an `Account` that comes back is active. Reasons say
exactly what happened and are for the audit log; texts say to an unproven stranger the same for unknown,
locked and wrong.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from bastion.auth.budget import Purse
from bastion.auth.identity import Account, AccountState, is_asked_for
from bastion.errors import AuthReason, Refused
from bastion.wire.keys import PublicKey

Verdict = TypeVar("Verdict")

# Directories hash what they are sent; a longer "password" only costs them time (and OpenSSH's own buffers
# once took 256 to 1024 characters for a match). Counted in UTF-8 bytes.
MAX_PASSWORD_BYTES = 1024

# The one answer to whoever has not proved anything.
NOT_ADMITTED = "the directory did not accept this name or password"
UNAVAILABLE = "the login directory is not available, please try again in a minute"
TIMED_OUT = "the login directory did not answer in time, please try again in a minute"

# Unicode categories of characters that show nothing: controls, formats, blanks, line and paragraph
# separators.
_INVISIBLE = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))

OFFLINE = "ldap_offline"
"""The source of an account of which the directory cannot be asked now: it is what was known of it last."""

SILENT = frozenset((AuthReason.DIRECTORY_UNAVAILABLE, AuthReason.DIRECTORY_TIMEOUT))
"""Refusals that say nothing of the account: the directory has not answered."""

STATE_REASONS: dict[AccountState, AuthReason] = {
    AccountState.LOCKED: AuthReason.ACCOUNT_LOCKED,
    AccountState.EXPIRED: AuthReason.ACCOUNT_EXPIRED,
    AccountState.PASSWORD_MUST_CHANGE: AuthReason.PASSWORD_MUST_CHANGE,
}
# What somebody may read who has just proved the password.
STATE_TEXTS: dict[AccountState, str] = {
    AccountState.LOCKED: "the account is locked; ask whoever keeps the directory",
    AccountState.EXPIRED: "the account has expired; ask whoever keeps the directory",
    AccountState.PASSWORD_MUST_CHANGE: "the directory password must be changed before the next login",
}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who makes a directory work: `purse` pays for the place, and shares the threads fairly with every other one.

    It is the source's before a login and the identity's after it. `query`: nothing is proved by this question, so
    it waits behind all that prove something. `certified`: the question is about somebody who has shown a certificate,
    and may be answered from what was known last where nobody else answers, for as long as the configuration says.
    """

    purse: Purse | None
    query: bool = False
    certified: bool = False


# The command line, and the gateway itself when it asks again whether an account still is what it was.
OPERATOR = Asker(None)


@dataclass(frozen=True, slots=True)
class Servers:
    """How a directory is: `healthy` of `all` servers are not known to fail; `local`: it has accounts without any;
    `down_since` (monotonic seconds): when the last of them failed, None while one works."""

    all: int
    healthy: int
    local: bool
    down_since: float | None = None


class Directory(Protocol):
    """Knows accounts by name. Every question fails with `Refused` and an `AuthReason`, never otherwise.

    `name` is compared lower-cased, and may be an alias that leads to an account of another name. Cancelling a Deferred
    gives the work up and frees what it held.
    """

    def lookup(self, name: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        """The account as it is or was a moment ago, for whoever may know that it exists."""
        ...

    def check_key(
        self, name: str, judge: Callable[[Account], Verdict], asker: Asker = OPERATOR
    ) -> Deferred[Verdict]:
        """What `judge` makes of the account, for a key or certificate; its groups may be a minute old.

        `judge` raises Refused for a credential that is none of the account's. How long a refusal takes and how it
        reads does not tell which directory knows the name.
        """
        ...

    def check_password(self, name: str, password: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        """The account, if `password` is its password now."""
        ...

    def holders_of(self, key: PublicKey, comment: str, asker: Asker = OPERATOR) -> Deferred[frozenset[str]]:
        """The ids of the accounts that have this key, which stands with that comment where it comes from. Fails with
        Refused where it cannot be asked."""
        ...

    def servers(self) -> Servers:
        """What its answers so far have shown of its servers; nobody is asked."""
        ...

    def ask_again(self) -> Deferred[None]:
        """Find out whether servers that failed work again, as a login would; fires when that is known. Never fails."""
        ...

    def close(self) -> None:
        """Give up what is under way and answer nothing more."""
        ...


def normal_name(name: str) -> str:
    """The name as accounts are compared: lower-case ASCII. Raises Refused with BAD_USER_NAME.

    ASCII is checked first: other letters fold into ASCII ones (U+212A lower-cases to "k").
    """
    lowered = name.lower() if name.isascii() else ""
    if not is_asked_for(lowered):
        raise Refused(AuthReason.BAD_USER_NAME, "the user name is not a valid identity")
    return lowered


def check_password_shape(password: str) -> None:
    """Refuse what no directory may be asked: raises Refused before any call goes out.

    RFC 4513 section 5.1.2: a simple bind with a DN and an empty password succeeds, as nobody. Blank ones are
    treated alike, including what string preparation (RFC 4013) would make empty on the server's side.
    """
    try:
        encoded = password.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(AuthReason.BAD_PASSWORD, NOT_ADMITTED) from None
    if len(encoded) > MAX_PASSWORD_BYTES:
        raise Refused(AuthReason.PASSWORD_TOO_LONG, f"a password has at most {MAX_PASSWORD_BYTES} bytes")
    if "\0" in password and password.strip("\0"):
        # A server that keeps C strings would compare only what stands before it.
        raise Refused(AuthReason.BAD_PASSWORD, NOT_ADMITTED)
    if all(unicodedata.category(character) in _INVISIBLE for character in password):
        raise Refused(AuthReason.EMPTY_PASSWORD, "an empty password is never accepted")


def refuse_unless_active(state: AccountState, *, proved: bool) -> None:
    """Raise Refused for an account that may not log in; only after a proof does the text say why."""
    if state is not AccountState.ACTIVE:
        raise Refused(STATE_REASONS[state], STATE_TEXTS[state] if proved else NOT_ADMITTED)


class Covered(Refused):
    """A refusal of an embedded account that an account elsewhere would have read as `shown`.

    Booked and penalised by its own reason; the engineer is told the other.
    """

    def __init__(self, refused: Refused, shown: AuthReason) -> None:
        super().__init__(refused.reason, refused.text)
        self.shown = shown
