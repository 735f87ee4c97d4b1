"""A gateway records, its recordings go to a real bucket, and the console of another account opens them there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.interop.test_console import MISSING
from tests.support.apart import NOT_ROOT
from tests.support.bucketed import KEY, SECRET, Bucketed
from tests.support.hostile_s3 import HostileS3
from tests.support.net import LOOPBACK
from tests.support.s3 import BUCKET, S3Server, s3_missing
from tests.support.slapd import Slapd, group, person
from tests.unit.console.made import Browser, player_data

WHY = MISSING or NOT_ROOT or s3_missing()
pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.skipif(bool(WHY), reason=WHY)]

SHOWN = "a word that is needle17"
SOME = ("text", "play", "export/json")
PAGES = ("text", "play", "files", "export/text", "export/asciicast", "export/html", "export/json")


@pytest.fixture(scope="module")
def world() -> Iterator[Bucketed]:
    people = [person("ada"), person("rex"), person("abe")]
    people += [group("security", "ada"), group("responders", "rex"), group("approvers", "abe")]
    slapd, server = Slapd(people), S3Server(users=True)
    slapd.start()
    server.start().make_buckets()
    with HostileS3(server.port) as front:
        made = Bucketed(slapd, server, front)
        try:
            if made.other.missing:
                pytest.skip(made.other.missing)
            made.config.write_text(
                made.config.read_text().replace("[console]\n", '[console]\napprover_groups = ["approvers"]\n')
            )
            made.start()
            made.enroll("ada", "rex", "abe")
            made.serve_console()
            yield made
        finally:
            made.close()
            slapd.close()
            server.close()


@pytest.fixture(scope="module")
def known(world: Bucketed) -> str:
    """A session that the reading index has."""
    session = world.recorded(f"echo {SHOWN}; echo twice >&2")
    assert world.read_in() == 1
    return session


@pytest.fixture(scope="module")
def unknown(world: Bucketed, known: str) -> str:
    """One with a file, that nobody has read in."""
    source, target = world.folder / "a.txt", world.folder / "in"
    source.write_text("of a file\n")
    target.mkdir(mode=0o777)
    scp = ["scp", "-P", str(world.port), *world.ssh_options()]
    done = subprocess.run([*scp, str(source), f"alice+root+web1@{LOOPBACK}:{target}/b.txt"], timeout=60)
    assert done.returncode == 0 and known
    return world.newest()


@pytest.fixture(scope="module")
def ada(world: Bucketed) -> Browser:
    return world.signed_in("ada")


@pytest.fixture(autouse=True)
def well(world: Bucketed) -> Iterator[None]:
    yield
    world.front.heal()
    world.front.applies = lambda method, path: True


def read(world: Bucketed, session: str) -> list[tuple[str, str]]:
    return [
        (one["command"], one["by"])
        for one in world.looked()
        if one["event"] == "recordings_read" and one.get("session") == session
    ]


@pytest.mark.parametrize("which", ["known", "unknown"])
def test_all_of_it_is_shown(
    world: Bucketed, ada: Browser, which: str, request: pytest.FixtureRequest
) -> None:
    session = request.getfixturevalue(which)
    assert session in ada.get("/sessions?user=alice&state=").text
    page = ada.get(f"/sessions/{session}")
    assert page.status == 200 and "in the bucket" in page.text and 'class="time"' in page.text
    assert "cannot be had" not in page.text and "is damaged" not in page.text
    for name in PAGES:
        got = ada.get(f"/sessions/{session}/{name}")
        assert got.status == 200, (name, got.text)
        if which == "known" and name not in ("files", "export/json"):
            assert SHOWN in got.text.replace("&#39;", "'"), name
    if which == "known":
        assert f"exec echo {SHOWN}" in page.text
        assert SHOWN in json.dumps(ada.get(f"/sessions/{session}/part?channel=1&at=0").json)
    else:
        assert "b.txt" in page.text and "b.txt" in ada.get(f"/sessions/{session}/files").text
    assert 'class="good"' in ada.get(f"/sessions/{session}/verify").text
    found = read(world, session)
    assert {f"console {name}" for name in ("session", "text", "play", "files", "export", "verify")} <= {
        command for command, _ in found
    }
    assert {by for _, by in found} == {"ada"}
    answer = ada.get(f"/api/v1/sessions/{session}").json
    assert answer["missing"] == "" and answer["recording"]["channels"]
    assert ada.get(f"/api/v1/sessions/{session}/verify").json["good"] is True
    assert list(world.recordings.glob("*/*.rec")) == [], "nothing came back into the folder"


def test_of_one_in_the_index_pieces_are_fetched_and_no_whole(
    world: Bucketed, ada: Browser, known: str
) -> None:
    before = len(world.front.requests)
    assert ada.get(f"/sessions/{known}/part?channel=1&at=0").status == 200
    assert [method for method, _ in world.front.requests[before:]] == ["GET"], "no HEAD, one piece"


def test_a_hit_of_a_search_leads_to_its_moment(world: Bucketed, ada: Browser, known: str) -> None:
    found = ada.get("/search?q=needle17").text
    link = next(one for one in re.findall(r'href="([^"]+)"', found) if f"/sessions/{known}/play" in one)
    place = urlsplit(link.replace("&amp;", "&"))
    data = player_data(ada.get(f"{place.path}?{place.query}").text)
    assert SHOWN in json.dumps(data["hits"]) and data["words"] == ["needle17"]
    assert read(world, known)[-1] == ("console play", "ada")


@pytest.mark.parametrize("which", ["known", "unknown"])
def test_one_that_was_changed_there_is_damaged(
    world: Bucketed, ada: Browser, which: str, request: pytest.FixtureRequest
) -> None:
    session = request.getfixturevalue(which)
    with world.changed(session):
        page = ada.get(f"/sessions/{session}")
        assert page.status == 200 and "alice" in page.text and "is damaged" in page.text
        for name in SOME:
            got = ada.get(f"/sessions/{session}/{name}")
            assert got.status == 503 and "is damaged" in got.text, name
            assert SHOWN not in got.text
        verdict = ada.get(f"/sessions/{session}/verify").text
        assert 'class="fault"' in verdict and "is not what was uploaded" in verdict and "bad" in verdict
    assert 'class="good"' in ada.get(f"/sessions/{session}/verify").text


def test_another_good_recording_in_its_place_is_not_good(
    world: Bucketed, ada: Browser, known: str, unknown: str
) -> None:
    """By itself it is whole and signed: by the state store's SHA-256 it is another."""
    key, mine = world.key(known), world.server.get(world.key(known))
    world.server.client.put_object(Bucket=BUCKET, Key=key, Body=world.server.get(world.key(unknown)))
    try:
        assert "is damaged" in ada.get(f"/sessions/{known}/text").text
        assert 'class="fault"' in ada.get(f"/sessions/{known}/verify").text
    finally:
        world.server.client.put_object(Bucket=BUCKET, Key=key, Body=mine)


