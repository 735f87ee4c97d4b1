"""Bastion: an SSH gateway that records every session.

The room plan is in ``docs/architecture.md``; imports point down only, and ``tests/unit/test_layers.py`` walks them.
"""

BASE_VERSION = "0.1.0"
"""What is in the making, or was released last: all that a checkout knows of itself without git."""

__version__ = BASE_VERSION  # in a wheel setup.py writes the tag's
