"""`bastion target`: get to know a host, trust its key, and try the way to it (L4).

Nothing is trusted on first use: `scan` shows what a host proves to hold, a person compares the fingerprint with
what the host's own console says, and `pin` accepts exactly that fingerprint.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import fail as fail_with

from bastion.assembly.building import (
    build_dialler,
    load_known_hosts,
    load_upstream_ca,
    target_keys,
    target_settings,
)
from bastion.ca import pins
from bastion.ca.agent_threads import AgentThreads
from bastion.ca.known_hosts import KnownHosts, plain_key
from bastion.cli.output import colour, fail, printable, write_json, write_table
from bastion.cli.runtime import RunInReactor, config_option, find_target, load_or_fail
from bastion.clock import SystemClock
from bastion.config.load import Config
from bastion.errors import ConfigError, Refused, UpstreamReason
from bastion.policy.grant import probe_grant
from bastion.policy.targets import Target
from bastion.recording.store import new_session_id
from bastion.transport.settings import TransportSettings
from bastion.upstream.credentials import TargetCredentials
from bastion.upstream.facts import HopPassed, UpstreamConnected
from bastion.upstream.keyscan import scan_behind_hops, scan_host_keys
from bastion.wire.certificates import CERTIFICATE_TYPES, Certificate
from bastion.wire.data import Reader

EXIT_CODES = (
    "Exit codes: 0 done, 1 the answer is no, 2 the call or a file is wrong, 3 the target does not answer."
)
STEPS = {
    "resolve": "name", "connect": "TCP connection", "kex": "key exchange", "host_key": "host key", "login": "login",
    "hop": "hop",
}  # fmt: skip


@click.group(epilog="Example: bastion target scan web7 --config /etc/bastion/bastion.toml")
def target() -> None:
    """Scan, pin and test targets."""


@target.command(epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@click.argument("name")
@click.pass_obj
def scan(run: RunInReactor, config_file: Path, as_json: bool, name: str) -> None:
    """Show the host keys that target NAME proves to hold, and whether they are known.

    Example: bastion target scan web7 --config /etc/bastion/bastion.toml
    """
    config = load_or_fail(config_file)
    wanted = find_target(config, name)
    known = _known_hosts(config)
    rows = [_row(known, wanted, blob) for blob in _scan(run, config, wanted)]
    if as_json:
        write_json(rows)
        return
    write_table(
        ("KEY", "FINGERPRINT", "STATE"),
        [(row["type"], row["fingerprint"], row["state"]) for row in rows],
        colours={"STATE": {"pinned_ok": "green", "ca_ok": "green", "changed": "red", "revoked": "red"}},
    )
    fresh = [row for row in rows if row["state"] in ("unknown", "changed") and not row["ca"]]
    if fresh:
        click.echo(
            f"\nCompare with the host's own console (ssh-keygen -lf /etc/ssh/{_file_of(fresh[0])}), then:"
        )
        click.echo(f"  bastion target pin {wanted.name} {fresh[0]['fingerprint']} --config {config_file}")


@target.command(epilog=EXIT_CODES)
@config_option
@click.option("--hashed", is_flag=True, help="Write the host's name hashed, as HashKnownHosts does.")
@click.argument("name")
@click.argument("fingerprint", metavar="SHA256:...")
@click.pass_obj
def pin(run: RunInReactor, config_file: Path, hashed: bool, name: str, fingerprint: str) -> None:
    """Trust the host key of target NAME with this fingerprint, in place of the keys known so far.

    The key is asked of the host again: only a key that the host holds now and that has this fingerprint is
    written. A running gateway uses it after a reload (SIGHUP).

    Example: bastion target pin web7 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU --config bastion.toml
    """
    config = load_or_fail(config_file)
    wanted = find_target(config, name)
    if config.targets.known_hosts is None:
        fail(f"{config_file}: targets.known_hosts names no file to write to", 2)
    keys = [plain_key(blob) for blob in _scan(run, config, wanted)]
    chosen = [key for key in keys if key.fingerprint() == fingerprint]
    if not chosen:
        shown = ", ".join(dict.fromkeys(key.fingerprint() for key in keys)) or "no key"
        fail(f"{wanted.name} does not hold {printable(fingerprint)}; it shows {shown}", 1)
    try:
        fresh = pins.pin(
            config.targets.known_hosts,
            wanted.known_as[0],
            wanted.port,
            chosen[0],
            replace=True,
            hashed=hashed,
        )
    except ConfigError as error:
        fail(str(error), 2)
    click.echo(f"{wanted.name}: {fingerprint} {'is pinned now' if fresh else 'was pinned already'}")


@target.command(name="test", epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("name")
@click.argument("login")
@click.pass_obj
def test_target(run: RunInReactor, config_file: Path, as_json: bool, name: str, login: str) -> None:
    """Go the whole way to target NAME as LOGIN, without opening anything there, and name the step that fails.

    Example: bastion target test web7 deploy --config /etc/bastion/bastion.toml
    """
    config = load_or_fail(config_file)
    wanted = find_target(config, name)
    clock = SystemClock()
    try:
        grant = probe_grant(config.inventory, wanted.name, login, clock.time(), new_session_id())
        ca, keys = load_upstream_ca(config), target_keys(config.inventory)
    except (ConfigError, Refused) as error:
        fail(str(error), 2)
    walk = _Walk(as_json)

    def dial(reactor: Any) -> Any:
        dialler = build_dialler(config, _known_hosts(config), reactor, clock)
        credentials = TargetCredentials(ca, keys, clock, reactor, AgentThreads(reactor))
        dialling = dialler.dial(
            grant,
            lambda: credentials.probe(grant, _ask),
            walk,
            hop_login=partial(credentials.hop_login, grant),
        )
        return Deferred.fromCoroutine(dialling).addCallback(
            lambda transport: transport.disconnect(11, "only a test")
        )

    try:
        run(dial)
    except Refused as refusal:
        walk.failed(refusal)
        raise SystemExit(3) from None
    walk.done()


def _ask(prompt: str, instruction: str) -> Deferred[bytes]:
    """The operator at the terminal; everything else of this command waits meanwhile."""
    if instruction:
        click.echo(f"     {printable(instruction)}", err=True)
    try:
        typed: str = click.prompt(prompt.strip().rstrip(":"), hide_input=True, err=True)
    except click.Abort:
        return fail_with(Refused(UpstreamReason.CREDENTIAL_FAILED, "no password was given"))
    return succeed(typed.encode())


class _Walk:
    """Shows the steps of a dial as they are taken; implements `upstream.dial.DialObserver`."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._steps: list[dict[str, Any]] = []
        self._fingerprint = ""
        self._hops: list[dict[str, str]] = []
        self._connected: UpstreamConnected | None = None

    def phase(self, name: str, seconds: float) -> None:
        self._steps.append({"step": name, "ms": round(seconds * 1000, 1)})
        if not self._as_json:
            detail = f" {self._fingerprint}" if name == "host_key" else ""
            click.echo(
                f"{colour('ok', 'green'):4} {STEPS.get(name, name):16} {seconds * 1000:8.1f} ms{detail}"
            )

    def host_key(self, outcome: str, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    def banner(self, text: str, missing: int) -> None:
        if not self._as_json:
            more = f" ({missing} more bytes)" if missing else ""
            click.echo(f"     banner: {printable(text.strip(), keep='')}{more}")

    def hop(self, passed: HopPassed) -> None:
        self._hops.append({"name": passed.name, "host_key": passed.host_key})
        if not self._as_json:
            click.echo(f"     through {passed.name}, host key {passed.host_key}")

    def connected(self, facts: UpstreamConnected) -> None:
        self._connected = facts
        if self._as_json:
            return
        mac = f", MAC {facts.mac_to_target}" if facts.mac_to_target else ""
        click.echo(f"     {printable(facts.peer_version)}")
        click.echo(f"     {facts.kex}, host key {facts.host_key_algorithm}, {facts.cipher_to_target}{mac}")
        click.echo(f"     login by {facts.login_method} ({facts.credential})")
        if facts.legacy:
            click.echo(f"{colour('weak', 'yellow')} legacy algorithms: {', '.join(facts.legacy)}")

    def failed(self, refusal: Refused) -> None:
        if self._as_json:
            answer = {"ok": False, "reason": str(refusal.reason), "text": refusal.text, "steps": self._steps}
            write_json(answer)
        else:
            click.echo(f"{colour('no', 'red'):4} {printable(refusal.text)} ({refusal.reason})")

    def done(self) -> None:
        if self._as_json:
            facts = None if self._connected is None else asdict(self._connected)
            shown = {"host_key": self._fingerprint, "via": self._hops, "connected": facts}
            write_json({"ok": True, "steps": self._steps, **shown})


def _scan(run: RunInReactor, config: Config, wanted: Target) -> list[bytes]:
    def ask(reactor: Any) -> Any:
        settings = target_settings(config)
        settings = replace(settings, algorithms=settings.algorithms.with_legacy(wanted.legacy))
        timeout = config.limits.dial_timeout
        if not wanted.dialled:
            return Deferred.fromCoroutine(_scan_behind_hops(reactor, config, wanted, settings))
        return Deferred.fromCoroutine(scan_host_keys(reactor, wanted.host, wanted.port, settings, timeout))

    try:
        found: list[bytes] = run(ask)
    except Refused as refusal:
        fail(f"{wanted.name} ({wanted.address}): {refusal.text}", 3)
    if not found:
        fail(f"{wanted.name} ({wanted.address}): it offers no host key that is accepted here", 1)
    return found


async def _scan_behind_hops(
    reactor: Any, config: Config, wanted: Target, settings: TransportSettings
) -> list[bytes]:
    """The same of a target behind hops or a program: the gateway logs in to the hops, and not to the target."""
    clock = SystemClock()
    try:
        ca, keys = load_upstream_ca(config), target_keys(config.inventory)
    except ConfigError as error:
        fail(str(error), 2)
    login = (*wanted.logins, "root")[0]
    grant = probe_grant(config.inventory, wanted.name, login, clock.time(), new_session_id())
    dialler = build_dialler(config, _known_hosts(config), reactor, clock)
    credentials = TargetCredentials(ca, keys, clock, reactor, AgentThreads(reactor))
    try:
        return await scan_behind_hops(dialler, grant, partial(credentials.hop_login, grant), settings)
    finally:
        dialler.close()
        credentials.close()


def _known_hosts(config: Config) -> KnownHosts:
    try:
        return load_known_hosts(config)
    except ConfigError as error:
        fail(str(error), 2)


def _row(known: KnownHosts, wanted: Target, blob: bytes) -> dict[str, Any]:
    verdict = known.check(wanted.known_as, wanted.port, blob, SystemClock().time())
    certified = Reader(blob).name() in CERTIFICATE_TYPES
    key = plain_key(blob)
    return {
        "type": Reader(blob).name(),
        "fingerprint": key.fingerprint(),
        "state": str(verdict.outcome),
        "known": list(verdict.known_fingerprints),
        "ca": Certificate.parse(blob).signature_key.fingerprint() if certified else "",
    }


def _file_of(row: dict[str, Any]) -> str:
    kind = row["type"].removeprefix("ssh-").split("-")[0]
    return f"ssh_host_{'ecdsa' if kind == 'ecdsa' else kind}_key.pub"
