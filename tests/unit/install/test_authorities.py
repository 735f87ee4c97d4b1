"""Keys and passwords that are made here."""

import re
import stat
import subprocess

import pytest

from bastion.install.authorities import PASSWORD_LETTERS, RSA_HOST_KEY_BITS, make_key, make_password


def test_passwords_are_groups_of_letters_that_are_not_mistaken():
    made = {make_password(5) for _ in range(200)}
    assert len(made) == 200
    assert all(
        re.fullmatch(rf"(?:[{PASSWORD_LETTERS}]{{4}}-){{4}}[{PASSWORD_LETTERS}]{{4}}", one) for one in made
    )


@pytest.mark.slow
@pytest.mark.parametrize("rsa", [False, True])
def test_a_key_is_closed_from_the_first_moment_and_read_by_ssh_keygen(tmp_path, rsa):
    path = tmp_path / "key"
    key = make_key(path, "a comment", rsa)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert shown.split()[:2] == [str(RSA_HOST_KEY_BITS if rsa else 256), key.public.fingerprint()]
    assert (tmp_path / "key.pub").read_text() == f"{key.public.line()} a comment\n"
    with pytest.raises(FileExistsError):
        make_key(path, "again")
