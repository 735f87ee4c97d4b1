"""Key revocation lists: as ssh-keygen writes and judges them, by hand, and broken in every byte."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire.certificates import Certificate, CertificateKind, issue
from bastion.wire.data import UINT64_MAX, boolean, byte, mpint, string, uint32, uint64
from bastion.wire.keys import PrivateKey, fingerprint_of
from bastion.wire.krl import MAGIC, MAX_FILE, RevokedKeys, Serials, also_by_sha1, of_keys, parse_krl
from tests.unit.wire.keygen import certify, keygen, make_key, public_blob

CA, OTHER_CA, KEY, OTHER = (PrivateKey.generate_ed25519() for _ in range(4))
HEAD = MAGIC + uint32(1) + uint64(3) + uint64(4) + uint64(0) + string(b"") + string(b"a comment")


def section(kind: int, *parts: bytes) -> bytes:
    return byte(kind) + string(b"".join(parts))


def certificates(*parts: bytes, ca: bytes = CA.public.blob) -> bytes:
    return section(1, string(ca), string(b""), *parts)


def certificate(serial: int = 5, key_id: str = "alice", ca: PrivateKey = CA) -> Certificate:
    return issue(
        ca, KEY.public, kind=CertificateKind.USER, serial=serial, key_id=key_id, principals=("alice",),
        valid_after=0, valid_before=1 << 40,
    )  # fmt: skip


def has(revoked: RevokedKeys, made: Certificate) -> bool:
    return revoked.has_certificate(made.key_blob, made.signature_key_blob, made.serial, made.key_id)


def shown(certificate: Certificate) -> tuple[str, ...]:
    """As `auth.identity.shown_by` has it."""
    authority = certificate.signature_key.fingerprint()
    keys = also_by_sha1(certificate.key_blob, certificate.signature_key_blob)
    return (certificate.fingerprint(), certificate.key_id, f"{certificate.serial}@{authority}", *keys)


class Wanted(NamedTuple):
    """Parts of a list, and what of these certificates they revoke."""

    parts: bytes
    serials: tuple[int, ...] = ()
    good: tuple[int, ...] = (1, 4, 6, 99)


CASES = {
    "a serial": Wanted(certificates(section(0x20, uint64(5))), (5,)),
    "serials": Wanted(certificates(section(0x20, uint64(5), uint64(7))), (5, 7)),
    "a range": Wanted(certificates(section(0x21, uint64(5), uint64(90))), (5, 6, 89, 90), (1, 4, 91)),
    "a range to the end": Wanted(certificates(section(0x21, uint64(5), uint64(UINT64_MAX))), (5, UINT64_MAX), (4,)),
    "a bitmap": Wanted(certificates(section(0x22, uint64(5), mpint(0b101101))), (5, 7, 8, 10), (4, 6, 9, 11)),
    "an empty bitmap": Wanted(certificates(section(0x22, uint64(5), mpint(0)))),
    "two sections": Wanted(certificates(section(0x20, uint64(5))) + certificates(section(0x20, uint64(7))), (5, 7)),
    "every authority": Wanted(certificates(section(0x20, uint64(5)), ca=b""), (5,)),
    "another authority": Wanted(certificates(section(0x20, uint64(5)), ca=OTHER_CA.public.blob), (), (5,)),
    "an extension of no weight": Wanted(section(255, string(b"x"), boolean(False), string(b"y"))),
    "one about certificates": Wanted(
        certificates(section(0x39, string(b"x"), boolean(False), string(b"y")), section(0x20, uint64(5))), (5,)
    ),
    "a signature": Wanted(certificates(section(0x20, uint64(5))) + section(4, b"key") + string(b"signature"), (5,)),
    "nothing": Wanted(b""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_certificates_by_serial(case: str) -> None:
    revoked = parse_krl(HEAD + CASES[case].parts)
    for serial in (*CASES[case].serials, *CASES[case].good):
        made = certificate(serial)
        assert has(revoked, made) is (serial in CASES[case].serials), serial
        assert revoked.has_shown(shown(made)) is (serial in CASES[case].serials), serial
    assert not revoked.has_key(KEY.public.blob)


def test_key_ids_of_one_authority_and_of_all() -> None:
    for ca, others in ((CA.public.blob, False), (b"", True)):
        revoked = parse_krl(HEAD + certificates(section(0x23, string("alice"), string("zoë")), ca=ca))
        assert len(revoked) == 2
        for key_id, is_there in (("alice", True), ("zoë", True), ("alic", False), ("Alice", False)):
            assert has(revoked, certificate(0, key_id)) is is_there
            assert revoked.has_shown(shown(certificate(0, key_id))) is is_there
        assert has(revoked, certificate(0, "alice", OTHER_CA)) is others


def test_serial_0_is_nobodys() -> None:
    revoked = parse_krl(HEAD + certificates(section(0x21, uint64(1), uint64(UINT64_MAX))))
    assert not has(revoked, certificate(0)) and has(revoked, certificate(1))


@pytest.mark.parametrize("kind", [2, 3, 5])
@pytest.mark.parametrize("whose", ["key", "authority"])
def test_a_key_revokes_itself_what_certifies_it_and_what_it_has_signed(kind: int, whose: str) -> None:
    blob = (KEY if whose == "key" else CA).public.blob
    entry = {2: blob, 3: hashlib.sha1(blob).digest(), 5: hashlib.sha256(blob).digest()}[kind]
    revoked = parse_krl(HEAD + section(kind, string(entry)))
    assert revoked.has_key(blob) and not revoked.has_key(OTHER.public.blob)
    assert has(revoked, certificate())
    assert revoked.has_shown(shown(certificate()))
    other = certificate(ca=OTHER_CA)
    assert has(revoked, other) is (whose == "key")
    assert revoked.has_shown([fingerprint_of(blob), *also_by_sha1(blob)])
    assert not revoked.has_shown([fingerprint_of(OTHER.public.blob), *also_by_sha1(OTHER.public.blob)])


def test_what_is_shown_may_be_anything() -> None:
    revoked = of_keys([KEY.public.blob])
    for word in (
        "",
        "SHA256:",
        "SHA256:x",
        "SHA256:" + "é" * 43,
        "5@SHA256:" + "A" * 43,
        "@",
        "99" * 40 + "@SHA256:",
        "SHA1:",
        "SHA1:" + "g" * 40,
    ):
        assert not revoked.has_shown([word])
    assert not RevokedKeys().has_shown([KEY.public.fingerprint()])


BAD = {
    "no magic": b"x" + HEAD,
    "another version": MAGIC + uint32(2) + HEAD[12:],
    "half a head": HEAD[:30],
    "an unknown section": HEAD + section(6, b"x"),
    "an unknown part": HEAD + certificates(section(0x24, b"x")),
    "half a serial": HEAD + certificates(section(0x20, uint64(5) + b"x")),
    "serial 0": HEAD + certificates(section(0x20, uint64(0))),
    "a range from 0": HEAD + certificates(section(0x21, uint64(0), uint64(5))),
    "a range backwards": HEAD + certificates(section(0x21, uint64(6), uint64(5))),
    "a range and more": HEAD + certificates(section(0x21, uint64(5), uint64(6), b"x")),
    "a bitmap from 0": HEAD + certificates(section(0x22, uint64(0), mpint(1))),
    "a bitmap beyond the end": HEAD + certificates(section(0x22, uint64(UINT64_MAX), mpint(2))),
    "a negative bitmap": HEAD + certificates(section(0x22, uint64(5), mpint(-5))),
    "a large bitmap": HEAD + certificates(section(0x22, uint64(5), mpint(1 << 17000))),
    "a key id with a NUL": HEAD + certificates(section(0x23, string(b"a\0b"))),
    "a key id that is no text": HEAD + certificates(section(0x23, string(b"\xff"))),
    "an authority that is no key": HEAD + certificates(section(0x20, uint64(5)), ca=b"x"),
    "a digest of the wrong length": HEAD + section(5, string(bytes(20))),
    "a critical extension": HEAD + section(255, string(b"x"), boolean(True), string(b"")),
    "a critical one about certificates": HEAD + certificates(section(0x39, string(b"x"), boolean(True), string(b""))),
    "something behind the signature": HEAD + section(4, b"k") + string(b"s") + section(2, string(KEY.public.blob)),
    "bytes behind it": HEAD + b"\2",
    "too long": HEAD + bytes(MAX_FILE),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_understood_refuses_the_whole_list(case: str) -> None:
    with pytest.raises(ProtocolError):
        parse_krl(BAD[case])


def test_bitmaps_that_say_millions_are_cut_off_early() -> None:
    dense = int("55" * 2000, 16)  # 8,000 single serial numbers in 2 KB
    with pytest.raises(ProtocolError, match="serial numbers and ranges"):
        parse_krl(HEAD + certificates(*(section(0x22, uint64(1 + n), mpint(dense)) for n in range(300))))


WHOLE = HEAD + b"".join(CASES[case].parts for case in CASES if case != "a signature")


def test_every_shorter_list_is_broken_or_says_no_more() -> None:
    whole = len(parse_krl(WHOLE))
    for cut in range(len(WHOLE)):
        try:
            assert len(parse_krl(WHOLE[:cut])) <= whole
        except ProtocolError:
            pass


@given(st.binary(max_size=200))
def test_garbage(garbage: bytes) -> None:
    for data in (garbage, HEAD + garbage, HEAD + certificates(garbage), HEAD + section(2, garbage)):
        try:
            parse_krl(data)
        except ProtocolError:
            pass


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda p: (p[0], p[0] + p[1])), max_size=12)
)
def test_ranges_join_and_lose_nothing(ranges: list[tuple[int, int]]) -> None:
    made = Serials(ranges)
    expected = {serial for begin, end in ranges for serial in range(begin, end + 1)}
    assert {serial for serial in range(80) if serial in made} == expected
    assert len(made) <= len(ranges)


# -- ssh-keygen ----------------------------------------------------------------------------------------------


class Shop:
    """Certificates and keys in files, and lists made of what ssh-keygen -k takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cas = {name: make_key(folder, name, "-t", "ed25519") for name in ("ca1", "ca2")}
        self.files: dict[str, Path] = {}
        self.made: dict[str, Certificate] = {}
        for number in range(1, 13):
            name = f"k{number}"
            key, ca = make_key(folder, name, "-t", "ed25519"), self.cas["ca1" if number % 3 else "ca2"]
            blob = certify(ca, key, "-I", f"id{number % 5}", "-n", "alice", "-z", str(number * 7))
            self.files[name] = Path(f"{key}-cert.pub")
            self.made[name] = Certificate.parse(blob)

    def krl(self, lines: str, ca: str = "") -> Path:
        spec, made = self.folder / "spec", self.folder / "krl"
        spec.write_text(lines)
        made.unlink(missing_ok=True)
        keygen("-q", "-k", "-f", made, "-s", f"{self.cas[ca]}.pub" if ca else "none", spec)
        return made

    def judged_by_openssh(self, krl: Path, file: Path) -> bool:
        done = subprocess.run(["ssh-keygen", "-Q", "-f", krl, file], capture_output=True, timeout=30)
        assert (done.returncode == 0) == (b": ok" in done.stdout), done
        return done.returncode != 0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("krl"))


