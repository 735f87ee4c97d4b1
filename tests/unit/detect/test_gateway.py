"""Emergencies and the gateway's own writing: tables of what must be told and what must not."""

from __future__ import annotations

import pytest

from bastion.errors import Detection, HealthPart, RecorderReason
from bastion.observe.events import About
from bastion.observe.events.process import AuditResumed, HealthChanged, LedgerBroken
from tests.support.tales import DAY, OFFICE, Told
from tests.unit.detect.cases import judge, settings, table


def later(tale: Told, days: float) -> None:
    tale.found.clear()
    tale.now += days * DAY


@table(
    {
        "let in": lambda t: t.break_glass(),
        "let in by the directory's absence": lambda t: t.break_glass(opened_by="directory_down"),
        "let in by a command": lambda t: t.break_glass(opened_by="command", why="the directory is down"),
        "closed, and proved": lambda t: t.break_glass("closed"),
        "refused": lambda t: t.break_glass("refused", reason="bad_code"),
        "a result of another version": lambda t: t.break_glass("odd"),
        "from the office": lambda t: t.break_glass(source=OFFICE),
        "let in after it was refused": lambda t: (
            t.break_glass("refused"),
            t.found.clear(),
            t.break_glass(),
        ),
        "another account": lambda t: (
            t.break_glass(),
            t.found.clear(),
            t.break_glass(user="emergency2"),
        ),
        "again the next day": lambda t: (t.break_glass(), later(t, 1.1), t.break_glass()),
        "while strangers try names": lambda t: (
            [t.break_glass("refused", user=f"root{n}") for n in range(100)],
            t.found.clear(),
            t.break_glass("closed"),
        ),
    },
    {
        "a login": lambda t: t.login("emergency"),
        "a refused login": lambda t: t.login("emergency", result="refused"),
        "half a login": lambda t: t.login("emergency", result="partial"),
        "a session": lambda t: t.session("emergency"),
        "a tunnel": lambda t: t.tunnel(t.outer("emergency")),
        "a refused session": lambda t: t.refuse_session("emergency"),
        "a refused tunnel": lambda t: t.refuse(t.outer("emergency")),
        "again the same day": lambda t: (t.break_glass(), t.found.clear(), t.break_glass()),
        "refused again the same day": lambda t: (
            t.break_glass("refused"),
            t.found.clear(),
            t.break_glass("refused"),
        ),
        "off": lambda t: (settings(t, break_glass="off"), t.break_glass()),
    },
)
def test_accounts_for_emergencies(case, told):
    judge(Detection.BREAK_GLASS, case, told, Told())


@pytest.mark.parametrize(
    ("result", "level"), [("ok", "alert"), ("closed", "alert"), ("refused", "notice"), ("", "notice")]
)
def test_how_loud_an_emergency_is(result, level):
    tale = Told()
    tale.break_glass(result)
    assert [one.level for one in tale.found] == [level]


def health(tale: Told, part: HealthPart, state: str = "refusing") -> None:
    tale.say(HealthChanged(part, state, "because"), About("abcdefghijklmnop"))


def fail(tale: Told, reason: RecorderReason, user: str = "alice") -> None:
    tale.fail_recording(tale.session(user), reason)


@table(
    {
        "the disk is full": lambda t: fail(t, RecorderReason.DISK_FULL),
        "a write failed": lambda t: fail(t, RecorderReason.WRITE_FAILED),
        "a sync failed": lambda t: fail(t, RecorderReason.SYNC_FAILED),
        "of a session that nobody is known of": lambda t: t.fail_recording(About("abcdefghijklmnop")),
        "another reason the same day": lambda t: (
            fail(t, RecorderReason.DISK_FULL),
            t.found.clear(),
            fail(t, RecorderReason.SYNC_FAILED),
        ),
        "another person": lambda t: (
            fail(t, RecorderReason.DISK_FULL),
            t.found.clear(),
            fail(t, RecorderReason.DISK_FULL, "bob"),
        ),
        "the recordings refuse": lambda t: health(t, HealthPart.RECORDINGS),
        "the disk's floor": lambda t: health(t, HealthPart.DISK_FLOOR, "degraded"),
        "uploads fail": lambda t: health(t, HealthPart.UPLOADS, "degraded"),
        "lines were lost": lambda t: t.say(AuditResumed(17), About("abcdefghijklmnop")),
        "the ledger": lambda t: t.say(LedgerBroken("aside"), About("abcdefghijklmnop")),
    },
    {
        "a session": lambda t: t.session(),
        "the end of one": lambda t: t.end(t.session()),
        "the recordings work again": lambda t: health(t, HealthPart.RECORDINGS, "ok"),
        "the disk's floor is passed": lambda t: health(t, HealthPart.DISK_FLOOR, "ok"),
        "the directory is away": lambda t: health(t, HealthPart.DIRECTORY),
        "the store is away": lambda t: health(t, HealthPart.STATE, "degraded"),
        "an agent is away": lambda t: health(t, HealthPart.AGENTS),
        "the gateway drains": lambda t: health(t, HealthPart.GATEWAY),
        "again the same day": lambda t: (
            health(t, HealthPart.UPLOADS),
            t.found.clear(),
            health(t, HealthPart.UPLOADS),
        ),
        "off": lambda t: (settings(t, recording_trouble="off"), health(t, HealthPart.RECORDINGS)),
    },
)
def test_what_is_not_on_record(case, told):
    judge(Detection.RECORDING_TROUBLE, case, told, Told())
