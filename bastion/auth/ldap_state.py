"""Whether an LDAP entry may log in at all, by whatever method (L1, pure).

Whoever logs in with a key or a certificate never binds, so no server looks at these attributes for them: we do. Read
the safe way round: what is there and cannot be read counts against the account.

OpenLDAP's password policy (draft-behera-ldap-password-policy) and shadow(5), 389 Directory Server, FreeIPA (MIT
Kerberos' attributes) and Active Directory (MS-ADTS) say it each in their own words.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Final

from bastion.auth.identity import AccountState
from bastion.auth.ldap_entry import Entry, number

STATE_ATTRIBUTES: Final = (
    "pwdAccountLockedTime",
    "pwdAccountTmpLockoutEnd",
    "pwdReset",
    "pwdChangedTime",
    "pwdStartTime",
    "pwdEndTime",
    "shadowExpire",
    "shadowLastChange",
    "shadowMax",
    "shadowInactive",
    "nsAccountLock",
    "accountUnlockTime",
    "passwordExpirationTime",
    "krbPrincipalExpiration",
    "krbPasswordExpiration",
    "userAccountControl",
    "msDS-User-Account-Control-Computed",
    "accountExpires",
    "pwdLastSet",
)
"""What is asked for by name, since most of it is operational."""

# userAccountControl and its computed twin (Microsoft, MS-ADTS section 2.2.16).
_AD_DISABLED = 0x2
_AD_LOCKOUT = 0x10
_AD_PASSWORD_NEVER_EXPIRES = 0x10000
_AD_PASSWORD_EXPIRED = 0x800000
# accountExpires: "never" is 0 or the largest value; otherwise 100 ns since 1601-01-01.
_AD_NEVER = (0, 0x7FFFFFFFFFFFFFFF)
_SECONDS_1601_TO_1970 = 11_644_473_600
# draft-behera-ldap-password-policy section 5.3.3: locked until an administrator says otherwise.
_LOCKED_FOR_GOOD = "000001010000Z"
_DAY = 86400
# RFC 4517 section 3.3.13: minutes and seconds may be left out. A fraction of an hour or a minute nobody writes.
_TIME = re.compile(
    r"\A([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:[.,][0-9]{1,9})?)?)?"
    r"(?:Z|([+-])([0-9]{2})([0-9]{2})?)\Z"
)


@dataclass(frozen=True, slots=True)
class StateLimits:
    """What the server's password policy says and no entry shows. Seconds.

    `lockout` ends a pwdAccountLockedTime; 0: it counts until the server removes it. `password_age`: how old a password
    may be by its pwdChangedTime; 0: any age.
    """

    lockout: float = 0.0
    password_age: float = 0.0


NO_LIMITS: Final = StateLimits()


def account_state(entry: Entry, now: float, limits: StateLimits = NO_LIMITS) -> AccountState:
    """Whether the account may log in at `now` (seconds since the epoch), by any means."""
    if _is_locked(entry, now, limits.lockout):
        return AccountState.LOCKED
    if _is_expired(entry, now):
        return AccountState.EXPIRED
    if _must_change(entry, now, limits.password_age):
        return AccountState.PASSWORD_MUST_CHANGE
    return AccountState.ACTIVE


def _is_locked(entry: Entry, now: float, lockout: float) -> bool:
    for value in entry.texts("pwdAccountLockedTime"):
        since = _moment(value)
        if value == _LOCKED_FOR_GOOD or since is None or not lockout or now < since + lockout:
            return True
    if _is_over(entry, "pwdAccountTmpLockoutEnd", now) is False:
        return True
    if any(value.strip().lower() != "false" for value in entry.texts("nsAccountLock")):
        return True
    for value in entry.texts("accountUnlockTime"):
        # 389 Directory Server: until then; the epoch itself stands for "until an administrator says otherwise".
        until = _moment(value)
        if not until or now < until:
            return True
    return _flag(entry, "userAccountControl", _AD_DISABLED) or _flag(
        entry, "msDS-User-Account-Control-Computed", _AD_LOCKOUT
    )


def _is_expired(entry: Entry, now: float) -> bool:
    if entry.has("shadowExpire"):
        day = number(entry, "shadowExpire")
        # shadow(5): days since 1970-01-01; an empty field (here -1) is never. 0 is ambiguous there: expired
        # here.
        if day is None or 0 <= day <= now // _DAY:
            return True
    if entry.has("accountExpires"):
        moment = number(entry, "accountExpires")
        if moment is None:
            return True
        if moment not in _AD_NEVER and moment / 10_000_000 - _SECONDS_1601_TO_1970 <= now:
            return True
    if _is_over(entry, "pwdStartTime", now, unreadable=False) is False:  # it has not begun
        return True
    if _is_over(entry, "pwdEndTime", now) or _is_over(entry, "krbPrincipalExpiration", now):
        return True
    aged = _days_past_shadow_max(entry, now)
    left = number(entry, "shadowInactive")
    return aged is not None and left is not None and left >= 0 and aged > left


def _must_change(entry: Entry, now: float, password_age: float) -> bool:
    if any(value.strip().lower() != "false" for value in entry.texts("pwdReset")):
        return True
    if entry.has("shadowLastChange") and number(entry, "shadowLastChange") in (None, 0):
        return True
    if (_days_past_shadow_max(entry, now) or 0) > 0:
        return True
    if _is_over(entry, "passwordExpirationTime", now) or _is_over(entry, "krbPasswordExpiration", now):
        return True
    if password_age and _is_over(entry, "pwdChangedTime", now - password_age):
        return True
    if entry.has("pwdLastSet") and number(entry, "pwdLastSet") in (None, 0):
        return not _flag(entry, "userAccountControl", _AD_PASSWORD_NEVER_EXPIRES)
    return _flag(entry, "msDS-User-Account-Control-Computed", _AD_PASSWORD_EXPIRED)


def _days_past_shadow_max(entry: Entry, now: float) -> float | None:
    """Days since the password had to be changed (shadow(5)), negative before; None where that is never."""
    if not entry.has("shadowMax") or not entry.has("shadowLastChange"):
        return None
    last, most = number(entry, "shadowLastChange"), number(entry, "shadowMax")
    if last is None or most is None:
        return float("inf")
    return None if last < 0 or most < 0 else now // _DAY - last - most


def _is_over(entry: Entry, attribute: str, now: float, *, unreadable: bool = True) -> bool | None:
    """Has the moment come that the attribute names? None: it is not there. `unreadable`: the answer where it cannot be
    read, or there are several."""
    if not entry.has(attribute):
        return None
    values = entry.texts(attribute)
    moment = _moment(values[0]) if len(values) == 1 else None
    return unreadable if moment is None else moment <= now


def _flag(entry: Entry, attribute: str, bit: int) -> bool:
    """Whether a bit is set; an attribute that is there but unreadable counts as set for locks."""
    if not entry.has(attribute):
        return False
    value = number(entry, attribute)
    return value is None or bool(value & bit)


def _moment(value: str) -> float | None:
    """Seconds since the epoch of a GeneralizedTime, or None."""
    found = _TIME.match(value)
    if found is None:
        return None
    parts = [int(part or 0) for part in found.groups()[:6]]
    offset = int(found[8] or 0) * 3600 + int(found[9] or 0) * 60
    try:
        moment = datetime.datetime(*parts, tzinfo=datetime.UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        return None
    return moment.timestamp() - (-offset if found[7] == "-" else offset)
