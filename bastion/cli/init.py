"""`bastion init`: make a gateway that can be started, and nothing else (L4).

It makes files and folders, never trusts a host key that nobody compared, and ends with what `bastion check` says of
the result. What exists is left as it is.
"""

from __future__ import annotations

import json
import os
import pwd
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from twisted.internet.defer import Deferred

from bastion.assembly.building import target_settings
from bastion.ca import pins
from bastion.cli.init_questions import Gathered, Given, confirm, gather
from bastion.cli.init_report import Report, show, show_existing
from bastion.cli.key_list import whoever_runs_this
from bastion.cli.output import fail, printable
from bastion.cli.runtime import RunInReactor
from bastion.clock import SystemClock
from bastion.config.load import Config, load
from bastion.errors import ConfigError, Refused
from bastion.install.answers import BadAnswer, read_pin
from bastion.install.gateway import Signed, build, names
from bastion.install.layout import CONSOLE_USER, Layout, Owners
from bastion.install.making import in_the_way, make_units, place, staged
from bastion.install.program import program
from bastion.install.units import HIDDEN, USER, CannotMake, Unit, make_users, missing_units
from bastion.policy.targets import Target
from bastion.upstream.keyscan import scan_host_keys
from bastion.wire.certificates import CERTIFICATE_TYPES
from bastion.wire.data import Reader
from bastion.wire.keys import PublicKey

CHECK_SECONDS: Final = 120.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@click.command(
    epilog="""\b
Exit codes: 0 made, or there already; 1 something is in the way, or the check found a fault;
2 the call is wrong; 3 a target did not answer. With 2 and 3 nothing was made.

\b
Examples:
  bastion init /etc/bastion
  bastion init /etc/bastion --yes --target web1=10.0.0.5 --login deploy --user bastion
  bastion init gateway --yes --target web1=10.0.0.5 --pin web1=SHA256:47DEQpj8HBSa..."""
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--user", metavar="NAME", help=f"Whom the gateway runs as. As root: {USER}; else whoever calls."
)
@click.option(
    "--listen", multiple=True, metavar="ADDRESS", help="Address and port of the SSH door: 0.0.0.0:2222."
)
@click.option("--public", metavar="NAME[:PORT]", help="What engineers type. Not given: this host's name.")
@click.option("--metrics", metavar="ADDRESS", help="Address and port of /metrics: 127.0.0.1:9722.")
@click.option("--target", "targets", multiple=True, metavar="NAME=HOST[:PORT]", help="A machine; repeatable.")
@click.option(
    "--login", "logins", multiple=True, metavar="ACCOUNT", help="An account on the targets; repeatable."
)
@click.option("--scan", is_flag=True, help="Ask the targets for their host keys, and which of them to trust.")
@click.option("--pin", "pinned", multiple=True, metavar="NAME=SHA256:...",
              help="Trust the host key of a target with this fingerprint; it has to show it now.")  # fmt: skip
@click.option(
    "--egress", multiple=True, metavar="ADDRESS", help="The gateway's address as targets see it; repeatable."
)
@click.option("--account", metavar="NAME", help="The first account, for breaking glass: admin.")
@click.option(
    "--password-file", metavar="FILE", help="Its password, first line; - is standard input. Else: made."
)
@click.option("--login-ca", metavar="FILE", type=click.Path(path_type=Path),
              help="Public half of a CA that signs engineers' certificates already. Else: one is made.")  # fmt: skip
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="age1...",
    help="Who shall open recordings; repeatable.",
)
@click.option("--system", is_flag=True,
              help="Recordings, state, log and socket below /var and /run, not in DIR.")  # fmt: skip
@click.option(
    "--systemd", is_flag=True, help="As --system, and the service's units, its user and its groups."
)
@click.option("--console", is_flag=True,
              help="With --systemd: the review console as a user of its own.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Ask nothing: defaults for what no option says.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; asks nothing.")
