"""What of a session that is watched reaches the terminal."""

from __future__ import annotations

import base64
import json
import socket
import threading

import pytest
from click.testing import CliRunner

from bastion.cli.watch import frames_of, watch
from bastion.clock import FixedClock
from bastion.control import frames
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.format import Gap, Header, Kind, Recorded
from bastion.recording.frames import FrameKind
from bastion.recording.recorder import Recorder
from bastion.sides import Side

ID = "k3v2m5q7p2r4t6w8"
SYNC = b"syncsync"
ROW = {
    "id": ID, "kind": "session", "user": "alice", "uid": "u", "source": "192.0.2.1", "door": "jump", "started_at": 1.0,
    "target": "web1", "login": "root",
}  # fmt: skip


def blocks(*says):
    """Blocks of a recording, one for each of (channel, bytes)."""
    policy = RecordingPolicy()
    recorder = Recorder(Header(ID, "alice", "u", "web1", "root", 1.0), FixedClock(), policy, SYNC)
    recorder.take()
    made = []
    for channel, data in says:
        recorder.data(channel, Side.TARGET, 0, data)
        made.append(base64.b64encode(b"".join(recorder.take())).decode())
    return made


def run(folder, sent, *words, row=ROW, silent=()):
    """`bastion watch` against a gateway that sends these frames; its output, and the frames that it sent."""
    place, got = folder / "s", []
    config = folder / "bastion.toml"
    config.write_text(f'[control]\nsocket = "{place}"\n')
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()

        def serve():
            client, _ = listening.accept()
            reader = frames.FrameReader()
            with client:
                while data := client.recv(65536):
                    for frame in reader.feed(data):
                        got.append(frame)
                        if frame.get("command") == "live":
                            answer = {"rows": [row], "silent": list(silent)}
                            client.sendall(frames.encode({"id": frame["id"], "result": answer}))
                        elif "command" in frame:
                            for one in sent:
                                client.sendall(frames.encode({"id": frame["id"], **one}))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        done = CliRunner().invoke(watch, ["--config", str(config), "k3v2", *words])
        thread.join(10)
    return done, got


END = {"result": {"reason": "ended", "text": "the session has ended", "dropped": 2}}


def test_what_comes_is_shown_and_credited(tmp_path):
    first, second = blocks((1, b"hello "), (1, b"world"))
    done, got = run(
        tmp_path,
        [
            {"event": {"sync": SYNC.hex(), "blocks": first, "size": 500}},
            {"event": {"blocks": second, "size": 77}},
            END,
        ],
        "--reason",
        "look",
    )
    assert done.exit_code == 0 and "hello world" in done.output
    assert got[1]["command"] == "watch" and got[1]["args"] == {"id": ID, "reason": "look"}
    assert [frame["credit"] for frame in got[2:]] == [500, 77]


@pytest.mark.parametrize(("told", "said"), [(True, "is told"), (False, "is not told")])
def test_whether_the_engineer_is_told_is_said(tmp_path, told, said):
    (first,) = blocks((1, b"one"))
    done, _ = run(tmp_path, [{"event": {"sync": SYNC.hex(), "blocks": first, "told": told, "size": 1}}, END])
    assert f"-- the engineer {said} that somebody watches --" in done.stderr


def test_nothing_that_comes_acts_on_the_terminal(tmp_path):
    (evil,) = blocks((1, b"a\x1b]52;c;ZXZpbA==\x07b\x1b[6nc\x1b]0;title\x07d"))
    done, _ = run(tmp_path, [{"event": {"sync": SYNC.hex(), "blocks": evil, "size": 1}}, END])
    assert done.output == "abcd"


def test_what_is_missing_is_said(tmp_path):
    first, second = blocks((1, b"one"), (1, b"two"))
    done, _ = run(
        tmp_path,
        [
            {"event": {"sync": SYNC.hex(), "blocks": first, "skipped": True, "size": 1}},
            {"event": {"blocks": second, "dropped": 3, "size": 1}},
            END,
        ],
    )
    assert "not all is shown" in done.output and "3 blocks were not shown" in done.output


@pytest.mark.parametrize(("words", "text"), [((), "one"), (("--channel", "2"), "two")])
def test_several_channels(tmp_path, words, text):
    first, second = blocks((1, b"one"), (2, b"two"))
    done, _ = run(
        tmp_path,
        [
            {"event": {"sync": SYNC.hex(), "blocks": first, "size": 1}},
            {"event": {"blocks": second, "size": 1}},
            END,
        ],
        *words,
    )
    assert text in done.output and ("channel 2" in done.output) is (not words)
    assert ("one" in done.output) is (not words)


@pytest.mark.parametrize(
    ("event", "code", "words"),
    [
        ({"error": {"reason": "by_policy", "text": "nobody watches it"}}, 1, "nobody watches it"),
        ({"error": {"reason": "no_role", "text": "sec may not watch"}}, 1, "sec may not watch"),
        ({"event": {"sync": "zz", "blocks": "", "size": 1}}, 3, "another version"),
        ({"event": {"sync": SYNC.hex(), "blocks": "%%%", "size": 1}}, 3, "another version"),
    ],
)
def test_a_gateway_that_says_no_or_something_odd(tmp_path, event, code, words):
    done, _ = run(tmp_path, [event])
    assert done.exit_code == code and words in done.output


def test_who_did_not_answer_is_named(tmp_path):
    done, _ = run(tmp_path, [], row={**ROW, "id": "other"}, silent=["worker 2"])
    assert done.exit_code == 1 and "worker 2 gives no answer" in done.stderr
    assert "nothing that is open is called k3v2" in done.stderr


def test_only_sessions_are_watched(tmp_path):
    done, _ = run(tmp_path, [], row={**json.loads(json.dumps(ROW)), "kind": "tunnel"})
    assert done.exit_code == 1 and "only sessions that run can be watched" in done.output


@pytest.mark.parametrize(
    ("kind", "side", "payload", "shown"),
    [
        (Kind.DATA, Side.TARGET, b"x", (FrameKind.OUTPUT, b"x")),
        (Kind.DATA, Side.CLIENT, b"secret", None),
        (Kind.INJECTED, Side.TARGET, b"ours", (FrameKind.INJECTED, b"ours")),
        (
            Kind.GAP,
            Side.TARGET,
            Gap(False, 7, 1, 0, 1).encode(),
            (FrameKind.NOTICE, b"7 bytes of bulk output not kept"),
        ),
        (Kind.GAP, Side.TARGET, Gap(True, 0, 0, 0, 1).encode(), None),
        (Kind.NOTE, Side.TARGET, b"{}", None),
    ],
)
def test_what_of_an_event_is_shown(kind, side, payload, shown):
    found = [(frame.kind, frame.data) for frame in frames_of(Recorded(kind, 0, 1, side, 0, payload))]
    assert found == ([] if shown is None else [shown])
