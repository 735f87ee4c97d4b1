"""A ProxyCommand through a SOCKS5 proxy of this machine: `python -m tests.support.socks_client PROXY HOST PORT`."""

import os
import select
import sys

from tests.support.talkers import socks


def main(proxy: int, host: str, port: int) -> None:
    with socks(proxy, host, port) as connection:
        if connection.recv(10)[1:2] != b"\0":
            raise SystemExit("the proxy refused")
        while True:
            ready, _, _ = select.select([0, connection], [], [])
            for source in ready:
                piece = os.read(0, 65536) if source == 0 else connection.recv(65536)
                if not piece:
                    return
                if source == 0:
                    connection.sendall(piece)
                else:
                    os.write(1, piece)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
