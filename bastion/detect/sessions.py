"""What is unusual about sessions (L1, pure): how many targets, what was read over sftp, which host key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bastion.detect.findings import Draft
from bastion.detect.memory import distinct
from bastion.detect.seen import Seen, count, size, span, word
from bastion.errors import Detection

KEYS_OF_A_TARGET: Final = 4
MOST_TARGETS: Final = 16_384

_BAD_KEYS: Final = {"host_key_changed", "host_key_revoked", "host_cert_invalid"}


def many_targets(seen: Seen) -> Iterator[Draft]:
    """A session was reached, or asked for and refused: whoever looks round is refused often."""
    target, person, settings = word(seen.line, "target"), seen.person, seen.settings
    if not target:
        return
    begin = seen.at - settings.targets_window
    if not person.targets.knows(target, seen.at):
        person.fresh.add(seen.at, target, seen.session)
    person.targets.add(target, seen.at)
    if all(one[1] != target for one in person.tried.since(begin)):
        person.tried.add(seen.at, target, seen.session)
    fresh = person.fresh.since(begin)
    names = distinct(one[1] for one in fresh)
    _, usual = person.burst.highest(len(person.tried.entries), seen.at)
    if not seen.learned or len(names) < settings.targets_count or len(person.tried.entries) < 2 * usual:
        return
    yield Draft(
        Detection.MANY_TARGETS,
        "",
        f"fewer than {settings.targets_count} new targets in {span(settings.targets_window)}; "
        f"at most {usual:.0f} at all of late",
        f"{len(names)} targets that they never asked for before: {', '.join(names[:4])}, ...",
        distinct(one[2] for one in fresh),
    )


def sftp_file(seen: Seen) -> Iterator[Draft]:
    """A file was closed: its bytes are added to the day's."""
    settings = seen.settings
    read = count(seen.line, "bytes_read")
    cap = settings.habit * max(seen.person.sftp.peak, float(settings.sftp_bytes))
    today, usual = seen.person.sftp.add(read, seen.at, cap)
    if not seen.learned or not read or today < settings.sftp_bytes or today < settings.habit * usual:
        return
    yield Draft(
        Detection.SFTP_DATA,
        "",
        f"at most {size(max(settings.sftp_bytes, settings.habit * usual))} read in a day; their highest of late is "
        f"{size(usual)}",
        f"{size(today)} on this day, the last file {size(read)}",
        (seen.session,),
        target=seen.target,
    )


class HostKeys:
    """The keys that each target was reached with; of the targets, not of a person."""

    def __init__(self) -> None:
        self.keys: dict[str, list[str]] = {}

    def started(self, seen: Seen) -> Iterator[Draft]:
        """A session has accepted a key: another one than before is told, quietly."""
        target, key = word(seen.line, "target"), word(seen.line, "host_key")
        if not target or not key:
            return
        known = self.keys.pop(target, [])
        self.keys[target] = [*(one for one in known if one != key), key][-KEYS_OF_A_TARGET:]
        if len(self.keys) > MOST_TARGETS:
            del self.keys[next(iter(self.keys))]
        if known and key not in known:
            yield Draft(
                Detection.HOST_KEY_CHANGED,
                f"{target} {key}",
                f"{target} with {known[-1]}",
                f"{target} with {key}, which the gateway accepted",
                (seen.session,),
                quiet=True,
                target=target,
            )

    def refused(self, seen: Seen) -> Iterator[Draft]:
        """A session was not opened because of the target's key."""
        target, reason = word(seen.line, "target"), word(seen.line, "reason")
        if seen.line.get("what") != "session" or reason not in _BAD_KEYS:
            return
        known = self.keys.get(target, [])
        yield Draft(
            Detection.HOST_KEY_CHANGED,
            target,
            f"{target} with {known[-1]}" if known else f"{target} with a key that is known",
            f"{target} showed another: {reason}",
            (seen.session,),
            target=target,
        )
