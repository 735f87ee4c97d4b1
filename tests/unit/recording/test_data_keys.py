"""Keys made ahead: given once, made again, and none where a plugin is away."""

from __future__ import annotations

import threading

import pyrage
import pytest

from bastion import age
from bastion.errors import RecorderFailed
from bastion.recording import data_keys
from bastion.recording.data_keys import DataKeyStock
from tests.unit.test_age import TOY

IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENTS = age.recipients_of([str(IDENTITY.to_public())])


def test_each_key_is_given_once_and_opened_by_its_recipient() -> None:
    stock = DataKeyStock(RECIPIENTS, 4)
    stock.fill()
    assert len(stock) == 4
    taken = [stock.take() for _ in range(6)]  # two of them made at once
    assert len({keys.output for keys in taken} | {keys.input for keys in taken}) == 12
    for keys in taken:
        assert age.unseal(keys.wrapped, [IDENTITY]) == keys.output + keys.input
        assert keys.recipients == (str(IDENTITY.to_public()),)


def test_a_thread_fills_up_when_half_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    stock, full = DataKeyStock(RECIPIENTS, 4), threading.Event()
    filled = stock.fill

    def fill() -> None:
        filled()
        full.set()

    monkeypatch.setattr(stock, "fill", fill)
    stock.fill()
    full.clear()
    stock.start()
    try:
        for _ in range(3):
            stock.take()
        assert full.wait(30)
        assert len(stock) == 4
    finally:
        stock.stop()
    assert len(stock) == 0


def test_without_its_plugin_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_keys, "RETRY_SECONDS", 0.0)
    stock = DataKeyStock([*RECIPIENTS, age.parse_recipient(TOY)], 2)
    with pytest.raises(RecorderFailed, match="not ready"):
        stock.take()
    with pytest.raises(ValueError, match="toy"):
        stock.fill()
    assert "toy" in stock.trouble
    with pytest.raises(RecorderFailed, match="toy"):
        stock.take()
    stock.start()
    stock.stop()
