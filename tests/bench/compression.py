"""What compressing recordings with zstd would cost and save: `python -m tests.bench.compression`.

Two ways that survive a crash: one stream for a file, flushed at the end of each block; and each block by itself, where
it is large enough. Text (a listing, a log), random bytes, and keystrokes; CPU seconds per GiB of what went in, the
ratio, and the memory of a stream that is idle. The least of several rounds, one after the other.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator

import zstandard

from tests.bench.process_cost import pss

LEVELS = (1, 3)
ROUNDS = 3
STREAMS = 200
GIB = 1 << 30
SIZE = 16 << 20
KEYS = 20_000

Blocks = list[bytes]
Compress = Callable[[Blocks], int]


def cut(data: bytes, size: int) -> Blocks:
    return [data[at : at + size] for at in range(0, len(data), size)]


def listing() -> bytes:
    done = subprocess.run(
        ["ls", "-lR", "/usr"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    text = done.stdout
    return (text * (SIZE // max(1, len(text)) + 1))[:SIZE] if len(text) > SIZE // 2 else text


def log() -> bytes:
    dice = random.Random(1)
    lines = (
        f"2027-01-15T10:{n // 3600 % 60:02}:{n // 60 % 60:02}.{dice.randrange(1000):03} web{dice.randrange(9)} "
        f"nginx[{dice.randrange(30000)}]: 10.0.{dice.randrange(256)}.{dice.randrange(256)} "
        f'"GET /api/v1/items/{dice.randrange(1 << 32):08x} HTTP/1.1" {dice.choice((200, 200, 200, 404, 500))} '
        f"{dice.randrange(99999)}\n"
        for n in range(SIZE // 100)
    )
    return "".join(lines).encode()


def keystrokes() -> Blocks:
    """Events of one echoed letter each, as a block of events has them: a head of 16 bytes and the letter."""
    dice = random.Random(2)
    text = b"systemctl status nginx; ls -l /var/log; less syslog\r\n"
    return [
        bytes((1, 1, 0, 0, 0, 0, 0, 1))
        + dice.randbytes(2)
        + bytes((0, 0, 0, 0, 0, 1))
        + text[n % 53 : n % 53 + 1]
        for n in range(KEYS)
    ]


def in_a_stream(level: int) -> Compress:
    def run(blocks: Blocks) -> int:
        stream = zstandard.ZstdCompressor(level=level).compressobj()
        flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return sum(len(stream.compress(block)) + len(stream.flush(flush)) for block in blocks)

    return run


def each_by_itself(level: int, least: int) -> Compress:
    """What does not become smaller stays as it is."""

    def run(blocks: Blocks) -> int:
        one = zstandard.ZstdCompressor(level=level, write_content_size=True)
        return sum(min(len(b), len(one.compress(b))) if len(b) >= least else len(b) for b in blocks)

    return run


def ways() -> Iterator[tuple[str, Compress]]:
    for level in LEVELS:
        yield f"stream, level {level}", in_a_stream(level)
        for least in (512, 4096):
            yield f"blocks >= {least}, level {level}", each_by_itself(level, least)


def cpu_of(way: Compress, blocks: Blocks) -> tuple[float, int]:
    began = time.process_time()
    size = way(blocks)
    return time.process_time() - began, size


def memory_of_a_stream(level: int) -> float:
    """KiB of PSS for each of many, after a burst of 4 KiB and a flush."""
    block = listing()[:4096]
    before = pss([os.getpid()])
    kept: list[zstandard.ZstdCompressionObj] = []
    for _ in range(STREAMS):
        stream = zstandard.ZstdCompressor(level=level).compressobj()
        stream.compress(block)
        stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        kept.append(stream)
    grown = pss([os.getpid()]) - before
    assert len(kept) == STREAMS
    return grown / STREAMS / 1024


def main() -> None:
    text, lines, noise = listing(), log(), os.urandom(SIZE)
    inputs = {
        "ls -lR in 128 KiB": cut(text, 128 << 10),
        "ls -lR in 4 KiB": cut(text, 4096),
        "ls -lR in 512 B": cut(text, 512),
        "log in 4 KiB": cut(lines, 4096),
        "random in 128 KiB": cut(noise, 128 << 10),
        "random in 4 KiB": cut(noise, 4096),
        "keystrokes": keystrokes(),
    }
    print("| input | way | CPU s/GiB | us a block | ratio |\n|---|---|---|---|---|")
    for name, blocks in inputs.items():
        size = sum(map(len, blocks))
        best: dict[str, tuple[float, int]] = {}
        for _ in range(ROUNDS):
            for way, compress in ways():
                seconds, out = cpu_of(compress, blocks)
                best[way] = min(best.get(way, (seconds, out)), (seconds, out))
        for way, (seconds, out) in best.items():
            each = seconds / len(blocks) * 1e6
            print(f"| {name} | {way} | {seconds * GIB / size:.2f} | {each:.1f} | {size / out:.2f} |")
    for level in LEVELS:
        print(f"an idle stream, level {level}: {memory_of_a_stream(level):.0f} KiB")


if __name__ == "__main__":
    main()
