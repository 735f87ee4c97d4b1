"""One question to an inventory: by real programs, and over real HTTPS."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.errors import InventoryReason
from bastion.inventories import fetching
from bastion.inventories.fetching import Asking, NoAnswer
from bastion.inventories.section import InventorySource
from tests.support.net import LOOPBACK, free_port
from tests.support.pages import Pages
from tests.support.pki import Authority
from tests.unit.ca.test_secrets import marked

pytestmark = pytest.mark.slow

BODY = b'{"targets": {}}'


def section(**options: Any) -> InventorySource:
    return InventorySource(**{"timeout": 10.0, **options})


def shell(script: str, **options: Any) -> InventorySource:
    return section(command=("/bin/sh", "-c", script), **options)


def refused(wanted: InventorySource) -> NoAnswer:
    began = time.monotonic()
    with pytest.raises(NoAnswer) as caught:
        Asking(wanted).answer()
    assert time.monotonic() - began < wanted.timeout + 5
    return caught.value


# -- programs --------------------------------------------------------------------------------------------------------


def test_a_program_answers_with_all_that_it_prints() -> None:
    assert Asking(shell("printf 'one\\ntwo\\n'")).answer() == b"one\ntwo\n"


def test_a_program_has_nothing_of_the_gateways_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    said = Asking(section(command=("/usr/bin/env",))).answer().decode()
    assert {line.partition("=")[0] for line in said.splitlines()} == {"PATH", "LANG", "HOME"}
    assert Asking(shell("pwd; cat")).answer() == b"/\n", "in /, with nothing on standard input"


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        ("echo secret; exit 3", InventoryReason.PROGRAM, "ended with status 3"),
        ("echo secret >&2; kill -9 $$", InventoryReason.PROGRAM, "ended with status 9"),
        ("cat /dev/zero", InventoryReason.TOO_LARGE, "printed too much"),
    ],
)
def test_a_program_that_fails_is_told_of_without_its_words(
    script: str, reason: InventoryReason, words: str
) -> None:
    none = refused(shell(script, max_bytes=1 << 20))
    assert none.reason is reason and words in none.text and "secret" not in none.text


def test_the_longest_answer_is_one(tmp_path: Path) -> None:
    assert len(Asking(shell("head -c 4096 /dev/zero", max_bytes=4096)).answer()) == 4096
    assert refused(shell("head -c 4097 /dev/zero", max_bytes=4096)).reason is InventoryReason.TOO_LARGE


def test_a_program_that_is_not_there_is_told_of() -> None:
    none = refused(section(command=("/nowhere/inventory",)))
    assert none.reason is InventoryReason.PROGRAM and none.text.startswith("/nowhere/inventory: ")


@pytest.mark.parametrize(
    "script",
    ["exec sleep 60", "sleep 60 & wait", "exec >&-; exec sleep 60", "while :; do echo; sleep 0.02; done"],
    ids=["silent", "child", "closed output", "never ends to speak"],
)
def test_a_program_that_does_not_end_is_killed_with_its_group(script: str) -> None:
    mark = f"INVENTORY_TEST_{os.getpid()}_{time.monotonic_ns()}"
    command = ("/usr/bin/env", f"MARK={mark}", "/bin/sh", "-c", script)
    assert refused(section(command=command, timeout=0.3)).reason is InventoryReason.TIMEOUT
    until = time.monotonic() + 5
    while marked(mark) and time.monotonic() < until:
        pass
    assert marked(mark) == []


# -- pages -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def pages(authority: Authority) -> Iterator[Pages]:
    with Pages(authority.issue(LOOPBACK)) as made:
        made.pages["/good"] = made.pages["/good?x=1"] = BODY
        made.pages["/500"] = made.status(500)
        made.pages["/moved"] = made.status(302, Location=made.url("/good"))
        made.pages["/gzip"] = made.status(200, Content_Encoding="gzip")
        made.pages["/silent"] = lambda handler: made.over.wait(60)
        made.pages["/slow-headers"] = made.drops(b"HTTP/1.1 200 OK\r\nX-A: ")
        made.pages["/slow-body"] = made.drops(b"HTTP/1.1 200 OK\r\n\r\n{")
        made.pages["/endless"] = made.endless()
        made.pages["/promised"] = made.endless(1 << 40)
        made.pages["/cut"] = made.cut_short
        made.pages["/no-http"] = lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n\r\n")
        yield made


@pytest.fixture
def page(pages: Pages, authority: Authority) -> Any:
    return lambda path, **options: section(
        **{"url": pages.url(path), "ca_file": authority.certificate, **options}
    )


def test_a_page_is_fetched_with_its_query_and_asks_for_nothing_packed(page: Any, pages: Pages) -> None:
    assert Asking(page("/good")).answer() == BODY
    assert Asking(page("/good?x=1")).answer() == BODY
    headers = pages.asked[-1]
    assert headers["Accept-Encoding"] == "identity" and "Authorization" not in headers


def test_a_token_is_sent_and_read_each_time(page: Any, pages: Pages, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    asking = Asking(page("/good", token_file=token))
    for text in ("first", "second"):
        token.write_text(f"{text}\n")
        assert asking.answer() == BODY and pages.asked[-1]["Authorization"] == f"Bearer {text}"
    token.chmod(0o644)
    before = len(pages.asked)
    none = refused(page("/good", token_file=token))
    assert none.reason is InventoryReason.SETTINGS and "second" not in none.text
    assert len(pages.asked) == before, "nobody is asked without it"


@pytest.mark.parametrize(
    ("path", "reason", "words"),
    [
        ("/500", InventoryReason.STATUS, "status 500"),
        ("/none", InventoryReason.STATUS, "status 404"),
        ("/moved", InventoryReason.STATUS, "redirects are not followed"),
        ("/gzip", InventoryReason.BAD_ANSWER, "packed"),
        ("/endless", InventoryReason.TOO_LARGE, "more than 1048576 bytes"),
        ("/promised", InventoryReason.TOO_LARGE, "more than 1048576 bytes"),
        ("/cut", InventoryReason.BAD_ANSWER, "in the middle"),
        ("/no-http", InventoryReason.BAD_ANSWER, "does not speak HTTP"),
    ],
)
def test_a_bad_page_is_no_answer(page: Any, path: str, reason: InventoryReason, words: str) -> None:
    none = refused(page(path, max_bytes=1 << 20))
    assert none.reason is reason and words in none.text


@pytest.mark.parametrize("path", ["/silent", "/slow-headers", "/slow-body"])
def test_the_time_is_for_all_of_it_however_slowly_it_comes(page: Any, path: str) -> None:
    none = refused(page(path, timeout=1.0))
    assert none.reason is InventoryReason.TIMEOUT


def test_another_authority_is_not_believed(page: Any, tmp_path: Path) -> None:
    none = refused(page("/good", ca_file=Authority(tmp_path / "other").certificate))
    assert none.reason is InventoryReason.TLS and LOOPBACK in none.text
    assert refused(page("/good", ca_file=None)).reason is InventoryReason.TLS, "nor is it one of the system's"


def test_another_name_is_not_believed(page: Any, pages: Pages) -> None:
    none = refused(page("/good", url=pages.url("/good", "localhost")))
    assert none.reason is InventoryReason.TLS and "localhost" in none.text


def test_a_server_that_is_not_there_is_told_of(page: Any) -> None:
    none = refused(page("/good", url=f"https://{LOOPBACK}:{free_port()}/"))
    assert none.reason is InventoryReason.UNREACHABLE and "refused" in none.text


def test_a_file_of_no_authority_is_told_of(page: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("empty.pem", "missing.pem"):
        none = refused(page("/good", ca_file=tmp_path / name))
        assert none.reason is InventoryReason.SETTINGS and name in none.text


def test_a_proxy_of_the_environment_is_not_used(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://{LOOPBACK}:{free_port()}")
    assert Asking(page("/good")).answer() == BODY


def test_a_question_that_does_not_come_back_is_the_only_one(
    page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a look-up of a name, which nothing can cut off."""
    monkeypatch.setattr(fetching, "LATE", 0.1)
    asking = Asking(shell("sleep 5", timeout=0.2))
    monkeypatch.setattr(fetching.Program, "kill", lambda self: None)
    with pytest.raises(NoAnswer, match="no whole answer"):
        asking.answer()
    with pytest.raises(NoAnswer, match="has not come back yet"):
        asking.answer()
    monkeypatch.undo()
