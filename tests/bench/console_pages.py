"""The review console over an index of 100,000 sessions: what a page takes at the server, figures for docs/console.md.

`python -m tests.bench.console_pages [ROWS]`: least and worst of five over HTTP on loopback, after one that is not
counted, and the processor time of each with all that it started. The reading index has the same sessions, each with
LINES lines and a few commands, and the audit log four lines about each.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import orjson

from bastion.indexing.store import IndexFile, place_in
from bastion.recording.listed import Listed
from bastion.state.changes import ADD, Change, Value
from tests.bench.console_index import audit_log, fill
from tests.unit.cli.made import FIRST, START, record
from tests.unit.console.conftest import header
from tests.unit.console.made import ConsoleSite

LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
BATCH = 5000
LINES = 10
ROUNDS = 5


def rows(count: int) -> list[Change]:
    """Sessions of 200 people on 500 targets over a year, with headers of the usual size."""
    chance = random.Random(7)
    made = []
    for _ in range(count):
        name = "".join(chance.choices(LETTERS, k=16))
        user, target = f"user{chance.randrange(200)}", f"web{chance.randrange(500)}"
        about = header(name, user, target, START - chance.random() * 365 * 86400)
        values: dict[str, Value] = {
            "id": name, "kind": "session", "state": "ended", "identity": user, "uid": f"u-{user}", "target": target,
            "login": "deploy", "source": f"10.{chance.randrange(256)}.{chance.randrange(256)}.7", "rules": "staff",
            "started_at": about.started_at, "ended_at": about.started_at + 60, "node": "gw1", "instance": "h.1",
            "bytes_in": 100, "bytes_out": 5000, "ran": '[["shell","exit 0",1]]',
            "emergency": int(chance.random() < 0.002),
            "header": orjson.dumps(about.document()).decode(),
        }  # fmt: skip
        made.append(Change(ADD, "sessions", values))
        day = time.strftime("%Y-%m-%d", time.gmtime(about.started_at))
        file: dict[str, Value] = {
            "session_id": name,
            "node": "gw1",
            "path": f"{day}/{name}.rec",
            "state": "ended",
        }
        made.append(Change(ADD, "recordings", file))
    return made


def alerts(changes: list[Change], count: int) -> list[Change]:
    """Alerts of a year, each about one of the sessions, and notices as many again; none of them was reviewed."""
    chance = random.Random(8)
    sessions = [change.values for change in changes if change.table == "sessions"]
    made = []
    for number in range(2 * count):
        about = chance.choice(sessions)
        values: dict[str, Value] = {
            "node": "gw1", "id": f"{number:08d}", "kind": "sftp_data", "level": "alert" if number % 2 else "notice",
            "at": about["started_at"], "made_at": about["started_at"], "identity": about["identity"],
            "expected": "at most 4.0 GiB in a day", "came": "9.0 GiB on this day", "sessions": about["id"],
        }  # fmt: skip
        made.append(Change(ADD, "findings", values))
    return made


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = ConsoleSite(Path(folder))
        about = header(FIRST, "alice", "web1")
        record(site.store, about)
        site.index(about)
        changes = rows(count)
        changes += alerts(changes, count // 50)
        for at in range(0, len(changes), BATCH):
            site.add(*changes[at : at + BATCH])
        read_in(site, [change.values for change in changes if change.table == "sessions"])
        site.start()
        try:
            measure(site)
        finally:
            site.close()


def read_in(site: ConsoleSite, sessions: list[Mapping[str, Value]]) -> None:
    """The reading index and the audit log of these sessions."""
    listed = (
        Listed(
            str(one["id"]), "ended", float(one["started_at"] or 0), str(one["identity"]), "deploy", str(one["target"]),
            60.0, 5100, f"2027-01-15/{one['id']}.rec", source=str(one["source"]), rules="staff",
        )
        for one in sessions
    )  # fmt: skip
    file = IndexFile(place_in(site.folder / "recordings"), make=True)
    size = fill(file, listed, len(sessions), LINES)
    file.close()
    log = audit_log(site.folder / "audit.jsonl.1", [str(one["id"]) for one in sessions])
    print(
        f"{len(sessions)} sessions, {size / 1e6:.0f} MB of text, {log / 1e6:.0f} MB of audit log", flush=True
    )


def measure(site: ConsoleSite) -> None:
    browser = site.browser("ada")
    middle = f"{START - 180 * 86400!r}~{'m' * 16}"
    for what, path in (
        ("the list", "/sessions"),
        ("the list in its middle", f"/sessions?after={middle}"),
        ("of one user", "/sessions?user=user7"),
        ("on one target", "/sessions?target=web7"),
        ("one user on one target since a day", "/sessions?user=user7&target=web7&since=300d"),
        ("from one network", "/sessions?source=10.7.7.0/24"),
        ("of a user whom nobody is", "/sessions?user=nobody"),
        ("of a rule that there is not", "/sessions?rule=nothing"),
        ("200 rows", "/sessions?rows=200"),
        ("in which the most common command was run", "/sessions?command=ls"),
        ("a command that a tenth has", "/sessions?command=rm+-rf"),
        ("a command that a hundred have", "/sessions?command=fsck"),
        ("a command that one has", "/sessions?command=onlyhere"),
        ("a command that nobody has", "/sessions?command=nosuchword"),
        ("a common command, of one user on one target", "/sessions?command=ls&user=user7&target=web7"),
        ("a common command, from one network", "/sessions?command=ls&source=10.7.7.0/24"),
        ("a common command, with alerts", "/sessions?command=ls&alert=yes"),
        ("a common command, in the middle of the list", f"/sessions?command=ls&after={middle}"),
        ("those with alerts", "/sessions?alert=yes"),
        ("those to be reviewed", "/sessions?review=due"),
        ("with a tag", "/sessions?tag=case-7"),
        ("the queue of reviews", "/reviews"),
        ("a search for a common word", "/search?q=error"),
        ("a search for a rare word", "/search?q=seldomseen"),
        ("the overview of a day", "/overview"),
        ("the overview of a month", "/overview?span=month"),
        ("a session's page", f"/sessions/{FIRST}"),
        ("who has looked at it", f"/sessions/{FIRST}/looks"),
        ("its text", f"/sessions/{FIRST}/text"),
        ("its player", f"/sessions/{FIRST}/play"),
    ):
        took, size, spent = [], 0, cpu(site)
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            got = browser.get(path)
            took.append((time.perf_counter() - began) * 1000)
            assert got.status == 200, got.text
            size = len(got.body)
            time.sleep(0.7)  # noqa: TID251 - the next reader starts meanwhile, as while somebody looks
        each = (cpu(site) - spent) / (ROUNDS + 1) * 1000
        print(
            f"| {what} | {min(took[1:]):.0f}, {max(took[1:]):.0f} ms | {each:.0f} ms | {size / 1024:.0f} KiB |",
            flush=True,
        )


def cpu(site: ConsoleSite) -> float:
    """Seconds of processor time of the console's own process, and of its readers that have ended."""
    text = Path(f"/proc/{site.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, text[11:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
