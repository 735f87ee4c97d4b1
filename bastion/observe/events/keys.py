"""Events of the keys that the gateway signs with: who changed which (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.observe.events.base import AuditEvent, Line, of

By = Annotated[str, "the account that ran the command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChanged(AuditEvent):
    """a step of one key taking another's place; the line stands before the step is in force"""

    event: ClassVar[str] = "key_changed"

    step: Annotated[str, "`begun`, `switched`, `withdrawn`, `retired`"]
    key: Annotated[str, "`host_ed25519`, `upstream_ca`, ...: as `bastion keys list` calls it"]
    by: By
    old: Annotated[str, "fingerprint of the one that goes, `SHA256:...`"]
    new: Annotated[str, "and of the one that takes its place"] = ""
    overlap_until: Annotated[
        float | None, "seconds since 1970: until then both are trusted, the old one signs"
    ] = None

    @staticmethod
    def sentence(line: Line) -> str:
        who, step = line.get("by", "?"), line.get("step", "changed")
        return f"{who}: key {line.get('key', '?')} {step}: {line.get('old', '?')}{of(line, 'new', ', then ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysImported(AuditEvent):
    """keys were put in their places from a backup; the line stands before they are"""

    event: ClassVar[str] = "keys_imported"

    by: By
    keys: Annotated[tuple[str, ...], "fingerprints of all private keys in it"]
    made_by: Annotated[str, "who made the backup, as it says itself"]
    made_at: Annotated[float, "and when, in seconds since 1970"]

    @staticmethod
    def sentence(line: Line) -> str:
        keys = line.get("keys") or []
        return f"{line.get('by', '?')} put back {len(keys)} keys from a backup of {line.get('made_by', '?')}"
