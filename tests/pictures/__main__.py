"""`make pictures`: docs/pictures/*.svg, about two and a half minutes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.pictures.draw import svg
from tests.pictures.panels import PICTURES
from tests.pictures.scene import SECONDS, seen


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=SECONDS, help=f"({SECONDS:.0f})")
    chosen = parser.parse_args(arguments)
    PICTURES.mkdir(exist_ok=True)
    for dashboard in seen(chosen.seconds):
        path = PICTURES / f"{dashboard.name}.svg"
        path.write_text(svg(dashboard, chosen.seconds), encoding="utf-8")
        empty = [panel.title for panel in dashboard.panels if not panel.shown]
        print(
            f"{path}: {path.stat().st_size // 1024} KiB" + (f", no data: {', '.join(empty)}" if empty else "")
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
