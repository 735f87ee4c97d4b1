"""The section about mail: what is refused, and to whom mail may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.config.mail import Mail
from bastion.config.outputs import read_section
from bastion.errors import ConfigError
from bastion.options.kinds import Address
from tests.unit.config.site import Site

WHOLE = """server = "smtp.example.com:587"
sender = "bastion@example.com"
domains = ["example.com"]
"""


def read(folder: Path, text: str) -> Mail:
    site = Site(folder)
    site.write("bastion.toml", f"{site.config.read_text()}\n[mail]\n{text}")
    return read_section(site.config, Mail)


def test_a_whole_section_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE + 'user = "bastion"\npassword_file = "secret"\n')
    assert found.server == Address("smtp.example.com", 587) and found.tls == "starttls" and not found.sessions
    assert found.password_file == tmp_path / "secret" and Mail().server is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (WHOLE + 'tls = "none"\n', "mail.tls"),
        (WHOLE.replace("smtp.example.com", "0.0.0.0") + 'tls = "none"\n', "mail.tls"),
        (WHOLE + 'user = "bastion"\n', "mail.password_file"),
        (WHOLE + 'password_file = "secret"\n', "mail.user"),
        (WHOLE.replace("sender", "# sender"), "mail.sender"),
        (WHOLE.replace("domains", "# domains"), "mail.domains"),
        (WHOLE.replace("bastion@example.com", "bastion@example.com\\nBcc: eve"), "mail.sender"),
        (WHOLE.replace('["example.com"]', '["Example.com"]'), "mail.domains"),
        (WHOLE.replace('["example.com"]', '["*.example.com"]'), "mail.domains"),
        (WHOLE.replace("server", "# server"), "mail.sender"),
        (WHOLE.replace("smtp.example.com", "127.0.0.1") + 'tls = "none"\nca_file = "x"\n', "mail.ca_file"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as told:
        read(tmp_path, text)
    assert key in str(told.value)


def test_without_tls_it_is_loopback_alone(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE.replace("smtp.example.com", "127.0.0.1") + 'tls = "none"\n').tls == "none"


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("ada@example.com", ""), ("Ada.L+x@EXAMPLE.com", ""), ("ada@mail.example.com", "is at none of"),
        ("ada@example.com.evil.org", "is at none of"), ("ada", "is no"), ("a@b@example.com", "is no"),
        ("ada@example.com\r\nRCPT TO:<eve@evil.org>", "is no"), ("ada@example.com\n", "is no"), ("", "is no"),
        ("<ada@example.com>", "is no"), ("ada@example.com, eve@example.com", "is no"),
        ("a" * 65 + "@example.com", "is no"),
    ],
)  # fmt: skip
def test_mail_goes_to_addresses_of_listed_domains_alone(address: str, fault: str) -> None:
    wanted = Mail(server=Address("127.0.0.1", 25), sender="bastion@example.com", domains=("example.com",))
    assert wanted.fault(address).startswith(fault) and bool(wanted.fault(address)) == bool(fault)
    assert Mail().fault(address) == "this gateway sends no mail"
