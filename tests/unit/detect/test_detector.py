"""All detections over whatever a log may hold."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import bastion.detect.detector as module
from bastion.detect.detector import EVENTS, Detector
from bastion.detect.places import locate_by
from bastion.detect.settings import Settings
from bastion.errors import Detection
from bastion.observe.events import EVENTS as ALL
from tests.support.tales import DAY, Told

WORDS = st.sampled_from(
    ["event", "user", "session", "connection", "source", "result", "reason", "what", "host", "port", "target",
     "bytes_out", "bytes_read", "seconds", "certificate_id", "certificate_serial", "host_key", "kind", "count"],
)  # fmt: skip
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
    | st.sampled_from(["ok", "tunnel", "session", "more", "192.0.2.1", "closed", "alice"])
)  # fmt: skip


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.dictionaries(WORDS, VALUES), st.floats(0, 1e10)), max_size=20
    )
)
def test_no_line_stops_it(lines):
    detector = Detector(Settings(learning=0.0), locate_by(24, ()))
    for event, fields, at in lines:
        for found in detector.see({**fields, "event": event}, at):
            assert found.kind in Detection


def test_the_events_that_are_read_are_events_of_ours():
    assert set(EVENTS) <= {event.event for event in ALL}


def test_every_detection_has_a_switch_and_off_is_off():
    levels = {kind.value: "off" for kind in Detection}
    tale = Told(learning=0.0, **levels)
    tale.days(3)
    tale.login(source="198.51.100.1")
    tale.break_glass()
    tale.refuse_session(reason="host_key_changed")
    assert tale.found == []
    assert all(Settings().level(kind) in ("alert", "notice") for kind in Detection)


def test_the_same_lines_give_the_same_findings():
    told = []
    for _ in range(2):
        tale = Told(learning=DAY)
        tale.days(5)
        tale.login(source="198.51.100.1")
        tale.break_glass()
        told.append(tale.found)
    assert told[0] == told[1] and len({one.id for one in told[0]}) == len(told[0]) > 1


def test_people_have_a_limit_and_strangers_take_no_place(monkeypatch):
    monkeypatch.setattr(module, "MOST_PEOPLE", 3)
    tale = Told()
    for name in ("a", "b", "c", "a", "d"):
        tale.login(name)
    for number in range(9):
        tale.login(f"stranger{number}", result="refused")
        tale.break_glass("refused", f"stranger{number}")
    assert list(tale.detector.people) == ["c", "a", "d"]


def test_the_level_that_is_set_is_the_level_that_is_told():
    for level in ("alert", "notice"):
        tale = Told(recording_trouble=level)
        tale.fail_recording(tale.session())
        assert [one.level for one in tale.found] == [level]


def test_every_detection_is_documented():
    text = (Path(__file__).resolve().parents[3] / "docs" / "detections.md").read_text(encoding="utf-8")
    rows = {
        line.split("`")[1]: line.split("|")[-2].strip()
        for line in text.splitlines()
        if line.startswith("| `")
    }
    assert rows == {kind.value: Settings().level(kind) for kind in Detection}
