"""Writes the first seeds of every target: well-formed input, so that fuzzing begins behind the first check.

`python -m tests.fuzz.make_seeds` adds what is missing and changes nothing that is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bastion.wire import requests, userauth
from bastion.wire.certificates import CertificateKind, issue
from bastion.wire.data import boolean, mpint, namelist, string, uint32, uint64
from bastion.wire.kexinit import COMPAT, FRONT, KexInit
from bastion.wire.keys import PrivateKey
from bastion.wire.packets import PacketWriter
from bastion.wire.proxy_header import SIGNATURE
from tests.fuzz.readers import RSYNC
from tests.fuzz.targets import BODIES, KEY, SUITES, TARGETS, USERAUTH
from tests.hostile import memory_gateway as gate
from tests.hostile.rawssh import debug, ext_info, ignore
from tests.support.command_score import trace
from tests.support.command_traces import output_of
from tests.support.proxy_headers import LOCAL, binary, checked, line, record
from tests.unit.recording.samples import Tape
from tests.unit.recording.test_rsync import transfer

SEEDS = Path(__file__).with_name("seeds")
RSA = PrivateKey(rsa.generate_private_key(65537, 2048))
ECDSA = PrivateKey(ec.generate_private_key(ec.SECP256R1()))

Seeds = Iterator[tuple[str, bytes]]


def seeds_data() -> Seeds:
    yield "numbers", bytes([0, 1, 2, 3, 4, 10]) + bytes(10) + bytes(17) + string(b"text")
    yield (
        "lists",
        bytes([8, 9, 6, 7]) + bytes(12) + namelist(("a", "b")) + mpint(-5) + string("é") + string(b"n"),
    )


SESSION = [
    gate.open_session(0, 1000, 400),
    gate.confirm(0, 7, 1000, 400),
    gate.ask_channel(7, b"pty-req", gate.PTY),
    b"\x63" + uint32(0),
    gate.ask_channel(7, b"exec", string(b"ls")),
    b"\x64" + uint32(0),
    gate.data(7, b"hello"),
    b"\x5f" + uint32(0) + uint32(1) + string(b"oops"),
    b"\x5d" + uint32(7) + uint32(5000),
    b"\x50" + string(b"tcpip-forward") + b"\1" + string(b"") + uint32(0),
    b"\x51" + uint32(8022),
    b"\x52",
    b"\x5c" + uint32(0) + uint32(1) + string(b"no") + string(b""),
    b"\x60" + uint32(7),
    b"\x61" + uint32(7),
]


def seeds_messages() -> Seeds:
    for payload in SESSION:
        yield f"number-{payload[0]}", payload


BODY_SAMPLES = {
    requests.Empty: b"",
    requests.Exec: string(b"ls -l"),
    requests.PtyRequest: gate.PTY[:-5] + string(bytes([1, 0, 0, 0, 3, 0])),
    requests.WindowChange: uint32(80) * 4,
}
TUNNEL = string(b"127.0.0.1") + uint32(80) + string(b"127.0.0.1") + uint32(1024)


def seeds_requests() -> Seeds:
    generic = (
        string(b"TERM") * 3,
        TUNNEL,
        string(b"x") + uint32(1),
        uint32(5),
        boolean(True) + string(b"x") * 3,
    )
    for place, kind in enumerate(BODIES):
        samples = (BODY_SAMPLES[kind],) if kind in BODY_SAMPLES else generic
        for number, body in enumerate(samples):
            yield f"{kind.__name__.lower()}-{number}", bytes([place]) + body


def seeds_userauth() -> Seeds:
    login = string(b"alice") + string(b"ssh-connection")
    samples = {
        userauth.ServiceRequest: b"\x05" + string(b"ssh-userauth"),
        userauth.UserauthRequest: b"\x32" + login + string(b"none"),
        userauth.PublicKeyBody: boolean(True)
        + string(b"ssh-ed25519")
        + string(KEY.public.blob)
        + string(b"s"),
        userauth.PasswordBody: boolean(True) + string(b"old") + string(b"new"),
        userauth.KeyboardInteractiveBody: string(b"") * 2,
        userauth.UserauthFailure: b"\x33" + namelist(("publickey", "password")) + b"\0",
        userauth.UserauthBanner: b"\x35" + string(b"hello") + string(b""),
        userauth.PkOk: b"\x3c" + string(b"ssh-ed25519") + string(KEY.public.blob),
        userauth.InfoRequest: b"\x3c" + string(b"") * 3 + uint32(1) + string(b"Password: ") + b"\0",
        userauth.InfoResponse: b"\x3d" + uint32(1) + string(b"secret"),
    }
    for place, kind in enumerate(USERAUTH):
        yield kind.__name__.lower(), bytes([place]) + samples[kind]


def seeds_keys() -> Seeds:
    for key in (KEY, RSA, ECDSA):
        for algorithm in key.public.algorithms:
            blob = key.public.blob
            yield algorithm, len(blob).to_bytes(2, "big") + blob + key.sign(b"data", algorithm)
    blob = string(b"sk-ssh-ed25519@openssh.com") + KEY.public.blob[-36:] + string(b"ssh:")
    yield "sk-ed25519", len(blob).to_bytes(2, "big") + blob


def seeds_krl() -> Seeds:
    head = b"SSHKRL\n\0" + uint32(1) + uint64(1) * 3 + string(b"") + string(b"")
    parts = (
        b"\x20" + string(uint64(5)),
        b"\x21" + string(uint64(7) + uint64(9)),
        b"\x22" + string(uint64(20) + mpint(0b1011)),
        b"\x23" + string(string(b"laptop")),
        b"\x39" + string(string(b"x") + boolean(False) + string(b"")),
    )
    for name, authority in (("certificates", KEY.public.blob), ("everybody", b"")):
        yield name, head + b"\1" + string(string(authority) + string(b"") + b"".join(parts))
    yield "keys", head + b"\2" + string(string(KEY.public.blob)) + b"\3" + string(string(bytes(20)))
    yield "signed", head + b"\5" + string(string(bytes(32))) + b"\4" + string(b"key") + string(b"signature")


def seeds_security_keys() -> Seeds:
    tail = b"\1" + uint32(7)
    client_data = b'{"type":"webauthn.get","challenge":"ZGF0YQ","origin":"https://x"}'
    ecdsa = string(mpint(1 << 250) + mpint(1 << 251))
    yield "ed25519", string("sk-ssh-ed25519@openssh.com") + string(bytes(64)) + tail
    yield "ecdsa", string("sk-ecdsa-sha2-nistp256@openssh.com") + ecdsa + tail
    told = string(b"https://x") + string(client_data) + string(b"")
    yield "webauthn", string("webauthn-sk-ecdsa-sha2-nistp256@openssh.com") + ecdsa + tail + told


def seeds_certificates() -> Seeds:
    for kind in CertificateKind:
        for subject in (KEY, RSA, ECDSA):
            made = issue(
                KEY,
                subject.public,
                serial=1,
                kind=kind,
                key_id="laptop",
                principals=("alice", "root"),
                valid_after=0,
                valid_before=2**40,
                critical_options={"source-address": b"192.0.2.0/24"} if kind is CertificateKind.USER else {},
                extensions={"permit-pty": b""} if kind is CertificateKind.USER else {},
            )
            yield f"{kind.name.lower()}-{subject.public.type}", made.blob


def seeds_kexinit() -> Seeds:
    yield "version", b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"
    yield "talkative", b"welcome\r\nSSH-2.0-x\r\n"
    for name, offer in (("front", FRONT), ("compat", COMPAT)):
        for client in (True, False):
            payload = KexInit.offer(bytes(16), offer, client_role=client, initial=True).encode()
            yield f"{name}-{'client' if client else 'server'}", payload


def seeds_packets() -> Seeds:
    for place, keys in enumerate(SUITES):
        writer = PacketWriter()
        if keys is not None:
            writer.switch(keys)
        wire = writer.seal([ignore(), b"\x5e" + uint32(0) + string(bytes(100)), b"\x15"])
        yield f"suite-{place}", bytes([place]) + wire


def seeds_known_hosts() -> Seeds:
    line = KEY.public.line()
    yield "plain", f"web1,192.0.2.1 {line}\n[web1]:2222 {line} a comment\n".encode()
    yield "marked", f"# comment\n@cert-authority *.example.com,!x {line}\n@revoked * {line}\n".encode()
    yield "hashed", f"|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {line}\n".encode()


def seeds_authorized_keys() -> Seeds:
    line = KEY.public.line()
    yield "plain", f"{line} alice@laptop".encode()
    yield "options", f'from="192.0.2.0/24,!192.0.2.9",command="ls \\"x\\"",no-pty {line}'.encode()
    yield "more", f'restrict,pty,expiry-time="20991231",environment="A=b" {line}'.encode()
    yield "ca", f'cert-authority,principals="alice,bob" {line}'.encode()


def seeds_destination() -> Seeds:
    for text in ("alice", "alice+web1", "alice+root+web1", "Alice+Root+web1.example.com"):
        yield text.replace("+", "-"), text.encode()


def seeds_recordings() -> Seeds:
    tape = Tape()
    tape.out(b"hello world\r\n")
    tape.out(b"\x1b[31mred\x1b[0m", stream=1)
    yield "torn", tape.file
    yield "ended", tape.end().file


def seeds_rsync() -> Seeds:
    """Real transfers, as far as their lists go."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source" / "sub").mkdir(parents=True)
        (folder / "source" / "a\x1b[2J.txt").write_text("hello")
        (folder / "source" / "sub" / ("n" * 200)).write_text("there")
        (folder / "source" / "sub" / "link").symlink_to("../nothing")
        os.mkfifo(folder / "source" / "pipe")
        for number, options in enumerate((("-a",), ("-a",), ("-a", "--delete"), ("-r", "-UH"))):
            upload = "--sender" not in RSYNC[number]
            passed = transfer(folder, "upload" if upload else "download", *options)
            receiver, sender = (passed.target, passed.client) if upload else (passed.client, passed.target)
            yield f"transfer-{number}", bytes([number | 0xF0, 64]) + receiver[:64] + sender[:1200]


