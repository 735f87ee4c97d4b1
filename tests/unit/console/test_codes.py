"""Who judges codes: the store by the key, or a gateway for a console that may not read the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from bastion.auth.budget import Budget
from bastion.auth.directory import Asker
from bastion.clock import FixedClock
from bastion.config.load import load
from bastion.console.codes import codes_of
from bastion.console.reads import Trouble
from bastion.control.proving import CodeUsed, UseCode
from bastion.errors import AuthReason, ConfigError, ConsoleReason, Refused
from tests.support.rights import without_rights
from tests.unit.config.site import Site

SECTION = '[totp]\nkey_file = "totp.key"\n[console]\nauditor_groups = ["auditors"]\n'


class Answering:
    """A gateway's socket."""

    def __init__(self, answer: CodeUsed | Exception) -> None:
        self.answer, self.asked = answer, list[UseCode]()

    async def ask(self, request: UseCode) -> CodeUsed:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Stored:
    """The console's way to the store."""

    def codes(self, key: object) -> str:
        return "by the store"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.write("bastion.toml", made.config.read_text() + SECTION)
    made.write("totp.key", "k" * 44 + "\n", 0o600)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    return made


def chosen(site: Site, gateway: Answering, closed: bool) -> Any:
    config = load(site.config)
    if not closed:
        return codes_of(config, cast(Any, Stored()), cast(Any, gateway))
    with without_rights():
        return codes_of(config, cast(Any, Stored()), cast(Any, gateway))


def came(answered: Deferred[bool]) -> Any:
    found: list[Any] = []
    answered.addBoth(found.append)
    return getattr(found[0], "value", found[0])


def test_who_may_read_the_key_asks_the_store(site: Site) -> None:
    assert chosen(site, Answering(CodeUsed()), False)("192.0.2.1") == "by the store"


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (CodeUsed(), False),
        (CodeUsed(recovery=True), True),
        (CodeUsed("bad_code"), AuthReason.BAD_CODE),
        (CodeUsed("throttled"), AuthReason.THROTTLED),
        (CodeUsed("a reason of the next version"), AuthReason.CODES_UNAVAILABLE),
        (Trouble(ConsoleReason.UNAVAILABLE, "no gateway answers"), AuthReason.CODES_UNAVAILABLE),
    ],
)
def test_who_may_not_asks_the_gateway(site: Site, answer: Any, result: Any) -> None:
    gateway = Answering(answer)
    check = chosen(site, gateway, True)("192.0.2.1")
    found = came(check("u-1", "123456", Asker(Budget(FixedClock()).source("192.0.2.1"))))
    assert (found.reason if isinstance(found, Refused) else found) == result
    assert gateway.asked == [UseCode("u-1", "192.0.2.1", "123456")] and "123456" not in repr(gateway.asked)


def test_without_a_socket_that_is_a_fault(site: Site) -> None:
    site.edit("[totp]", '[control]\nsocket = "off"\n[totp]')
    with pytest.raises(ConfigError, match=r"totp\.key_file.*cannot be read"):
        chosen(site, Answering(CodeUsed()), True)


def test_without_chains_that_ask_for_one_no_key_is_needed(site: Site) -> None:
    site.edit("[console]\n", '[console]\nrequire = [["password"]]\n')
    assert chosen(site, Answering(CodeUsed()), True) is None
