"""Calls of the lobby, from the audit log (L4): the lobby belongs to no session and is not recorded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from bastion.cli.recordings import tell_unreadable
from bastion.config.outputs import Audit, read_section
from bastion.errors import ConfigError
from bastion.observe.log_files import LogUnreadable, log_files, read_lines
from bastion.recording.commands import Command
from bastion.recording.format import Header
from bastion.recording.strict_json import parse_object


def lobby_calls(config: Path) -> Iterator[tuple[Header, Command]]:
    """Who called what, oldest first. A log that cannot be read is told on standard error."""
    try:
        path = read_section(config, Audit).file
    except ConfigError as error:
        tell_unreadable(config, str(error))
        return
    for file in log_files(path):
        try:
            for line in read_lines(file):
                if b'"lobby"' in line and (call := _call(line)) is not None:
                    yield call
        except LogUnreadable as error:
            tell_unreadable(file, str(error))


def _call(line: bytes) -> tuple[Header, Command] | None:
    try:
        event = parse_object(line)
        if event.get("event") != "lobby":
            return None
        at = datetime.fromisoformat(str(event.get("ts"))).timestamp()
    except ValueError:
        return None
    status = event.get("status")
    connection = _text(event, "connection")
    command = Command(
        session=connection,
        channel=0,
        kind="lobby",
        text=_text(event, "command")
        or ("(none: the list of targets)" if status == 0 else "(an unknown command)"),
        start=0.0,
        at=at,
        offset=0.0,
        exit_status=status if type(status) is int else None,
    )
    header = Header(
        connection,
        _text(event, "user"),
        _text(event, "uid"),
        target="",
        login="",
        started_at=at,
        source_address=_text(event, "source"),
    )
    return header, command


def _text(event: dict[str, Any], name: str) -> str:
    return str(event.get(name, ""))