def seeds_typed() -> Seeds:
    """The beginnings of traces of real shells."""
    for name in (
        "bash-plain",
        "old-history",
        "zsh-quotes",
        "osc-edited",
        "fish-plain",
        "tmux-panes",
        "screen-edited",
    ):
        yield name, bytes([3, 40]) + b"".join(output_of(trace(name)))[:1200]


def seeds_relay() -> Seeds:
    sides = "ctctctctctcttct"
    script = b"".join(
        bytes([0x80 if side == "t" else 0, len(payload)]) + payload
        for side, payload in zip(sides, SESSION, strict=True)
    )
    yield "session", script
    yield "opens", b"".join(bytes([0, len(SESSION[0])]) + SESSION[0] for _ in range(6))


def seeds_unseen() -> Seeds:
    """Scripts for `tests.support.unseen`: choices, so any bytes do; these get far."""
    random = Random(4254)
    for number in range(3):
        yield f"script-{number}", random.randbytes(400)
    yield "quiet", bytes(40)


SFTP = {
    "open": b"\x03" + uint32(1) + string(b"/srv/a.txt") + uint32(1) + uint32(0),
    "create": b"\x03" + uint32(2) + string(b"/srv/in/b") + uint32(26) + uint32(4) + uint32(0o644),
    "close": b"\x04" + uint32(3) + string(b"h0"),
    "read": b"\x05" + uint32(4) + string(b"h0") + uint64(0) + uint32(32768),
    "write": b"\x06" + uint32(5) + string(b"h0") + uint64(0) + string(b"hello"),
    "setstat": b"\x09" + uint32(6) + string(b"/srv/in/b") + uint32(8) + uint32(1) + uint32(2),
    "opendir": b"\x0b" + uint32(7) + string(b"/srv"),
    "remove": b"\x0d" + uint32(8) + string(b"/etc/passwd"),
    "realpath": b"\x10" + uint32(9) + string(b"."),
    "rename": b"\x12" + uint32(10) + string(b"/srv/in/b") + string(b"/srv/in/c"),
    "posix-rename": b"\xc8"
    + uint32(11)
    + string(b"posix-rename@openssh.com")
    + string(b"/a")
    + string(b"/b"),
    "unknown": b"\xc8" + uint32(12) + string(b"x@example.com") + b"rest",
    "name": b"\x68" + uint32(9) + uint32(1) + string(b"/root") + string(b"/root") + uint32(0),
}


