"""What is said to be running."""

from __future__ import annotations

import subprocess
import sys

from bastion.observe.build import build
from bastion.observe.meters import BUILD_LABELS, Meters


def test_every_label_has_a_version() -> None:
    assert tuple(build()) == BUILD_LABELS
    (cell,) = Meters(build()).snapshot()["build_info"]
    assert cell == ",".join(build().values()) and "unknown" not in cell


def test_it_loads_no_more_of_a_library_than_its_version() -> None:
    """A supervisor has no cryptography in its memory."""
    script = "import sys; from bastion.observe.build import build; build(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {one for one in done.stdout.split() if one.startswith("cryptography")} == {
        "cryptography",
        "cryptography.__about__",
    }
