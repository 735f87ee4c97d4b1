"""A world with a review console: slapd, one-time codes, and whoever signs in."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pyotp

from tests.support.rights import Other
from tests.support.slapd import PASSWORD
from tests.support.sshd import make_key
from tests.support.world import World
from tests.unit.console.made import Browser


class Reviewed(World):
    """A world with a console, and second factors for two people."""

    codes: dict[str, pyotp.TOTP]
    recovery: dict[str, list[str]]
    _console: subprocess.Popen[str] | None = None
    origin = ""
    console_as: Other | None = None  # None: whoever runs the tests

    def begin(self, *names: str) -> None:
        """Start gateway and console; people of these names have second factors."""
        make_key(self.keys / "recording")
        key = self.folder / "totp.key"
        key.write_text("k" * 44 + "\n")
        key.chmod(0o600)
        self.start()
        self.enroll(*names)
        self.serve_console()

    def browser(self, name: str) -> Browser:
        """Somebody who has signed in, with a recovery code: each is good once."""
        made = Browser(self.origin)
        got = made.sign_in(name, PASSWORD, self.code(name))
        assert got.status == 303, got.text
        return made

    def code(self, name: str) -> str:
        """A code of somebody's that is good once."""
        return self.recovery[name].pop(0)

    def enroll(self, *names: str) -> None:
        self.codes, self.recovery = {}, {}
        for name in names:
            done = self.bastion("totp", "enroll", name, "--config", str(self.config), "--json")
            assert done.returncode == 0, done.stderr
            made = json.loads(done.stdout)
            (secret,) = parse_qs(urlsplit(made["uri"]).query)["secret"]
            self.codes[name], self.recovery[name] = pyotp.TOTP(secret), made["recovery"]

    def serve_console(self) -> None:
        other = self.console_as
        python, identity = (sys.executable, {}) if other is None else (other.python, other.identity)
        with self.log.open("ab") as log:
            self._console = subprocess.Popen(
                [python, "-m", "bastion", "console", "--config", str(self.config)],
                stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, **identity,
            )  # fmt: skip
        assert self._console.stdout is not None
        line = self._console.stdout.readline()
        assert line, self.log.read_text()
        self.origin = json.loads(line)["console"]

    @property
    def console_pid(self) -> int:
        assert self._console is not None
        return self._console.pid

    def close(self) -> None:
        if self._console is not None:
            self._console.send_signal(signal.SIGTERM)
            assert self._console.wait(20) == 0
            assert self._console.stdout is not None
            self._console.stdout.close()
        super().close()
