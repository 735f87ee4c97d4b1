"""The shapes, as their receivers read them; what the log can hold of strangers breaks none of them."""

from __future__ import annotations

import json
import re
import struct
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.observe.audit import encode_line
from bastion.observe.audit_chain import NO_DIGEST, Link, bind
from bastion.observe.events.base import NOBODY
from bastion.sinks.lines import AuditLine, read_audit_line
from bastion.sinks.shapes import (
    authorization,
    elastic_body,
    journal_entry,
    loki_body,
    otlp_body,
    syslog_frame,
    syslog_message,
)
from tests.support.sinks import unframed

NODE = "gw1"
CHAIN = "0123456789abcdef"
SYSLOG = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<ts>-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<host>[!-~]{1,255}) bastion -"
    rb" (?P<msgid>[!-~]{1,32}) \[bastion@32473(?P<data>(?: [a-z]+=\"(?:[^\"\\\]]|\\[\"\\\]])*\")+)\] (?P<msg>.*)",
    re.DOTALL,
)


def made(serial: int = 0, at: float = 1_795_403_407.042, event: str = "lobby", **fields: Any) -> AuditLine:
    bound, _ = bind(encode_line(at, event, NOBODY, fields), Link(CHAIN, serial - 1, NO_DIGEST))
    line = read_audit_line(bound[:-1])
    assert line is not None
    return line


HOSTILE = {
    "newline": "a\nBASTION_USER=root\nb",
    "syslog": 'x"] <34>1 - evil - - - - forged [y="\\',
    "json": '","event":"forged","x":"',
    "terminal": "\x1b[2J\x9b\u202e\u200b",
    "unicode": "Grüße 世界 \U0001f600",
    "nothing": "",
}


def test_rfc_5424() -> None:
    line = made(7, event="auth", user="alice", source="192.0.2.1", result="refused")
    message = syslog_message(line, NODE, 10)
    found = SYSLOG.fullmatch(message)
    assert found is not None
    assert found["pri"] == b"84" and found["ts"] == b"2026-11-23T03:10:07.042Z" and found["host"] == b"gw1"
    assert found["msgid"] == b"auth" and found["msg"] == line.raw
    assert b' id="%b-7" chain="%b" seq="7"' % (CHAIN.encode(), CHAIN.encode()) in found["data"]
    assert b' user="alice"' in found["data"] and b' source="192.0.2.1"' in found["data"]
    frames = b"".join(syslog_frame(one, NODE, 10) for one in (line, made(8)))
    assert unframed(frames)[0] == message


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_of_a_peer_breaks_a_message_of_syslog(text: str) -> None:
    line = made(user=text, session=text[:16], target=text)
    found = SYSLOG.fullmatch(syslog_message(line, "gw 1\n" + text, 10))
    assert found is not None and found["msg"] == line.raw


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_at_all_does(user: str, node: str) -> None:
    line = made(user=user, event="lobby")
    message = syslog_message(line, node, 16)
    assert SYSLOG.fullmatch(message) and unframed(syslog_frame(line, node, 16)) == [message]
    assert dict(fields_of(journal_entry(line, 16)))["MESSAGE"] == line.raw


def fields_of(entry: bytes) -> Iterator[tuple[str, bytes]]:
    """The native protocol, read as journald reads it."""
    while entry:
        end = entry.index(b"\n")
        name, equals, value = entry[:end].partition(b"=")
        if equals:
            entry = entry[end + 1 :]
        else:
            (size,) = struct.unpack("<Q", entry[end + 1 : end + 9])
            value, entry = entry[end + 9 : end + 9 + size], entry[end + 9 + size :]
            assert entry.startswith(b"\n")
            entry = entry[1:]
        yield name.decode(), value


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_journal_gets_fields_and_none_that_a_peer_has_made(text: str) -> None:
    line = made(3, user=text)
    fields = list(fields_of(journal_entry(line, 10)))
    assert len({name for name, _ in fields}) == len(fields)
    found = dict(fields)
    assert found["MESSAGE"] == line.raw and found["BASTION_ID"] == f"{CHAIN}-3".encode()
    assert (found["BASTION_CHAIN"], found["BASTION_SEQ"]) == (CHAIN.encode(), b"3")
    assert (found["PRIORITY"], found["SYSLOG_FACILITY"]) == (b"6", b"10")
    assert found.get("BASTION_USER", b"").decode() == line.word("user")


