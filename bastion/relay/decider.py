"""The seam to policy: what the relay asks, and the only things it asks.

The relay has already refused what no table in `passlist` knows and what is malformed, so a decider sees only
kinds and requests of the closed sets there, each with the body that `bastion.wire.requests` has read of it: nobody
reads a message twice. Answers are immediate.
"""

from __future__ import annotations

from typing import Protocol

from bastion.policy.sftp import SftpRights
from bastion.policy.verdict import Verdict
from bastion.sides import Side
from bastion.wire.requests import Body


class Decider(Protocol):
    """Says yes or no; a pure function of the session's grant (`policy.decide.GrantDecider`).

    `sftp` is what may be done on an sftp channel once it is open, None when that is everything.
    """

    @property
    def sftp(self) -> SftpRights | None: ...

    def open(self, side: Side, kind: str, body: Body) -> Verdict:
        """May `side` open this channel? Kinds: `passlist.OPENABLE[side]`."""
        ...

    def request(self, side: Side, channel_kind: str, name: str, body: Body) -> Verdict:
        """May the client make this request on its session channel? Names: `passlist.JUDGED_REQUESTS`."""
        ...

    def global_request(self, side: Side, name: str, body: Body) -> Verdict:
        """May the client make this request? Names: `passlist.JUDGED_GLOBAL_REQUESTS`."""
        ...
