"""The section about the metrics page: what is wrong is said with what to do, and a secret never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import argon2
import pytest

from bastion.config.check import inspect
from bastion.config.metrics import MOST_TARGETS, MOST_USERS, read_users
from bastion.errors import ConfigError
from tests.support.tls import make_certificate

HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")


def found(site: Any, *lines: str) -> tuple[list[str], list[str]]:
    """(errors, warnings) of the site with these lines in [metrics]."""
    site.edit("[audit]", "[metrics]\n" + "\n".join(lines) + "\n[audit]")
    report = inspect(site.config)
    return [str(one) for one in report.errors], [str(one) for one in report.warnings if "metrics" in str(one)]


def test_a_page_with_tls_users_and_targets(site: Any) -> None:
    make_certificate(site.folder)
    site.write("users", f"# who may\nprometheus:{HASH}\n\n", 0o600)
    errors, warnings = found(
        site,
        'listen = "0.0.0.0:9722"',
        'tls_certificate = "tls.crt"',
        'tls_key = "tls.key"',
        'users = "users"',
        'targets = ["web1"]',
    )
    assert (errors, warnings) == ([], [])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['tls_certificate = "tls.crt"'], ("metrics.tls_key", "TLS needs both")),
        (['tls_key = "tls.key"'], ("metrics.tls_certificate", "TLS needs both")),
        (['tls_certificate = "tls.crt"', 'tls_key = "none"'], ("cannot be used together", "No such file")),
        (['tls_certificate = "tls.crt"', 'tls_key = "host_key"'], ("cannot be used together",)),
        (['users = "none"'], ("metrics.users", "No such file")),
        (['users = "open"'], ("mode 0644 lets others in", "0600 or 0640")),
        (['users = "empty"'], ("has 0 names",)),
        ([f"targets = {[f'web{n}' for n in range(MOST_TARGETS + 1)]}"], ("metrics.targets", "at most 50")),
        (['targets = ["Web 1"]'], ("metrics.targets",)),
    ],
)
def test_what_is_wrong(site: Any, lines: list[str], words: tuple[str, ...]) -> None:
    make_certificate(site.folder)
    site.write("open", f"prometheus:{HASH}\n", 0o644)
    site.write("empty", "# nobody yet\n", 0o600)
    errors, _ = found(site, *lines)
    assert len(errors) == 1 and all(word in errors[0] for word in words), errors
    assert "bastion.toml" in errors[0] and "argon2id$" not in errors[0]


def test_what_is_doubtful(site: Any) -> None:
    site.write("users", f"prometheus:{HASH}\n", 0o600)
    errors, warnings = found(site, 'listen = "0.0.0.0:9722"', 'users = "users"', 'targets = ["nowhere"]')
    assert errors == []
    assert [("as they are" in one, "nowhere is no target" in one) for one in warnings] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("prometheus:correct horse\n", 1, "is not an argon2id hash"),
        (f"ok:{HASH}\nprom etheus:{HASH}\n", 2, "does not begin with a name"),
        (f"ok:{HASH}\nprometheus\n", 2, "is not an argon2id hash"),
        ("a:" + HASH.replace("m=8", "m=99999999") + "\n", 1, "too much memory"),
        ("".join(f"u{n}:{HASH}\n" for n in range(MOST_USERS + 1)), 0, "33 names"),
    ],
)
def test_a_file_of_users_names_the_line_and_never_what_stands_there(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    file = tmp_path / "users"
    file.touch(0o600)
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_users(file)
    said = str(refused.value)
    assert refused.value.line == line and words in said
    assert "correct horse" not in said and "$argon2id" not in said


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.touch(0o600)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        read_users(file)
