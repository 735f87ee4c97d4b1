"""A policy as it was read, as one value that can be kept and judged by years later (L2).

What decides who reaches what is the policy, the inventory, and the three limits that hold where no rule says another
one. They are kept as the text that stood in the files, so that what is read back is what people wrote. Neither file has
secrets in it: keys and passwords are files that they name. The digest is of exactly what is kept, and is looked at
before anything of it is believed.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from bastion.config.document import parse_document
from bastion.errors import BastionError
from bastion.options import Problems
from bastion.policy.rules import Defaults, Policy, parse_policy
from bastion.policy.targets import Inventory, Taken, Target, parse_targets

PACKED_MAX: Final = 2 << 20
"""Bytes of a packed version: 10,000 rules and 10,000 targets with names of chance have a third of it. Of a larger one
the digest is kept alone."""

TEXT_MAX: Final = 64 << 20
"""Bytes of one that is not packed."""


class BadVersion(BastionError):
    """What was kept is not what its digest says, or nothing that this program can judge by. `text` says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version. `digest` is SHA-256 in hex, "" of none; `packed` is empty when it is too large to be kept."""

    digest: str = ""
    packed: bytes = field(default=b"", repr=False)


NONE: Final = PolicyVersion()


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One of the files: its path at that time, and what stood in it."""

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """A version that was read back."""

    policy: KeptFile
    inventory: tuple[KeptFile, ...]
    defaults: Defaults


def version_of(policy: KeptFile, inventory: Sequence[KeptFile], defaults: Defaults) -> PolicyVersion:
    """What has been read, packed."""
    document = {
        "defaults": asdict(defaults),
        "inventory": [asdict(one) for one in inventory],
        "policy": asdict(policy),
    }
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    packed = zlib.compress(text) if len(text) <= TEXT_MAX else b""
    return PolicyVersion(hashlib.sha256(text).hexdigest(), packed if len(packed) <= PACKED_MAX else b"")


def kept_file(path: Path, text: str) -> KeptFile:
    """A file; of a path that is no text its bytes are written as escapes."""
    return KeptFile(str(path).encode("utf-8", "backslashreplace").decode(), text)


def unpack(version: PolicyVersion) -> KeptPolicy:
    """Read it back. Raises BadVersion."""
    opened = zlib.decompressobj()
    try:
        text = opened.decompress(version.packed, TEXT_MAX)
    except zlib.error:
        text = b""
    if not opened.eof or hashlib.sha256(text).hexdigest() != version.digest:
        raise BadVersion("what is kept is not what its digest says: it was changed or is damaged")
    try:
        document = orjson.loads(text)
        known = {name: document["defaults"][name] for name in Defaults.__dataclass_fields__}
        return KeptPolicy(
            _file(document["policy"]), tuple(map(_file, document["inventory"])), Defaults(**known)
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise BadVersion("it was kept by a version of bastion that this one does not understand") from None


def _file(document: Mapping[str, Any]) -> KeptFile:
    return KeptFile(str(document["file"]), str(document["text"]))


def judge_by(kept: KeptPolicy) -> tuple[Policy, Inventory]:
    """What decides, made of what was kept. Raises ConfigErrors where this program takes such files no more."""
    problems = Problems()
    targets: list[Target] = []
    taken: Taken = {}
    for one in kept.inventory:
        read = parse_document(Path(one.file), one.text, problems)
        if read is not None:
            targets += parse_targets(*read, problems, taken)
    read, rules = parse_document(Path(kept.policy.file), kept.policy.text, problems), Policy()
    if read is not None:
        rules = parse_policy(*read, problems, kept.defaults)
    problems.raise_any()
    return rules, Inventory(targets)
