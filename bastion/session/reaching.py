"""What becomes known of a target, and of the hops to it, while it is being reached (L3).

It is counted and told at once, and kept for the recording that begins when the target has let us in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bastion.observe.events import AuditEvent
from bastion.observe.events.sessions import TargetBanner as TargetBannerLine
from bastion.observe.exemplars import SessionMeters
from bastion.observe.meters import HOST_KEY_CHECKS, UPSTREAM_LEGACY, UPSTREAM_PHASE_SECONDS
from bastion.session.gateway import Gateway
from bastion.upstream.facts import HopPassed, TargetBanner, UpstreamConnected
from bastion.wire.printable import banner_lines

AUDIT_BANNER: Final = 1024
"""Characters of a target's banner that stand in the audit log; the recording has all that was shown."""

LINES_AT_ONCE: Final = 64
"""Lines of it in one message: a client need not take more than 32,768 bytes (RFC 4253 section 6.1)."""


class Reached:
    """The way to one target for one person; implements `upstream.dial.DialObserver`."""

    def __init__(
        self,
        gateway: Gateway,
        counts: SessionMeters,
        identity: str,
        target: str,
        note: Callable[[AuditEvent], None],
        show: Callable[[str], None],
    ) -> None:
        """`counts` has the session's exemplars; `note` writes an audit line, `show` shows lines to the engineer."""
        self._gateway = gateway
        self._counts = counts
        self._identity = identity
        self._target = target
        self._note = note
        self._show = show
        self.host_key_shown = ""  # the target's, in the end: those of hops are judged before
        self.upstream: UpstreamConnected | None = None
        self.banners: list[TargetBanner] = []
        self.hops: list[tuple[str, str]] = []  # name and fingerprint of the host key

    def phase(self, name: str, seconds: float) -> None:
        self._counts.observe(UPSTREAM_PHASE_SECONDS, seconds, name)

    def host_key(self, outcome: str, fingerprint: str) -> None:
        self.host_key_shown = fingerprint
        self._counts.add(HOST_KEY_CHECKS, outcome)

    def banner(self, text: str, missing: int) -> None:
        """The target's banner is a stranger's text: shown, but only as text, and each line marked as the target's.

        There may never be a recording, so the audit log has it first.
        """
        self._note(TargetBannerLine(self._target, missing, text[:AUDIT_BANNER]))
        self.banners.append(TargetBanner(text, missing))
        lines = banner_lines(self._target, text, missing)
        for at in range(0, len(lines), LINES_AT_ONCE):
            self._show("".join(f"{line}\r\n" for line in lines[at : at + LINES_AT_ONCE]))

    def hop(self, passed: HopPassed) -> None:
        """Whose session goes through it pays for what it asks for."""
        passed.charge(self._gateway.pays_key_exchanges(self._identity))
        self.hops.append((passed.name, passed.host_key))
        self._count_legacy(passed.facts)

    def connected(self, facts: UpstreamConnected) -> None:
        self.upstream = facts
        self._count_legacy(facts)

    def _count_legacy(self, facts: UpstreamConnected) -> None:
        for name in facts.legacy:
            self._gateway.meters.add(UPSTREAM_LEGACY, name)