def seeds_sftp() -> Seeds:
    yield from SFTP.items()


def seeds_relay_sftp() -> Seeds:
    version = b"\x01" + uint32(3), b"\x02" + uint32(3)
    answers = {
        "open": b"\x66" + uint32(1) + string(b"h0"),
        "read": b"\x67" + uint32(4) + string(b"hello"),
        "close": b"\x65" + uint32(3) + uint32(0) + string(b"") * 2,
        "realpath": SFTP["name"],
    }
    steps = [(0, version[0]), (128, version[1])]
    for name in ("realpath", "open", "read", "close"):
        steps += [(0, SFTP[name]), (128, answers[name])]
    steps += [(0, SFTP[name]) for name in ("remove", "rename", "posix-rename", "unknown")]
    script = b"".join(bytes([side, len(packet) + 4]) + uint32(len(packet)) + packet for side, packet in steps)
    yield "free", b"\0" + script
    yield "controlled", b"\1" + script


def seeds_userauth_service() -> Seeds:
    service = string(b"ssh-userauth")
    login = string(b"alice") + string(b"ssh-connection")

    def script(*steps: tuple[int, bytes]) -> bytes:
        return b"".join(bytes([cue]) + len(body).to_bytes(2, "big") + body for cue, body in steps)

    key = boolean(False) + string(b"ssh-ed25519") + string(KEY.public.blob)
    signature = KEY.sign(
        userauth.signed_data(bytes(32), "alice", "ssh-connection", "ssh-ed25519", KEY.public.blob)
    )
    proof = boolean(True) + string(b"ssh-ed25519") + string(KEY.public.blob) + string(signature)
    start = (0, service), (1, login + string(b"none"))
    yield (
        "key",
        script(*start, (1, login + string(b"publickey") + key), (1, login + string(b"publickey") + proof)),
    )
    yield "password", script(*start, (1, login + string(b"password") + boolean(False) + string(b"right")))
    ask = login + string(b"keyboard-interactive") + string(b"") * 2
    yield "question", script(*start, (1, ask), (2, uint32(1) + string(b"wrong")), (1, ask))


