"""A small DNS server on loopback, over UDP and TCP, that answers as it is told; honest or not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rrset

from tests.support.net import LOOPBACK

Answer = Callable[[dns.message.Message], "bytes | None"]
"""From a query to the bytes that go back; None: nothing."""


def records(query: dns.message.Message, *lines: str, ad: bool = True, **more: int) -> dns.message.Message:
    """An answer with these records (`NAME TTL IN TYPE DATA`), of a resolver that has validated them or not."""
    made = dns.message.make_response(query, recursion_available=True)
    if ad:
        made.flags |= dns.flags.AD
    for line in lines:
        name, ttl, _, kind, data = line.split(" ", 4)
        made.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    if "rcode" in more:
        made.set_rcode(more["rcode"])  # type: ignore[arg-type]
    return made


class Resolver:
    """Answers until `stop`. `asked` are the names and types of the queries; `over_tcp` counts those by TCP."""

    def __init__(self, udp: Answer, tcp: Answer | None = None) -> None:
        self._udp_answer, self._tcp_answer = udp, tcp or udp
        self.asked: list[tuple[str, str]] = []
        self.over_tcp = 0
        self._tcp = socket.create_server((LOOPBACK, 0))
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((LOOPBACK, self.port))
        self._threads = [threading.Thread(target=serve) for serve in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (LOOPBACK, self.port))
        self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()
        for thread in self._threads:
            thread.join(10)
        self._udp.close()

    def _read(self, data: bytes) -> dns.message.Message:
        query = dns.message.from_wire(data)
        (question,) = query.question
        self.asked.append((question.name.to_text(), dns.rdatatype.to_text(question.rdtype)))
        return query

    def _serve_udp(self) -> None:
        while True:
            data, client = self._udp.recvfrom(4096)
            if not data:
                return
            answer = self._udp_answer(self._read(data))
            if answer is not None:
                self._udp.sendto(answer, client)

    def _serve_tcp(self) -> None:
        while True:
            try:
                peer, _ = self._tcp.accept()
            except OSError:
                return
            with peer:
                size = int.from_bytes(peer.recv(2), "big")
                self.over_tcp += 1
                answer = self._tcp_answer(self._read(peer.recv(size)))
                if answer is not None:
                    peer.sendall(len(answer).to_bytes(2, "big") + answer)
