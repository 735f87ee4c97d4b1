"""A console as a process of its own, over files with recordings and a store, and a browser without scripts."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from argon2 import PasswordHasher

from bastion.console.routes import SCOPES
from bastion.console.tokens import PATTERN
from bastion.recording.format import Header
from bastion.recording.store import Store
from bastion.state.changes import Change, apply
from bastion.state.database import Database, Place
from bastion.state.rows import Writer, ending_of, session_started
from bastion.state.schema_version import check_schema
from tests.unit.config.site import Site

PASSWORD = "correct horse"
WRITER = Writer("gw1", "h.1")
GROUPS = {
    "ada": "auditors",
    "rex": "responders",
    "abe": "approvers",
    "adm": "admins",
    "bos": "admins",
    "nil": "nobodies",
}
SECTION = """
[console]
listen = "127.0.0.1:0"
require = [["password"]]
auditor_groups = ["auditors"]
responder_groups = ["responders"]
approver_groups = ["approvers"]
admin_groups = ["admins"]
"""


@dataclass
class Got:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def place(self) -> str:
        return self.headers.get("location", "")

    @property
    def token(self) -> str:
        found = re.search(r'name="token" value="([^"]+)"', self.text)
        assert found is not None, self.text
        return unescape(found[1])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Lines:
    """An answer that goes on."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.seen: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self._answer.readline():
            self.seen.append(json.loads(line))
            yield self.seen[-1]

    def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The next line that is meant."""
        for line in self:
            if wanted(line):
                return line
        raise AssertionError(f"it has ended: {self.seen}")


class Browser:
    """Keeps a cookie, says its origin, follows nothing by itself."""

    def __init__(self, origin: str, source: str = "127.0.0.1") -> None:
        self.origin, self.source = origin, source
        self.cookies: dict[str, str] = {}
        self.host = origin.partition("://")[2]

    def ask(
        self, method: str, path: str, form: Mapping[str, str] | None = None, **headers: str | None
    ) -> Got:
        """`headers`: names with _ for -; None leaves one out that is sent otherwise."""
        body = urlencode(form) if form is not None else None
        given: dict[str, str | None] = {"host": self.host}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            given |= {"content-type": "application/x-www-form-urlencoded", "origin": self.origin}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        host, _, port = self.host.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60, source_address=(self.source, 0))
        try:
            sent = {name: value for name, value in given.items() if value is not None}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            given_back = [(name.lower(), value) for name, value in answer.getheaders()]
            got = Got(answer.status, dict(given_back), answer.read())
        finally:
            connection.close()
        for name, value in given_back:
            if name == "set-cookie":
                cookie, _, kept = value.partition(";")[0].partition("=")
                self.cookies[cookie] = kept
        return got

    @contextlib.contextmanager
    def follow(self, path: str, form: Mapping[str, str] | None = None) -> Iterator[Lines]:
        """The lines of an answer that goes on, until the end of the block."""
        host, _, port = self.host.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60, source_address=(self.source, 0))
        sent = {
            "host": self.host,
            "cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        body = None
        if form is not None:
            sent |= {"content-type": "application/x-www-form-urlencoded", "origin": self.origin}
            body = urlencode(form)
        try:
            connection.request("GET" if form is None else "POST", path, body, sent)
            yield Lines(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str | None) -> Got:
        return self.ask("GET", path, **headers)

    def sign_in(self, name: str, password: str = PASSWORD, code: str = "", back: str = "") -> Got:
        form = {"name": name, "password": password, "code": code, "next": back}
        return self.ask("POST", "/sign-in", form)

    def program(self, scope: str = "", life: str = "1h") -> Program:
        """A program with a token of whoever is signed in here, made as on the page."""
        form = {"label": "a program", "life": life} | {
            f"scope.{one}": "1" for one in (scope.split(",") if scope else SCOPES)
        }
        page = self.get("/account")
        got = self.ask("POST", "/account/tokens", {"token": page.token, **form})
        assert got.status == 200, got.text
        found = re.search(PATTERN, got.text)
        assert found is not None
        return Program(self.origin, found[0], self.source)

    def post(
        self, path: str, form: Mapping[str, str], page: str = "/live/lock", **headers: str | None
    ) -> Got:
        """As the form of a page does, with its token."""
        return self.ask("POST", path, {"token": self.get(page).token, **form}, **headers)


class Program(Browser):
    """Shows a token, and neither a cookie nor an origin."""

    def __init__(self, origin: str, bearer: str, source: str = "127.0.0.1") -> None:
        super().__init__(origin, source)
        self.bearer = bearer

    @property
    def id(self) -> str:
        return self.bearer.split("_")[2]

    def ask(
        self, method: str, path: str, form: Mapping[str, str] | None = None, **headers: str | None
    ) -> Got:
        given: dict[str, str | None] = {"authorization": f"Bearer {self.bearer}", "origin": None}
        return super().ask(method, path, form, **(given | headers))


class Elements(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def player_data(text: str) -> Any:
    """What stands in the player's page for it."""
    return json.loads(text.partition('id="recording" data-parts="1">')[2].partition("</script>")[0])


