"""Audit logs as they would have been: people at work, told line by line, and what the detections say of it.

Every line is one of the product's own events, encoded and read back as a log is, so a field that is renamed is missed
here too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bastion.detect.detector import Detector
from bastion.detect.findings import Finding
from bastion.detect.places import Lookup, Spot, locate_by, no_lookup
from bastion.detect.settings import Settings
from bastion.errors import AuthReason, Detection, EndReason, PolicyReason, RecorderReason, TunnelReason
from bastion.observe.audit import encode_line
from bastion.observe.events import NOBODY, About, AuditEvent, Facts
from bastion.observe.events.logins import Auth, BreakGlassUsed, OuterStarted
from bastion.observe.events.refusals import ChannelRefused, MoreRefused, SessionRefused, TunnelRefused
from bastion.observe.events.sessions import (
    ChannelClosed,
    RecorderFailed,
    SessionEnded,
    SessionStarted,
    SftpFile,
)
from bastion.observe.events.tunnels import TunnelClosed, TunnelOpened

DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0
START = 1_793_577_600.0  # Monday, 2 November 2026, 00:00 UTC
HOME, OFFICE = "203.0.113.10", "192.0.2.5"
GIB = 1 << 30

PLACES = {
    "203.0.113.": Spot(52.5, 13.4, 50.0, "Berlin, Germany"),
    "198.51.100.": Spot(37.8, -122.4, 50.0, "San Francisco, United States"),
    "198.18.7.": Spot(53.6, 10.0, 50.0, "Hamburg, Germany"),
    "198.18.8.": Spot(-33.9, 151.2, 50.0, "Sydney, Australia"),
}


def lookup(source: str) -> tuple[str, Spot | None]:
    """What a database of places would say."""
    return "", next((spot for prefix, spot in PLACES.items() if source.startswith(prefix)), None)


class Tale:
    """Somebody's days. `now` is the clock; every method writes the lines that the gateway would write."""

    def __init__(self, write: Callable[[float, bytes], object]) -> None:
        self.now = START
        self._write = write
        self._ids = 0

    def say(self, event: AuditEvent, about: About = NOBODY) -> None:
        self._write(self.now, encode_line(self.now, event.event, about, about.fields() | event.fields()))

    def new_id(self) -> str:
        self._ids += 1
        text, number = "", self._ids
        for _ in range(16):
            number, digit = divmod(number, 32)
            text = "abcdefghijklmnopqrstuvwxyz234567"[digit] + text
        return text

    def login(self, user: str = "alice", source: str = HOME, **more: Any) -> str:
        connection = self.new_id()
        wanted: dict[str, Any] = {"method": "publickey", "result": "ok", "reason": AuthReason.OK, **more}
        self.say(Auth(connection=connection, user=user, source=source, **wanted))
        return connection

    def outer(self, user: str = "alice", source: str = HOME, **more: Any) -> About:
        connection = self.login(user, source, **more)
        about = About("", connection[:6], connection, user, source)
        self.say(OuterStarted(uid=f"uid-{user}"), about)
        return about

    def session(
        self, user: str = "alice", target: str = "web1", source: str = HOME, key: str = "SHA256:a"
    ) -> About:
        session = self.new_id()
        about = About(session, session[:6])
        self.say(
            SessionStarted(
                user=user, uid=f"uid-{user}", target=target, login="root", door="direct", source=source,
                host_key=key, rules="all", login_method="publickey", credential="ca", legacy="",
            ),
            about,
        )  # fmt: skip
        return about

    def end(self, about: About) -> None:
        ended = SessionEnded(
            reason=EndReason.CLIENT_CLOSED,
            text="",
            bytes_in=10,
            bytes_out=20,
            channels=1,
            bytes_not_kept=0,
            opaque=0,
        )
        self.say(ended, about)

    def sftp(self, about: About, read: int) -> None:
        self.say(
            SftpFile(channel=0, file=1, flags="read", outcome="ok", bytes_read=read, bytes_written=0), about
        )

    def tunnel(
        self, about: About, host: str = "db1", port: int = 5432, out: int = 4096, seconds: float = 60.0
    ) -> None:
        """Opened, and closed `seconds` later."""
        where: dict[str, Any] = {
            "tunnel": 1,
            "host": host,
            "port": port,
            "address": "10.0.0.1",
            "rules": "all",
        }
        self.say(TunnelOpened(**where), about)
        self.now += seconds
        ended = TunnelClosed(
            reason=next(iter(TunnelReason)), bytes_in=512, bytes_out=out, seconds=seconds, ssh=False, **where
        )
        self.say(ended, about)

    def forward(self, about: About, out: int) -> None:
        self.say_closed(about, "direct-tcpip", out)

    def say_closed(self, about: About, kind: str, out: int) -> None:
        self.say(ChannelClosed(channel=1, kind=kind, bytes_in=1, bytes_out=out), about)

    def refuse(
        self, about: About, host: str = "db9", port: int = 5432,
        reason: Any = PolicyReason.DESTINATION_NOT_ALLOWED,
    ) -> None:  # fmt: skip
        self.say(
            TunnelRefused(reason=reason, text="no", tunnel=1, host=host, port=port, address="", rules=""),
            about,
        )

    def refuse_channel(self, about: About, host: str, kind: str = "direct-tcpip") -> None:
        refused = PolicyReason.DESTINATION_NOT_ALLOWED
        self.say(ChannelRefused(kind=kind, reason=refused, text="no", facts=Facts(host, 80)), about)

    def refuse_more(
        self, about: About, count: int, reason: Any = PolicyReason.DESTINATION_NOT_ALLOWED
    ) -> None:
        self.say(MoreRefused(by="client", reason=reason, count=count), about)

    def refuse_session(
        self, user: str = "alice", target: str = "web1", reason: Any = PolicyReason.NO_RULE
    ) -> None:
        session = self.new_id()
        self.say(
            SessionRefused(user=user, target=target, reason=reason, text="no"), About(session, session[:6])
        )

    def break_glass(
        self, result: str = "ok", user: str = "emergency", source: str = HOME, **more: Any
    ) -> None:
        self.say(BreakGlassUsed(connection=self.new_id(), user=user, source=source, result=result, **more))

    def fail_recording(self, about: About, reason: RecorderReason = RecorderReason.DISK_FULL) -> None:
        self.say(RecorderFailed(reason, "no room"), about)

    # -- days ------------------------------------------------------------------------------------------------------

    def at(self, hour: float) -> None:
        """That hour of this day, or of the next one when it is over."""
        day, now = divmod(self.now - START, DAY)
        self.now = START + day * DAY + hour * HOUR + (DAY if hour * HOUR < now else 0.0)

    def days(
        self, count: int, user: str = "alice", source: str = HOME, hours: tuple[int, ...] = (8, 10, 13, 15),
        weekends: bool = False,
    ) -> None:  # fmt: skip
        """So many days at work, with one session, one tunnel and one small file in each hour."""
        for _ in range(count):
            day = (self.now - START) // DAY
            if day % 7 < 5 or weekends:
                for hour in hours:
                    self.now = START + day * DAY + hour * HOUR + 7 * MINUTE
                    about = self.outer(user, source)
                    running = self.session(user, source=source)
                    self.sftp(running, 10 << 20)
                    self.end(running)
                    self.tunnel(about, out=40 << 20, seconds=300.0)
            self.now = START + (day + 1) * DAY


class Told(Tale):
    """A tale that is judged as it is told."""

    def __init__(self, find: Lookup = no_lookup, **settings: Any) -> None:
        super().__init__(self._see)
        self.settings = replace(Settings(), **settings)
        locate = locate_by(self.settings.network_bits, self.settings.trusted, find)
        self.detector = Detector(self.settings, locate)
        self.found: list[Finding] = []

    def _see(self, at: float, line: bytes) -> None:
        self.found += self.detector.see(json.loads(line), at)

    def of(self, kind: Detection) -> list[Finding]:
        return [one for one in self.found if one.kind is kind]