def test_loki() -> None:
    lines = [made(1), made(2, event="auth"), made(3)]
    (first, second) = json.loads(loki_body(lines, NODE, {"env": "prod", "job": "no"}))["streams"]
    assert first["stream"] == {"env": "prod", "job": "bastion", "node": "gw1", "event": "lobby"}
    assert first["values"] == [
        ["1795403407042000001", lines[0].text],
        ["1795403407042000003", lines[2].text],
    ]
    assert second["stream"]["event"] == "auth"
    assert loki_body(lines, NODE, {}) == loki_body(lines, NODE, {}), "what is sent again is the same to it"


def test_elastic() -> None:
    lines = [made(1, user="alice", number=5), made(2)]
    body = elastic_body(lines, NODE, "audit")
    rows = [json.loads(row) for row in body.splitlines()]
    assert body.endswith(b"\n") and rows[0] == {"create": {"_index": "audit", "_id": f"{CHAIN}-1"}}
    assert rows[1]["@timestamp"] == "2026-11-23T03:10:07.042Z" and rows[1]["message"] == lines[0].text
    assert rows[1]["bastion"]["user"] == "alice" and rows[1]["bastion"]["number"] == 5
    assert rows[1]["bastion"]["seq"] == 1 and rows[1]["host"] == {"name": "gw1"}
    assert len(rows) == 4 and elastic_body((), NODE, "audit") == b"\n"


def test_otlp() -> None:
    line = made(4, event="auth", user="alice", result="refused")
    found = json.loads(otlp_body([line], NODE, "1.2"))
    (resource,) = found["resourceLogs"]
    assert {one["key"]: one["value"]["stringValue"] for one in resource["resource"]["attributes"]} == {
        "service.name": "bastion", "service.version": "1.2", "host.name": "gw1",
    }  # fmt: skip
    (record,) = resource["scopeLogs"][0]["logRecords"]
    assert record["timeUnixNano"] == "1795403407042000000" and record["body"] == {"stringValue": line.text}
    assert (record["severityNumber"], record["severityText"], record["eventName"]) == (13, "WARN", "auth")
    attributes = {one["key"]: one["value"] for one in record["attributes"]}
    assert attributes["log.record.uid"] == {"stringValue": f"{CHAIN}-4"}
    assert attributes["bastion.user"] == {"stringValue": "alice"} and attributes["bastion.seq"] == {
        "intValue": "4"
    }
    assert json.loads(otlp_body((), NODE, "1.2")) == {"resourceLogs": []}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_line_is_in_each_of_them_byte_for_byte(text: str) -> None:
    line = made(user=text)
    assert json.loads(loki_body([line], NODE, {}))["streams"][0]["values"][0][1].encode() == line.raw
    assert json.loads(elastic_body([line], NODE, "x").splitlines()[1])["message"].encode() == line.raw
    record = json.loads(otlp_body([line], NODE, "1"))["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert record["body"]["stringValue"].encode() == line.raw


def test_authorization() -> None:
    assert authorization("Bearer", b"abc") == "Bearer abc" and authorization("ApiKey", b"x==") == "ApiKey x=="
    scheme, _, token = authorization("Basic", b"bastion:secret").partition(" ")
    assert scheme == "Basic" and b64decode(token) == b"bastion:secret"


def test_every_line_of_the_sample_log_fits(tmp_path: Path) -> None:
    """Of the longest that the log writes."""
    line = made(user="x" * 5000, ids=["y" * 5000] * 200)
    (message,) = unframed(syslog_frame(line, NODE, 10))
    assert message.endswith(line.raw) and len(line.raw) > 500_000
