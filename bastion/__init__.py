"""Bastion: an SSH gateway that records every session.

The room plan is in ``docs/architecture.md``; imports point down only, and ``tests/unit/test_layers.py`` walks them.
"""

from pathlib import Path as _Path

BASE_VERSION = "0.1.0"
"""What is in the making, or was released last: all that a checkout knows of itself without git."""

# What was built has its version beside it (setup.py).
_built = _Path(__file__).with_name("VERSION")
__version__ = _built.read_text(encoding="ascii").strip() if _built.exists() else BASE_VERSION
