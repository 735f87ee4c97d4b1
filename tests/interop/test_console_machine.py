"""The review console as an operator puts it on a machine: typed as docs/console.md has it, under a systemd of its own.

`bastion init --systemd --console` and two units first, as they come; then PostgreSQL, encrypted recordings, one-time
codes and the page of metrics. What its account may not, it is made to try.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pyotp
import pyrage
import pytest

from tests.interop.test_package import package  # noqa: F401 - the same package
from tests.support.machine import Machine, machine_missing
from tests.support.postgres import PASSWORD as OWNERS
from tests.support.postgres import Postgres
from tests.support.world import poll
from tests.unit.console.made import Browser, player_data

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(machine_missing()), reason=machine_missing() or "available"),
]
ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "http://127.0.0.1:9743"
UNITS = ("bastion.service", "bastion-console.service")
SECRET = "of the console alone"
LOOK = """
import os, sys
for path in sys.argv[1:]:
    for word, flags in (("read", os.O_RDONLY), ("written", os.O_WRONLY | os.O_APPEND)):
        try:
            os.close(os.open(path, flags))
        except OSError:
            continue
        print(path, word)
for path in sys.argv[1:]:
    if os.path.isdir(path) and os.access(path, os.W_OK):
        print(path, "open")
"""
ROLES = f"""
CREATE ROLE bastion_gateway; CREATE ROLE bastion_reader; CREATE ROLE bastion_console;
CREATE ROLE gateway LOGIN PASSWORD 'of the gateway' IN ROLE bastion_gateway;
CREATE ROLE console LOGIN PASSWORD '{SECRET}' IN ROLE bastion_console;
"""


class Office:
    """A machine with the program, a target's sshd, and whoever sets it up and looks at it."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.password = machine, ""
        self.etc = machine.root / "etc" / "bastion"
        self.log = machine.root / "var" / "log" / "bastion-console" / "audit.jsonl"

    def put_program(self, deb: Path, folder: Path) -> None:
        """As a virtual environment of the wheel, without the package's units and users."""
        subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)
        shutil.copytree(folder / "opt" / "bastion", self.machine.root / "opt" / "bastion", symlinks=True)
        (version,) = [path.name for path in (folder / "opt" / "bastion").iterdir()]
        self.type(f"ln -s /opt/bastion/{version}/bin/bastion /usr/bin/bastion")

    def type(self, line: str, check: bool = True) -> str:
        """As root, at a shell."""
        done = self.machine.run("sh", "-c", line, check=check)
        return done.stdout + done.stderr

    def systemctl(self, *words: str) -> str:
        return self.machine.run("systemctl", *words, check=False).stdout.strip()

    def console_pid(self) -> int:
        return int(self.systemctl("show", "-p", "MainPID", "--value", UNITS[1]))

    def serving(self) -> None:
        """Both answer: of the console systemd knows only that it was started."""
        for unit in UNITS:
            poll(lambda unit=unit: self.systemctl("is-active", unit) == "active", 30, f"{unit} is not active")
        poll(self._answers, 60, f"no console:\n{self.journal()}")

    def _answers(self) -> bool:
        try:
            with self.machine.network():
                return Browser(ORIGIN).get("/sign-in").status == 200
        except OSError:
            return False

    def journal(self) -> str:
        return self.machine.run("journalctl", "--no-pager", "-n", "60", check=False).stdout

    def edit(self, section: str, lines: str) -> None:
        """What an operator's editor does: these lines at the begin of a section."""
        file = self.etc / "bastion.toml"
        text = file.read_text()
        assert text.count(f"\n[{section}]\n") == 1
        file.write_text(text.replace(f"\n[{section}]\n", f"\n[{section}]\n{lines}\n"))

    def secret(self, path: str, text: str, owner: str = "root") -> None:
        """A file that is one account's alone."""
        file = self.machine.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
        self.type(f"chmod 600 /{path} && chown {owner}: /{path}")

    def ssh(self, words: str) -> str:
        """The id of a session of the first account's."""
        self.type(f"umask 077; printf '#!/bin/sh\\necho {self.password}\\n' > /root/ask; chmod 700 /root/ask")
        options = "-F none -o StrictHostKeyChecking=no -o PubkeyAuthentication=no"
        said = self.type(
            f"SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force ssh {options} -p 2222 admin+deploy+web1@127.0.0.1 {words}"
        )
        assert words.split()[-1] in said
        listed = json.loads(self.type("bastion sessions --config /etc/bastion/bastion.toml --json"))
        return str(max(listed, key=lambda one: one["started_at"])["session_id"])

    def signed_in(self, code: str = "") -> Browser:
        browser = Browser(ORIGIN)
        with self.machine.network():
            got = browser.sign_in("admin", self.password, code)
        assert got.status == 303, got.text
        return browser

    def lines(self, event: str) -> list[dict[str, object]]:
        """Of the console's own audit log, since it was rotated last."""
        return [line for line in map(json.loads, self.log.read_text().splitlines()) if line["event"] == event]

    def tried(self, *paths: str) -> list[str]:
        """What of these the console's account can read or write, without the sandbox of its unit."""
        groups = "--groups bastion-console,bastion-auditor,bastion-responder,bastion-approver"
        words = " ".join(paths)
        line = f"cd / && setpriv --reuid bastion-console --regid bastion-console {groups} python3 -c '{LOOK}' {words}"
        return self.type(line).splitlines()


