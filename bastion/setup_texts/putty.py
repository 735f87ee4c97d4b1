"""PuTTY's and WinSCP's forms of what a client needs (pure text; Windows line ends are made by whoever saves it)."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bastion.setup_texts.facts import ClientFacts, ClientTarget
from bastion.wire.keys import ED25519, PublicKey

_ROOT = r"HKEY_CURRENT_USER\Software\SimonTatham\PuTTY"
# PuTTY's ProxyMethod for "SSH to proxy and use port forwarding", since 0.77.
_PROXY_SSH = 6
# RFC 8032 section 5.1: the field, the curve's d, and a square root of -1.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_I = pow(2, (_P - 1) // 4, _P)


def putty(facts: ClientFacts) -> str:
    """A .reg file: the gateway's host keys, the CA for the targets' names, and a session for each target."""
    lines = ["Windows Registry Editor Version 5.00", "", f"[{_ROOT}\\SshHostKeys]"]
    lines += [_host_key(key, facts.gateway, facts.port) for key in facts.host_keys]
    recorded = [target for target in facts.targets if target.recorded]
    if not facts.authorities:
        lines += [
            _host_key(key, name, target.port)
            for target in recorded
            for name in target.names
            for key in facts.host_keys
        ]
    elif recorded:
        for number, authority in enumerate(facts.authorities, 1):
            lines += _authority(f"bastion-{number}" if number > 1 else "bastion", authority, recorded)
    lines += [
        "",
        f"[{_ROOT}\\Sessions\\bastion]",
        *_values(_reached(facts.gateway, facts.port, facts.identity)),
    ]
    for target in facts.targets:
        lines += ["", f"[{_ROOT}\\Sessions\\{target.name}]", *_session(facts, target)]
    return "\n".join(lines) + "\n"


def _authority(name: str, key: PublicKey, targets: list[ClientTarget]) -> list[str]:
    return [
        "",
        f"[{_ROOT}\\SshHostCAs\\{name}]",
        f'"PublicKey"="{base64.b64encode(key.blob).decode("ascii")}"',
        f'"Validity"="{" || ".join(_valid_for(target) for target in targets)}"',
        '"PermitRSASHA1"=dword:00000000',
        '"PermitRSASHA256"=dword:00000001',
        '"PermitRSASHA512"=dword:00000001',
    ]


def _valid_for(target: ClientTarget) -> str:
    """PuTTY manual, "Configuring trusted CAs": patterns joined by || and &&, `port:` for the port.

    A colon is no character of a pattern, and one bad pattern voids them all: IPv6 addresses are left out.
    """
    names = " || ".join(name for name in target.names if ":" not in name)
    return f"(port:{target.port} && ({names}))"


def _session(facts: ClientFacts, target: ClientTarget) -> list[str]:
    """A proxy that is called as a saved session is reached with that session's settings, its key file too."""
    values = _reached(target.name, target.port, target.login)
    values += [
        ("ProxyMethod", _PROXY_SSH),
        ("ProxyHost", "bastion"),
        ("ProxyPort", facts.port),
        ("ProxyUsername", facts.identity),
        ("ProxyDNS", 2),  # the gateway knows the names
        ("ProxyLocalhost", 1),
    ]
    return _values(values)


def _reached(host: str, port: int, user: str) -> list[tuple[str, str | int]]:
    return [("Protocol", "ssh"), ("HostName", host), ("PortNumber", port), ("UserName", user)]


def _values(values: list[tuple[str, str | int]]) -> list[str]:
    return [
        f'"{name}"=dword:{value:08x}' if isinstance(value, int) else f'"{name}"="{value}"'
        for name, value in values
        if value != ""
    ]


def _host_key(key: PublicKey, host: str, port: int) -> str:
    """One value of SshHostKeys: `type@port:host` and the key as numbers."""
    kind, numbers = _numbers(key)
    return f'"{kind}@{port}:{host}"="{numbers}"'


def _numbers(key: PublicKey) -> tuple[str, str]:
    """PuTTY's name of the key type, and its numbers in hexadecimal."""
    public = key.key
    if isinstance(public, rsa.RSAPublicKey):
        found = public.public_numbers()
        return "rsa2", f"0x{found.e:x},0x{found.n:x}"
    if isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        return key.type, f"{key.type.removeprefix('ecdsa-sha2-')},0x{point.x:x},0x{point.y:x}"
    assert key.type == ED25519
    x, y = point_of(key.blob[-32:])
    return key.type, f"0x{x:x},0x{y:x}"


def point_of(encoded: bytes) -> tuple[int, int]:
    """The coordinates of an Ed25519 point (RFC 8032 section 5.1.3); the key was checked when it was parsed."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _I % _P
    return (_P - x if x & 1 != sign else x), y


# -- WinSCP -----------------------------------------------------------------------------------------------------


def winscp(facts: ClientFacts) -> str:
    """One command for each target. WinSCP's tunnel is a listening socket, so the key is used twice."""
    lines = [
        "rem One command per target, for cmd.exe; WinSCP asks for the key or password of the gateway and of the",
        "rem session inside: it is the same one (your own, not the target's). Add -privatekey and",
        'rem TunnelPublicKeyFile="..." when Pageant does not hold the key.',
    ]
    fingerprints = ";".join(_fingerprint(key) for key in facts.host_keys)
    for target in facts.targets:
        login = f"{target.login}@" if target.login else ""
        raw = [
            "Tunnel=1",
            f"TunnelHostName={facts.gateway}",
            f"TunnelPortNumber={facts.port}",
            *([f"TunnelUserName={facts.identity}"] if facts.identity else []),
            f'TunnelHostKey=""{fingerprints}""',
        ]
        shown = f' -hostkey=""{fingerprints}""' if target.recorded else ""
        url = f"sftp://{login}{target.name}:{target.port}/"
        lines.append(f'winscp.com /command "open {url}{shown} -rawsettings {" ".join(raw)}"')
    return "\n".join(lines) + "\n"


def _fingerprint(key: PublicKey) -> str:
    """As WinSCP writes it: type, bits, SHA-256 without its prefix."""
    return f"{key.type} {key.bits} {key.fingerprint().removeprefix('SHA256:')}"
