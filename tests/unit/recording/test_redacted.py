"""A reader that masks: in whatever pieces, colours and moves a secret came."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable

import pytest

from bastion.recording import redacted
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.channels import survey
from bastion.recording.format import Kind
from bastion.recording.reader import Reader
from bastion.recording.redacted import RedactedReader, masked_text, reading
from bastion.recording.redacting import NOTHING, Redaction
from bastion.recording.render import asciicast, json_lines, plain_text
from tests.unit.recording.samples import CLIENT, SESSION, TARGET, Tape, joined
from tests.unit.recording.test_render import open_shell, run_command

ALL = Redaction.of()
AWS = b"AKIAIOSFODNN7EXAMPLE"
MASKED = b"[redacted:password]"


def shell(pieces: Iterable[bytes], policy: RecordingPolicy | None = None) -> Tape:
    tape = Tape(policy or RecordingPolicy())
    open_shell(tape)
    for piece in pieces:
        tape.clock.advance(0.1)
        tape.recorder.data(1, TARGET, 0, piece)
        tape.burst()
    return tape


def opened(tape: Tape, redaction: Redaction = ALL) -> Reader:
    return reading(redaction, unmasked=True)(io.BytesIO(tape.file), SESSION)


def shown(tape: Tape) -> bytes:
    return joined(opened(tape), 1, TARGET, 0)


def each(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"$ PASSWORD=hun", b"ter2 ls\r\n"], b"$ PASSWORD=" + MASKED + b" ls\r\n"),
        (each(b"password: hunter2\r\n"), b"password: " + MASKED + b"\r\n"),
        ([b"x " + AWS[:7], AWS[7:] + b" y\r\n"], b"x [redacted:aws-key] y\r\n"),
        (
            [b"PASS\x1b[31mWORD=hun\x1b[1;32mter\x1b[0m2\r\n"],
            b"PASS\x1b[31mWORD=" + MASKED + b"\x1b[1;32m\x1b[0m\r\n",
        ),
        ([b"pwd=huxt\b\x08\x08nter2\r\n"], b"pwd=" + MASKED + b"\b\x08\x08\r\n"),
        ([b"password=abcd \refgh end\r\n"], b"password=" + MASKED + b" \r end\r\n"),
        (["secret=pä漢字😀ß x\r\n".encode()], b"secret=" + MASKED + b" x\r\n"),
        (each("secret=pä漢字 x\r\n".encode()), b"secret=" + MASKED + b" x\r\n"),
        ([b"\xff password=a\xfeb\r\n"], b"\xff password=" + MASKED + b"\r\n"),
        ([b"\x1b]0;mysql -psecret\x07$ "], b"\x1b]0;mysql -p" + MASKED + b"\x07$ "),
        ([b"password=never ends"], b"password=" + MASKED + b" ends"),
        ([b"$ ls\r\nplain\r\n"], b"$ ls\r\nplain\r\n"),
    ],
)
def test_whatever_pieces_a_secret_came_in(pieces: list[bytes], expected: bytes) -> None:
    tape = shell(pieces).end()
    assert shown(tape) == expected
    assert joined(opened(tape, NOTHING), 1, TARGET, 0) == b"".join(pieces)


def test_a_key_that_came_line_by_line() -> None:
    lines = [b"AAAA%050d\r\n" % number for number in range(30)]
    begin, end = b"-----BEGIN RSA PRIVATE KEY-----\r\n", b"-----END RSA PRIVATE KEY-----\r\n"
    seen = shown(shell([b"$ cat key\r\n", begin, *lines, end, b"$ exit\r\n"]).end())
    assert b"AAAA" not in seen and b"00000" not in seen
    assert seen.startswith(b"$ cat key\r\n-----BEGIN RSA PRIVATE KEY-----") and seen.endswith(b"$ exit\r\n")
    cut = shown(shell([begin, *lines]).end())
    assert b"AAAA" not in cut


def test_a_line_without_an_end_is_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redacted, "LONGEST_HELD", 4096)
    monkeypatch.setattr(redacted, "OVERLAP", 512)
    chance = random.Random(7)
    for _ in range(20):
        before = b"x" * chance.randrange(3000, 9000) + b" "
        data = before + AWS + b" " + b"y" * 6000
        seen = shown(shell([data[at : at + 97] for at in range(0, len(data), 97)]).end())
        assert seen == data.replace(AWS, b"[redacted:aws-key]")


def test_too_many_secrets_show_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redacted, "MOST_RANGES", 10)
    seen = shown(shell([b"password=%d\r\n" % number for number in range(30)]).end())
    assert b"29" not in seen and set(seen.split(b"[redacted:too-many]")) == {b""}


def test_every_form_has_it_masked_and_counted() -> None:
    tape = shell([b"$ export TOK", b"EN=tops3cret\r\n"])
    tape.recorder.note(
        "request_forwarded", 1, {"name": "env", "detail": {"name": "DB_PASSWORD", "value": "tops3cret"}}
    )
    run_command(tape, 2, "curl -H 'Authorization: Bearer tops3cret'")
    tape.burst()
    tape.end()
    reader = opened(tape)
    channels = survey(reader)
    said = "3 secrets are masked (authorization 1, password 2); --unredacted shows them"
    assert masked_text(reader) == said
    chosen = channels.channels[1]
    text = "".join(plain_text(reader, channels, chosen))
    assert f"[bastion: {said}]" in text and "TOKEN=[redacted:password]" in text and "tops3cret" not in text
    cast = list(asciicast(reader, channels, chosen))
    assert said in json.loads(cast[0])["title"] and "tops3cret" not in "".join(cast)
    lines = [json.loads(line) for line in json_lines(reader, channels, 1)]
    assert {"kind": "redacted", "secrets": {"authorization": 1, "password": 2}} in lines
    (env,) = (line["note"] for line in lines if line.get("note", {}).get("name") == "env")
    assert env["detail"] == {"name": "DB_PASSWORD", "value": "[redacted:password]"}
    assert "Bearer [redacted:authorization]" in channels.channels[2].program


def test_typed_input_is_masked_too() -> None:
    tape = Tape(RecordingPolicy(input=True))
    open_shell(tape)
    for key in each(b"export API_KEY=abc\r"):
        tape.recorder.data(1, CLIENT, 0, key)
        tape.recorder.data(1, TARGET, 0, key.replace(b"\r", b"\r\n"))
        tape.burst()
    tape.end()
    assert joined(opened(tape), 1, CLIENT, 0) == b"export API_KEY=" + MASKED + b"\r"


def test_a_session_that_runs_is_masked_as_it_comes() -> None:
    tape = shell([b"$ password=ab"])
    source = io.BytesIO(tape.file)
    reader = reading(ALL, unmasked=True)(source, SESSION)
    survey(reader)
    coming = [b"cd", b" x\r\n", b"token=", b"abc\r\n"]

    def more() -> bool:
        if not coming:
            return False
        tape.recorder.data(1, TARGET, 0, coming.pop(0))
        tape.burst()
        source.seek(0, 2)
        source.write(tape.file[source.tell() :])
        return True

    reader.more = more
    assert joined(reader, 1, TARGET, 0) == b"$ password=" + MASKED + b" x\r\ntoken=" + MASKED + b"\r\n"


def test_what_was_there_is_looked_at_once() -> None:
    reader = opened(shell([b"password=x\r\n"]).end())
    assert isinstance(reader, RedactedReader)
    first = [event.payload for event in reader if event.kind is Kind.DATA]
    assert [event.payload for event in reader if event.kind is Kind.DATA] == first
    assert dict(reader.tally) == {"password": 1}
