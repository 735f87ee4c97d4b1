"""An sshd as jump host, or with more lines of configuration, under a process that counts all it costs.

sshd forks for every connection, and the forked ones leave orphans: this process starts the sshd, becomes the
reaper of all below it and answers `cost` on standard input with one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.bench.process_cost import become_subreaper, cpu_below, descendants, pss, reap_orphans
from tests.support.sshd import Sshd


def main(folder: Path, options: list[str]) -> None:
    become_subreaper()
    with Sshd(folder, authorized_keys=(folder / "client.pub").read_text(), options=options) as sshd:
        print(json.dumps({"port": sshd.port, "known_host": sshd.known_hosts_line}), flush=True)
        for _ in sys.stdin:
            reap_orphans(sshd.pid)
            below = descendants(os.getpid())
            print(json.dumps({"cpu": cpu_below(), "pss": pss(below), "processes": len(below)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
