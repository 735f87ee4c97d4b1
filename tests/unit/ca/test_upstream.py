"""Certificates towards targets never exceed the login that asked for them."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from bastion.auth.certificates import check_user_certificate
from bastion.ca.slots import Staged
from bastion.ca.upstream import CertificateRequest, UpstreamCA
from bastion.errors import AuthReason, ConfigError, Refused
from bastion.wire.certificates import Certificate
from bastion.wire.key_options import ALL_PERMITS
from bastion.wire.keys import PrivateKey
from tests.unit.wire.keygen import keygen

CA_KEY = PrivateKey.generate_ed25519()
NOW = 1_800_000_000.7
REQUEST = CertificateRequest("deploy", "alice", "k3v2m5q7p2r4t6w8", ("permit-pty",))


def issue(request: CertificateRequest = REQUEST, *egress: str) -> Certificate:
    return UpstreamCA(Staged(CA_KEY), egress).issue(request, NOW)[1]


def test_what_a_session_certificate_says() -> None:
    key, certificate = UpstreamCA(Staged(CA_KEY), ["192.0.2.1"], lifetime=120).issue(REQUEST, NOW)
    assert certificate.key == key.public and key.public.type == "ssh-ed25519"
    assert certificate.principals == ("deploy",)
    assert certificate.key_id == "alice k3v2m5q7p2r4t6w8"
    assert (certificate.valid_after, certificate.valid_before) == (1_799_999_940, 1_800_000_120)
    assert dict(certificate.extensions) == {"permit-pty": b""}
    facts = check_user_certificate(certificate, (CA_KEY.public,), ("deploy",), NOW, "192.0.2.1")
    assert facts.force_command is None
    with pytest.raises(Refused) as refusal:
        check_user_certificate(certificate, (CA_KEY.public,), ("deploy",), NOW, "192.0.2.2")
    assert refusal.value.reason is AuthReason.CERT_SOURCE_ADDRESS


def test_ssh_keygen_agrees(tmp_path: Path) -> None:
    request = replace(REQUEST, permits=sorted(ALL_PERMITS), force_command="uptime")
    made = issue(request, "2001:db8::/64", "192.0.2.1")
    path = tmp_path / "cert.pub"
    path.write_text(f"{made.type} {base64.b64encode(made.blob).decode()}\n")
    shown = keygen("-L", "-f", path)
    for text in (*ALL_PERMITS, "source-address 192.0.2.1,2001:db8::/64", "force-command uptime", "deploy"):
        assert text in shown


def test_every_session_has_its_own_key_and_serial() -> None:
    ca = UpstreamCA(Staged(CA_KEY))
    made = [ca.issue(REQUEST, NOW) for _ in range(20)]
    assert len({key.public.blob for key, _ in made}) == len({cert.serial for _, cert in made}) == 20


def test_no_egress_addresses_is_no_option_at_all() -> None:
    assert dict(issue().critical_options) == {}


def test_it_never_outlives_the_login() -> None:
    """Teleport 10.3.11: a restricted credential was exchanged for a less restricted one."""
    assert issue(replace(REQUEST, not_after=int(NOW) + 7)).valid_before == int(NOW) + 7
    assert issue(replace(REQUEST, not_after=int(NOW) + 10**6)).valid_before == int(NOW) + 300
    for ended in (int(NOW), int(NOW) - 100, 0):
        with pytest.raises(Refused) as refusal:
            issue(replace(REQUEST, not_after=ended))
        assert refusal.value.reason is AuthReason.CERT_EXPIRED


def test_a_forced_command_goes_along() -> None:
    assert "force-command" in issue(replace(REQUEST, force_command="")).critical_options


@pytest.mark.parametrize(
    "changes",
    [
        {"login": ""}, {"login": "a,b"}, {"login": "-x"}, {"login": "a\n"}, {"identity": "alice bob"},
        {"identity": "al\x1bice"}, {"session_id": "a b"}, {"session_id": ""},
        {"permits": ["permit-everything"]}, {"permits": "permit-pty"},
    ],
)  # fmt: skip
def test_names_that_policy_must_never_let_through(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="may carry"):
        issue(replace(REQUEST, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("egress", [["10.0.0.1/8"], ["host"], ["*"], ["192.0.2.1,"], "192.0.2.1"])
def test_bad_egress_addresses_are_configuration_errors(egress: list[str]) -> None:
    with pytest.raises(ConfigError, match="egress_addresses"):
        UpstreamCA(Staged(CA_KEY), egress)


@pytest.mark.parametrize("lifetime", [0, -1, 86400])
def test_bad_lifetimes_are_configuration_errors(lifetime: int) -> None:
    with pytest.raises(ConfigError, match="lifetime"):
        UpstreamCA(Staged(CA_KEY), lifetime=lifetime)


# -- what the target needs -----------------------------------------------------------------------------------
