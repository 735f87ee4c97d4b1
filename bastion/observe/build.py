"""What is running, for `bastion_build_info` (L1)."""

from __future__ import annotations

import sys

import cryptography  # its package alone, which knows its version and loads nothing
import twisted

from bastion import __version__


def build() -> dict[str, str]:
    """The labels: `observe.meters.BUILD_LABELS`."""
    return {
        "version": __version__,
        "python": sys.version.split()[0],
        "twisted": twisted.__version__,
        "cryptography": cryptography.__version__,
    }
