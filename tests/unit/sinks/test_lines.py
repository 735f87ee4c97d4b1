"""A line of the log on its way."""

from __future__ import annotations

import pytest

from bastion.sinks.lines import ERROR, INFO, WARNING, AuditLine, read_audit_line

CHAIN = "0123456789abcdef"


def line(text: str, serial: int = 5) -> AuditLine:
    found = read_audit_line(f'{text[:-1]},"chain":"{CHAIN}","seq":{serial},"prev":"{"0" * 64}"}}'.encode())
    assert found is not None
    return found


def test_its_id_is_its_place_in_the_chain() -> None:
    found = line('{"ts":"2026-11-23T03:10:07.042Z","event":"lobby","user":"alice"}')
    assert (found.chain, found.serial, found.id) == (CHAIN, 5, f"{CHAIN}-5")
    assert found.word("user") == "alice" and found.word("seq") == "" and found.word("none") == ""
    assert found.nanoseconds == 1_795_403_407_042_000_000


@pytest.mark.parametrize("text", ['{"ts":"yesterday"}', '{"ts":1}', '{"event":"x"}', '{"ts":"2026-11-23"}'])
def test_a_line_without_a_time_has_none(text: str) -> None:
    assert line(text).nanoseconds == 0


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"chain":"x"}', b"torn"])
def test_what_is_of_no_chain_is_no_line(raw: bytes) -> None:
    assert read_audit_line(raw) is None


def test_what_is_no_json_has_no_words_and_keeps_its_id() -> None:
    found = line('{"a":}')
    assert found.document == {} and found.word("event") == "" and found.id == f"{CHAIN}-5"


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ('{"event":"lobby"}', INFO),
        ('{"event":"auth","result":"ok"}', INFO),
        ('{"event":"auth","result":"refused"}', WARNING),
        ('{"event":"refused","what":"session"}', WARNING),
        ('{"event":"recorder_failed"}', ERROR),
    ],
)
def test_severities(text: str, severity: int) -> None:
    assert line(text).severity == severity
