"""Loading a program's modules without a collection of garbage in between.

What modules make stays for as long as the process does. Python walks it again and again while there is more of it,
a tenth of the CPU time of a gateway's start.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Within this, import: nothing is collected, and afterwards what is there is never walked again.

    Garbage that was there goes with it: a gateway's modules make 0.5 MB.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
