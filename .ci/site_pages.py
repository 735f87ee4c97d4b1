"""What `make site` does to pages before they are drawn (hooks of mkdocs, named in mkdocs.yml).

The pages that lie beside docs/ are pages of the site too, and links to them lead there. Markers of generated tables are
taken off: they are for the tables' writers, and a table behind one would not be read as one. The theme would load from
elsewhere what its search needs on pages that are opened from a disk: it gets a file of ours instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SHIM = "https://unpkg.com/iframe-worker/shim"
OURS = "assets/javascripts/worker_in_a_frame.js"
BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def on_files(files: Files, config: Any) -> Files:
    for name in BESIDE:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    ours = ROOT / ".ci" / "worker_in_a_frame.js"
    files.append(File.generated(config, OURS, content=ours.read_text(encoding="utf-8")))
    return files


def on_post_page(output: str, page: Any, **_: Any) -> str:
    return output.replace(SHIM, OURS)


def on_post_template(output: str, template_name: str, **_: Any) -> str:
    return output.replace(SHIM, f"/{OURS}")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.src_uri in BESIDE:
        markdown = markdown.replace("](docs/", "](")
    markdown = re.sub(rf"\]\(\.\./({'|'.join(BESIDE)})", r"](\1", markdown)
    return re.sub(r"^<!-- .*? -->\n", "", markdown, flags=re.MULTILINE)
