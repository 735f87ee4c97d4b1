"""What the operator reads of a reload: no more lines than are read, and nothing that acts on a terminal."""

from __future__ import annotations

from bastion.assembly.telling import LINES, tell, tell_refusal


class Log:
    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, words: str, **values: object) -> None:
        self.said.append("info " + words.format(**values))

    def warn(self, words: str, **values: object) -> None:
        self.said.append("warn " + words.format(**values))

    def error(self, words: str, **values: object) -> None:
        self.said.append("error " + words.format(**values))


def test_what_was_taken() -> None:
    log = Log()
    tell(log, ["odd"], ["listen.addresses"], ["limits.idle: 1 -> 2"])
    assert log.said == [
        "info reload: limits.idle: 1 -> 2",
        "warn reload: warning: odd",
        "warn reload: listen.addresses has changed and needs a restart",
    ]


def test_many_lines_are_counted() -> None:
    log = Log()
    tell(log, [], [], [f"target t{number}: added" for number in range(LINES + 5)])
    assert len(log.said) == LINES + 1 and log.said[-1] == "info reload: 5 more changes: see the audit log"


def test_what_was_refused_is_escaped() -> None:
    log = Log()
    tell_refusal(log, ["bad \x1b[2J"])
    assert log.said == ["error reload refused: bad \\x1b[2J"] or "\x1b" not in log.said[0]
    assert len(log.said) == 1
