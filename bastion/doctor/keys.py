"""Keys that are not files of this machine (L4): whether the agents that hold them do, and what the ledger is owed."""

from __future__ import annotations

from collections.abc import Iterator

from bastion.ca.ledger import Ledger, read_ledger
from bastion.ca.slots import load_slot
from bastion.config.authorities import day, key_title
from bastion.config.key_slots import ledger_path, signing_slots
from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.subject import Subject
from bastion.errors import AgentFailed, ConfigError


def examine_keys(subject: Subject) -> Iterator[Finding]:
    """A finding for each agent and each overlap, and one when there is neither. Agents are asked; nothing is signed."""
    found = [*_agents(subject), *_overlaps(subject)]
    if not found:
        found = [Finding(Area.KEYS, Level.OK, str(ledger_path(subject.config)), "no key is being rotated")]
    yield from found


def _ledger(subject: Subject) -> Ledger:
    """An empty one when it cannot be read: `config` has said so."""
    try:
        return read_ledger(ledger_path(subject.config))
    except ConfigError:
        return Ledger()


def _agents(subject: Subject) -> Iterator[Finding]:
    for slot in signing_slots(subject.config):
        if slot.agent is None:
            continue
        try:
            for key in load_slot(slot, _ledger(subject)).in_agents:
                key.look()
                held = f"{slot.agent} holds {key.public.fingerprint()}"
                yield Finding(Area.KEYS, Level.OK, str(slot.name), held)
        except (AgentFailed, ConfigError) as error:
            line = f"SSH_AUTH_SOCK={shell(slot.agent)} ssh-add -l"
            yield Finding(Area.KEYS, Level.FAIL, str(slot.name), str(error), line)


def _overlaps(subject: Subject) -> Iterator[Finding]:
    now = subject.clock.time()
    for entry in _ledger(subject).entries:
        if (ends := entry.overlap_ends) is None:
            continue
        name, print_ = key_title(entry), entry.public.fingerprint()
        if ends > now:
            yield Finding(Area.KEYS, Level.OK, name, f"{print_} goes on {day(ends)}")
        else:
            line = shell("bastion", "keys", "retire", "-c", subject.config.file, name)
            yield Finding(Area.KEYS, Level.WARN, name, f"{print_} should have gone on {day(ends)}", line)
