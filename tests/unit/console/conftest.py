"""One console with three recordings, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bastion.recording.format import Header
from bastion.sides import Side
from tests.support.world import poll
from tests.unit.cli.made import FIRST, SECOND, START, record
from tests.unit.console.made import ConsoleSite

HOSTILE = "ccccccccdddddddd"
MARKUP = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"' &lt;b&gt; javascript:alert(3)"
)
TRICKS = (
    b"\x1b]0;title</title><script>alert(4)</script>\x07",
    b"\x1b]8;;javascript:alert(5)\x1b\\link\x1b]8;;\x1b\\",
    b"\x1b]52;c;Y29weQ==\x07",
    b'\x1b[6n\x1b[c\x1bP$q"p\x1b\\',
    b"\x9d0;c1</script>\x9c",
    "\u202egnp.exe\u202c \u2028".encode(),
)
"""A title, a link, the clipboard, queries, C1 forms, a text that runs backwards."""


def hostile(made: ConsoleSite, about: Header) -> None:
    """A session whose every word a target or an engineer chose."""
    recorder, writer = made.store.start(about)
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note(
        "request_forwarded", 1, {"name": "pty-req", "detail": {"term": MARKUP, "cols": 80, "rows": 24}}
    )
    recorder.note("request_forwarded", 1, {"name": "exec", "detail": {"command": MARKUP}})
    for trick in TRICKS:
        recorder.data(1, Side.TARGET, 0, trick + MARKUP.encode() + b"\r\n")
        writer.write(recorder.take())
    recorder.data(1, Side.TARGET, 0, b"\x1b[1;1H\x1b[2;2H" * 20_000)
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"), recorder.link)
    poll(lambda: writer.closed, text="the file was never closed")


def header(session: str, identity: str, target: str, started_at: float = START) -> Header:
    return Header(
        session,
        identity,
        f"u-{identity}",
        target,
        "deploy",
        started_at,
        source_address="192.0.2.7",
        rules=("staff",),
    )


@pytest.fixture(scope="package")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    made = ConsoleSite(tmp_path_factory.mktemp("console"))
    for about in (header(FIRST, "alice", "web1"), header(SECOND, "bob", "db1", START + 60)):
        record(made.store, about)
        made.index(about)
    bad = header(HOSTILE, "eve", "web1", START + 120)
    hostile(made, bad)
    made.index(bad)
    made.start()
    yield made
    made.close()
