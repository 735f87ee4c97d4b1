"""What two people want gone, as `bastion prune` finds it (L4): looked at again, whatever the row says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from bastion.observe.events import AuditEvent
from bastion.observe.events.retention import DeletionNotDone
from bastion.state.database import Database
from bastion.state.deletions import Deletion, Due, stays, still_due, too_young, two_people
from bastion.state.retention import Going, Kept

NOT_TWO: Final = "it is not the wish of two people, neither of whom was in the session"
HELD: Final = "it is held"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`going` is to be removed; `never` stays for good, and `later` for now, each with why."""

    going: list[Going] = field(default_factory=list)
    never: list[tuple[Deletion, str]] = field(default_factory=list)
    later: list[tuple[Deletion, str]] = field(default_factory=list)
    about: dict[str, Deletion] = field(default_factory=dict)

    def told(self, database: Database, emit: Callable[[str, AuditEvent], None], by: str) -> list[str]:
        """Write down what stays, and why. Raises AuditFailed, StateDown."""
        for one, why in self.never:
            emit(one.session_id, DeletionNotDone(by, one.id, why))
            stays(database, one, why, True)
        for one, why in self.later:
            stays(database, one, why, False)
        return [f"{one.session_id} stays: {why}" for one, why in (*self.never, *self.later)]

    def still(self, going: Going, now: float) -> Callable[[Connection], bool]:
        """Whether what is about to be removed is wanted gone then; of what goes by a rule it is."""
        one = self.about.get(going.recording.session)
        if one is None or going.why != one.rule:
            return lambda _: True
        return lambda connection: still_due(connection, one.id, now)

    def stayed(self, database: Database, session: str, why: str) -> None:
        """It could not be removed; the next prune tries again. Raises StateDown."""
        one = self.about.get(session)
        if one is not None:
            stays(database, one, why, False)


def wanted_gone(
    due: Iterable[Due],
    recordings: Mapping[str, Kept | None],
    held: Collection[str],
    at_least: float,
    now: float,
) -> Wanted:
    """What of `due` may go. `recordings` are those of this gateway that are there, None of those that go anyway: what
    is another gateway's is that one's to remove."""
    found = Wanted()
    for one in due:
        recording = recordings.get(one.deletion.session_id)
        if recording is None:
            continue
        if not two_people(one.deletion, one.uid, one.identity):
            found.never.append((one.deletion, NOT_TWO))
        elif recording.session in held:
            found.never.append((one.deletion, HELD))
        elif now - recording.ended_at < at_least:
            found.later.append((one.deletion, too_young(at_least)))
        elif recording.session not in found.about:
            found.about[recording.session] = one.deletion
            found.going.append(Going(recording, one.deletion.rule))
    return found
