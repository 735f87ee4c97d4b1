"""Bastion: an SSH gateway that records every session.

The room plan is in ``docs/architecture.md``; imports point down only, and ``tests/unit/test_layers.py`` walks them.
"""

__version__ = "0.1.0"
