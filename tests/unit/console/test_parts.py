"""What the player asks of a recording, of one that no index knows: bounded in time, masked, and said to be that."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from bastion.console import parts as parts_module
from bastion.console.parts import Parts, files_of
from bastion.recording.channels import ChannelNotChosen
from bastion.recording.redacted import reading
from bastion.recording.redacting import Redaction
from tests.unit.recording.samples import Tape, full
from tests.unit.recording.test_file_tree import closed, sftp, tape
from tests.unit.recording.test_render import open_shell, run_command

SECRET = "hunter2horse"


def session() -> Tape:
    made = Tape(full())
    open_shell(made)
    for number in range(400):
        made.clock.advance(1)
        made.out(f"alice@web1:~$ export PASSWORD={SECRET} # {number}\r\n".encode())
    run_command(made, 2, f"curl --header PASSWORD={SECRET}")
    return made.end()


def parts(made: Tape, monotonic: Callable[[], float] = lambda: 0.0) -> Parts:
    redaction = Redaction.of()
    return Parts(reading(redaction, unmasked=True)(io.BytesIO(made.file)), None, redaction, monotonic)


def film(one: Parts, *asked: Any) -> Any:
    return json.loads(b"".join(one.film(*asked)))


def test_the_film_has_channels_commands_and_as_many_parts_as_come_in_time() -> None:
    got = film(parts(session()), None, 5.0, "export")
    assert [one[0] for one in got["channels"]] == [1, 2] and got["channel"] == 1 and got["at"] == 5.0
    assert got["parts"][-1]["ended"] and len(got["parts"]) > 2 and got["hits"] == []
    assert any("reading index" in line for line in got["heading"])
    assert any(one[2] == "exec" and "redacted" in one[3] for one in got["commands"])
    assert SECRET not in json.dumps(got)


def test_what_takes_too_long_is_left_to_be_asked_for() -> None:
    ticks = iter(range(10_000))
    got = film(parts(session(), lambda: next(ticks) * 3.0), None, 0.0, "")
    assert len(got["parts"]) == 2 and not got["parts"][-1]["ended"]


def test_the_page_gets_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "AHEAD", 10)
    monkeypatch.setattr(parts_module, "MOST_COMMANDS", 0)
    got = film(parts(session()), None, 0.0, "")
    assert len(got["parts"]) == 1 and got["commands"] == [] and got["cut"]


def test_a_part_is_of_a_channel_that_there_is() -> None:
    got = json.loads(parts(session()).part(1, 100.5, True))
    assert (got["channel"], got["from"], got["until"]) == (1, 100.5, 121.0)
    assert got["changes"][0][0] == 100.5 and SECRET not in json.dumps(got)
    assert json.loads(parts(session()).part(2, 400.0, False))["ended"]
    with pytest.raises(ChannelNotChosen):
        parts(session()).part(3, 0.0, False)


def test_files_are_looked_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "LOOK_AT", 20)
    made = sftp(tape(), *(closed(f"/f{number}") for number in range(100)))
    whole = files_of(made.reader(), lambda: 0.0)
    assert len(whole["places"][0]["below"]) == 100 and whole["cut"] is None
    ticks = iter(range(0, 1000, 9))
    some = files_of(made.reader(), lambda: float(next(ticks)))
    assert 0 < len(some["places"][0]["below"]) < 100 and some["cut"] > 0