@click.pass_obj
def init(
    run: RunInReactor,
    /,
    folder: Path,
    user: str | None,
    scan: bool,
    pinned: tuple[str, ...],
    system: bool,
    systemd: bool,
    console: bool,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Make a gateway in DIR: keys, configuration, the first account, folders with their owners and modes.

    On a terminal it asks for what no option says. Nothing is overwritten: where there is a gateway, it says what
    is there and checks it. The target host CA is not made, it is whoever's who runs the targets.
    """
    place_of = Path(os.path.abspath(folder))
    if console and not systemd:
        fail("--console: only with --systemd, which makes its user")
    layout = Layout.system(place_of, console=console) if system or systemd else Layout.beside(place_of)
    asking = not (yes or as_json)
    user = user or (USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    units = _units(layout, user) if systemd else ()
    owners = (
        Owners() if systemd else _owners(user)
    )  # the service's user is made when all else is known to fit
    if layout.config.exists():
        _existing(layout, user, units, as_json)
    _refuse_what_is_there(layout)
    if asking and not sys.stdin.isatty():
        fail("standard input is no terminal: give --yes to take the defaults for what no option says")
    fingerprints = _pins(pinned)
    gathered = gather(Given(**given), asking)
    unknown = set(fingerprints) - {target.name for target in gathered.answers.targets}
    if unknown:
        fail(f"--pin {min(unknown)}: there is no --target of that name")
    report = Report(layout, gathered, user, units, scan, systemd)
    if systemd:
        owners = _owners_of_service(user, CONSOLE_USER if console else "")
    _make(run, layout, owners, gathered, report, (fingerprints, asking))
    report.checked = _check(layout, user)
    show(report, as_json)
    sys.exit(0 if report.checked["ok"] else 1)


def _owners_of_service(user: str, console: str = "") -> Owners:
    """The same, of a user that is made when it is missing."""
    try:
        for made in make_users(user):
            click.echo(f"made {made}", err=True)
    except CannotMake as error:
        fail(f"--systemd: {error}")
    return _owners(user, console)


def _owners(name: str, console: str = "") -> Owners:
    """What it means for its files that the gateway runs as `name`; or exit 2 with what to type."""
    try:
        return Owners.of(name, console)
    except KeyError:
        line = f"useradd --system --home-dir /var/lib/bastion --shell /usr/sbin/nologin {name}"
        fail(
            f"there is no user {name}, whom the gateway shall run as. Make it: {line}\nor name another: --user NAME"
        )
    except PermissionError:
        fail(f"--user {name}: only root can make files for somebody else")


def _units(layout: Layout, user: str) -> tuple[Unit, ...]:
    """The units that are to be made, or exit 2 for a program that the service could not see."""
    if os.geteuid() != 0:
        fail("--systemd: only root can install a service")
    words = program()
    real = os.path.realpath(sys.executable)
    for path in (words[0], sys.prefix, real):
        if path.startswith(HIDDEN):
            fail(
                f"--systemd: the service cannot see {path} (ProtectHome): install it elsewhere, such as /opt/bastion"
            )
    return missing_units(layout, user, shlex.join(words))


def _pins(given: Sequence[str]) -> dict[str, str]:
    try:
        return dict(map(read_pin, given))
    except BadAnswer as error:
        fail(f"--pin: {error}")


def _refuse_what_is_there(layout: Layout) -> None:
    """Exit 1 when something of what would be made is there and no gateway, 2 when DIR cannot be made."""
    folder = layout.folder
    if os.path.lexists(folder) and not folder.is_dir():
        fail(f"{folder} is there and is no folder")
    if not folder.parent.is_dir():
        fail(f"{folder.parent} is no folder: mkdir -p {folder.parent}")
    found = in_the_way(layout, names(layout))
    if found:
        listed = "\n".join(f"  {path}" for path in found)
        fail(
            f"{folder} has no {layout.config.name}, but these are there, and nothing is overwritten:\n{listed}\n"
            "Move them away, or choose another folder. Nothing was made.",
            1,
        )


def _make(
    run: RunInReactor,
    layout: Layout,
    owners: Owners,
    gathered: Gathered,
    report: Report,
    wanted: tuple[dict[str, str], bool],
) -> None:
    """Build beside, pin what somebody vouches for, move it to its place."""
    _clean_up_on_signals()
    signed = Signed(whoever_runs_this(), SystemClock().time())
    try:
        with staged(layout.folder) as stage:
            report.made = build(stage, gathered.answers, layout, owners, signed)
            config = load(stage / layout.config.name)  # what no single answer tells: two targets of one name
            fingerprints, asking = wanted
            if report.scan_all or fingerprints:
                _trust(run, config, report, fingerprints, asking)
            place(stage, layout, owners, report.units)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror}. Nothing was made.", 2)
    except ConfigError as error:
        fail(f"{error}. Nothing was made.", 2)


def _clean_up_on_signals() -> None:
    """What was staged is removed. Again after the reactor has run, which leaves handlers of its own."""
    for number in SIGNALS:
        signal.signal(number, _ended)


def _ended(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _trust(
    run: RunInReactor, config: Config, report: Report, fingerprints: dict[str, str], asking: bool
) -> None:
    """Pin the host keys whose fingerprints were given, and those that somebody says yes to."""
    known_hosts = config.targets.known_hosts
    assert known_hosts is not None
    targets = [t for t in config.inventory if report.scanning(t.name, fingerprints)]

    def ask(reactor: Any) -> Any:
        async def all_of_them() -> dict[str, list[bytes]]:
            settings, timeout = target_settings(config), config.limits.dial_timeout
            return {t.name: await scan_host_keys(reactor, t.host, t.port, settings, timeout) for t in targets}

        return Deferred.fromCoroutine(all_of_them())

    try:
        found: dict[str, list[bytes]] = run(ask)
    except Refused as refusal:
        fail(f"a host key cannot be looked at: {refusal.text}. Nothing was made.", 3)
    _clean_up_on_signals()
    for target in targets:
        keys = [
            PublicKey.parse(blob)
            for blob in found[target.name]
            if Reader(blob).name() not in CERTIFICATE_TYPES
        ]
        key = _chosen(target, keys, fingerprints.get(target.name), asking)
        report.scanned[target.name] = [f"{key.type} {key.fingerprint()}" for key in keys]
        if key is not None:
            pins.pin(known_hosts, target.host, target.port, key)
            report.pinned[target.name] = key.fingerprint()


def _chosen(
    target: Target, keys: Sequence[PublicKey], fingerprint: str | None, asking: bool
) -> PublicKey | None:
    """The key to trust: the one that was vouched for, or exit 1; with no fingerprint, what somebody says yes to."""
    if fingerprint is not None:
        for key in keys:
            if key.fingerprint() == fingerprint:
                return key
        shown = ", ".join(key.fingerprint() for key in keys) or "no key"
        fail(f"{target.name} does not hold {fingerprint}; it shows {shown}. Nothing was made.", 1)
    if not asking or not keys:
        return None
    click.echo(f"\n{target.name} ({target.address}) holds these host keys:", err=True)
    for key in keys:
        click.echo(f"  {printable(key.type):20} {key.fingerprint()}", err=True)
    click.echo(
        "Compare with the host's own console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub", err=True
    )
    return keys[0] if confirm(f"Is {keys[0].fingerprint()} what the console shows?") else None


def _existing(layout: Layout, user: str, units: Sequence[Unit], as_json: bool) -> None:
    """There is a gateway: say what is there of it, check it, change nothing of it, and end. Units are made."""
    try:
        if units:
            _owners_of_service(user)
        make_units(units, [])
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    there = {place.path: _state(place.path) for place in (*layout.folders(), *layout.files())}
    checked = _check(layout, user)
    show_existing(layout, there, units, checked, as_json)
    sys.exit(0 if checked["ok"] else 1)


def _state(path: Path) -> str:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return error.strerror or "cannot be seen"
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _check(layout: Layout, user: str) -> dict[str, Any]:
    """What `bastion check --json` says, with the rights of `user`."""
    words = [*program(), "check", "--config", str(layout.config), "--json"]
    if os.geteuid() == 0:
        words += ["--user", user]
    done = subprocess.run(words, capture_output=True, text=True, timeout=CHECK_SECONDS, cwd="/")
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        fail(f"bastion check could not run: {printable(done.stderr.strip()[-500:])}", 2)
    return told
