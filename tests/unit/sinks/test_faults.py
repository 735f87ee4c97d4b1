"""What `bastion check` says of the files that sinks name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.options.kinds import Address
from bastion.sinks.faults import sink_faults
from bastion.sinks.section import Sink
from tests.support.pki import Authority


def test_files_that_are_good_are_no_fault(tmp_path: Path) -> None:
    pki = Authority(tmp_path / "pki")
    own = pki.issue("gw1")
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("secret\n")
    syslog = Sink(
        kind="syslog", address=Address("logs", 6514), ca_file=pki.certificate,
        client_certificate=own.certificate, client_key=own.key,
    )  # fmt: skip
    assert list(sink_faults({"a": syslog, "b": Sink(kind="loki", url="https://l", token_file=token)})) == []


def test_each_fault_names_its_key(tmp_path: Path) -> None:
    pki = Authority(tmp_path / "pki")
    own = pki.issue("gw1")
    own.key.chmod(0o644)
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o644)
    address = Address("logs", 6514)
    sinks = {
        "a": Sink(kind="loki", url="https://l", token_file=token),
        "b": Sink(kind="syslog", address=address, ca_file=tmp_path / "none"),
        "c": Sink(kind="syslog", address=address, client_certificate=own.certificate, client_key=own.key),
        "d": Sink(kind="syslog", address=address, ca_file=token),
    }
    found = list(sink_faults(sinks))
    assert [(error, name, key) for error, name, key, _, _ in found] == [
        (True, "a", "token_file"), (True, "b", "ca_file"), (True, "c", "client_certificate"), (True, "d", "ca_file"),
    ]  # fmt: skip
    assert not any("secret" in problem for *_, problem, _ in found)


def test_a_machine_without_journald_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bastion.sinks.faults.socket_of", lambda namespace: str(tmp_path / "none"))
    ((error, name, key, problem, _),) = sink_faults({"j": Sink(kind="journald", namespace="x")})
    assert not error and (name, key) == ("j", "namespace") and "no journald" in problem
