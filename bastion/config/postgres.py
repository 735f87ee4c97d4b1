"""A URL of a PostgreSQL database, as an option's value (L2): without a password, which has a file of its own."""

from __future__ import annotations

import re
from typing import Final

from bastion.options import Kind
from bastion.options.kinds import text

URL: Final[Kind[str]] = text(
    "URL",
    re.compile(r"\Apostgresql://[^\s:@/]*@?[^\s@]+\Z"),
    "postgresql://USER@HOST:PORT/DATABASE, without a password",
)
