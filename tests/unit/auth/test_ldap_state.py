"""The state of accounts as OpenLDAP, 389 Directory Server, FreeIPA and Active Directory say it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.identity import AccountState
from bastion.auth.ldap_entry import Entry
from bastion.auth.ldap_state import STATE_ATTRIBUTES, StateLimits, account_state
from tests.unit.auth.test_ldap_entry import entry

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z, day 20833
TODAY = 20833
SOON, PAST = "20270115080001Z", "20270115080000Z"
DAY = 86400.0


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"shadowExpire": "-1"},
        {"shadowExpire": str(TODAY + 1)},
        {"shadowLastChange": str(TODAY)},
        {"shadowLastChange": str(TODAY - 90), "shadowMax": "90", "shadowInactive": "0"},
        {"shadowLastChange": "1", "shadowMax": "-1"},
        {"shadowLastChange": "-1", "shadowMax": "90"},
        {"shadowLastChange": "1", "shadowMax": "99999"},
        {"nsAccountLock": "FALSE"},
        {"accountUnlockTime": PAST},
        {"pwdReset": "FALSE"},
        {"pwdStartTime": PAST, "pwdEndTime": SOON},
        {"pwdAccountTmpLockoutEnd": PAST},
        {"pwdChangedTime": "20000101000000Z"},
        {"passwordExpirationTime": SOON},
        {"krbPrincipalExpiration": SOON, "krbPasswordExpiration": SOON},
        {"krbPrincipalExpiration": "20270115100000+0159"},
        {"krbPasswordExpiration": "20380101000000Z"},
        {"userAccountControl": "512"},
        {"accountExpires": "0"},
        {"accountExpires": str(0x7FFFFFFFFFFFFFFF)},
        {"pwdLastSet": "133000000000000000"},
        {"pwdLastSet": "0", "userAccountControl": str(0x10200)},
    ],
)
def test_active(values: dict[str, str]) -> None:
    assert account_state(entry(**values), NOW) is AccountState.ACTIVE


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"pwdAccountLockedTime": "000001010000Z"}, AccountState.LOCKED),
        ({"pwdAccountLockedTime": "20260101000000Z"}, AccountState.LOCKED),
        ({"pwdAccountLockedTime": "soon"}, AccountState.LOCKED),
        ({"pwdAccountTmpLockoutEnd": SOON}, AccountState.LOCKED),
        ({"nsAccountLock": "TRUE"}, AccountState.LOCKED),
        ({"nsAccountLock": "yes"}, AccountState.LOCKED),
        ({"accountUnlockTime": SOON}, AccountState.LOCKED),
        ({"accountUnlockTime": "19700101000000Z"}, AccountState.LOCKED),
        ({"accountUnlockTime": "later"}, AccountState.LOCKED),
        ({"userAccountControl": "514"}, AccountState.LOCKED),
        ({"userAccountControl": "many"}, AccountState.LOCKED),
        ({"msDS_User_Account_Control_Computed": "16"}, AccountState.LOCKED),
        ({"shadowExpire": str(TODAY)}, AccountState.EXPIRED),
        ({"shadowExpire": "0"}, AccountState.EXPIRED),
        ({"shadowExpire": "tomorrow"}, AccountState.EXPIRED),
        (
            {"shadowLastChange": str(TODAY - 92), "shadowMax": "90", "shadowInactive": "1"},
            AccountState.EXPIRED,
        ),
        ({"pwdStartTime": SOON}, AccountState.EXPIRED),
        ({"pwdStartTime": "soon"}, AccountState.EXPIRED),
        ({"pwdEndTime": PAST}, AccountState.EXPIRED),
        ({"pwdEndTime": "never"}, AccountState.EXPIRED),
        ({"krbPrincipalExpiration": PAST}, AccountState.EXPIRED),
        ({"krbPrincipalExpiration": "20270115080000"}, AccountState.EXPIRED),
        ({"krbPrincipalExpiration": "20271315080000Z"}, AccountState.EXPIRED),
        ({"accountExpires": "133000000000000000"}, AccountState.EXPIRED),
        ({"accountExpires": "never"}, AccountState.EXPIRED),
        ({"accountExpires": "0", "krbPrincipalExpiration": PAST}, AccountState.EXPIRED),
        ({"pwdReset": "TRUE"}, AccountState.PASSWORD_MUST_CHANGE),
        ({"shadowLastChange": "0"}, AccountState.PASSWORD_MUST_CHANGE),
        ({"shadowLastChange": str(TODAY - 91), "shadowMax": "90"}, AccountState.PASSWORD_MUST_CHANGE),
        ({"shadowLastChange": str(TODAY), "shadowMax": "long"}, AccountState.PASSWORD_MUST_CHANGE),
        (
            {"shadowLastChange": str(TODAY - 91), "shadowMax": "90", "shadowInactive": "1"},
            AccountState.PASSWORD_MUST_CHANGE,
        ),
        ({"passwordExpirationTime": "19700101000000Z"}, AccountState.PASSWORD_MUST_CHANGE),
        ({"krbPasswordExpiration": PAST}, AccountState.PASSWORD_MUST_CHANGE),
        ({"krbPasswordExpiration": "2027011508Z"}, AccountState.PASSWORD_MUST_CHANGE),
        ({"krbPasswordExpiration": "202701150900+01"}, AccountState.PASSWORD_MUST_CHANGE),
        ({"pwdLastSet": "0"}, AccountState.PASSWORD_MUST_CHANGE),
        ({"msDS_User_Account_Control_Computed": str(0x800000)}, AccountState.PASSWORD_MUST_CHANGE),
        ({"pwdReset": "TRUE", "nsAccountLock": "TRUE"}, AccountState.LOCKED),
        ({"krbPrincipalExpiration": PAST, "krbPasswordExpiration": PAST}, AccountState.EXPIRED),
    ],
)
def test_not_active(values: dict[str, str], state: AccountState) -> None:
    assert account_state(entry(**values), NOW) is state


@pytest.mark.parametrize("attribute", ["pwdEndTime", "krbPrincipalExpiration", "pwdStartTime"])
def test_several_values_of_one_moment_count_against_the_account(attribute: str) -> None:
    assert account_state(entry(**{attribute: [SOON, PAST]}), NOW) is AccountState.EXPIRED


def test_a_lock_may_run_out_when_the_operator_says_how_long_it_lasts() -> None:
    recent = entry(pwdAccountLockedTime="20270115075900Z")  # one minute before NOW
    limits = StateLimits(lockout=300)
    assert account_state(recent, NOW, limits) is AccountState.LOCKED
    assert account_state(recent, NOW + 300, limits) is AccountState.ACTIVE
    assert account_state(recent, NOW + 300) is AccountState.LOCKED
    for_good = entry(pwdAccountLockedTime="000001010000Z")
    assert account_state(for_good, NOW, limits) is AccountState.LOCKED


def test_a_password_may_be_too_old_when_the_operator_says_how_old_it_may_be() -> None:
    limits = StateLimits(password_age=90 * DAY)
    changed = entry(pwdChangedTime="20261017080001Z")  # 90 days before NOW but for a second
    assert account_state(changed, NOW, limits) is AccountState.ACTIVE
    assert account_state(changed, NOW + 1, limits) is AccountState.PASSWORD_MUST_CHANGE
    assert account_state(changed, NOW + 1) is AccountState.ACTIVE
    assert account_state(entry(), NOW, limits) is AccountState.ACTIVE  # as slapd has it: never set, never old


@given(st.dictionaries(st.sampled_from(STATE_ATTRIBUTES), st.lists(st.binary(max_size=30), max_size=3)))
def test_any_state_values_are_survived(values: dict[str, list[bytes]]) -> None:
    found = Entry("uid=a", {name.lower(): value for name, value in values.items()})
    assert account_state(found, NOW) in AccountState