@pytest.mark.parametrize("which", ["known", "unknown"])
def test_one_that_is_gone_is_said_to_be(
    world: Bucketed, ada: Browser, which: str, request: pytest.FixtureRequest
) -> None:
    session = request.getfixturevalue(which)
    key = world.key(session)
    data = world.server.get(key)
    world.server.client.delete_object(Bucket=BUCKET, Key=key)
    try:
        page = ada.get(f"/sessions/{session}")
        assert page.status == 200 and "alice" in page.text and "no such object" in page.text
        for name in (*SOME, "verify"):
            got = ada.get(f"/sessions/{session}/{name}")
            assert got.status == 503 and "no such object" in got.text, (name, got.text)
    finally:
        world.server.client.put_object(Bucket=BUCKET, Key=key, Body=data)
    refused = [one for one in world.looked() if one["event"] == "console_refused"]
    assert refused[-1]["reason"] == "unavailable"


def test_a_server_that_goes_while_somebody_plays(
    world: Bucketed, ada: Browser, known: str, unknown: str
) -> None:
    data = player_data(ada.get(f"/sessions/{known}/play").text)
    assert data["parts"]
    world.server.stop()
    try:
        for name in ("part?channel=1&at=0", "text", "verify"):
            got = ada.get(f"/sessions/{known}/{name}")
            assert got.status == 503 and "cannot be had" in got.text, (name, got.text)
        for session in (known, unknown):
            page = ada.get(f"/sessions/{session}")
            assert page.status == 200 and "cannot be had" in page.text and "alice" in page.text
    finally:
        world.server.start()
    assert ada.get(f"/sessions/{known}/part?channel=1&at=0").status == 200


