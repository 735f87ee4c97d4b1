"""What helps against a refusal, by its reason (L4, pure).

A test checks that every reason named here exists. Values come from the audit log and are not trusted: the caller
escapes the result.
"""

from __future__ import annotations

from typing import Final

from bastion.auth.names import account_part
from bastion.observe.events import Line

TEST: Final = (
    "`bastion target test {target} {login}` tries every step of the way and names the one that fails"
)
WHY: Final = "`bastion why {user} {target} {login}` shows every rule and why it did or did not match"

PIN: Final = (
    "`bastion target scan {target}` prints its fingerprints; compare them on the machine itself, then "
    "`bastion target pin {target} SHA256:...`"
)

# Reason -> what helps. {user}, {target} and {login} are filled from the event.
ADVICE: Final[dict[str, str]] = {
    "name_not_found": "the target's host name does not resolve on the gateway: check the inventory; " + TEST,
    "connection_refused": "nothing listens on the target's port: is its sshd running? " + TEST,
    "unreachable": "the network has no way from the gateway to the target: check routes and firewalls, then "
    + TEST,
    "no_descriptor": "the gateway has no file descriptor left: raise LimitNOFILE of its service; see "
    "bastion_descriptors_exhausted_total",
    "connect_timeout": "the target does not answer: is it up, and may the gateway reach it? " + TEST,
    "timeout": "the target took too long: " + TEST,
    "not_ssh": "what answers on the target's port is no SSH server: check host and port in the inventory",
    "kex_failed": "the target has no algorithm in common with the gateway, or broke the key exchange: "
    + TEST,
    "host_key_unknown": "the target's host key is not known here: " + PIN,
    "host_key_changed": "another host key than the pinned one. Was the machine reinstalled? Then "
    + PIN
    + ". "
    "If not, treat it as an attack",
    "host_key_revoked": "the target's host key is marked @revoked in known_hosts: give the target a new one",
    "host_cert_invalid": "the target's host certificate is expired or for another name: sign a new one",
    "login_refused": "the target did not accept the gateway's certificate, key or password: "
    "`bastion target-config` prints what its sshd needs; " + TEST,
    "credential_failed": "the gateway could not make its own login: see [upstream_ca], the target's `key_file` and "
    "`password`; `bastion check` looks at them",
    "hop_refused": "the hop in front of the target does not let the gateway's account go on: its sshd needs "
    "`AllowTcpForwarding yes` (or `local`) and a `PermitOpen` that has the target's host and port; " + TEST,
    "proxy_failed": "the program that leads to the target could not be run or ended: what it said on standard error "
    "stands in the operator's log; `targets.proxy_commands` has its words; " + TEST,
    "no_common": "the client has no algorithm in common with the gateway: upgrade it, or, where that cannot be, set "
    '[listen] algorithms = "compat"',
    "unknown_target": "the inventory has no such target: names and aliases stand in the targets file or folder",
    "no_rule": WHY,
    "record_rate": "somebody asked for more channels or requests than may be written down in a moment: see "
    "bastion_budget_refusals_total for notes and log; it works again by itself",
    "login_not_allowed": WHY,
    "user_sessions": "the person has as many sessions at the same time as a rule's `max_sessions` says: `bastion live` "
    "shows them. " + WHY,
    "factor_needed": "a rule wants a factor (`factors`) that was not given: a code or password is asked for when a "
    "session is opened, a tunnel is told the command; whoever has no second factor is enrolled with `bastion totp "
    "enroll {user}`. " + WHY,
    "locked": "the security team has locked the user, the target, the certificate or the source: `bastion locks` "
    "shows who did, why and until when, `bastion unlock` takes the lock away",
    "killed": "somebody ended it: `killed` in the audit log has who and why",
    "account_gone": "the account was locked or removed in the directory after the login: it opens nothing new",
    "account_unconfirmed": "the directory did not answer for ten minutes, so nothing new is opened on old connections",
    "rights_withdrawn": "the account was locked or removed, or the rules changed, and a rule with `end_withdrawn` had "
    "given the session; " + WHY,
    "verb_not_allowed": WHY,
    "env_not_allowed": WHY,
    "destination_not_allowed": WHY,
    "path_not_allowed": WHY,
    "address_refused": "the name leads to the gateway itself or to an address that is never dialled: correct the name, "
    "or allow it with the target's `allow_addresses` or as one address in the rule's `tunnel`",
    "targets_unresolved": "the gateway had just started and was still looking up the names of its targets; it works a "
    "moment later",
    "nested_ssh": "SSH inside a forward or tunnel would be a session that nobody records: go through the gateway "
    "with `ssh -J`, or let a rule say `allow_ssh = true`",
    "cert_restriction": "the engineer's own certificate does not permit it: ask for one with that extension",
    "bad_password": "the directory says that the password is wrong",
    "unknown_user": "the directory has no such account: its name stands in front of the first `+`",
    "account_locked": "the account is locked in the directory",
    "account_expired": "the account has expired in the directory",
    "service_source": "the account is a service's and came from an address that is not in its `sources`",
    "password_must_change": "the password must be changed in the directory before it works here",
    "directory_unavailable": "the gateway could not reach the directory: see bastion_ldap_errors_total",
    "directory_timeout": "the directory did not answer in time: see bastion_ldap_operation_seconds",
    "throttled": "too many wrong passwords for this account from this address, or from addresses that it was never "
    "logged in to from; it passes by itself, and keys and certificates are not held up by the second",
    "abandoned": "the client closed the connection before the directory had answered; its guess stays counted",
    "over_budget": "this address had more keys checked than its share of the processor; it passes by itself",
    "bad_user_name": "user names are identity, identity+target or identity+login+target, of 255 bytes at most",
    "key_not_authorised": "the account's entry in the directory does not list this key",
    "cert_expired": "the certificate has expired: get a new one",
    "cert_not_yet_valid": "the certificate is not valid yet: compare its signer's clock with the gateway's",
    "cert_untrusted_ca": "the certificate was signed by a CA that the gateway does not trust ([login_ca])",
    "cert_wrong_principal": "the certificate must name the account in front of the first `+` as a principal",
    "cert_source_address": "the certificate may only be used from other addresses",
    "penalty": "this address or account failed too often; the penalty runs out by itself",
    "disk_floor": "the file system of the recordings is (nearly) full: make room, sessions then work again",
    "disk_slow": "a write of a recording took a second or more within the last 10 s, which stops every session: look "
    "at the disk and at who else writes to it (bastion_recorder_slow_writes_total)",
    "disk_full": "the file system of the recordings is full (room, inodes, quota): make room, sessions then work again",
    "write_failed": "the disk of the recordings takes nothing: look at /readyz, the kernel's log and the mount; "
    "sessions work again once a probe file can be written",
    "audit_failed": "the audit log cannot be written and [audit] required is set: see bastion_audit_failures_total",
    "draining": "the gateway was closing down: try again",
}


def advice(event: Line) -> str:
    """What helps against the refusal that the event tells of; "" when it tells of none, or nothing does."""
    hint = ADVICE.get(str(event.get("reason", "")), "")
    target = str(event.get("target") or "TARGET")
    user = account_part(str(event.get("user") or "")) or "USER"
    login = str(event.get("login") or "LOGIN")
    return hint.replace("{target}", target).replace("{user}", user).replace("{login}", login)
