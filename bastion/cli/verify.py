"""`bastion verify`: whether recordings are what their gateway wrote, from public keys alone (L4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import click

from bastion.ca.keys import load_public_keys
from bastion.ca.ledger import KeyName, read_ledger
from bastion.cli.bucket import in_bucket, is_url
from bastion.cli.output import fail, printable, write_json, write_table
from bastion.cli.recordings import copies_of, find_session, open_store, recordings_options, tell_unreadable
from bastion.cli.stores import leave_word
from bastion.cli.verify_bucket import Objects, brought, objects_in
from bastion.cli.verify_ledger import Ledgers, facts_of, read_ledgers, told_to
from bastion.config.key_slots import ledger_path, load_staged
from bastion.config.load import Config, load
from bastion.errors import ConfigError
from bastion.recording.format import is_session_id
from bastion.recording.ledger import Finding
from bastion.recording.listing import SUFFIX, open_recording
from bastion.recording.verifying import KnownKey, State, Verdict
from bastion.recording.verifying import verify as verify_file

BAR_FROM: Final = 64 << 20
"""Bytes from which on a bar shows how far it is: less takes no second."""

_COLOURS: Final = {
    State.WHOLE: "green",
    State.INCOMPLETE: "yellow",
    State.LIVE: "green",
    State.CUT: "red",
    State.BAD: "red",
    State.UNSIGNED: "yellow",
}

EXIT_CODES = (
    "Exit codes: 0 all are good; 1 there is no such recording; 2 the call or a file is wrong; 3 at least one is not"
    " good: changed, cut off, gone, or signed by nobody that is known; or the bucket or the index could not be asked."
)


@dataclass(frozen=True, slots=True)
class _Checked:
    """`name` is its file, or s3://bucket/key; `path` where it was read."""

    name: str
    path: Path
    verdict: Verdict


@click.command(epilog=EXIT_CODES)
@click.argument("which", nargs=-1, metavar="[SESSION|FILE]...")
@recordings_options
@click.option("--all", "everything", is_flag=True, help="Every recording in the folder, and what is missing.")
@click.option("--store", "store_too", is_flag=True, help="The same, and every recording in the bucket.")
@click.option(
    "--keys",
    "key_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Public keys of nodes, one per line (instead of those that --config knows); may be given again.",
)
@click.option(
    "--unsigned-too", is_flag=True, help="Let recordings of format 1 pass, which has no signatures."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def verify(
    which: tuple[str, ...],
    config: Path | None,
    recordings: Path | None,
    everything: bool,
    store_too: bool,
    key_files: tuple[Path, ...],
    unsigned_too: bool,
    as_json: bool,
) -> None:
    """Prove that recordings are what their gateway wrote: nothing changed, removed, reordered or put in.

    Needs public keys only, and no gateway: give copies of the files and --keys with the nodes' public keys. With
    --config the keys are those of this gateway, the retired ones included. What it finds first in a file is named with
    its block and offset. A file that is being written is good as far as it is signed; one whose gateway died is good
    once a gateway has ended it. With --all the folder is held against its ledger too: a recording that is gone, or was
    put in the place of another, is named; with --config the ledger against the audit log and the state store, and the
    names and sizes in the bucket against both. --store also reads what is in the bucket, one copy in TMPDIR at a time.

    \b
    Examples:
      bastion verify --config /etc/bastion/bastion.toml --all
      bastion verify k3v2m5q7p2r4t6wa.rec --keys node.pub
    """
    if (everything or store_too) == bool(which):
        fail("name sessions or files, or say --all or --store")
    known = _known_keys(config, key_files)
    if which:
        checked = _Everything(_checked(_named(which, config, recordings), known))
    else:
        checked = _everything(config, recordings, known, store_too)
    found, findings = checked.found, checked.findings
    if as_json:
        files = [{"file": one.name, **one.verdict.document()} for one in found]
        write_json([*files, *(asdict(one) for one in findings)])
    else:
        _tell(found, findings)
    bad = sum(
        not (one.verdict.good or (unsigned_too and one.verdict.state is State.UNSIGNED)) for one in found
    )
    faults = bad + len(findings) + (not checked.whole)
    if not which and recordings is None:
        leave_word(config, "verify", faults)
    if faults:
        sys.exit(3)


@dataclass(slots=True)
class _Everything:
    """`whole` is false when something could not be looked at."""

    found: list[_Checked]
    findings: list[Finding] = field(default_factory=list)
    whole: bool = True


def _everything(
    config: Path | None, recordings: Path | None, known: Sequence[KnownKey], store_too: bool
) -> _Everything:
    """The folder, then the bucket (a recording goes from the one to the other), then the ledger."""
    store = open_store(config, recordings)
    copies = None if recordings is not None else copies_of(config)
    if store_too and copies is None:
        fail(
            "--store: --config FILE with [recording.store] says where the bucket is, and --recordings names none"
        )
    before = _ledgers(store.directory)
    paths = sorted(store.directory / place for _, place in store.names(None, tell_unreadable))
    found = _checked([(str(path), path) for path in paths], known)
    objects = Objects()
    if config is not None and copies is not None:
        objects = objects_in(config, copies, {path.stem for path in paths})
        found = [one for one in found if not (one.path.stem in objects.there and not one.path.exists())]
        if store_too:
            here = {one.path.stem for one in found}
            objects.objects = [one for one in objects.objects if one.session not in here]
            found += [_Checked(one.url, path, _verify(path, known)) for one, path in brought(objects, copies)]
    if not found and not objects.objects and not objects.findings and objects.asked:
        fail("there are no recordings", 1)
    if before.lines:
        found = [one for one in found if not _never_began(one, before)]
    verdicts = {one.path.stem: one.verdict for one in found}
    findings = _against_ledger(config, store.directory, before, verdicts, objects)
    named = {one.session for one in objects.findings}
    findings = [*objects.findings, *(one for one in findings if one.session not in named)]
    return _Everything(found, findings, objects.asked and not (copies is not None and copies.missed))


def _checked(files: Sequence[tuple[str, Path]], known: Sequence[KnownKey]) -> list[_Checked]:
    with _bar([path for _, path in files]) as progress:
        return [_Checked(name, path, _verify(path, known, progress)) for name, path in files]


def _never_began(one: _Checked, ledgers: Ledgers) -> bool:
    """Is it an empty file, of a gateway that died before it had written the header, which no ledger knows? Said once.

    Nothing has passed in such a session, so there is nothing to prove; one that was emptied later is in the ledger.
    """
    try:
        empty = one.path.stat().st_size == 0 and one.path.stem not in ledgers.account
    except OSError:
        return False
    if empty:
        click.echo(f"bastion: {one.path}: is empty: its gateway died before anything had passed", err=True)
    return empty


def _ledgers(folder: Path) -> Ledgers:
    try:
        return read_ledgers(folder)
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}")


