"""known_hosts as OpenSSH means it: ssh-keygen finds and hashes, each outcome has a case, garbage is named."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.ca.known_hosts import KnownHosts, Outcome, hash_name, lookup_name
from bastion.errors import ConfigError, ProtocolError
from bastion.options import ConfigErrors
from bastion.wire.certificates import CertificateKind, issue
from bastion.wire.data import mpint, string
from bastion.wire.keys import PrivateKey, PublicKey
from tests.unit.wire.keygen import keygen, make_key, public_blob

NOW = 1_800_000_000
ONE = PrivateKey.generate_ed25519().public
TWO = PrivateKey.generate_ed25519().public
CA = PrivateKey.generate_ed25519()
RSA = PublicKey.parse(string("ssh-rsa") + mpint(65537) + mpint((1 << 2047) + 1))


def known(*lines: str) -> KnownHosts:
    return KnownHosts.parse("\n".join(lines), "kh")


def outcome(hosts: KnownHosts, host: str, key: PublicKey | bytes, port: int = 22) -> Outcome:
    return hosts.check((host,), port, key if isinstance(key, bytes) else key.blob, NOW).outcome


def certificate(key: PublicKey = ONE, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "kind": CertificateKind.HOST, "serial": 1, "key_id": "web1", "principals": ["web1"],
        "valid_after": NOW - 5, "valid_before": NOW + 5,
    }  # fmt: skip
    return issue(changes.pop("ca", CA), key, **{**values, **changes}).blob


# -- plain keys ----------------------------------------------------------------------------------------------


def test_nothing_is_trusted_on_first_use() -> None:
    verdict = known(f"other {ONE.line()}").check(("web1",), 22, ONE.blob, NOW)
    assert verdict.outcome is Outcome.UNKNOWN and not verdict.accepted and verdict.known_fingerprints == ()
    assert not known().check((), 22, ONE.blob, NOW).accepted


def test_a_pinned_key_and_a_changed_one() -> None:
    hosts = known(f"WEB1,10.0.0.1 {ONE.line()} a comment", f"web1 {RSA.line()}")
    assert outcome(hosts, "Web1", ONE) is Outcome.PINNED_OK
    assert outcome(hosts, "10.0.0.1", ONE) is Outcome.PINNED_OK
    verdict = hosts.check(("web1",), 22, TWO.blob, NOW)
    assert verdict.outcome is Outcome.CHANGED and not verdict.accepted
    assert verdict.fingerprint == TWO.fingerprint()
    assert verdict.known_fingerprints == (
        f"{ONE.fingerprint()} (ssh-ed25519)",
        f"{RSA.fingerprint()} (ssh-rsa)",
    )
    assert hosts.pinned(("web1",), 22) == (ONE, RSA)


def test_a_key_of_another_type_is_a_changed_key() -> None:
    """The type is the attacker's choice; "unknown" would invite a new pin."""
    assert outcome(known(f"web1 {RSA.line()}"), "web1", ONE) is Outcome.CHANGED


@pytest.mark.parametrize(
    ("patterns", "host", "found"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("web?", "web1", True),
        ("web?", "web12", False),
        ("*,!bad", "bad", False),
        ("!bad,*", "bad", False),
        ("!bad", "good", False),
        ("*.example.com,!*.dmz.example.com", "x.dmz.example.com", False),
        ("WEB*", "web9", True),
        ("[web1]", "web1", False),
        ("web[12]", "web1", False),
    ],
)
def test_patterns(patterns: str, host: str, found: bool) -> None:
    expected = Outcome.PINNED_OK if found else Outcome.UNKNOWN
    assert outcome(known(f"{patterns} {ONE.line()}"), host, ONE) is expected


def test_ports() -> None:
    assert lookup_name("Web1", 22) == "web1" and lookup_name("Web1", 2222) == "[web1]:2222"
    hosts = known(f"[web1]:2222 {ONE.line()}", f"web1 {TWO.line()}")
    assert outcome(hosts, "web1", ONE, 2222) is Outcome.PINNED_OK
    assert outcome(hosts, "web1", TWO, 2222) is Outcome.CHANGED, "a known port does not fall back"
    assert outcome(hosts, "web1", TWO, 2223) is Outcome.PINNED_OK, "an unknown port falls back to the name"
    assert outcome(hosts, "web1", ONE, 2223) is Outcome.UNKNOWN
    assert outcome(hosts, "web1", ONE, 22) is Outcome.CHANGED


def test_one_of_several_names_is_enough() -> None:
    hosts = known(f"10.0.0.1 {ONE.line()}")
    assert hosts.check(("web1", "10.0.0.1"), 22, ONE.blob, NOW).accepted


