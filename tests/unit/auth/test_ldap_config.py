"""The options of the LDAP directory: what is read, what is refused, what is warned about."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from bastion.auth.ldap import LdapDirectory
from bastion.auth.ldap_config import LdapConfig, ServerAddress, read_bind_password, tls_context
from bastion.clock import FixedClock
from bastion.errors import ConfigError
from bastion.options import At, Problems, Source, Unreadable, read
from tests.support.pki import Authority
from tests.unit.auth.threads import StillReactor

SMALL: dict[str, Any] = {
    "servers": ["ldaps://ldap1.example.org", "ldap://[::1]:1389"],
    "user_base": "ou=people,dc=example,dc=org",
    "bind_dn": "cn=reader,dc=example,dc=org",
    "bind_password_file": "secret",
    "group_base": "ou=groups,dc=example,dc=org",
}


def made(**changes: Any) -> LdapConfig:
    problems = Problems()
    table = {key: value for key, value in (SMALL | changes).items() if value is not None}
    config = read(LdapConfig, table, At(Source("bastion.toml"), problems, ("directory", "ldap")))
    problems.raise_any()
    return config


def fault(**changes: Any) -> str:
    problems = Problems()
    table = {key: value for key, value in (SMALL | changes).items() if value is not None}
    with pytest.raises(Unreadable):
        read(LdapConfig, table, At(Source("bastion.toml"), problems, ("directory", "ldap")))
    (error,) = problems.errors
    return error.key.removeprefix("directory.ldap.")


def test_defaults_are_safe_and_bounded() -> None:
    config = made()
    assert config.servers == (
        ServerAddress("ldap1.example.org", 636, tls=True),
        ServerAddress("::1", 1389, tls=False),
    )
    assert [str(server) for server in config.servers] == [
        "ldaps://ldap1.example.org:636",
        "ldap://[::1]:1389",
    ]
    assert config.allow_plaintext is False
    assert config.timeout <= config.deadline < 20  # a directory that takes 20 s is given up before
    assert config.group_ttl == 60
    assert config.warnings() == ()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"servers": []}, "servers"),
        ({"servers": ["http://x"]}, "servers[1]"),
        ({"servers": ["ldap://x:0"]}, "servers[1]"),
        ({"servers": ["ldap://x/dc=org??sub?"]}, "servers[1]"),
        ({"servers": ["ldap1.example.org"]}, "servers[1]"),
        ({"user_base": "people"}, "user_base"),
        ({"user_base": ""}, "user_base"),
        ({"user_filter": "objectClass=person"}, "user_filter"),
        ({"user_filter": "(objectClass=person"}, "user_filter"),
        ({"name_attribute": "uid)(x=*"}, "name_attribute"),
        ({"group_members": ["owner"]}, "group_members[1]"),
        ({"bind_password_file": None}, "bind_password_file"),
        ({"deadline": 1.0}, "deadline"),
        ({"timeout": 600}, "timeout"),
        ({"threads": 0}, "threads"),
        ({"group_ttl": "1h"}, "group_ttl"),
        ({"decoy_dn": "cn=x,dc=elsewhere"}, "decoy_dn"),
        ({"nested_groups": "all"}, "nested_groups"),
        ({"nested_groups": "walk", "group_base": None}, "nested_groups"),
        ({"primary_group": True, "group_base": None}, "primary_group"),
        ({"nested_groups": "in-chain", "group_members": ["uniqueMember"]}, "group_members"),
        ({"nested_groups": "walk", "group_members": ["memberUid"]}, "group_members"),
        ({"group_depth": 21}, "group_depth"),
        ({"client_certificate": "c", "bind_dn": None}, "client_key"),
        ({"client_key": "k"}, "client_certificate"),
        ({"client_certificate": "c", "client_key": "k"}, "client_certificate"),
        (
            {"client_certificate": "c", "client_key": "k", "bind_dn": None, "allow_plaintext": True},
            "client_certificate",
        ),
        ({"start_tls": False}, "start_tls"),
    ],
)
def test_a_fault_is_told_at_its_key(changes: dict[str, Any], key: str) -> None:
    assert fault(**changes) == key


def test_warnings() -> None:
    assert any("in clear" in text for _, text in made(allow_plaintext=True).warnings())
    assert made(allow_plaintext=True, servers=["ldaps://x"]).warnings() == ()
    assert any("anonymous" in text for _, text in made(bind_dn=None, bind_password_file=None).warnings())
    assert any("no groups" in text for _, text in made(member_of=False, group_base=None).warnings())
    assert any("anywhere" in text for _, text in made(group_base=None).warnings())


def test_the_password_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("top secret\nnotes\n")
    path.chmod(0o600)
    assert read_bind_password(made(bind_password_file=str(path))) == "top secret"
    assert read_bind_password(made(bind_dn=None, bind_password_file=None)) == ""
    for mode in (0o604, 0o620, 0o644):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"{mode:04o}"):
            read_bind_password(made(bind_password_file=str(path)))
    path.chmod(0o600)
    for content in (b"", b"\nsecond", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read_bind_password(made(bind_password_file=str(path)))
        assert caught.value.key == "bind_password_file"
    with pytest.raises(ConfigError):
        read_bind_password(made(bind_password_file=str(tmp_path / "missing")))


def test_the_clients_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    issued, other = authority.issue("bastion"), authority.issue("other")
    ours = {"bind_dn": None, "bind_password_file": None, "client_certificate": str(issued.certificate)}
    config = made(**ours, client_key=str(issued.key))
    assert config.warnings() == () and read_bind_password(config) == ""
    tls_context(config)
    with pytest.raises(ConfigError) as caught:
        tls_context(made(**ours, client_key=str(other.key)))
    assert caught.value.key == "client_certificate"
    issued.key.chmod(0o644)
    with pytest.raises(ConfigError, match="0644") as caught:
        tls_context(config)
    assert caught.value.key == "client_key"
    with pytest.raises(ConfigError):
        tls_context(made(**ours, client_key=str(tmp_path / "missing")))


def test_a_clients_key_with_a_passphrase_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    issued = Authority(tmp_path / "pki").issue("bastion")
    key = load_pem_private_key(issued.key.read_bytes(), None)
    issued.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    )
    ours = {"client_certificate": str(issued.certificate), "client_key": str(issued.key)}
    with pytest.raises(ConfigError, match="without a passphrase"):
        tls_context(made(bind_dn=None, bind_password_file=None, **ours))


def test_tls_always_verifies(tmp_path: Path) -> None:
    context = tls_context(made(ca_file=str(Authority(tmp_path / "pki").certificate)))
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert [dict(name[0] for name in ca["subject"])["commonName"] for ca in context.get_ca_certs()] == [
        "Test Authority"
    ]
    for bad in ("missing", "."):
        with pytest.raises(ConfigError, match="ca_file"):
            tls_context(made(ca_file=os.fspath(tmp_path / bad)))


def test_a_directory_shows_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("top secret")
    path.chmod(0o600)
    directory = LdapDirectory(made(bind_password_file=str(path)), StillReactor(), FixedClock())
    assert "top secret" not in repr(directory) + repr(directory.__dict__.get("_config"))
    assert (directory.in_use, directory.stuck, directory.waiting, directory.servers().healthy) == (0, 0, 0, 2)
    directory.close()
