"""The file with the key of second factors."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.auth.embedded import parse_users
from bastion.config.login import Login, Totp
from bastion.config.second_factors import read_totp_key
from bastion.errors import ConfigError

WITH_CODES = Login(require=(("publickey", "totp"),))


def test_codes_need_a_key_that_is_closed_to_others_and_long_enough(tmp_path: Path) -> None:
    file = tmp_path / "totp.key"
    file.write_text("k" * 32)
    file.chmod(0o600)
    assert read_totp_key(Totp(key_file=file), WITH_CODES) is not None
    assert read_totp_key(Totp(), Login()) is None
    with pytest.raises(ConfigError, match="asks for totp"):
        read_totp_key(Totp(), WITH_CODES)
    file.write_text("k" * 31)
    with pytest.raises(ConfigError, match="has 31 characters, and needs 32"):
        read_totp_key(Totp(key_file=file), Login())
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="lets others in"):
        read_totp_key(Totp(key_file=file), Login())


def test_a_break_glass_account_needs_a_key_for_codes() -> None:
    users = parse_users('[users.e]\nid = "e-1"\nbreak_glass = true\ntargets = ["db1"]\n', "users.toml")
    with pytest.raises(ConfigError, match="break-glass account e needs codes"):
        read_totp_key(Totp(), Login(), users=users)
    assert read_totp_key(Totp(), Login(), users=parse_users('[users.e]\nid = "e-1"\n', "users.toml")) is None


@pytest.mark.parametrize("method", ["publickey", "keyboard-interactive"])
def test_a_break_glass_account_needs_the_methods_that_it_logs_in_by(method: str, tmp_path: Path) -> None:
    users = parse_users('[users.e]\nid = "e-1"\nbreak_glass = true\ntargets = ["db1"]\n', "users.toml")
    methods = tuple(one for one in ("publickey", "keyboard-interactive", "password") if one != method)
    with pytest.raises(ConfigError, match=f"has no {method}") as caught:
        read_totp_key(Totp(), Login(methods=methods), users=users)
    assert caught.value.key == "login.methods"