def index(site: ConsoleSite) -> None:
    """`bastion index`."""
    command = [sys.executable, "-m", "bastion", "index", "--config", str(site.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


class ConsoleSite(Site):
    """The files of a gateway, its store, and a console. `start` it, `close` it."""

    def __init__(self, folder: Path, console: str = SECTION) -> None:
        super().__init__(folder)
        self.edit('directory = "recordings"', 'directory = "recordings"\n[state]\nnode = "gw1"')
        self.write("bastion.toml", self.config.read_text() + console)
        hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        self.write(
            "users.toml",
            "".join(
                f'[users.{name}]\nid = "u-{name}"\npassword = "{hashed}"\ngroups = ["{group}"]\n'
                for name, group in GROUPS.items()
            ),
            0o600,
        )
        self.store = Store(folder / "recordings", disk_floor_bytes=0, sync_seconds=0.05)
        self.database = Database(Place(folder / "recordings" / "state"))
        check_schema(self.database)
        self._process: subprocess.Popen[str] | None = None
        self.origin = ""
        self.ready: dict[str, str] = {}
        self.log = folder / "console.log"

    def add(self, *changes: Change) -> None:
        """Rows of the store."""
        with self.database.write() as connection:
            apply(connection, changes)

    def index(self, header: Header) -> None:
        """The rows of a recording that is there."""
        (entry,) = self.store.find(header.session_id)
        path = f"{entry.path.parent.name}/{entry.path.name}"
        self.add(*session_started(entry.header, path, WRITER))
        if entry.totals is not None:
            self.add(*ending_of(entry))

    def start(self) -> ConsoleSite:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bastion", "console", "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the console did not start:\n{self.log.read_text()}"
        self.ready = json.loads(line)
        self.origin = self.ready["console"]
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        os.kill(process.pid, signal.SIGTERM)
        code = process.wait(20)
        assert process.stdout is not None
        process.stdout.close()
        return code

    def close(self) -> None:
        code = self.stop()
        self.database.close()
        assert self.store.close()
        said = self.log.read_text() if self.log.exists() else ""
        assert code == 0 and "Traceback" not in said, said

    def browser(self, name: str = "", source: str = "127.0.0.1") -> Browser:
        """Signed in, if there is a name."""
        made = Browser(self.origin, source)
        if name:
            got = made.sign_in(name)
            assert got.status == 303, got.text
        return made

    def audit(self, event: str = "") -> list[dict[str, Any]]:
        file = self.folder / "audit.jsonl"
        whole = file.read_text().rpartition("\n")[0] if file.exists() else ""
        return [line for line in map(json.loads, whole.splitlines()) if not event or line["event"] == event]
