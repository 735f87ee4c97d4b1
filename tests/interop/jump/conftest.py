"""One world with the jump door for all the files of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.jump import JumpWorld

# web2 exists and nobody here may reach it; db is not there at all.
TARGETS = """
[targets.web2]
host = "192.0.2.7"
[targets.elsewhere]
host = "2001:db8::7"
"""


@pytest.fixture(scope="package")
def world() -> Iterator[JumpWorld]:
    made = JumpWorld(targets=TARGETS, recording='mode = "full"\ninput = true')
    try:
        made.start()
        yield made
    finally:
        made.close()