@pytest.mark.parametrize("fault", ["broken", "body", "500", "endless"])
def test_a_server_that_answers_otherwise(
    world: Bucketed, ada: Browser, known: str, unknown: str, fault: str
) -> None:
    world.front.applies = lambda method, path: method == "GET"
    world.front.fault = fault
    for session, name in ((known, "part?channel=1&at=0"), (unknown, "text")):
        got = ada.get(f"/sessions/{session}/{name}")
        assert got.status == 503 and ("cannot be had" in got.text or "is damaged" in got.text), got.text
        assert "that nobody may see" not in got.text and "Traceback" not in got.text
    page = ada.get(f"/sessions/{unknown}")
    assert page.status == 200 and "alice" in page.text


def test_rights_are_those_of_recordings_in_the_folder(world: Bucketed, known: str) -> None:
    before = len(world.front.requests)
    assert Browser(world.origin).get(f"/sessions/{known}/text").place.startswith("/sign-in")
    abe = world.signed_in("abe")
    for name in ("", "/text", "/play", "/part?channel=1&at=0", "/verify", "/export/json"):
        assert abe.get(f"/sessions/{known}{name}").status == 403, name
    ada = world.signed_in("ada")
    assert ada.get(f"/sessions/{'z' * 16}/text").status == 404
    assert ada.get("/sessions/..%2f..%2fgw1/text").status in (400, 404)
    assert world.front.requests[before:] == [], "and nothing was asked of the bucket"


def test_nothing_is_fetched_that_cannot_be_written_down(world: Bucketed, ada: Browser, known: str) -> None:
    log = world.folder / "console" / "audit.jsonl"
    away = log.with_name("audit.away")
    ada.get(f"/sessions/{known}/text")  # the process that waits next has no log open
    before = len(world.front.requests)
    os.rename(log, away)
    log.mkdir()
    try:
        for name in ("", "/text", "/verify", "/export/text"):
            assert ada.get(f"/sessions/{known}{name}").status == 503, name
    finally:
        log.rmdir()
        os.rename(away, log)
    assert world.front.requests[before:] == []


def test_its_key_reads_and_does_nothing_else(world: Bucketed, known: str) -> None:
    own, key = world.server.client_as(KEY, SECRET), world.key(known)
    assert own.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    for denied in (
        lambda: own.put_object(Bucket=BUCKET, Key=key, Body=b"forged"),
        lambda: own.put_object(Bucket=BUCKET, Key="gw1/more", Body=b"more"),
        lambda: own.delete_object(Bucket=BUCKET, Key=key),
        lambda: own.get_object(Bucket="locked", Key="x"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            denied()
    closed = world.other.run("-c", f"open({str(world.server.secret_file)!r})")
    assert "Permission denied" in closed.stderr, "the gateway's own is closed to it"
    assert SECRET not in world.log.read_text() + (world.folder / "console" / "audit.jsonl").read_text()


def test_a_key_that_is_closed_or_none_is_told(world: Bucketed, ada: Browser, known: str) -> None:
    secret = world.folder / "console" / "bucket.secret"
    os.chown(secret, 0, 0)
    try:
        ada.get(f"/sessions/{known}/text")  # the process that waits has read it already
        got = ada.get(f"/sessions/{known}/text")
        assert got.status == 503 and "cannot be read" in got.text
        assert ada.get(f"/sessions/{known}").status == 200
    finally:
        os.chown(secret, world.other.account.pw_uid, world.other.account.pw_gid)
    ada.get(f"/sessions/{known}/text")
    assert ada.get(f"/sessions/{known}/text").status == 200


def test_no_copy_is_left(world: Bucketed, ada: Browser, unknown: str) -> None:
    def ours() -> set[Path]:
        uid = world.other.account.pw_uid
        return {one for one in Path("/tmp").iterdir() if one.lstat().st_uid == uid}

    before = ours()
    assert ada.get(f"/sessions/{unknown}/text").status == 200
    assert ours() == before