# -- ssh-keygen as oracle ------------------------------------------------------------------------------------


def test_names_hashed_by_ssh_keygen_are_found(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    path.write_text(f"web1,10.0.0.1 {ONE.line()}\n[web2]:2222 {TWO.line()}\n")
    keygen("-H", "-f", path)
    assert "web1" not in path.read_text()
    hosts = KnownHosts.load(path)
    assert outcome(hosts, "WEB1", ONE) is Outcome.PINNED_OK
    assert outcome(hosts, "10.0.0.1", ONE) is Outcome.PINNED_OK
    assert outcome(hosts, "web2", TWO, 2222) is Outcome.PINNED_OK
    assert outcome(hosts, "web2", TWO) is Outcome.UNKNOWN


def test_names_hashed_by_us_are_found_by_ssh_keygen(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    path.write_text(f"{hash_name('[web1]:2222', b's' * 20)} {ONE.line()}\n")
    assert "found: line 1" in keygen("-F", "[web1]:2222", "-f", path)


@pytest.mark.parametrize(
    "host", ["web1", "web2", "a.example.com", "a.dmz.example.com", "[web1]:2222", "WEB1", "x"]
)
def test_ssh_keygen_finds_the_same_lines(host: str, tmp_path: Path) -> None:
    path = tmp_path / "kh"
    path.write_text(
        f"web1 {ONE.line()}\n*.example.com,!*.dmz.example.com {ONE.line()}\nWeb2 {ONE.line()}\n"
        f"[web1]:2222,[web2]:* {ONE.line()}\n@revoked web? {TWO.line()}\n@cert-authority * {ONE.line()}\n"
    )
    shown = subprocess.run(
        ["ssh-keygen", "-F", host, "-f", path], capture_output=True, text=True, timeout=60
    ).stdout
    theirs = {
        int(line.split("line ")[1].split()[0]) for line in shown.splitlines() if " found: line " in line
    }
    # ssh-keygen -F lower-cases what it looks for, as ssh does.
    assert theirs == {line.number for line in KnownHosts.load(path).lines if line.matches(host.lower())}


# -- certificates --------------------------------------------------------------------------------------------

AUTHORITY = f"@cert-authority web* {CA.public.line()}"


def test_a_host_certificate_of_a_known_authority() -> None:
    assert outcome(known(AUTHORITY), "web1", certificate()) is Outcome.CA_OK
    assert outcome(known(AUTHORITY), "web1", certificate(principals=["WEB?"])) is Outcome.CA_OK
    assert outcome(known(AUTHORITY), "web1", certificate(), 2222) is Outcome.CA_OK


@pytest.mark.parametrize(
    "changes",
    [
        {"principals": ["web2"]},
        {"principals": ["[web1]:22"]},
        {"valid_before": NOW},
        {"valid_after": NOW + 1},
        {"kind": CertificateKind.USER},
        {"critical_options": {"force-command": "x"}},
    ],
)
@pytest.mark.parametrize("port", [22, 2222])
@pytest.mark.parametrize("names", ["web*", "web1", "[web1]:2222,web1"])
def test_a_certificate_that_is_not_good_says_so(changes: dict[str, Any], port: int, names: str) -> None:
    """Also at another port, where the line that vouches is about the bare name."""
    authority = f"@cert-authority {names} {CA.public.line()}"
    verdict = known(authority).check(("web1",), port, certificate(**changes), NOW)
    assert verdict.outcome is Outcome.CERT_INVALID and verdict.text


def test_an_authority_of_the_bare_name_does_not_hide_a_changed_key_of_the_port() -> None:
    hosts = known(AUTHORITY, f"[web1]:2222 {TWO.line()}")
    assert hosts.check(("web1",), 2222, certificate(valid_before=NOW), NOW).outcome is Outcome.CHANGED


def test_an_authority_for_other_hosts_or_of_no_line_knows_nothing() -> None:
    assert outcome(known(f"@cert-authority db* {CA.public.line()}"), "web1", certificate()) is Outcome.UNKNOWN
    assert outcome(known(), "web1", certificate()) is Outcome.UNKNOWN
    other = PrivateKey.generate_ed25519()
    assert outcome(known(AUTHORITY), "web1", certificate(ca=other)) is Outcome.UNKNOWN


def test_a_pinned_plain_key_is_no_authority_and_an_authority_no_host_key() -> None:
    assert outcome(known(f"web1 {CA.public.line()}"), "web1", certificate()) is Outcome.CHANGED
    assert outcome(known(AUTHORITY), "web1", CA.public) is Outcome.UNKNOWN


def test_the_plain_key_inside_may_be_pinned() -> None:
    assert outcome(known(f"web1 {ONE.line()}"), "web1", certificate()) is Outcome.PINNED_OK
    assert outcome(known(f"web1 {TWO.line()}"), "web1", certificate()) is Outcome.CHANGED
    hosts = known(AUTHORITY, f"web1 {ONE.line()}")
    assert outcome(hosts, "web1", certificate(valid_before=NOW)) is Outcome.PINNED_OK
    assert outcome(hosts, "web1", certificate(TWO, valid_before=NOW)) is Outcome.CERT_INVALID


def test_sha1_host_certificates_never_count(tmp_path: Path) -> None:
    from tests.unit.wire.keygen import certify

    ca, key = make_key(tmp_path, "ca", "-t", "rsa", "-b", "2048"), make_key(tmp_path, "host", "-t", "ed25519")
    blob = certify(ca, key, "-h", "-I", "x", "-n", "web1", "-t", "ssh-rsa")
    hosts = known(f"@cert-authority * {PublicKey.parse(public_blob(ca)).line()}")
    with pytest.raises(ProtocolError):
        hosts.check(("web1",), 22, blob, NOW)


# -- revoked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patterns", ["*", "web1", "web*"])
def test_revoked_counts_for_key_certified_key_and_authority(patterns: str) -> None:
    """CVE-2026-42508: the CA key was not looked at."""
    good = (AUTHORITY, f"web1 {ONE.line()}")
    for revoked, shown in ((ONE, ONE.blob), (ONE, certificate()), (CA.public, certificate())):
        hosts = known(*good, f"@revoked {patterns} {revoked.line()}")
        assert outcome(hosts, "web1", shown) is Outcome.REVOKED
        assert outcome(hosts, "web1", shown, 2222) is Outcome.REVOKED
    assert outcome(known(*good, f"@revoked {patterns} {TWO.line()}"), "web1", ONE) is Outcome.PINNED_OK


def test_a_revocation_for_a_port() -> None:
    hosts = known(f"[web1]:2222 {ONE.line()}", f"@revoked [web1]:2222 {ONE.line()}")
    assert outcome(hosts, "web1", ONE, 2222) is Outcome.REVOKED


# -- files and garbage ---------------------------------------------------------------------------------------

CERTIFICATE_BLOB = base64.b64encode(string("ssh-ed25519-cert-v01@openssh.com") + string(b"x")).decode()
BAD = {
    "no key": "web1",
    "no base64": "web1 ssh-ed25519",
    "bad base64": "web1 ssh-ed25519 AAAA*",
    "type differs": f"web1 {ONE.line().replace('ssh-ed25519', 'ssh-rsa')}",
    "dsa that is none": "web1 ssh-dss AAAAB3NzaC1kc3",
    "dsa of another type": f"web1 ssh-dss {ONE.line().split()[1]}",
    "revoked dsa that is none": "@revoked * ssh-dss",
    "revoked certificate": f"@revoked * ssh-ed25519-cert-v01@openssh.com {CERTIFICATE_BLOB}",
    "unknown marker": f"@trusted web1 {ONE.line()}",
    "marker mistyped": f"@Revoked * {ONE.line()}",
    "marker alone": "@revoked",
    "marker without key": "@revoked *",
    "two markers": f"@revoked @cert-authority * {ONE.line()}",
    "empty name": f"web1,,web2 {ONE.line()}",
    "lone negation": f"! {ONE.line()}",
    "bad hash version": f"|2|AAAA|AAAA {ONE.line()}",
    "short hash": f"|1|AAAA|AAAA {ONE.line()}",
    "hash with name": f"{hash_name('a', b's' * 20)},b {ONE.line()}",
    "certificate as key": f"web1 ssh-ed25519-cert-v01@openssh.com {ONE.line().split()[1]}",
    "too long": f"{'w' * 20_000} {ONE.line()}",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines_name_file_and_line(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        known("# comment", "", f"web1 {ONE.line()}", BAD[name])
    assert (error.value.file, error.value.line) == ("kh", 4)


def blob(kind: str) -> str:
    """A key of another type, as far as its name goes."""
    return base64.b64encode(string(kind) + string(b"\1" * 64)).decode()


@pytest.mark.parametrize("kind", ["ssh-dss", "ssh-xmss@openssh.com", "ecdsa-sha2-nistp224"])
@pytest.mark.parametrize("marker", ["", "@cert-authority "])
def test_a_line_of_a_type_that_is_never_negotiated_is_left_out_and_told(kind: str, marker: str) -> None:
    hosts = known(f"web1 {ONE.line()}", f"{marker}web1 {kind} {blob(kind)} old", f"@revoked * {TWO.line()}")
    (warning,) = hosts.warnings
    assert str(warning).startswith("kh:2: is left out: keys of this type are never negotiated")
    assert outcome(hosts, "web1", ONE) is Outcome.PINNED_OK
    assert outcome(hosts, "web1", TWO) is Outcome.REVOKED
    assert hosts.with_keys("web2", 22, [ONE.line()], "targets.toml").warnings == hosts.warnings


def test_a_revoked_key_of_such_a_type_is_obeyed_in_silence() -> None:
    assert known(f"@revoked * ssh-dss {blob('ssh-dss')}").warnings == ()


def test_all_faults_of_a_file_are_told_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        known(f"web1 ssh-dss {blob('ssh-dss')}", BAD["no key"], f"web1 {ONE.line()}", BAD["unknown marker"])
    assert [error.line for error in caught.value.errors] == [2, 4]
    assert str(caught.value).count("kh:") == 2


@pytest.mark.parametrize("case", ["missing", "directory", "binary"])
def test_unreadable_files_are_errors(case: str, tmp_path: Path) -> None:
    path = tmp_path / case
    if case == "directory":
        path.mkdir()
    elif case == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=case):
        KnownHosts.load(path)


def test_several_files_are_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(f"web1 {ONE.line()}\r\n\t# comment\r\n")
    second.write_text(f"@revoked * {ONE.line()}")
    assert outcome(KnownHosts.load(first), "web1", ONE) is Outcome.PINNED_OK
    assert outcome(KnownHosts.load(first, second), "web1", ONE) is Outcome.REVOKED


def test_keys_of_the_inventory_count_too() -> None:
    hosts = known().with_keys("web1", 2222, [ONE.line("comment")], "targets.toml")
    assert outcome(hosts, "web1", ONE, 2222) is Outcome.PINNED_OK
    for bad in ("", "ssh-ed25519", f"web2 {ONE.line()}", f"@revoked {ONE.line()}"):
        with pytest.raises(ConfigError, match=r"targets\.toml"):
            known().with_keys("web1", 22, [bad], "targets.toml")


@given(st.text(max_size=80))
def test_garbage_is_a_configuration_error(text: str) -> None:
    for line in (text, f"{text} {ONE.line()}", f"@revoked {text}"):
        try:
            KnownHosts.parse(line)
        except ConfigError:
            continue


NAMES = ("web1", "web2", "a.example.com", "[web1]:2222")
FIELDS = st.one_of(
    st.sampled_from(NAMES).map(lambda name: hash_name(name, b"s" * 20)),
    st.lists(
        st.sampled_from((*NAMES, "WEB1", "web*", "!web2", "*", "*.example.com", "[web?]:*")),
        min_size=1,
        max_size=4,
    ).map(",".join),
)


@given(st.lists(FIELDS, max_size=8))
def test_the_index_finds_what_matching_every_line_finds(fields: list[str]) -> None:
    hosts = known(*(f"{names} {ONE.line()}" for names in fields))
    for name in (*NAMES, "other"):
        for _again in range(2):
            found = hosts._index.about(name)
            assert sorted(line.number for line in found) == [
                line.number for line in hosts.lines if line.matches(name)
            ]


@given(st.binary(max_size=120))
def test_a_garbage_key_is_a_protocol_error(blob: bytes) -> None:
    with pytest.raises(ProtocolError):
        known(f"* {ONE.line()}").check(("web1",), 22, blob, NOW)


# -- algorithms ----------------------------------------------------------------------------------------------


def test_algorithms_that_can_be_verified_come_first() -> None:
    plain = known(f"web1 {RSA.line()}").algorithms_for(("web1",), 22)
    assert plain[:2] == ("rsa-sha2-512", "rsa-sha2-256") and "ssh-ed25519" in plain
    assert not any("cert" in name for name in plain)
    both = known(AUTHORITY, f"web1 {RSA.line()}").algorithms_for(("web1",), 2222)
    assert "cert" in both[0] and both.index("rsa-sha2-512") < both.index("ssh-ed25519")
    for names in (plain, both, known().algorithms_for(("web1",), 22)):
        assert len(set(names)) == len(names) and "ssh-ed25519" in names
        assert not any(name.startswith(("sk-", "ssh-rsa", "ssh-dss")) for name in names)
