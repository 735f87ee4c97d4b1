"""The seam to policy: what the relay asks, and the only things it asks.

The relay has already refused what no table in `crossing` knows and what is malformed, so a decider sees
only kinds and requests of the closed sets there, with a body that parses (`bastion.wire.requests`). Answers
are immediate.
"""

from __future__ import annotations

from typing import Protocol

from bastion.policy.sftp import SftpRights
from bastion.policy.verdict import Verdict
from bastion.relay.channels import Channel
from bastion.sides import Side
from bastion.wire.messages import ChannelOpen


class Decider(Protocol):
    """Says yes or no; a pure function of the session's grant.

    `sftp` is what may be done on an sftp channel once it is open, None when that is everything.
    """

    @property
    def sftp(self) -> SftpRights | None: ...

    def open(self, side: Side, message: ChannelOpen) -> Verdict:
        """May `side` open this channel? Kinds: `crossing.OPENABLE[side]`."""
        ...

    def request(self, side: Side, channel: Channel, name: str, body: bytes) -> Verdict:
        """May the client make this request on its session channel? Names: `crossing.JUDGED_REQUESTS`."""
        ...

    def global_request(self, side: Side, name: str, body: bytes) -> Verdict:
        """May the client make this request? Names: `crossing.JUDGED_GLOBAL_REQUESTS`."""
        ...
