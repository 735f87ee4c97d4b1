"""The gateway's own host keys: which of them an exchange is proved with now, and which a client is told of (L2).

While a host key is being rotated the old one proves every exchange, and clients that keep their known_hosts themselves
(UpdateHostKeys) are told of both; from the stated moment on the new one does, and the old one is told to nobody any
more, so that they forget it. Invariant: what a connection was shown stays; a new one sees what the clock says.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from bastion.ca.host_key_news import HostKeyNews
from bastion.ca.slots import Staged
from bastion.clock import Clock
from bastion.transport.key_exchange import KeyExchange
from bastion.transport.settings import CERT_SUFFIX, HostKey, TransportSettings
from bastion.wire.keys import PublicKey, Signer


class FrontKeys:
    """The host keys of one configuration. `base` has the algorithms on offer and no host key.

    `changing`: one of them is being rotated or was, so clients are told what they are now.
    """

    def __init__(
        self, base: TransportSettings, keys: Sequence[Staged], clock: Clock, changing: bool = False
    ) -> None:
        self._changing = changing
        self._keys = tuple(keys)
        self._clock = clock
        self._moments = sorted({key.switch for key in keys if key.then is not None})
        self._settings = [
            replace(base, host_keys=tuple(HostKey(signer) for signer in self._signing(moment)))
            for moment in (-math.inf, *self._moments)
        ]

    def settings(self) -> TransportSettings:
        """What a connection that begins now is told."""
        if not self._moments:
            return self._settings[0]
        return self._settings[bisect_right(self._moments, self._clock.time())]

    def next_change(self) -> float:
        """When `settings` will be others, in seconds since the epoch; infinite when never."""
        later = bisect_right(self._moments, self._clock.time())
        return self._moments[later] if later < len(self._moments) else math.inf

    def news(self, exchanged: KeyExchange) -> HostKeyNews | None:
        """What the client of this connection is to be told, None when there is nothing new.

        Also one that was shown a certificate: without the authority it took the plain key in it.
        """
        if not self._changing or exchanged.agreed is None:
            return None
        agreed = exchanged.agreed.host_key.removesuffix(CERT_SUFFIX)
        return HostKeyNews(self.told(), exchanged.session_id, agreed)

    def told(self) -> tuple[Signer, ...]:
        """The keys that clients may know now: those in force, then those that are to come."""
        now = self._clock.time()
        coming = [key.then for key in self._keys if key.then is not None and now < key.switch]
        return (*self._signing(now), *coming)

    @property
    def publics(self) -> tuple[PublicKey, ...]:
        """The public halves of `told`."""
        return tuple(signer.public for signer in self.told())

    def _signing(self, moment: float) -> tuple[Signer, ...]:
        return tuple(key.at(moment) for key in self._keys)
