"""What should always be looked at (L1, pure): emergencies, and the gateway's own writing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bastion.detect.findings import Draft
from bastion.detect.seen import Seen, count, word
from bastion.errors import Detection, HealthPart

# Parts of the gateway (`health_changed`) without which something is not on record.
PARTS: Final = frozenset((HealthPart.AUDIT, HealthPart.RECORDINGS, HealthPart.DISK_FLOOR, HealthPart.UPLOADS))


def break_glass(seen: Seen) -> Iterator[Draft]:
    """Somebody tried an account for emergencies."""
    line = seen.line
    result = word(line, "result")
    came = {"ok": "let in", "closed": "proved, while they are closed"}.get(result, "refused")
    why = word(line, "why")
    yield Draft(
        Detection.BREAK_GLASS,
        f"{result} {seen.user}",
        "no login by an account for emergencies",
        f"{seen.user} from {word(line, 'source') or '?'} was {came}" + (f": {why}" if why else ""),
        (seen.session,),
        quiet=result not in ("ok", "closed"),
    )


def recording(seen: Seen) -> Iterator[Draft]:
    """Something that should be on record is not, or may not be."""
    line, event = seen.line, word(seen.line, "event")
    if event == "health_changed" and (word(line, "part") not in PARTS or line.get("state") == "ok"):
        return
    came = {
        "recorder_failed": f"a recording could not be written: {word(line, 'reason')}",
        "ledger_broken": "the ledger of recordings was damaged, and begun anew",
        "audit_resumed": f"{count(line, 'lines_lost')} lines of the audit log were lost",
        "health_changed": f"{word(line, 'part')} is {word(line, 'state')}: {word(line, 'text')}",
    }[event]
    yield Draft(
        Detection.RECORDING_TROUBLE,
        f"{event} {word(line, 'reason')}{word(line, 'part')}",
        "everything on record",
        came,
        (seen.session,) if seen.session else (),
    )
