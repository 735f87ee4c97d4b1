"""The options in front of an authorised key (sshd(8), AUTHORIZED_KEYS FILE FORMAT). L0, pure.

Invariant: an option is understood completely or the whole line is refused. Nothing is dropped: a mistyped key
type or option name once turned restricted keys into unrestricted ones (x/crypto 7626c50).
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from bastion.errors import ProtocolError

# OpenSSH reads authorised-key lines of up to 8 KiB.
MAX_LINE = 8192

PERMIT_PTY = "permit-pty"
PERMIT_PORT_FORWARDING = "permit-port-forwarding"
PERMIT_AGENT_FORWARDING = "permit-agent-forwarding"
PERMIT_X11_FORWARDING = "permit-X11-forwarding"
PERMIT_USER_RC = "permit-user-rc"
# The five permits share their names with the certificate extensions (PROTOCOL.certkeys).
ALL_PERMITS = frozenset(
    (PERMIT_PTY, PERMIT_PORT_FORWARDING, PERMIT_AGENT_FORWARDING, PERMIT_X11_FORWARDING, PERMIT_USER_RC)
)

_FLAGS = {
    "pty": PERMIT_PTY,
    "port-forwarding": PERMIT_PORT_FORWARDING,
    "agent-forwarding": PERMIT_AGENT_FORWARDING,
    "x11-forwarding": PERMIT_X11_FORWARDING,
    "user-rc": PERMIT_USER_RC,
}
# Known to OpenSSH, but meaningless or unsafe on a gateway: a key that carries one is refused, with its name.
_UNSUPPORTED = frozenset(("cert-authority", "principals", "environment", "permitlisten", "tunnel"))
# What is asked of a security key's signature; "no-" in front takes it back.
_DEMANDS = ("touch-required", "verify-required")


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What the options say. `sources`, `permit_open`: None = option absent; an empty tuple matches nothing.

    `sources` are the comma-separated patterns of from=; `expires_at` is in seconds since the epoch (the key
    is refused from that second on); `permit_open` holds (host, port), port None = any. `touch_required` and
    `verify_required` are demands on a security key's signature.
    """

    permits: frozenset[str] = ALL_PERMITS
    command: str | None = None
    sources: tuple[str, ...] | None = None
    expires_at: int | None = None
    permit_open: tuple[tuple[str, int | None], ...] | None = None
    touch_required: bool = True
    verify_required: bool = False


def parse_key_options(text: str) -> tuple[KeyOptions, str]:
    """Read options up to the first unquoted blank; return them and what follows, blanks stripped.

    Raises ProtocolError with a text that names the option, never the value.
    """
    permits = set(ALL_PERMITS)
    command: str | None = None
    sources: tuple[str, ...] | None = None
    expires_at: int | None = None
    permit_open: list[tuple[str, int | None]] | None = None
    demands = {"touch-required": True, "verify-required": False}
    words, rest = _split_options(text)
    for name, value in words:
        if value is None and (_switch(permits, name) or _demand(demands, name)):
            continue
        if name in _UNSUPPORTED:
            raise ProtocolError(f"key option {name} is not supported here")
        if value is None or name not in ("command", "from", "expiry-time", "permitopen"):
            raise ProtocolError("unknown or malformed key option")
        if name == "permitopen":
            permit_open = [*(permit_open or ()), _permit_open(value)]
        elif name == "command" and command is None:
            command = value
        elif name == "from" and sources is None:
            sources = tuple(value.split(",")) if value else ()
        elif name == "expiry-time":
            # sshd(8): of several, the earliest counts.
            moment = parse_expiry(value)
            expires_at = moment if expires_at is None else min(expires_at, moment)
        else:
            raise ProtocolError(f"key option {name} is given twice")
    opens = None if permit_open is None else tuple(permit_open)
    made = KeyOptions(frozenset(permits), command, sources, expires_at, opens, *demands.values())
    return made, rest


