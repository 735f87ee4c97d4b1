"""Audit events in plain words: one sentence each, and advice for the refusals that have a remedy (L4, pure).

Every event that the gateway writes has a sentence here (a test checks it); an unknown one, from another
version, is shown as its fields. Values come from the log and are not trusted: the caller escapes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bastion.auth.names import account_part

Event = Mapping[str, Any]

FIXED: Final = {"ts", "event", "session", "ref", "connection"}


def sentence(event: Event) -> str:
    """What happened, as one sentence without a time."""
    tell = SENTENCES.get(str(event.get("event")))
    return tell(event) if tell else _fields(str(event.get("event")), event)


def _fields(name: str, event: Event) -> str:
    shown = " ".join(f"{key}={value}" for key, value in event.items() if key not in FIXED)
    return f"{name}: {shown}" if shown else name


def _of(event: Event, key: str, before: str = "", after: str = "") -> str:
    """`before value after`, or nothing when the event has no such value."""
    value = event.get(key)
    return "" if value in (None, "", [], 0) else f"{before}{value}{after}"


def _place(event: Event) -> str:
    """Where a channel goes: ` to db1:5432` or ` to /run/x.sock`."""
    if event.get("path"):
        return f" to {event['path']}"
    return f" to {event['host']}{_of(event, 'port', ':')}" if event.get("host") else ""


def _because(event: Event) -> str:
    """`: text [reason]`, whatever of it there is."""
    return f"{_of(event, 'text', ': ')}{_of(event, 'reason', ' [', ']')}{_of(event, 'rule', ' by rule ')}"


def _handshake_failed(event: Event) -> str:
    """What the client was, how it went, and both offers where nothing was common."""
    where = f" for {event['target']}" if event.get("target") else ""
    told = f"{_of(event, 'software', after=' ')}from {event.get('source', '?')} did not finish the key exchange{where}"
    lists = event.get("nothing_common")
    for found in lists if isinstance(lists, list) else []:
        if isinstance(found, dict):
            offers = [found.get(side) for side in ("client", "gateway")]
            client, gateway = (
                ", ".join(map(str, names)) if isinstance(names, list) else "?" for names in offers
            )
            told += f"; no common {found.get('list', '?')}: it offers {client}; the gateway {gateway}"
    return f"{told}{_because(event)}"


def _auth(event: Event) -> str:
    who, method = event.get("user", "?"), event.get("method", "?")
    evidence = (
        _of(event, "key", ", key ")
        + _of(event, "certificate_id", ", key id ")
        + _of(event, "certificate_serial", ", serial ")
        + (" (as the certificate says; not verified)" if event.get("unverified") else "")
    )
    source = _of(event, "source", " from ")
    if event.get("result") == "ok" and method == "none":
        return f"{who}{source} was let in on the word of the connection outside"
    if event.get("result") == "ok":
        return f"{who}{source} logged in by {method}{evidence}"
    return f"{who}{source} was not let in by {method}{evidence}{_because(event)}"


def _authorise(event: Event) -> str:
    who, target = event.get("user", "?"), event.get("target") or "(no target)"
    login = _of(event, "login", " as ")
    if event.get("result") == "ok":
        return f"policy let {who} go to {target}{login}{_of(event, 'rules', ' by ')}"
    return f"policy did not let {who} go to {target}{login}{_because(event)}"


def _refused(event: Event) -> str:
    what = event.get("what", "connection")
    if what == "channel":
        return f"a channel {event.get('kind', '?')}{_place(event)} was refused{_because(event)}"
    if what == "stream":
        return f"channel {event.get('channel', '?')} was closed{_because(event)}"
    if what == "sftp":
        paths = _of(event, "path", " of ") + _of(event, "to", " to ")
        return (
            f"the sftp request {event.get('name', '?')}{paths} on channel {event.get('channel', '?')} was refused"
            + (_because(event))
        )
    if what == "buffer":
        return f"a channel was closed{_because(event)}"
    if what == "more":
        return f"{event.get('count', '?')} more opens and requests were refused{_because(event)}"
    if what == "request":
        channel = _of(event, "channel", " on channel ")
        return f"the request {event.get('name', '?')}{channel} was refused{_because(event)}"
    return f"the {what} was refused{_because(event)}"


def _sftp_file(event: Event) -> str:
    paths = _of(event, "path", " ")
    digest = _of(event, "sha256", ", SHA-256 ") or _of(event, "unhashed", ", no hash: ")
    return (
        f"channel {event.get('channel', '?')}: file {event.get('file', '?')}{paths} was opened to "
        f"{event.get('flags', '?')} and closed ({event.get('outcome', '?')}): {event.get('bytes_read', 0)} bytes read, "
        f"{event.get('bytes_written', 0)} written{digest}"
    )


def _sftp_operation(event: Event) -> str:
    paths = _of(event, "path", " of ") + _of(event, "to", " to ")
    file = _of(event, "file", " of file ") if not paths else ""
    channel, name = event.get("channel", "?"), event.get("name", "?")
    return f"channel {channel}: sftp {name}{paths or file}: {event.get('outcome', '?')}"


def _jump(event: Event) -> str:
    own = (
        "opened as ssh -J opens it: if the client shares its connection with nobody, no proof is needed"
        if event.get("stdio", event.get("own_stdio"))
        else "perhaps a listening socket's: proof is needed"
    )
    where = f"{_place(event)}, which is {event.get('target', '?')}"
    return f"{event.get('user', '?')} asked for a channel{where}; it is {own}"


def _target_banner(event: Event) -> str:
    more = _of(event, "missing", " (", " more bytes were not shown)")
    return f"{event.get('target', '?')} said before its login{_of(event, 'text', ': ')}{more}"


def _session_started(event: Event) -> str:
    who, target, login = event.get("user", "?"), event.get("target", "?"), _of(event, "login", " as ")
    door, host_key = _of(event, "door", " through the ", " door"), _of(event, "host_key", ", host key ")
    method, legacy = _of(event, "login_method", ", let in by "), _of(event, "legacy", ", legacy algorithms: ")
    return f"the session began: {who} on {target}{login}{door}{host_key}{method}{legacy}"


def _session_ended(event: Event) -> str:
    gaps = _of(event, "bytes_not_kept", ", ", " of them in gaps of the recording")
    opaque = _of(event, "opaque", " (", " of which nobody can replay)")
    channels = f"{event.get('channels', 0)}{opaque}"
    return f"the session ended{_because(event)}; channels: {channels}, {_bytes(event)}{gaps}"


def _channel_opened(event: Event) -> str:
    by = "target" if event.get("by") == "target" else "client"
    return (
        f"the {by} opened channel {event.get('channel', '?')}, {event.get('kind', '?')}{_place(event)}"
        + _of(event, "rule", ", by rule ")
    )


def _channel_closed(event: Event) -> str:
    return f"channel {event.get('channel', '?')} closed: {_bytes(event)}"


def _bytes(event: Event) -> str:
    return f"{event.get('bytes_in', 0)} bytes to the target and {event.get('bytes_out', 0)} back"


def _tunnel(event: Event) -> str:
    return f"{event.get('user', '?')}'s tunnel{_place(event)}{_of(event, 'address', ' at ')}"


def _tunnel_closed(event: Event) -> str:
    moved = f"{event.get('bytes_in', 0)} bytes there and {event.get('bytes_out', 0)} back"
    return f"{_tunnel(event)} ended{_because(event)}; {moved}{_of(event, 'seconds', ' in ', ' s')}"


def _reload(event: Event) -> str:
    if event.get("result") == "refused":
        return f"a reload was refused, the configuration stayed as it was{_because(event)}"
    return f"the configuration was reloaded{_of(event, 'restart', '; a restart is needed for ')}"


SENTENCES: Final[dict[str, Callable[[Event], str]]] = {
    "sftp_file": _sftp_file,
    "sftp_operation": _sftp_operation,
    "sftp_unparsed": lambda e: (
        f"the sftp of channel {e.get('channel', '?')} could not be followed any further{_because(e)}"
    ),
    "auth": _auth,
    "authorise": _authorise,
    "refused": _refused,
    "connection_refused": lambda e: f"a connection{_of(e, 'source', ' from ')} was turned away{_because(e)}",
    "outer_started": lambda e: (
        f"{e.get('user', '?')}{_of(e, 'source', ' from ')} was connected, to no target yet"
    ),
    "outer_ended": lambda e: f"the connection ended{_because(e)}; channels: {e.get('channels', 0)}",
    "jump": _jump,
    "target_banner": _target_banner,
    "session_started": _session_started,
    "session_ended": _session_ended,
    "channel_opened": _channel_opened,
    "channel_failed": lambda e: (
        f"the other side refused channel {e.get('channel', '?')}{_of(e, 'code', ' with code ')}"
    ),
    "channel_closed": _channel_closed,
    "request": lambda e: (
        f"channel {e.get('channel', '?')}: {e.get('name', '?')}{_of(e, 'rule', ', by rule ')}"
    ),
    "session_opaque": lambda e: (
        f"from channel {e.get('channel', '?')} on, {e.get('kind', '?')}, the session carries what nobody can replay"
    ),
    "stream_ssh": lambda e: (
        f"SSH passes inside channel {e.get('channel', '?')}{_of(e, 'rule', ', by rule ')}"
    ),
    "tunnel_opened": lambda e: f"{_tunnel(e)} was opened{_of(e, 'rules', ', by rule ')}",
    "tunnel_ssh": lambda e: f"SSH passes inside {_tunnel(e)}{_of(e, 'rules', ', by rule ')}",
    "tunnel_closed": _tunnel_closed,
    "recorder_failed": lambda e: f"the recording failed, so the session was ended{_because(e)}",
    "clock_stepped": lambda e: (
        f"the machine's clock was set by {e.get('seconds', '?')} s: times before and after do not compare"
    ),
    "gateway_started": lambda e: f"the gateway started{_of(e, 'version', ', version ')}",
    "gateway_stopped": lambda e: f"the gateway stopped{_of(e, 'signal', ' on ')}",
    "health_changed": lambda e: (
        f"{e.get('part', '?')} works again"
        if e.get("state") == "ok"
        else f"{e.get('part', '?')} {e.get('state', '?')}{_of(e, 'text', ': ')}"
    ),
    "reload": _reload,
    "handshake_failed": _handshake_failed,
    "lines_summed": lambda e: (
        f"{e.get('lines', '?')} lines of {e.get('source') or e.get('identity') or '?'} were counted and not written,"
        f" as it had used up its share of the log{_of(e, 'counts', ': ')}"
    ),
    "audit_resumed": lambda e: f"audit lines were lost before this point: {e.get('lines_lost', '?')}",
}

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
    "no_common": "the client has no algorithm in common with the gateway: upgrade it, or, where that cannot be, set "
    '[listen] algorithms = "compat"',
    "unknown_target": "the inventory has no such target: names and aliases stand in the targets file",
    "no_rule": WHY,
    "record_rate": "somebody asked for more channels or requests than may be written down in a moment: see "
    "bastion_budget_refusals_total for notes and log; it works again by itself",
    "login_not_allowed": WHY,
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
    "disk_full": "the file system of the recordings is full: make room, sessions then work again",
    "audit_failed": "the audit log cannot be written and [audit] required is set: see bastion_audit_failures_total",
    "draining": "the gateway was closing down: try again",
}


def advice(event: Event) -> str:
    """What helps against the refusal that the event tells of; "" when it tells of none, or nothing does."""
    hint = ADVICE.get(str(event.get("reason", "")), "")
    target = str(event.get("target") or "TARGET")
    user = account_part(str(event.get("user") or "")) or "USER"
    login = str(event.get("login") or "LOGIN")
    return hint.replace("{target}", target).replace("{user}", user).replace("{login}", login)