def _against_ledger(
    config: Path | None, folder: Path, before: Ledgers, verdicts: Mapping[str, Verdict], objects: Objects
) -> list[Finding]:
    """What differs from the ledger of recordings, where there is one, and the ledger from its heads that were told.

    Sessions begin and end while the files are read, so a file must differ from the ledger of `before` and from that of
    now.
    """
    try:
        told = list(told_to(config, before.nodes)) if config is not None else []
        ledgers = read_ledgers(folder)  # behind what was told of it, for it grows
        found = [*ledgers.broken, *ledgers.contradictions(told)]
        if ledgers.lines:
            facts, moved = facts_of(verdicts), set(objects.there)
            if not objects.asked:  # told: then the index is believed
                moved |= {one.session for one in in_bucket(config, "")}
            earlier = set(before.account.compare(facts, moved))
            found += [one for one in ledgers.account.compare(facts, moved) if one in earlier]
        return found
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}")


def _known_keys(config: Path | None, files: Sequence[Path]) -> tuple[KnownKey, ...]:
    try:
        if files:
            return tuple(KnownKey(key) for file in files for key in load_public_keys(file))
        if config is None:
            fail("whose keys? Give --keys FILE with the nodes' public keys, or --config FILE")
        return keys_of(load(config))
    except ConfigError as error:
        fail(str(error), 2)


def keys_of(config: Config) -> tuple[KnownKey, ...]:
    """What this gateway signs or signed recordings with, with their dates. Raises ConfigError."""
    entries = [one for one in read_ledger(ledger_path(config)).entries if one.name is KeyName.RECORDING]
    known = [KnownKey(entry.public, entry.active_from, entry.retired) for entry in entries]
    listed = {one.public for one in known}
    for staged in load_staged(config, KeyName.RECORDING):
        known += [KnownKey(public) for public in staged.publics if public not in listed]
    return tuple(known)


def _named(which: Sequence[str], config: Path | None, recordings: Path | None) -> list[tuple[str, Path]]:
    found = []
    for one in which:
        path = Path(one)
        if not is_url(one) and ("/" in one or one.endswith(SUFFIX)):
            if not path.exists():
                fail(f"there is no file {one}", 1)
            found.append((one, path))
        else:
            entry = find_session(open_store(config, recordings), one, config)
            found.append((entry.url or str(entry.path), entry.path))
    return found


def verdict_of(
    path: Path, known: Sequence[KnownKey], progress: Callable[[int], None] | None = None
) -> Verdict:
    """Of one file, which goes by the session id that it is named after, if it is. Raises OSError."""
    with open_recording(path) as (source, live):
        return verify_file(source, _session_of(path), known, live, progress)


def _verify(path: Path, known: Sequence[KnownKey], progress: Callable[[int], None] | None = None) -> Verdict:
    try:
        return verdict_of(path, known, progress)
    except OSError as error:
        return Verdict(State.BAD, f"cannot be read: {error.strerror}", _session_of(path))


def _session_of(path: Path) -> str:
    return path.stem if is_session_id(path.stem) else ""


@contextmanager
def _bar(paths: Sequence[Path]) -> Iterator[Callable[[int], None]]:
    """How far the reading is, where somebody looks and it takes long."""
    total = sum(path.stat().st_size for path in paths if path.is_file())
    if total < BAR_FROM or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label="verifying", file=sys.stderr) as bar:
        yield bar.update


def _tell(found: Sequence[_Checked], findings: Sequence[Finding]) -> None:
    rows = []
    for one in found:
        verdict = one.verdict
        where = "" if verdict.offset is None else f" (byte {verdict.offset})"
        name = verdict.session_id or one.name
        rows.append((name, str(verdict.state), printable(verdict.node), printable(verdict.text + where)))
    colours = {"STATE": {str(state): name for state, name in _COLOURS.items()}}
    write_table(("RECORDING", "STATE", "NODE", "WHAT"), rows, flexible=("WHAT",), colours=colours)
    for finding in findings:
        whose = f" {finding.session}" if finding.session else ""
        click.echo(f"ledger:{whose} {finding.fault}: {printable(finding.text)}")
    if len(found) > 1:
        good = sum(one.verdict.good for one in found)
        click.echo(f"{good} of {len(found)} are good")