SPECS = {
    "serials": ("serial: 7\nserial: 14\nserial: 28\n", "ca1"),
    "a range": ("serial: 10-60\n", "ca1"),
    "so many that it writes a bitmap": ("".join(f"serial: {n}\n" for n in range(1, 90, 2)), "ca1"),
    "another authority": ("serial: 1-100\n", "ca2"),
    "key ids": ("id: id2\nid: id0\n", "ca1"),
    "key ids of everybody": ("id: id2\n", ""),
}


@pytest.mark.parametrize("spec", SPECS)
def test_lists_of_ssh_keygen_are_judged_as_it_judges_them(shop: Shop, spec: str) -> None:
    made = shop.krl(*SPECS[spec])
    revoked = parse_krl(made.read_bytes())
    found = {name: has(revoked, certificate) for name, certificate in shop.made.items()}
    assert found == {name: shop.judged_by_openssh(made, file) for name, file in shop.files.items()}
    assert True in found.values() and False in found.values()


@pytest.mark.parametrize("form", ["key: {}", "sha1: {}", "sha256: {}", "hash: {}"])
@pytest.mark.parametrize("what", ["k1", "ca1"])
def test_keys_and_digests_of_keys(shop: Shop, form: str, what: str) -> None:
    line = Path(f"{shop.folder / what}.pub").read_text().strip()
    if form.startswith("hash"):
        line = fingerprint_of(public_blob(shop.folder / what))
    made = shop.krl(form.format(line) + "\n")
    revoked = parse_krl(made.read_bytes())
    for name in ("k1", "k2", "k3"):
        plain = Path(f"{shop.folder / name}.pub")
        assert revoked.has_key(public_blob(shop.folder / name)) is shop.judged_by_openssh(made, plain)
        assert has(revoked, shop.made[name]) is shop.judged_by_openssh(made, shop.files[name])
    assert has(revoked, shop.made["k1"])