def options_text(options: KeyOptions) -> str:
    """What an operator reads of them: the restrictions, in the words of sshd(8)."""
    words = [f"no-{name}" for name, permit in _FLAGS.items() if permit not in options.permits]
    if options.command is not None:
        words.append(f'command="{options.command}"')
    if options.sources is not None:
        words.append(f'from="{",".join(options.sources)}"')
    if options.permit_open is not None:
        words += [
            f'permitopen="{host}:{"*" if port is None else port}"' for host, port in options.permit_open
        ]
    words += ["verify-required"] if options.verify_required else []
    return ",".join(words if options.touch_required else (*words, "no-touch-required"))


def _switch(permits: set[str], name: str) -> bool:
    """Obey restrict, `pty`, `no-pty` and so on, in the order of the line; False when it is none of these."""
    if name == "restrict":
        permits.clear()
    elif name in _FLAGS:
        permits.add(_FLAGS[name])
    elif name.startswith("no-") and name[3:] in _FLAGS:
        permits.discard(_FLAGS[name[3:]])
    else:
        return False
    return True


def _demand(demands: dict[str, bool], name: str) -> bool:
    """Obey `no-touch-required`, `verify-required` and their opposites; False when it is none of these."""
    wanted = not name.startswith("no-")
    demand = name.removeprefix("no-")
    if demand not in _DEMANDS:
        return False
    demands[demand] = wanted
    return True


def _split_options(text: str) -> tuple[list[tuple[str, str | None]], str]:
    """Cut `name,name="value"` into pairs; option names are case-insensitive as in OpenSSH."""
    words: list[tuple[str, str | None]] = []
    at = 0
    while True:
        found = re.compile(r"[A-Za-z0-9-]+").match(text, at)
        if found is None:
            raise ProtocolError("key options: a name was expected")
        at = found.end()
        value: str | None = None
        if text[at : at + 1] == "=":
            value, at = _quoted(text, at + 1)
        words.append((found.group().lower(), value))
        following = text[at : at + 1]
        at += 1
        if following in (" ", "\t"):
            return words, text[at:].strip(" \t")
        if following != ",":
            raise ProtocolError("key options: a comma or blank was expected")


def _quoted(text: str, at: int) -> tuple[str, int]:
    """Read a value in double quotes, where only \\" is an escape (sshd(8)); return it and the place after."""
    if text[at : at + 1] != '"':
        raise ProtocolError("key options: a value must stand in double quotes")
    at += 1
    out: list[str] = []
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] == '"':
            out.append('"')
            at += 2
        elif text[at] == '"':
            return "".join(out), at + 1
        else:
            out.append(text[at])
            at += 1
    raise ProtocolError("key options: a quote is not closed")


def _permit_open(value: str) -> tuple[str, int | None]:
    """Read `host:port`, `[v6]:port`, port `*` = any. The host is compared literally, as in OpenSSH."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.*-]+)):(\*|[0-9]{1,5})", value)
    if found is None:
        raise ProtocolError("key option permitopen: write host:port")
    host = (found.group(1) or found.group(2)).lower()
    if "*" in host and host != "*":
        raise ProtocolError("key option permitopen: a host is a name, an address or * alone")
    if found.group(3) == "*":
        return host, None
    port = int(found.group(3))
    if not 0 < port < 65536:
        raise ProtocolError("key option permitopen: the port is out of range")
    return host, port


def parse_expiry(value: str) -> int:
    """Read YYYYMMDD[HHMM[SS]][Z] into seconds since the epoch; without Z the machine's zone (sshd(8))."""
    found = re.fullmatch(r"([0-9]{8})([0-9]{4})?([0-9]{2})?(Z?)", value, re.ASCII)
    if found is None or (found.group(3) and not found.group(2)):
        raise ProtocolError("key option expiry-time: write YYYYMMDD[HHMM[SS]][Z]")
    digits = found.group(1) + (found.group(2) or "0000") + (found.group(3) or "00")
    try:
        moment = datetime.datetime.strptime(digits, "%Y%m%d%H%M%S")
        if found.group(4):
            moment = moment.replace(tzinfo=datetime.UTC)
        return int(moment.timestamp())
    except (ValueError, OverflowError, OSError):
        raise ProtocolError("key option expiry-time: no such date") from None
