"""What becomes known while a target is being reached: counted, told, kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bastion.clock import FixedClock
from bastion.observe.exemplars import SessionMeters
from bastion.observe.meters import HOST_KEY_CHECKS, UPSTREAM_LEGACY, UPSTREAM_PHASE_SECONDS, Meters
from bastion.session.reaching import AUDIT_BANNER, LINES_AT_ONCE, Reached
from bastion.upstream.facts import HopPassed, TargetBanner, UpstreamConnected

FACTS = UpstreamConnected(
    "SSH-2.0-x", "k", "h", "c", "c", "", "", True, "publickey", "certificate", ("ssh-rsa",)
)


class Told:
    def __init__(self) -> None:
        self.meters = Meters()
        self.notes: list[Any] = []
        self.shown: list[str] = []
        self.charged: list[Any] = []
        gateway: Any = SimpleNamespace(meters=self.meters, pays_key_exchanges=lambda name: f"purse of {name}")
        counts = SessionMeters(self.meters, FixedClock(), "session")
        self.reached = Reached(gateway, counts, "alice", "db7", self.notes.append, self.shown.append)

    def count(self, family: Any, *labels: str) -> float:
        return self.meters.value(family, *labels)


def test_hops_are_kept_in_order_and_the_engineer_pays_for_them() -> None:
    told = Told()
    for name in ("edge1", "core2"):
        told.reached.host_key("pinned_ok", f"SHA256:{name}")
        told.reached.hop(HopPassed(name, f"SHA256:{name}", FACTS, told.charged.append))
    told.reached.host_key("ca_ok", "SHA256:db7")
    told.reached.connected(FACTS)
    assert told.reached.hops == [("edge1", "SHA256:edge1"), ("core2", "SHA256:core2")]
    assert told.reached.host_key_shown == "SHA256:db7" and told.reached.upstream is FACTS
    assert told.charged == ["purse of alice"] * 2
    assert told.count(HOST_KEY_CHECKS, "pinned_ok") == 2 and told.count(UPSTREAM_LEGACY, "ssh-rsa") == 3


def test_phases_are_measured() -> None:
    told = Told()
    for name in ("hop", "connect", "kex"):
        told.reached.phase(name, 0.1)
        assert told.count(UPSTREAM_PHASE_SECONDS, name) == 1


def test_a_banner_is_noted_cut_and_shown_marked_in_pieces() -> None:
    told = Told()
    text = "x" * AUDIT_BANNER + "\n" + "y\n" * LINES_AT_ONCE
    told.reached.banner(text, 0)
    assert told.notes[0].text == text[:AUDIT_BANNER]
    assert len(told.shown) == 2 and all(part.startswith("db7 | ") for part in told.shown)
    assert told.reached.banners == [TargetBanner(text, 0)]
