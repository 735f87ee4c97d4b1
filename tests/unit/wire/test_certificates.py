"""Certificates against ssh-keygen, and every byte of one turned over."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire.certificates import (
    CERTIFICATE_TYPES,
    FOREVER,
    SIGNATURE_OF_CERTIFICATE,
    CaAlgorithmRefused,
    Certificate,
    CertificateKind,
    flag_options,
    issue,
)
from bastion.wire.data import string, uint32, uint64
from bastion.wire.keys import BadSignature, PrivateKey, PublicKey
from tests.unit.wire.keygen import certify, keygen, load, make_key, public_blob

CA = PrivateKey.generate_ed25519()
USER = PrivateKey.generate_ed25519().public

KEYS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa521": ("-t", "ecdsa", "-b", "521"),
    "rsa": ("-t", "rsa", "-b", "2048"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_key(folder, name, *options) for name, options in KEYS.items()}


def raw(
    *,
    ca: PrivateKey = CA,
    cert_type: str = "ssh-ed25519-cert-v01@openssh.com",
    nonce: bytes = b"n" * 32,
    fields: bytes = USER.fields,
    kind: int = 1,
    key_id: bytes = b"id",
    principals: bytes = string("alice"),
    after: int = 100,
    before: int = 200,
    critical: bytes = b"",
    extensions: bytes = b"",
    reserved: bytes = b"",
    signature_key: bytes | None = None,
    signature: bytes | None = None,
    tail: bytes = b"",
) -> bytes:
    """A certificate written by hand, signed rightly, so that one thing at a time can be wrong in it."""
    body = string(cert_type) + string(nonce) + fields + uint64(7) + uint32(kind) + string(key_id)
    body += string(principals) + uint64(after) + uint64(before) + string(critical) + string(extensions)
    body += string(reserved) + string(ca.public.blob if signature_key is None else signature_key)
    return body + string(ca.sign(body) if signature is None else signature) + tail


def option(name: str, value: str | None = None) -> bytes:
    return string(name) + string(b"" if value is None else string(value))


PAIRS = [(ca, key) for ca in KEYS for key in KEYS if "ed25519" in (ca, key)]


@pytest.mark.parametrize(("ca", "key"), PAIRS)
def test_a_certificate_by_ssh_keygen_reads(ca: str, key: str, files: dict[str, Path]) -> None:
    blob = certify(
        files[ca], files[key], "-I", "alice@work", "-n", "alice,root", "-z", "12345678901234567890",
        "-V", "20260101000000Z:20260102000000Z", "-O", "force-command=ls -l", "-O", "no-x11-forwarding",
        "-O", "source-address=10.0.0.0/8,::1",
    )  # fmt: skip
    found = Certificate.parse(blob)
    assert found.type in CERTIFICATE_TYPES
    assert found.key.blob == public_blob(files[key])
    assert found.signature_key.blob == public_blob(files[ca])
    assert (found.kind, found.serial, found.key_id) == (
        CertificateKind.USER,
        12345678901234567890,
        "alice@work",
    )
    assert found.principals == ("alice", "root")
    assert (found.valid_after, found.valid_before) == (1767225600, 1767312000)
    assert found.critical_options == {
        "force-command": string("ls -l"),
        "source-address": string("10.0.0.0/8,::1"),
    }
    assert set(found.extensions) == {
        "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc",
    }  # fmt: skip
    assert found.encode() == blob
    assert all(name in SIGNATURE_OF_CERTIFICATE for name in found.algorithms)


def test_a_host_certificate_without_end_reads(files: dict[str, Path]) -> None:
    found = Certificate.parse(certify(files["ed25519"], files["rsa"], "-h", "-I", "web", "-n", "web1"))
    assert found.kind is CertificateKind.HOST
    assert (found.valid_after, found.valid_before) == (0, FOREVER)


@pytest.mark.parametrize("name", KEYS)
def test_ssh_keygen_reads_what_we_issue(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    made = issue(
        load(files[name]),
        load(files["ecdsa384"]).public,
        kind=CertificateKind.USER,
        serial=2**64 - 1,
        key_id="alice k3v2m5q7p2r4t6w8",
        principals=["deploy"],
        valid_after=1767225600,
        valid_before=1767225900,
        critical_options={"source-address": "192.0.2.1,2001:db8::/64", "force-command": ""},
        extensions=dict(flag_options(["permit-pty", "permit-X11-forwarding"])),
    )
    path = tmp_path / "made-cert.pub"
    path.write_text(f"{made.type} {base64.b64encode(made.blob).decode()}\n")
    shown = keygen("-L", "-f", path)
    for text in (
        'Key ID: "alice k3v2m5q7p2r4t6w8"', "Serial: 18446744073709551615", "deploy", "permit-pty",
        "source-address 192.0.2.1,2001:db8::/64", "force-command", "user certificate",
        load(files[name]).public.fingerprint(), made.fingerprint(),
    ):  # fmt: skip
        assert text in shown
    if name == "rsa":
        assert "rsa-sha2-512" in shown


def test_the_hand_written_certificate_is_right_before_it_is_broken() -> None:
    found = Certificate.parse(raw(extensions=option("permit-pty"), reserved=b"later"))
    assert found.principals == ("alice",) and found.serial == 7


@pytest.mark.slow
def test_no_flipped_byte_is_ever_accepted() -> None:
    """Every byte, and every bit of it."""
    blob = raw(critical=option("force-command", "ls"), extensions=option("permit-pty"))
    for place in range(len(blob)):
        for bit in range(8):
            changed = bytearray(blob)
            changed[place] ^= 1 << bit
            with pytest.raises(ProtocolError):
                Certificate.parse(bytes(changed))


def test_no_cut_or_lengthened_certificate_is_accepted() -> None:
    blob = raw(extensions=option("permit-pty"))
    for size in range(len(blob)):
        with pytest.raises(ProtocolError):
            Certificate.parse(blob[:size])
    with pytest.raises(ProtocolError):
        Certificate.parse(blob + b"\0")


@given(st.binary(max_size=500))
def test_garbage_is_a_protocol_error(garbage: bytes) -> None:
    for blob in (garbage, *(string(name) + garbage for name in CERTIFICATE_TYPES)):
        with pytest.raises(ProtocolError):
            Certificate.parse(blob)


@given(principals=st.binary(max_size=60), critical=st.binary(max_size=60), extensions=st.binary(max_size=60))
def test_signed_garbage_is_a_protocol_error_or_read_whole(
    principals: bytes, critical: bytes, extensions: bytes
) -> None:
    blob = raw(principals=principals, critical=critical, extensions=extensions)
    try:
        assert Certificate.parse(blob).blob == blob
    except ProtocolError:
        pass


def test_a_nested_certificate_is_refused_by_its_name_before_parsing() -> None:
    """x/crypto 90f76b8: a certificate as signature key, nested until the stack ends."""
    inner = raw()
    for _ in range(3):
        inner = raw(signature_key=inner)
        with pytest.raises(ProtocolError, match="plain key"):
            Certificate.parse(inner)
    with pytest.raises(ProtocolError, match="plain key"):
        Certificate.parse(raw(signature_key=string("ssh-ed25519-cert-v01@openssh.com") + b"\xff" * 40))


def test_sha1_and_security_key_signatures_have_a_refusal_of_their_own(files: dict[str, Path]) -> None:
    rsa = load(files["rsa"])

    class Sha1:
        public = rsa.public

        def sign(self, data: bytes, algorithm: str = "") -> bytes:
            return rsa.sign(data, "ssh-rsa")

    with pytest.raises(CaAlgorithmRefused):
        issue(
            Sha1(), USER, kind=CertificateKind.USER, serial=1, key_id="x", principals=["a"],
            valid_after=1, valid_before=2,
        )  # fmt: skip
    sk = string("sk-ssh-ed25519@openssh.com")
    with pytest.raises(CaAlgorithmRefused):
        Certificate.parse(
            raw(signature_key=sk + string(b"k" * 32) + string("ssh:"), signature=sk + string(b"s" * 64))
        )


def test_ssh_keygen_sha1_certificates_are_refused(files: dict[str, Path]) -> None:
    blob = certify(files["rsa"], files["ed25519"], "-I", "x", "-n", "a", "-t", "rsa-sha2-256")
    assert Certificate.parse(blob).signature_algorithm == "rsa-sha2-256"
    with pytest.raises(CaAlgorithmRefused):
        Certificate.parse(certify(files["rsa"], files["ed25519"], "-I", "x", "-n", "a", "-t", "ssh-rsa"))


def test_a_signature_by_another_key_is_bad() -> None:
    other = PrivateKey.generate_ed25519()
    with pytest.raises(BadSignature):
        Certificate.parse(raw(signature_key=other.public.blob))


LONG = b"".join(string(f"user{number}") for number in range(257))
BAD = {
    "kind 0": raw(kind=0),
    "kind 3": raw(kind=3),
    "empty principal": raw(principals=string("")),
    "NUL in principal": raw(principals=string("alice\0root")),
    "half a principal": raw(principals=string("alice") + b"\0\0\0\x09x"),
    "257 principals": raw(principals=LONG),
    "NUL in key id": raw(key_id=b"a\0b"),
    "key id not UTF-8": raw(key_id=b"\xff"),
    "options out of order": raw(extensions=option("permit-pty") + option("permit-X11-forwarding")),
    "option twice": raw(critical=option("force-command", "a") + option("force-command", "b")),
    "option without name": raw(extensions=option("")),
    "option name not UTF-8": raw(extensions=string(b"\xff") + string(b"")),
    "option without data": raw(extensions=string("permit-pty")),
    "65 options": raw(extensions=b"".join(option(f"x{number:03}") for number in range(65))),
    "key of another type": raw(cert_type="ecdsa-sha2-nistp256-cert-v01@openssh.com"),
    "dsa": raw(cert_type="ssh-dss-cert-v01@openssh.com"),
    "plain type": raw(cert_type="ssh-ed25519"),
    "v00": raw(cert_type="ssh-rsa-cert-v00@openssh.com"),
    "algorithm name as type": raw(cert_type="rsa-sha2-512-cert-v01@openssh.com"),
    "huge": raw(reserved=b"r" * 70_000),
    "trailing": raw(tail=b"\0"),
    "nonce of a kilobyte": raw(nonce=b"n" * 1024),
}


@pytest.mark.parametrize("name", BAD)
def test_signed_but_malformed_certificates_are_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        Certificate.parse(BAD[name])


def test_security_key_certificates_read_so_that_callers_can_refuse_them_by_name() -> None:
    key = PublicKey.parse(string("sk-ssh-ed25519@openssh.com") + string(b"k" * 32) + string("ssh:"))
    blob = raw(cert_type="sk-ssh-ed25519-cert-v01@openssh.com", fields=key.fields)
    assert Certificate.parse(blob).key.is_security_key


def test_issuing_needs_a_principal_and_a_validity() -> None:
    def make(principals: list[str], after: int, before: int) -> Certificate:
        return issue(
            CA, USER, kind=CertificateKind.USER, serial=1, key_id="x", principals=principals,
            valid_after=after, valid_before=before,
        )  # fmt: skip

    assert make(["a"], 1, 2).valid_before == 2
    for principals, after, before in (([], 1, 2), (["a"], 2, 2), (["a"], 3, 2), (["a"], 1, 2**64)):
        with pytest.raises(ValueError, match="principals and a validity"):
            make(principals, after, before)


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")


@given(
    principals=st.lists(st.text(CHARACTERS, min_size=1, max_size=20), min_size=1, max_size=8),
    key_id=st.text(CHARACTERS, max_size=50),
    serial=st.integers(0, 2**64 - 1),
    options=st.dictionaries(
        st.text(CHARACTERS, min_size=1, max_size=10), st.text(CHARACTERS, max_size=10), max_size=5
    ),
)
def test_issue_and_parse_round_trip(
    principals: list[str], key_id: str, serial: int, options: dict[str, str]
) -> None:
    made = issue(
        CA, USER, kind=CertificateKind.HOST, serial=serial, key_id=key_id, principals=principals,
        valid_after=0, valid_before=FOREVER, critical_options=options, extensions=options,
    )  # fmt: skip
    again = Certificate.parse(made.encode())
    assert again == made
    assert (again.principals, again.key_id, again.serial) == (tuple(principals), key_id, serial)
    assert dict(again.critical_options) == {name: string(value) for name, value in options.items()}