@pytest.fixture(scope="module")
def office(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:  # noqa: F811
    with Machine() as machine:
        made = Office(machine)
        made.put_program(package, tmp_path_factory.mktemp("unpacked"))
        made.type("useradd --create-home --shell /bin/sh deploy && usermod --password '*' deploy")
        made.type("ip address add 10.0.0.5/32 dev lo && systemctl restart ssh")
        yield made


def typed() -> list[str]:
    """The commands of docs/console.md, "As which user": a new gateway with its console."""
    text = (ROOT / "docs" / "console.md").read_text(encoding="utf-8")
    found = re.search(r"\n```\n(bastion init [^\n]* --console [^\n]*)\n(systemctl [^\n]*)\n```\n", text)
    assert found is not None
    return [found[1], found[2]]


def test_as_it_comes(office: Office) -> None:
    init, start = typed()
    pin = office.type("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    said = office.type(f"{init} --yes --pin web1={pin}")
    shown = re.search(r"shown once: (\S+)", said)
    assert shown is not None and "is valid for bastion" in said, said
    office.password = shown[1]
    office.type("bastion target-config --config /etc/bastion/bastion.toml --script | sh")
    assert "bastion-console.service" in said and start.split(" && ")[1] in said
    office.type(start)
    office.serving()
    assert office.type("id -nG bastion-console").split() == ["bastion-console"]
    status = office.type(f"cat /proc/{office.console_pid()}/status")
    for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"):
        assert line in status
    uid = office.type("id -u bastion-console").strip()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status and uid != "0"

    session = office.ssh("echo seen-by-everybody")
    browser = office.signed_in()
    plays(office, browser, session, "seen-by-everybody")
    assert (
        office.type("bastion doctor --config /etc/bastion/bastion.toml --quiet", False).count("\nfail") == 0
    )
    found_again(office, browser, session, "everybody")
    with office.machine.network():
        assert browser.post(f"/sessions/{session}/note", {"text": "looks fine"}).status != 303, "SQLite"


def plays(office: Office, browser: Browser, session: str, words: str) -> None:
    """Listed, on its page, in the player and its parts, proved; and each look is written down."""

    def listed() -> bool:
        return session in browser.get("/sessions?state=").text

    with office.machine.network():
        poll(listed, 30, "it is not listed")
        assert f"exec echo {words}" in browser.get(f"/sessions/{session}").text
        page = browser.get(f"/sessions/{session}/play")
        assert page.status == 200 and player_data(page.text)
        assert words in page.text and words in browser.get(f"/sessions/{session}/text").text
        poll(
            lambda: 'class="good"' in browser.get(f"/sessions/{session}/verify").text, 30, "it is not proved"
        )
    read = {line["command"] for line in office.lines("recordings_read")}
    assert {"console session", "console play", "console text", "console verify"} <= read


def found_again(office: Office, browser: Browser, session: str, words: str) -> None:
    """The unit of the timer fills the index, and runs what was saved; nothing that is shared is closed by it."""
    before = modes(office)
    office.type("systemctl start bastion-searches.service")
    assert office.systemctl("show", "-p", "Result", "--value", "bastion-searches.service") == "success"
    assert modes(office) == before
    with office.machine.network():
        assert session in browser.get(f"/search?q={words}").text


def modes(office: Office) -> str:
    folders = "/var/lib/bastion /var/lib/bastion/recordings /var/lib/bastion/state /var/lib/bastion/recordings/index"
    said = office.type(f"stat -c '%a %U %G %n' {folders} /var/lib/bastion/recordings/20*")
    assert "2750 bastion bastion-console /var/lib/bastion/recordings\n" in said, said
    return said


def test_it_writes_nothing_of_the_gateway_s_and_reads_no_key(office: Office) -> None:
    closed = office.type(
        "find /etc/bastion/keys /var/lib/bastion/state /var/lib/bastion/recordings -path '*/index*' -prune -o -type f"
        " -print; echo /etc/bastion/bastion.toml /etc/bastion/users.toml /etc/bastion/policy.toml"
        " /etc/bastion/targets.toml /etc/bastion/known_hosts /var/log/bastion/audit.jsonl"
        " /etc/ssh/ssh_host_ed25519_key /etc/shadow"
    ).split()
    can = office.tried(
        *closed, "/etc/bastion", "/var/lib/bastion", "/var/lib/bastion/recordings", "/var/lib/bastion/state"
    )
    assert [line for line in can if not line.endswith(" read")] == []
    read = {line.partition(" ")[0] for line in can}
    private = {path for path in closed if path.startswith("/etc/bastion/keys/") and f"{path}.pub" in closed}
    assert len(private) == 6 and not read & (private | {"/etc/shadow", "/etc/ssh/ssh_host_ed25519_key"})
    assert "/var/log/bastion/audit.jsonl" not in read and not any("penalties" in path for path in read)
    assert any(path.endswith(".rec") for path in read) and "/etc/bastion/users.toml" in read


def test_restarts_rotations_and_its_death(office: Office) -> None:
    browser = office.signed_in()
    office.type("systemctl restart bastion-console.service")
    office.serving()
    with office.machine.network():
        assert browser.get("/sessions").status == 303, "a restart signs everybody out"
    office.type("logrotate --force /etc/logrotate.d/bastion")
    office.signed_in()
    poll(lambda: office.lines("console_signed_in"), 30, "the new file is not written to")
    rotated = office.type("cat /var/log/bastion-console/audit.jsonl-*")
    assert '"console_started"' in rotated and office.lines("console_started") == []
    pid = office.console_pid()
    office.type(f"kill -9 {pid}")
    poll(lambda: office.console_pid() not in (0, pid), 60, "it was not started again")
    office.serving()
    office.signed_in()


@pytest.mark.parametrize("unit", UNITS)
def test_its_sandbox_is_what_the_documents_say(office: Office, unit: str) -> None:
    said = office.type(f"systemd-analyze security --no-pager {unit}")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None and f"**{found[1]}**" in (ROOT / "docs" / "service.md").read_text(), said[-300:]


@pytest.fixture
def postgres(office: Office) -> Iterator[Postgres]:
    with office.machine.network():
        made = Postgres()
    try:
        with office.machine.network():
            made.start()
        yield made
    finally:
        made.close()


def with_everything(office: Office, postgres: Postgres, identity: object) -> None:
    """A role of its own in PostgreSQL, an identity and a password that it alone gets, codes, metrics."""
    url = postgres.url.replace("bastion@", "{}@")
    office.edit("state", f'url = "{url.format("gateway")}"\npassword_file = "state.password"')
    office.edit("recording", 'recipients = "recipients.txt"')
    office.edit("totp", 'key_file = "totp.key"')
    office.edit(
        "console",
        f'state_url = "{url.format("console")}"\nstate_password_file = "credential:console_state"\n'
        'identities = ["credential:console_identity"]\nmetrics = "127.0.0.1:9744"',
    )
    config = office.etc / "bastion.toml"
    config.write_text(config.read_text().replace('require = [["password"]]\n', "", 1))
    with (office.etc / "recipients.txt").open("a") as file:
        file.write(f"{identity.to_public()}\n")  # type: ignore[attr-defined]
    office.secret("etc/credstore/bastion.console_identity", str(identity))
    office.secret("etc/credstore/bastion.console_state", SECRET)
    office.secret("etc/bastion/state.password", "of the gateway", "bastion")
    office.secret("etc/bastion/totp.key", "k" * 44, "bastion")
    # Whoever migrates owns the tables, and is neither of the two.
    office.secret("root/owner.password", OWNERS)
    owners = config.read_text().replace(url.format("gateway"), postgres.url)
    (office.etc / "owner.toml").write_text(owners.replace('"state.password"', '"/root/owner.password"'))
    with office.machine.network(), psycopg.connect(postgres.url, password=OWNERS) as owner:
        owner.execute(ROLES)
        owner.commit()
    office.type("bastion state migrate --config /etc/bastion/owner.toml")


def test_with_a_role_an_identity_and_codes_of_its_own(office: Office, postgres: Postgres) -> None:
    with_everything(office, postgres, pyrage.x25519.Identity.generate())
    office.type(f"systemctl restart {' '.join(UNITS)}")
    office.serving()
    enrolled = json.loads(office.type("bastion totp enroll admin --config /etc/bastion/bastion.toml --json"))
    (secret,) = parse_qs(urlsplit(enrolled["uri"]).query)["secret"]
    session = office.ssh("echo sealed-from-now-on")
    recording = office.type(f"find /var/lib/bastion/recordings -name {session}.rec").strip()
    assert b"sealed-from-now-on" not in (office.machine.root / recording.lstrip("/")).read_bytes()
    export = f"bastion export --config /etc/bastion/bastion.toml --format text {session}"
    assert "sealed" in office.type(f"runuser -u bastion -- {export}", False), "the gateway cannot"
    with office.machine.network():
        assert Browser(ORIGIN).sign_in("admin", office.password, "000000").status == 401
    browser = office.signed_in(pyotp.TOTP(secret).now())
    plays(office, browser, session, "sealed-from-now-on")
    leaves_what_its_role_may(office, postgres, browser, session)
    closed = (
        "/etc/credstore",
        "/etc/credstore/bastion.console_identity",
        "/run/credentials/bastion-console.service",
    )
    for account in ("bastion", "deploy"):
        look = f"cd / && runuser -u {account} -- cat {{}} 2>&1 || :"
        assert all("Permission denied" in office.type(look.format(path)) for path in closed[1:])
        mine = f"{closed[2]}/console_identity"
        assert "Permission denied" in office.type(look.format(mine))
    with (
        office.machine.network(),
        urllib.request.urlopen("http://127.0.0.1:9744/metrics", timeout=30) as page,
    ):
        figures = page.read().decode()
    assert re.search(r"(?m)^bastion_console_sign_ins_total [1-9]", figures), figures
    assert (
        office.type("bastion doctor --config /etc/bastion/bastion.toml --quiet", False).count("\nfail") == 0
    )


def leaves_what_its_role_may(office: Office, postgres: Postgres, browser: Browser, session: str) -> None:
    """A note, and a search that the timer runs over what only the console can open."""
    with office.machine.network():
        for path, form in (
            (f"/sessions/{session}/note", {"text": "looks like a drill"}),
            ("/searches", {"q": "sealed", "title": "seals"}),
        ):
            left = browser.post(path, form, "/sessions")
            assert left.status == 303, left.text
        assert "looks like a drill" in browser.get(f"/sessions/{session}").text
    found_again(office, browser, session, "sealed")
    with office.machine.network():
        told = browser.get("/searches").text
        assert "seals" in told and session in told
        with psycopg.connect(postgres.url.replace("bastion@", "console@"), password=SECRET) as console:
            for statement in (
                "SELECT * FROM totp",
                "UPDATE sessions SET identity = 'mallory'",
                "UPDATE saved_searches SET words = 'nothing'",
                "DELETE FROM recordings",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    console.execute(statement)
                console.rollback()
