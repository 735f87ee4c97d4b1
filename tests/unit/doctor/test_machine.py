"""Clock, limits, versions, and a program that the service's user cannot run."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.doctor import machine
from bastion.doctor.findings import Level
from bastion.doctor.machine import (
    TIME_ERROR,
    UNSYNCHRONISED,
    examine_clock,
    examine_limits,
    examine_program,
    holds,
    kernel_clock,
    missing_requirements,
    synchronised,
)

pytestmark = pytest.mark.slow


def test_a_clock_that_is_behind_its_own_files(look, gateway):
    subject = look()
    later = subject.clock.time() + 7200
    os.utime(gateway / "bastion.toml", (later, later))
    found = [one for one in examine_clock(subject) if one.level is Level.FAIL]
    assert len(found) == 1 and "is behind" in found[0].text and found[0].type == "timedatectl"


def test_the_kernel_says_how_the_clock_is_kept(look):
    state, status, error = kernel_clock()
    assert -1 <= state <= TIME_ERROR and error >= 0
    levels = {one.level for one in examine_clock(look())}
    kept = state not in (-1, TIME_ERROR) and not status & UNSYNCHRONISED and error <= 1_000_000
    assert levels == {Level.OK if kept else Level.WARN}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((0, 0x2001, 4000), ""),
        ((TIME_ERROR, UNSYNCHRONISED, 16_000_000), "by nobody"),
        ((0, UNSYNCHRONISED, 0), "by nobody"),
        ((0, 0, 3_000_000), "wrong by 3.0 s"),
        ((-1, 0, 0), "cannot be judged"),
    ],
)
def test_what_the_kernel_says_is_judged(answer, words):
    told = synchronised(*answer)
    assert (words in told) if words else told == ""


def test_too_few_descriptors(look):
    found = list(examine_limits(look(("# sessions = 10000", "sessions = 1000000"))))
    assert found[0].level is Level.WARN and "1048576" in found[0].type
    (one,) = examine_limits(look(("sessions = 1000000", "sessions = 10")))
    assert one.level is Level.OK


def test_this_installation_is_whole(look):
    assert list(missing_requirements("bastion-gateway")) == []
    assert {one.level for one in examine_program(look())} == {Level.OK}


def test_a_library_that_is_missing_or_too_old_is_told(tmp_path, monkeypatch):
    info = tmp_path / "sample-1.0.dist-info"
    info.mkdir()
    requires = ["twisted[conch]<26.11,>=99.0", "no-such-thing>=1", "click>=8", "nothing>=1; extra == 'test'"]
    lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    told = dict(missing_requirements("sample"))
    assert set(told) == {"twisted<26.11,>=99.0", "no-such-thing>=1"}
    assert told["no-such-thing>=1"] == "is not installed"


@pytest.mark.parametrize(
    ("have", "sign", "wanted", "fits"),
    [
        ("26.10.0", ">=", "26.10", True),
        ("26.9.1", ">=", "26.10.0", False),
        ("26.11.0rc1", "<", "26.11", False),
        ("1.2.post3", "==", "1.2.0", True),
        ("1.3", "!=", "1.3", False),
        ("2", ">", "1.9.9", True),
        ("2", "<=", "1.9.9", False),
    ],
)
def test_versions_are_compared_by_their_numbers(have, sign, wanted, fits):
    assert holds(have, sign, wanted) is fits


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as somebody else")
def test_a_program_that_the_service_cannot_run(look, monkeypatch):
    with tempfile.TemporaryDirectory() as closed:  # 0700, of root
        python = Path(closed) / "python"
        python.symlink_to(sys.executable)
        monkeypatch.setattr(machine.sys, "executable", str(python))
        (one,) = (one for one in examine_program(look(user="nobody")) if one.level is Level.FAIL)
    assert "cannot be run by nobody" in one.text and one.type == f"namei -l {python}"


def test_certificates_of_a_clock_far_back_are_told(look):
    (one,) = (
        one for one in examine_clock(look(clock=FixedClock(1_000_000_000.0))) if one.level is Level.FAIL
    )
    assert "not valid yet" in one.text
