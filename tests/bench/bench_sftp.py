"""`make bench`: what following an sftp channel costs the relay, alone in one thread: no crypto, no kernel.

Each line is one direction of one file in 32 KiB requests, as OpenSSH sends them, through the relay with a tap
that does nothing. The plain line is the same bytes on an exec channel.
"""

from __future__ import annotations

import random
import time
from typing import Any

from bastion.policy.sftp import SftpRights, parse_pattern
from bastion.relay.relay import Actions, Relay, RelayLimits
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import sftp
from bastion.wire.requests import Exec, Subsystem
from tests.support import sftp_words as w
from tests.support.playbook import TableDecider, asks, opens

BLOCK = 32 * 1024
COUNT = 8_000  # blocks: 250 MiB
ROUNDS = 5
WINDOW = 0xF000_0000
LAG = 10  # requests under way before the first answer
ALL = (parse_pattern("/**"),)


class Silent:
    def data(self, *_: Any) -> None: ...

    def event(self, _: Any) -> None: ...


def messages(stream: bytes) -> list[bytes]:
    return [m.Data(0, stream[at : at + BLOCK]).encode() for at in range(0, len(stream), BLOCK)]


def relay(name: str, hashing: bool, rights: SftpRights | None) -> tuple[Relay, Actions]:
    policy = TableDecider()
    policy.sftp = rights
    made, out = Relay(policy, Silent(), RelayLimits(sftp_hash=hashing)), Actions()
    program = asks(0, "exec", Exec(b"cat")) if name == "exec" else asks(0, "subsystem", Subsystem("sftp"))
    for side, line in (
        (Side.CLIENT, opens("session", 0, WINDOW)),
        (Side.TARGET, m.ChannelOpenConfirmation(0, 0, WINDOW, BLOCK)),
        (Side.CLIENT, program),
        (Side.TARGET, m.ChannelSuccess(0)),
        (Side.CLIENT, m.Data(0, w.INIT)),
        (Side.TARGET, m.Data(0, w.VERSION)),
        (Side.CLIENT, m.Data(0, w.opens(1, b"/f", sftp.FXF_READ | sftp.FXF_WRITE | sftp.FXF_TRUNC))),
        (Side.TARGET, m.Data(0, w.handle(1))),
    ):
        made.receive(side, line.encode(), out)
        out.clear()
    return made, out


def conversation(down: bool) -> list[tuple[Side, bytes]]:
    """Requests and answers of one file, interleaved as they would come."""
    block = random.Random(1).randbytes(BLOCK)
    if down:
        asked = [m.Data(0, w.reads(10 + i, i * BLOCK, BLOCK)).encode() for i in range(COUNT)]
        answers = messages(b"".join(w.data(10 + i, block) for i in range(COUNT)))
    else:
        asked = messages(b"".join(w.writes(10 + i, i * BLOCK, block) for i in range(COUNT)))
        answers = [m.Data(0, w.status(10 + i)).encode() for i in range(COUNT)]
    lines = [(Side.CLIENT, payload) for payload in asked[:LAG]]
    for at, payload in enumerate(answers):
        lines += [(Side.CLIENT, more) for more in asked[LAG + at : LAG + at + 1]]
        lines.append((Side.TARGET, payload))
    return lines


def measure(name: str, hashing: bool, rights: SftpRights | None, lines: list[tuple[Side, bytes]]) -> float:
    """Seconds of CPU."""
    made, out = relay(name, hashing, rights)
    receive = made.receive
    started = time.process_time()
    for side, payload in lines:
        receive(side, payload, out)
        out.clear()
    taken = time.process_time() - started
    assert name == "exec" or made.channels[1].half(Side.CLIENT).content is not None, "it was not followed"
    return taken


def main() -> None:
    rights = SftpRights("bench", {"download": ALL, "upload": ALL})
    cases = [
        ("exec", "exec, not followed", False, None),
        ("sftp", "followed", False, None),
        ("sftp", "followed, SHA-256", True, None),
        ("sftp", "controlled", False, rights),
        ("sftp", "controlled, SHA-256", True, rights),
    ]
    print(f"{'':24}{'MiB/s':>8}{'us per 32 KiB':>15}")
    for down in (True, False):
        lines = conversation(down)
        best = {title: 1e9 for _, title, _, _ in cases}
        for _ in range(ROUNDS):
            for name, title, hashing, given in cases:
                best[title] = min(best[title], measure(name, hashing, given, lines))
        for title, taken in best.items():
            way = "down" if down else "up"
            print(f"{way + ', ' + title:24}{COUNT * BLOCK / taken / 2**20:8.0f}{taken / COUNT * 1e6:15.1f}")


if __name__ == "__main__":
    main()
