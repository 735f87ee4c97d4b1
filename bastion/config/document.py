"""One TOML file of the configuration, read with the lines of its keys (L2)."""

from __future__ import annotations

import hashlib
import tomllib
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path

from bastion.ca.credentials import credentials_folder
from bastion.errors import ConfigError
from bastion.options import At, Problems, Source
from bastion.options.positions import key_lines

# A policy of 10 000 rules has about 4 MiB.
FILE_MAX = 16 << 20


def open_document(
    path: Path, problems: Problems, named_at: At | None = None, texts: dict[Path, str] | None = None
) -> tuple[Mapping[str, object], Source] | None:
    """Read one TOML file. A fault is noted at the file, or at the key that names it, and None returned. `texts` gets
    what stood in it."""
    text = _read_text(path, problems, named_at)
    if text is None:
        return None
    if texts is not None:
        texts[path] = text
    return parse_document(path, text, problems)


def parse_document(path: Path, text: str, problems: Problems) -> tuple[Mapping[str, object], Source] | None:
    """The same for text that was read from `path` by somebody else, at whatever time."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.errors.append(ConfigError(str(path), _line_of(error, text), "", f"is not TOML: {error}"))
        return None
    digest = hashlib.sha256(text.encode()).hexdigest()
    return document, Source(str(path), str(path.parent), key_lines(text), credentials_folder(), digest)


def _read_text(path: Path, problems: Problems, named_at: At | None) -> str | None:
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_MAX + 1)
        if data.startswith(BOM_UTF8):
            fault = "begins with a byte order mark: save it as UTF-8 without one"
        elif len(data) <= FILE_MAX:
            return data.decode("utf-8").replace("\r\n", "\n")
        else:
            fault = f"is larger than {FILE_MAX} bytes"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        fault = f"is not UTF-8 at byte {error.start}"
    if named_at is None:
        problems.errors.append(ConfigError(str(path), 0, "", fault))
    else:
        named_at.wrong(f"{path} {fault}")
    return None


def _line_of(error: Exception, text: str) -> int:
    """Where `tomllib` stopped; in 3.11 it says so only in words: "(at line 3, column 7)"."""
    words = str(error).rpartition("(at line ")[2].partition(",")[0]
    return int(words) if words.isdigit() else text.count("\n") + 1
