"""The section about approvals: what is no webhook, and mail that is half configured."""

from __future__ import annotations

import tomllib

import pytest

from bastion.config.approvals import Approvals
from bastion.options import At, Problems, Source, Unreadable, read


def section(text: str) -> Approvals:
    return read(Approvals, tomllib.loads(text), At(Source("b.toml"), Problems()))


@pytest.mark.parametrize(
    "text",
    [
        'webhook = "http://chat.example.com/"',
        'webhook = "https://"',
        'webhook = "https://me:secret@chat.example.com/"',
        'webhook = "https://chat.example.com/ x"',
        'webhook = "https://chat.example.com:99999/"',
        'webhook = "file:///etc/passwd"',
        'webhook_token_file = "t"',
        'mail_command = ["/usr/sbin/sendmail"]',
        'mail_command = ["sendmail"]\nmail_from = "a@b.c"\nmail_to = ["a@b.c"]',
        'mail_command = ["/x"]\nmail_from = "a@b.c"\nmail_to = ["a@b.c\\nBcc: d@e.f"]',
    ],
)
def test_what_is_wrong_is_told(text: str) -> None:
    with pytest.raises(Unreadable):
        section(text)


def test_what_is_right() -> None:
    made = section('webhook = "https://chat.example.com/hooks?a=b"\nmail_command = ["/x", "-t"]\n'
                   'mail_from = "a@b.c"\nmail_to = ["a@b.c"]')  # fmt: skip
    assert made.webhook == "https://chat.example.com/hooks?a=b" and made.mail_to == ("a@b.c",)
    assert section('webhook = "http://127.0.0.1:8080/"').webhook
