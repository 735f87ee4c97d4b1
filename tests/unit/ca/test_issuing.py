"""Certificates for people: no more than was asked for, in OpenSSH's words too."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

from bastion.auth.certificates import check_user_certificate
from bastion.auth.issued import EXTENSION, Carried
from bastion.ca.issuing import SERIAL_BITS, IssuingCA, LoginCertificate
from bastion.ca.slots import Staged
from bastion.wire.certificates import Certificate
from bastion.wire.keys import PrivateKey
from tests.unit.wire.keygen import keygen

OLD, NEW = PrivateKey.generate_ed25519(), PrivateKey.generate_ed25519()
KEY = PrivateKey.generate_ed25519().public
NOW = 1_800_000_000.7
CARRIED = Carried(("publickey", "totp"), 1_799_999_000, "u-1")
WANTED = LoginCertificate(KEY, "alice", "alice@gw", CARRIED, 1_800_035_000, ("permit-pty",))


def issue(wanted: LoginCertificate = WANTED) -> Certificate:
    return IssuingCA(Staged(OLD), (("publickey", "totp"),), 36000).issue(wanted, NOW)


def test_what_it_says() -> None:
    made = issue()
    assert made.key == KEY and made.principals == ("alice",) and made.key_id == "alice@gw"
    assert (made.valid_after, made.valid_before) == (1_799_999_940, 1_800_035_000)
    assert dict(made.critical_options) == {} and set(made.extensions) == {"permit-pty", EXTENSION}
    cas = (OLD.public,)
    facts = check_user_certificate(made, cas, ("alice",), NOW, "192.0.2.1", issuers=cas)
    assert facts.carried == CARRIED


def test_what_restricts_it_is_critical() -> None:
    made = issue(replace(WANTED, sources="192.0.2.0/24,2001:db8::/64", verify=True, no_touch=True))
    assert set(made.critical_options) == {"source-address", "verify-required"}
    assert made.extensions["no-touch-required"] == b""


def test_ssh_keygen_reads_it(tmp_path: Path) -> None:
    made = issue(replace(WANTED, sources="192.0.2.0/24"))
    path = tmp_path / "cert.pub"
    path.write_text(f"{made.type} {base64.b64encode(made.blob).decode()}\n")
    shown = keygen("-L", "-f", path)
    for text in ("alice", "permit-pty", "source-address 192.0.2.0/24", EXTENSION, f"Serial: {made.serial}"):
        assert text in shown


def test_serials_fit_into_a_column_and_are_nobodys_zero() -> None:
    serials = {issue().serial for _ in range(50)}
    assert len(serials) == 50 and all(0 < serial < 1 << SERIAL_BITS for serial in serials)


def test_while_one_key_takes_the_others_place_both_count() -> None:
    ca = IssuingCA(Staged(OLD, NEW, NOW + 10), (), 36000)
    assert ca.publics == (OLD.public, NEW.public) and ca.waits(NOW) is None
    assert ca.issue(WANTED, NOW).signature_key == OLD.public
    assert ca.issue(WANTED, NOW + 10).signature_key == NEW.public
