"""The two families of errors: each is complete by itself, and tells apart whose fault it was."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest

from bastion import errors
from bastion.errors import (
    AuthReason,
    BastionError,
    ConfigError,
    ProtocolError,
    RecorderFailed,
    RecorderReason,
    Refused,
)

REASONS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum
]


def test_a_protocol_error_is_a_protocol_error_of_rfc_4253() -> None:
    error = ProtocolError("too long")
    assert (str(error), error.text, error.code) == ("too long", "too long", 2)
    assert ProtocolError("gone", 11).code == 11


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("b.toml", 3, "limits.idle", "is no duration", '"5m"'),
         'b.toml:3: limits.idle: is no duration (allowed: "5m")'),
        (ConfigError("b.toml", 0, "limits.idle", "is missing"), "b.toml: limits.idle: is missing"),
        (ConfigError("b.toml", 0, "", "cannot be read"), "b.toml: cannot be read"),
    ],
)  # fmt: skip
def test_a_fault_of_a_file_names_what_is_known_of_its_place(error: ConfigError, text: str) -> None:
    assert str(error) == text


def test_a_refusal_has_a_reason_and_a_line() -> None:
    refused = Refused(AuthReason.THROTTLED, "later")
    failed = RecorderFailed(RecorderReason.DISK_FULL, "no space")
    assert (refused.reason, refused.text, str(refused)) == ("throttled", "later", "later")
    assert (failed.reason, failed.text, str(failed)) == ("disk_full", "no space", "no space")
    assert isinstance(refused, BastionError) and isinstance(failed, BastionError)


@pytest.mark.parametrize("kind", REASONS, ids=lambda kind: kind.__name__)
def test_a_reason_is_a_word_for_a_label(kind: type[StrEnum]) -> None:
    assert all(re.fullmatch(r"[a-z][a-z_]*", reason) and reason == reason.name.lower() for reason in kind)
