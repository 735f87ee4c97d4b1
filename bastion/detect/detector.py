"""All detections over all lines of the audit log (L1, pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from bastion.detect import gateway, logins, sessions, tunnels
from bastion.detect.findings import Draft, Finding, finding
from bastion.detect.following import Following
from bastion.detect.person import Person
from bastion.detect.places import Locate
from bastion.detect.seen import Seen, word
from bastion.detect.settings import Settings
from bastion.errors import Detection
from bastion.observe.events.base import Line

MOST_PEOPLE: Final = 20_000  # beyond it those who were not here for longest are strangers again
AGAIN: Final = 86400.0  # the same of the same person is not told again sooner
MOST_AN_HOUR: Final = 16  # findings of one kind for one person
HOUR: Final = 3600.0

# Each alone is what engineers do on any day; two of them within an hour are an alert.
SOFT: Final = frozenset((Detection.NEW_NETWORK, Detection.UNUSUAL_HOUR, Detection.NEW_DESTINATION))

# What a line must be of to be worth reading: what detections look at, and what says whose a session is.
EVENTS: Final = (
    "auth", "session_started", "session_ended", "sftp_file", "outer_started", "outer_ended", "jump", "tunnel_opened",
    "tunnel_closed", "channel_closed", "refused", "break_glass", "recorder_failed", "ledger_broken", "audit_resumed",
    "health_changed",
)  # fmt: skip

Look = Callable[[Seen], Iterator[Draft]]


class Detector:
    """Takes lines in order, gives what is to be looked at. All that it has learned is in its attributes (`learned`)."""

    def __init__(self, settings: Settings, locate: Locate) -> None:
        self.people: dict[str, Person] = {}
        self.touched: set[str] = set()  # of whom something was learned, until somebody clears it
        self.following = Following()
        self.host_keys = sessions.HostKeys()
        self.nobody = Person()  # what is nobody's is told once a day too
        self.began = 0.0  # the first line
        self._settings, self._locate = settings, locate
        self._looks: Mapping[str, tuple[Look, ...]] = {
            "auth": (logins.login,),
            "session_started": (sessions.many_targets, self.host_keys.started),
            "sftp_file": (sessions.sftp_file,),
            "tunnel_opened": (tunnels.opened,),
            "tunnel_closed": (tunnels.closed,),
            "channel_closed": (tunnels.closed,),
            "refused": (self._refused,),
            "break_glass": (gateway.break_glass,),
            "recorder_failed": (gateway.recording,),
            "ledger_broken": (gateway.recording,),
            "audit_resumed": (gateway.recording,),
            "health_changed": (gateway.recording,),
        }

    def see(self, line: Line, at: float) -> Iterator[Finding]:
        """What a line, written at that time, shows. Iterate to its end: what it teaches is learned on the way."""
        user = self.following.user(line)
        self.began = self.began or at
        looks = self._looks.get(word(line, "event"))
        if looks is None:
            return
        person = self._person(user, line, at)
        learned = bool(user) and at - max(self.began, person.first) >= self._settings.learning
        seen = Seen(line, at, user, person, learned, self._settings, self._locate)
        for look in looks:
            for draft in look(seen):
                yield from self._tell(seen, draft)

    def _refused(self, seen: Seen) -> Iterator[Draft]:
        yield from self.host_keys.refused(seen)
        yield from tunnels.refused(seen)
        if seen.line.get("what") == "session":
            yield from sessions.many_targets(seen)

    def _person(self, user: str, line: Line, at: float) -> Person:
        """Whoever proved nothing is remembered as nobody: a name that strangers typed takes nobody's place."""
        if not user:
            return self.nobody
        person = self.people.pop(user, None)
        if person is None:
            if line.get("event") in ("auth", "break_glass") and line.get("result") not in ("ok", "closed"):
                return self.nobody
            person = Person(first=at)
        self.people[user] = person
        self.touched.add(user)
        if len(self.people) > MOST_PEOPLE:
            del self.people[next(iter(self.people))]
        return person

    def _tell(self, seen: Seen, draft: Draft) -> Iterator[Finding]:
        level = self._settings.level(draft.kind)
        if level == "off":
            return
        told = seen.person.told
        name = f"{draft.kind} {draft.key}"
        before = told.last(name)
        if before is not None and seen.at - before < AGAIN:
            return
        of_kind = sum(
            one.startswith(f"{draft.kind} ") and seen.at - last < HOUR for one, (last, _) in told.days.items()
        )
        if of_kind >= MOST_AN_HOUR:
            return
        told.add(name, seen.at)
        if draft.kind in SOFT:
            draft, level = self._weigh(seen, draft, level)
        yield finding(draft, "notice" if draft.quiet else level, seen.at, seen.user)

    def _weigh(self, seen: Seen, draft: Draft, level: str) -> tuple[Draft, str]:
        """Another of the soft kinds within the hour makes it an alert, which tells of both."""
        soft = seen.person.soft
        others = [one for one in soft.since(seen.at - HOUR) if one[1].partition(" ")[0] != draft.kind]
        soft.add(seen.at, f"{draft.kind} {draft.came}", seen.session)
        if not others:
            return draft, level
        also = "; ".join(dict.fromkeys(one[1].partition(" ")[2] for one in others))
        sessions = tuple(dict.fromkeys((*(one[2] for one in others), *draft.sessions)))
        kinds = tuple(Detection(name) for name in dict.fromkeys(one[1].partition(" ")[0] for one in others))
        came = f"{draft.came}; within the hour before: {also}"
        return replace(draft, came=came, sessions=sessions, also=kinds), "alert"