def seeds_transport() -> Seeds:
    version = b"SSH-2.0-fuzz\r\n"
    for role in (0, 1):
        payload = KexInit.offer(bytes(16), FRONT, client_role=role == 1, initial=True).encode()
        method = b"\x1e" + string(bytes([9]) * 32)
        wire = PacketWriter().seal([payload, method, b"\x15"])
        yield f"role-{role}", bytes([role | 0xF0]) + version + wire
    yield "noise", b"\x01" + version + PacketWriter().seal([ignore(), debug(), ext_info([]), uint64(5)])


def seeds_proxy_header() -> Seeds:
    plain = binary("198.51.100.4", "192.0.2.10", 40000, 22)
    yield "line", b"\3" + line("198.51.100.4").removeprefix(b"PROXY TCP") + b"SSH-2.0-x\r\n"
    yield "line-6", b"\0" + line("2001:db8::4", destination="2001:db8::10").removeprefix(b"PROXY TCP")
    yield "unknown", b"\1PROXY UNKNOWN\r\n"
    yield "local", b"\2" + LOCAL.removeprefix(SIGNATURE)
    yield "binary", b"\4" + plain.removeprefix(SIGNATURE) + b"SSH-2.0-x\r\n"
    yield "binary-6", b"\4" + binary("2001:db8::4", "2001:db8::10", 40000, 22).removeprefix(SIGNATURE)
    yield (
        "records",
        b"\7" + checked(plain, record(5, b"an id"), record(0x20, b"\1\0\0\0\0")).removeprefix(SIGNATURE),
    )


def main() -> None:
    for name in TARGETS:
        folder = SEEDS / name
        folder.mkdir(parents=True, exist_ok=True)
        for label, data in globals()[f"seeds_{name}"]():
            path = folder / label
            if not path.exists():
                path.write_bytes(data)


if __name__ == "__main__":
    main()
