"""Keys and signatures against ssh-keygen, garbage, and the rows of docs/security.md that name them."""

from __future__ import annotations

import base64
import hashlib
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import keys as module
from bastion.wire.data import Reader, mpint, string
from bastion.wire.key_options import ALL_PERMITS
from bastion.wire.keys import (
    SIGNATURE_ALGORITHMS,
    BadSignature,
    PrivateKey,
    PublicKey,
    parse_authorized_key,
    parse_public_line,
    signature_algorithm,
)
from tests.unit.wire.keygen import keygen, load, make_key, public_blob

KINDS = {
    "ssh-ed25519": ("-t", "ed25519"),
    "ecdsa-sha2-nistp256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa-sha2-nistp384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-sha2-nistp521": ("-t", "ecdsa", "-b", "521"),
    "ssh-rsa": ("-t", "rsa", "-b", "2048"),
}
ALGORITHMS = [(kind, name) for kind in KINDS for name in SIGNATURE_ALGORITHMS[kind]]
SK_ED25519 = string("sk-ssh-ed25519@openssh.com") + string(b"\x11" * 32) + string("ssh:")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {kind: make_key(folder, kind, *options) for kind, options in KINDS.items()}


@pytest.fixture(scope="module")
def keys(files: dict[str, Path]) -> dict[str, PrivateKey]:
    return {kind: load(path) for kind, path in files.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_key_reads_as_ssh_keygen_shows_it(kind: str, files: dict[str, Path]) -> None:
    key = PublicKey.parse(public_blob(files[kind]))
    bits, fingerprint, *_rest = keygen("-l", "-f", files[kind]).split()
    assert (key.type, key.bits, key.fingerprint()) == (kind, int(bits), fingerprint)
    assert key.blob == public_blob(files[kind])
    assert string(key.type) + key.fields == key.blob
    assert not key.is_security_key


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_private_key_file_survives_our_own_writing(kind: str, keys: dict[str, PrivateKey]) -> None:
    again = PrivateKey.from_bytes(keys[kind].openssh_bytes())
    assert again.public == keys[kind].public
    locked = keys[kind].openssh_bytes(b"pass phrase")
    assert PrivateKey.from_bytes(locked, b"pass phrase").public == keys[kind].public
    for wrong in (None, b"other"):
        with pytest.raises(ProtocolError):
            PrivateKey.from_bytes(locked, wrong)


@pytest.mark.slow
def test_pem_keys_load(tmp_path: Path) -> None:
    path = make_key(tmp_path, "pem", "-t", "rsa", "-b", "2048", "-m", "PEM")
    assert load(path).public.blob == public_blob(path)


@pytest.mark.parametrize("garbage", [b"", b"x", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"\xff" * 200_000])
def test_garbage_is_no_private_key(garbage: bytes) -> None:
    with pytest.raises(ProtocolError):
        PrivateKey.from_bytes(garbage)


def test_a_private_key_shows_and_pickles_nothing() -> None:
    key = PrivateKey.generate_ed25519()
    assert repr(key) == f"PrivateKey(ssh-ed25519 {key.public.fingerprint()})"
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize(("kind", "algorithm"), ALGORITHMS)
def test_what_we_sign_we_verify(kind: str, algorithm: str, keys: dict[str, PrivateKey]) -> None:
    key = keys[kind]
    signature = key.sign(b"data", algorithm)
    assert signature_algorithm(signature) == algorithm
    key.public.verify(signature, b"data", algorithm)
    with pytest.raises(BadSignature):
        key.public.verify(signature, b"datb", algorithm)


def _sshsig_of(armoured: str) -> tuple[bytes, bytes]:
    """(signature blob, hash name) of an SSHSIG file (PROTOCOL.sshsig)."""
    reader = Reader(base64.b64decode("".join(armoured.splitlines()[1:-1])))
    assert reader.fixed(6) == b"SSHSIG"
    reader.uint32()
    reader.string(), reader.string(), reader.string()
    name, signature = reader.string(), reader.string()
    reader.end()
    return signature, name


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_by_ssh_keygen_verifies(kind: str, files: dict[str, Path], tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_bytes(b"hello")
    keygen("-Y", "sign", "-q", "-n", "test", "-f", files[kind], message)
    signature, hash_name = _sshsig_of((tmp_path / "message.sig").read_text())
    digest = hashlib.new(hash_name.decode(), b"hello").digest()
    signed = b"SSHSIG" + string("test") + string("") + string(hash_name) + string(digest)
    key = PublicKey.parse(public_blob(files[kind]))
    key.verify(signature, signed, signature_algorithm(signature))


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_of_ours_satisfies_ssh_keygen(
    kind: str, keys: dict[str, PrivateKey], tmp_path: Path
) -> None:
    key = keys[kind]
    digest = hashlib.sha512(b"hello").digest()
    signed = b"SSHSIG" + string("file") + string("") + string("sha512") + string(digest)
    blob = b"SSHSIG\0\0\0\1" + string(key.public.blob) + string("file") + string("") + string("sha512")
    blob += string(key.sign(signed))
    text = base64.encodebytes(blob).decode()
    (tmp_path / "sig").write_text(f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n")
    (tmp_path / "allowed").write_text(f"me {key.public.line()}\n")
    options = ("-Y", "verify", "-n", "file", "-I", "me", "-f", tmp_path / "allowed", "-s", tmp_path / "sig")
    assert "Good" in keygen(*options, data=b"hello")


# -- signatures that must not count --------------------------------------------------------------------------


def _refuses(key: PublicKey, signature: bytes, algorithm: str) -> None:
    with pytest.raises(BadSignature):
        key.verify(signature, b"data", algorithm)


def test_sha1_is_taken_only_where_it_is_asked_for(keys: dict[str, PrivateKey]) -> None:
    key = keys["ssh-rsa"]
    sha1, sha2 = key.sign(b"data", "ssh-rsa"), key.sign(b"data", "rsa-sha2-256")
    key.public.verify(sha1, b"data", "ssh-rsa", allow_sha1=True)
    for signature, data, algorithm in (
        (sha1, b"other", "ssh-rsa"),
        (sha1, b"data", "rsa-sha2-256"),
        (sha2, b"data", "ssh-rsa"),
        (sha1 + b"x", b"data", "ssh-rsa"),
    ):
        with pytest.raises(BadSignature):
            key.public.verify(signature, data, algorithm, allow_sha1=True)
    ed25519 = keys["ssh-ed25519"]
    with pytest.raises(BadSignature):
        ed25519.public.verify(string("ssh-rsa") + string(bytes(64)), b"data", "ssh-rsa", allow_sha1=True)


def test_sha1_signatures_are_refused(keys: dict[str, PrivateKey]) -> None:
    """C18: ssh-rsa where rsa-sha2-512 was announced, and ssh-rsa asked for by name."""
    key = keys["ssh-rsa"]
    sha1 = key.sign(b"data", "ssh-rsa")
    assert signature_algorithm(sha1) == "ssh-rsa"
    for algorithm in ("ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"):
        _refuses(key.public, sha1, algorithm)
    relabelled = string("rsa-sha2-256") + sha1[4 + 7 :]
    _refuses(key.public, relabelled, "rsa-sha2-256")


def test_the_name_inside_must_be_the_name_asked_for(keys: dict[str, PrivateKey]) -> None:
    key = keys["ssh-rsa"]
    _refuses(key.public, key.sign(b"data", "rsa-sha2-256"), "rsa-sha2-512")
    _refuses(keys["ssh-ed25519"].public, key.sign(b"data"), "rsa-sha2-512")
    _refuses(keys["ssh-ed25519"].public, keys["ssh-ed25519"].sign(b"data"), "ecdsa-sha2-nistp256")


@pytest.mark.parametrize(("kind", "algorithm"), ALGORITHMS)
def test_trailing_and_missing_bytes_refuse(kind: str, algorithm: str, keys: dict[str, PrivateKey]) -> None:
    key = keys[kind]
    signature = key.sign(b"data", algorithm)
    _refuses(key.public, signature + b"\0", algorithm)
    for cut in range(0, len(signature), 7):
        _refuses(key.public, signature[:cut], algorithm)
    inner = signature[4 + len(algorithm) + 4 :]
    _refuses(key.public, string(algorithm) + string(inner + b"\0"), algorithm)


@pytest.mark.parametrize(("kind", "algorithm"), ALGORITHMS)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_signature_is_bad(
    kind: str, algorithm: str, keys: dict[str, PrivateKey], place: int, flip: int
) -> None:
    signature = bytearray(keys[kind].sign(b"data", algorithm))
    signature[place % len(signature)] ^= flip
    _refuses(keys[kind].public, bytes(signature), algorithm)


@given(st.binary(max_size=300))
def test_garbage_is_a_bad_signature(garbage: bytes) -> None:
    key = PublicKey.parse(string("ssh-ed25519") + string(b"\x05" * 32))
    _refuses(key, garbage, "ssh-ed25519")


@pytest.mark.parametrize("r_s", [(0, 1), (1, 0), (-1, 1), (1, -1), (1 << 520, 1)])
def test_ecdsa_numbers_out_of_range_are_bad(r_s: tuple[int, int], keys: dict[str, PrivateKey]) -> None:
    body = string("ecdsa-sha2-nistp256") + string(mpint(r_s[0]) + mpint(r_s[1]))
    _refuses(keys["ecdsa-sha2-nistp256"].public, body, "ecdsa-sha2-nistp256")


@pytest.mark.slow
def test_an_rsa_signature_without_its_leading_zeros_counts(keys: dict[str, PrivateKey]) -> None:
    """RFC 4253 6.6 sends the integer; one in 256 signatures begins with a zero byte that peers may drop."""
    key = keys["ssh-rsa"]
    for number in range(5000):
        data = str(number).encode()
        raw = key.sign(data, "rsa-sha2-256")[4 + 12 + 4 :]
        if raw[0] == 0:
            key.public.verify(string("rsa-sha2-256") + string(raw.lstrip(b"\0")), data, "rsa-sha2-256")
            return
    pytest.fail("no signature with a leading zero in 5000")


def test_a_security_key_is_read_and_never_verifies() -> None:
    """C17: no signature of a FIDO key counts where nobody asks whether it was touched."""
    key = PublicKey.parse(SK_ED25519)
    assert key.is_security_key and key.application == "ssh:" and key.blob == SK_ED25519
    body = string("sk-ssh-ed25519@openssh.com") + string(b"\0" * 64) + b"\x01" + b"\0\0\0\1"
    _refuses(key, body, "sk-ssh-ed25519@openssh.com")
    _refuses(key, string("sk-ssh-ed25519@openssh.com") + string(b"\0" * 64), "sk-ssh-ed25519@openssh.com")


def test_a_security_ecdsa_key_is_read(keys: dict[str, PrivateKey]) -> None:
    plain = keys["ecdsa-sha2-nistp256"].public
    blob = string("sk-ecdsa-sha2-nistp256@openssh.com") + plain.fields + string("ssh:work")
    key = PublicKey.parse(blob)
    assert key.is_security_key and key.application == "ssh:work" and key.bits == 256
    with pytest.raises(ProtocolError):
        PublicKey.parse(string("sk-ecdsa-sha2-nistp256@openssh.com") + plain.fields)


def test_signing_with_another_types_algorithm_is_our_own_mistake(keys: dict[str, PrivateKey]) -> None:
    for kind, algorithm in (("ssh-ed25519", "rsa-sha2-256"), ("ssh-rsa", "ssh-ed25519")):
        with pytest.raises(ValueError, match="does not fit"):
            keys[kind].sign(b"data", algorithm)


# -- keys that must not be read ------------------------------------------------------------------------------

N2048 = (1 << 2047) + 1
BAD_KEYS = {
    "empty": b"",
    "truncated length": b"\xff\xff\xff\xffabc",
    "dsa": string("ssh-dss") + mpint(5) * 4,
    "unknown": string("ssh-ed448@openssh.com") + string(b"\0" * 57),
    "ed25519 short (CVE-2020-9283)": string("ssh-ed25519") + string(b"\0" * 31),
    "ed25519 long": string("ssh-ed25519") + string(b"\0" * 33),
    "ed25519 trailing": string("ssh-ed25519") + string(b"\0" * 32) + b"\0",
    "rsa small": string("ssh-rsa") + mpint(65537) + mpint((1 << 1023) + 1),
    "rsa huge": string("ssh-rsa") + mpint(65537) + mpint((1 << 16384) + 1),
    "rsa huge exponent": string("ssh-rsa") + mpint((1 << 33) + 1) + mpint(N2048),
    "rsa exponent longer than 8 bytes": string("ssh-rsa") + mpint(1 << 2000) + mpint(N2048),
    "rsa even exponent": string("ssh-rsa") + mpint(65536) + mpint(N2048),
    "rsa exponent 1": string("ssh-rsa") + mpint(1) + mpint(N2048),
    "rsa exponent negative": string("ssh-rsa") + mpint(-3) + mpint(N2048),
    "rsa even modulus": string("ssh-rsa") + mpint(65537) + mpint(1 << 2047),
    "rsa negative modulus": string("ssh-rsa") + mpint(65537) + mpint(-N2048),
    "rsa padded modulus": string("ssh-rsa") + mpint(65537) + string(b"\0\0" + N2048.to_bytes(256, "big")),
    "longer than any key": string("ssh-ed25519") + string(b"\0" * 5000),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_bad_keys_are_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        PublicKey.parse(BAD_KEYS[name])


def test_the_curve_must_be_the_types_own(keys: dict[str, PrivateKey]) -> None:
    """x/crypto 8f405a4: the curve name was not compared with the algorithm."""
    p256, p384 = keys["ecdsa-sha2-nistp256"].public, keys["ecdsa-sha2-nistp384"].public
    point = p256.fields[4 + 8 :]
    for blob in (
        string("ecdsa-sha2-nistp256") + p384.fields,
        string("ecdsa-sha2-nistp384") + p256.fields,
        string("ecdsa-sha2-nistp384") + string("nistp384") + point,
        string("ecdsa-sha2-nistp256") + string("nistp384") + point,
        string("ecdsa-sha2-nistp256") + string("nistp256") + string(b"\x04" + b"\x01" * 64),
        string("ecdsa-sha2-nistp256") + string("nistp256") + string(b"\x00"),
        string("ecdsa-sha2-nistp256") + string("nistp256") + string(b"\x02" + point[5:37]),
    ):
        with pytest.raises(ProtocolError):
            PublicKey.parse(blob)


@given(st.binary(max_size=400))
def test_garbage_is_a_protocol_error(garbage: bytes) -> None:
    for blob in (garbage, *(string(kind) + garbage for kind in SIGNATURE_ALGORITHMS)):
        try:
            key = PublicKey.parse(blob)
        except ProtocolError:
            continue
        assert key.blob == blob


@given(kind=st.sampled_from(sorted(KINDS)), place=st.integers(0, 600), flip=st.integers(1, 255))
def test_a_changed_key_is_an_error_or_another_key(
    kind: str, keys: dict[str, PrivateKey], place: int, flip: int
) -> None:
    blob = bytearray(keys[kind].public.blob)
    blob[place % len(blob)] ^= flip
    try:
        changed = PublicKey.parse(bytes(blob))
    except ProtocolError:
        return
    assert changed.blob == bytes(blob) != keys[kind].public.blob


# -- authorised keys -----------------------------------------------------------------------------------------

LINE = PublicKey.parse(string("ssh-ed25519") + string(b"\x07" * 32)).line()


def test_a_plain_line_permits_everything_and_keeps_its_comment() -> None:
    found = parse_authorized_key(f"  {LINE} alice at home \r\n")
    assert found.comment == "alice at home"
    assert found.options.permits == ALL_PERMITS
    assert found.options.command is None and found.options.sources is None
    assert found.options.permit_open is None and found.options.expires_at is None


def test_options_are_read_in_order() -> None:
    text = (
        'restrict,PTY,command="echo \\"hi there\\" \\\\ x",from="10.0.0.0/8,!10.0.0.1",'
        f'expiry-time="20300102Z",permitopen="DB:5432",permitopen="[::1]:*" {LINE} me'
    )
    options = parse_authorized_key(text).options
    assert options.permits == {"permit-pty"}
    assert options.command == 'echo "hi there" \\\\ x'
    assert options.sources == ("10.0.0.0/8", "!10.0.0.1")
    assert options.expires_at == 1893542400
    assert options.permit_open == (("db", 5432), ("::1", None))
    assert parse_authorized_key(f"pty,restrict {LINE}").options.permits == frozenset()
    assert parse_authorized_key(f"no-pty,no-X11-forwarding {LINE}").options.permits == ALL_PERMITS - {
        "permit-pty",
        "permit-X11-forwarding",
    }


BAD_LINES = {
    "blank": "",
    "comment": "# hello",
    "type only": "ssh-ed25519",
    "mistyped type loses its options (x/crypto 7626c50)": f'command="x" {LINE.replace("ssh-ed", "shh-ed")}',
    "mistyped type": LINE.replace("ssh-ed", "shh-ed"),
    "type differs from blob": LINE.replace("ssh-ed25519", "ssh-rsa"),
    "certificate": LINE.replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"),
    "unknown option": f"no-touching {LINE}",
    "unknown option with value": f'colour="red" {LINE}',
    "flag with value": f'pty="yes" {LINE}',
    "value without quotes": f"command=ls {LINE}",
    "command without value": f"command {LINE}",
    "open quote": f'command="ls {LINE}',
    "trailing comma": f"restrict, {LINE}",
    "leading comma": f",restrict {LINE}",
    "text after quote": f'command="ls"x {LINE}',
    "command twice": f'command="a",command="b" {LINE}',
    "from twice": f'from="1.2.3.4",from="0.0.0.0/0" {LINE}',
    "cert-authority": f"cert-authority {LINE}",
    "principals": f'principals="root" {LINE}',
    "environment": f'environment="LD_PRELOAD=x" {LINE}',
    "permitlisten": f'permitlisten="8080" {LINE}',
    "tunnel": f'tunnel="0" {LINE}',
    "touch-required with a value": f'no-touch-required="yes" {LINE}',
    "verify-required with a value": f'verify-required="no" {LINE}',
    "permitopen without port": f'permitopen="db" {LINE}',
    "permitopen port 0": f'permitopen="db:0" {LINE}',
    "permitopen wildcard": f'permitopen="*.db:1" {LINE}',
    "expiry nonsense": f'expiry-time="20301332" {LINE}',
    "expiry short": f'expiry-time="2030" {LINE}',
    "expiry non-ASCII digits": f'expiry-time="２０３００１０２" {LINE}',
    "base64 garbage": "ssh-ed25519 AAA!",
    "base64 with blanks": LINE.replace("AAAA", "AA AA", 1),
    "control character": LINE + " a\x1b[2J",
    "two lines": f"{LINE}\n{LINE}",
    "too long": f"{LINE} {'x' * 9000}",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_lines_are_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        parse_authorized_key(BAD_LINES[name])


@given(st.text(max_size=120))
def test_line_garbage_is_a_protocol_error(text: str) -> None:
    for line in (text, f"{text} {LINE}", f"{LINE}{text}"):
        try:
            assert parse_authorized_key(line).key.type in SIGNATURE_ALGORITHMS
        except ProtocolError:
            continue


def test_a_public_line_round_trips(files: dict[str, Path]) -> None:
    for kind, path in files.items():
        key, comment = parse_public_line(Path(f"{path}.pub").read_text())
        assert key.line(comment) == Path(f"{path}.pub").read_text().strip()
        assert comment == f"{kind} comment"


def test_so_many_keys_are_remembered_and_a_bad_one_is_refused_each_time() -> None:
    blob = string("ssh-ed25519") + string(bytes(31) + b"x")
    assert PublicKey.parse(blob) is PublicKey.parse(blob)
    for number in range(2 * module.REMEMBERED_KEYS):
        PublicKey.parse(string("ssh-ed25519") + string(number.to_bytes(32, "big")))
    known = module._read_known_key.cache_info()
    assert known.currsize == known.maxsize == module.REMEMBERED_KEYS
    for _ in range(2):
        with pytest.raises(ProtocolError):
            PublicKey.parse(blob + b"\0")
