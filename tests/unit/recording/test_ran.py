"""What was asked of a session's channels: kept without a word of a peer, packed for a column, told in a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.channels import ChannelSummary
from bastion.recording.ran import (
    KINDS,
    MOST_ASKED,
    OTHERS,
    Asked,
    AskedSoFar,
    asked_of,
    asked_text,
    exit_words,
    kind_of,
    kinds_of,
    pack,
    signal_words,
    unpack,
)
from tests.support.examples import examples

ASKED = st.builds(
    Asked, st.sampled_from(KINDS), st.text(max_size=20), st.integers(1, 1 << 40), st.text(), st.integers(0, 9)
)


@examples(200)
@given(st.lists(ASKED))
def test_what_is_packed_is_unpacked(asked: list[Asked]) -> None:
    assert unpack(pack(asked)) == tuple(asked)


@pytest.mark.parametrize("text", ["", "{", "7", "[[]]", "[[1,2,3,4,5,6]]", "null"])
def test_what_is_none_says_nothing(text: str) -> None:
    assert unpack(text) is None


@pytest.mark.parametrize(
    ("request_name", "argument", "kind"),
    [
        ("shell", "", "shell"),
        ("exec", "rm -rf /", "exec"),
        ("exec", "scp -t /tmp", "scp"),
        ("exec", "rsync --server .", "rsync"),
        ("subsystem", "sftp", "sftp"),
        ("subsystem", "netconf", "subsystem"),
        ("x11", "", "x11"),
        ("none of them", "", "other"),
    ],
)
def test_kinds(request_name: str, argument: str, kind: str) -> None:
    assert kind_of(request_name, argument) == kind


def test_what_a_gateway_keeps_is_counted_by_kind_and_end() -> None:
    kept = AskedSoFar()
    for channel, status in ((1, 0), (2, 1), (3, 0)):
        kept.asked(channel, "exec")
        kept.ended(channel, exit_words(status))
        kept.closed(channel)
    kept.asked(4, "shell")
    kept.ended(9, "of nobody")
    kept.closed(9)
    assert kept.all() == (Asked("exec", "exit 0", 2), Asked("exec", "exit 1"), Asked("shell"))


def test_what_a_gateway_keeps_is_bounded() -> None:
    kept = AskedSoFar()
    for channel in range(1000):
        kept.asked(channel, "exec")
        kept.ended(channel, exit_words(channel))
        kept.closed(channel)
    assert len(kept.all()) == MOST_ASKED + 1
    assert kept.all()[-1] == Asked(OTHERS, "", 1000 - MOST_ASKED)


def test_no_word_of_a_peer_is_kept() -> None:
    assert signal_words("TERM") == "killed by SIGTERM"
    assert signal_words("rm -rf secret") == signal_words("") == signal_words("A" * 11) == "killed by a signal"
    channels = [
        ChannelSummary(1, "session", program="exec secret one", exit="killed by SIGsecret"),
        ChannelSummary(2, "session", program="exec scp -t secret", exit="exit 0"),
        ChannelSummary(3, "secret"),
        ChannelSummary(4, "session", program="exec secret (refused)"),
    ]
    kept = kinds_of(channels)
    assert kept == (
        Asked("exec", "killed by a signal"),
        Asked("scp", "exit 0"),
        Asked("other"),
        Asked("exec"),
    )
    assert "secret" not in pack(kept)


def test_a_line() -> None:
    run = asked_of(ChannelSummary(1, "session", program="exec rm -rf /x", exit="exit 0"))
    sftp = asked_of(ChannelSummary(2, "session", program="subsystem sftp", exit="exit 0", files=3))
    assert (run.kind, sftp.kind) == ("exec", "sftp")
    assert asked_text([run, sftp]) == "exec rm -rf /x (exit 0); subsystem sftp (exit 0, 3 files)"
    assert asked_text([Asked("exec", "exit 1", 3)], more=2) == "exec x3 (exit 1); +2 more"
    assert asked_text([run] * 10, more=None).endswith("; +2 and perhaps more")
    assert asked_text([], more=None) == "perhaps more"
    assert run.document() == {
        "kind": "exec",
        "exit": "exit 0",
        "count": 1,
        "what": "exec rm -rf /x",
        "files": 0,
    }
