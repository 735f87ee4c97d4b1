"""The control of one gateway, put together: a socket where the configuration says, or done without."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from bastion.assembly.log_level import LevelFilter
from bastion.config.outputs import Control
from bastion.control.node import StatusAsked
from bastion.control.orders import LogLevel, SetLogLevel
from tests.hostile.memory_gateway import MemoryGateway


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    made = MemoryGateway(tmp_path, monkeypatch)
    made.clock.addReader = made.clock.removeReader = lambda reader: None
    yield made
    made.program.control.stop()
    made.close()


def configure(gateway, tmp_path, **options):
    control = gateway.program.control
    control._control, control._config_file = Control(**options), tmp_path / "bastion.toml"
    return control


def test_the_socket_is_beside_the_configuration_and_goes_with_the_gateway(gateway, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a path in a pytest folder is longer than a socket's may be
    control = gateway.program.control
    control._config_file = tmp_path / "bastion.toml"
    if len(str(tmp_path)) > 80:
        pytest.skip("too long a path for a socket")
    made = control.listen()
    assert made is not None and made.getsockname() == str(tmp_path / "run" / "control.sock")
    control.stop()
    assert not (tmp_path / "run" / "control.sock").exists() and made.fileno() >= 0
    made.close()


def test_off_is_no_socket(gateway, tmp_path):
    assert configure(gateway, tmp_path, socket=None).listen() is None
    assert Control(socket=None).place(tmp_path / "bastion.toml") is None


def test_a_place_that_cannot_be_had_is_done_without_unless_it_was_asked_for(gateway, tmp_path):
    (tmp_path / "run").write_text("no folder")
    log = SimpleNamespace(told=[], warn=lambda text, **values: log.told.append(text.format(**values)))
    gateway.program.control._log = log
    assert configure(gateway, tmp_path).listen() is None
    assert "no control socket at" in log.told[0]
    with pytest.raises(OSError, match="control socket"):
        configure(gateway, tmp_path, socket=tmp_path / "run" / "x.sock").listen()


def test_a_socket_that_is_handed_in_is_used_and_left(gateway, tmp_path):
    with socket.socket(socket.AF_UNIX) as given:
        given.bind("")
        given.listen()
        control = configure(gateway, tmp_path)
        assert control.listen(given) is given and not (tmp_path / "run").exists()
        control.stop()
        assert given.fileno() >= 0


def test_the_level_of_the_log_is_told_and_set(gateway):
    control = gateway.program.control
    levels = LevelFilter()
    control.follow(levels)
    control.hub.ask(SetLogLevel(LogLevel.WARN))
    (node,) = control.hub.ask(StatusAsked()).result.nodes
    assert levels.level is LogLevel.WARN and node.log_level == "warn"
    assert {part.part for part in node.parts} >= {"audit", "recordings", "directory"}
