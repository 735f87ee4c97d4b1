"""PuTTY's registry and WinSCP's command lines, and its own form of keys."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bastion.setup_texts.client import text_for
from bastion.setup_texts.putty import point_of
from bastion.wire.keys import PrivateKey
from tests.unit.setup_texts.test_client import facts


def test_putty_trusts_the_authority_per_target_and_port() -> None:
    made = facts()
    text = text_for(made, "putty")
    assert text.startswith("Windows Registry Editor Version 5.00\n\n[HKEY_CURRENT_USER")
    assert '"Validity"="(port:22 && (web1 || www || 10.0.0.5)) || (port:2201 && (db))"' in text
    assert '"ssh-ed25519@2222:bastion.example.com"="0x' in text
    assert "[HKEY_CURRENT_USER\\Software\\SimonTatham\\PuTTY\\Sessions\\db]" in text
    assert '"PortNumber"=dword:00000899' in text


def test_points_of_ed25519_keys_are_on_the_curve() -> None:
    p, d = 2**255 - 19, -121665 * pow(121666, -1, 2**255 - 19)
    signs = set()
    for _ in range(20):
        encoded = PrivateKey.generate_ed25519().public.blob[-32:]
        x, y = point_of(encoded)
        assert (-x * x + y * y - 1 - d * x * x * y * y) % p == 0
        assert (y | (x & 1) << 255).to_bytes(32, "little") == encoded
        signs.add(x & 1)
    assert signs == {0, 1}


def test_putty_writes_keys_of_every_type() -> None:
    keys = (
        PrivateKey(rsa.generate_private_key(65537, 2048)).public,
        PrivateKey(ec.generate_private_key(ec.SECP256R1())).public,
    )
    text = text_for(facts(host_keys=keys), "putty")
    assert '"rsa2@2222:bastion.example.com"="0x10001,0x' in text
    assert '"ecdsa-sha2-nistp256@2222:bastion.example.com"="nistp256,0x' in text


def test_winscp_gets_one_command_per_target() -> None:
    text = text_for(facts(), "winscp")
    assert text.count("winscp.com /command") == 3
    assert "sftp://deploy@web1:22/" in text
    assert "TunnelHostName=bastion.example.com TunnelPortNumber=2222 TunnelUserName=alice" in text
