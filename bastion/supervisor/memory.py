"""The memory that supervisor and workers share, and how a worker is told where everything is (L5).

A file that has no name (memfd_create(2)) and is inherited: a page with the secret that names are counted and blocks are
told with, then a row for each worker (`sharing.rows`). It is gone with the last process that has it.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Final, Self

from bastion.sharing.rows import ROW_SIZE, Row

HEAD: Final = 4096
SECRET: Final = 32


class SharedMemory:
    """The mapping of one process. `fd` is to be inherited by workers."""

    def __init__(self, fd: int, workers: int) -> None:
        self.fd, self.workers = fd, workers
        self._whole = memoryview(mmap.mmap(fd, HEAD + workers * ROW_SIZE))

    @classmethod
    def made(cls, workers: int, secret: bytes) -> Self:
        """For so many workers, with a secret of SECRET bytes. Raises OSError."""
        fd = os.memfd_create("bastion-workers", os.MFD_CLOEXEC)
        os.ftruncate(fd, HEAD + workers * ROW_SIZE)
        memory = cls(fd, workers)
        memory._whole[:SECRET] = secret
        return memory

    @property
    def secret(self) -> bytes:
        return bytes(self._whole[:SECRET])

    @property
    def rows(self) -> memoryview:
        return self._whole[HEAD:]

    def row(self, number: int) -> Row:
        """For the worker of that number, the first is 0."""
        return Row(self.rows, self.workers, number, self.secret)


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a worker is started with: which it is, of how many, and descriptors of its link, of the memory and of the
    sockets that engineers connect to; as text `number:workers:link:memory:socket:...`."""

    number: int
    workers: int
    link: int
    memory: int
    sockets: tuple[int, ...]

    def __str__(self) -> str:
        return ":".join(map(str, (self.number, self.workers, self.link, self.memory, *self.sockets)))

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError."""
        number, workers, link, memory, *sockets = map(int, text.split(":"))
        return cls(number, workers, link, memory, tuple(sockets))
