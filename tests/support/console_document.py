"""Writes docs/openapi.json: `make tables`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bastion.console.openapi import whole_document

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(whole_document(), indent=1, sort_keys=True) + "\n")
