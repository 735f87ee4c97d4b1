"""docs/ as a site: every page is in the navigation, links are whole, and nothing is loaded from anywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LOADS = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
}
"""What a browser fetches by itself. `a href` is not: that is a link for a person."""


class Tolerant(yaml.SafeLoader):
    """Reads mkdocs.yml without making what its tags name."""


Tolerant.add_multi_constructor("!!python/", lambda loader, suffix, node: None)
Tolerant.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def pages(nav: Any) -> Iterator[str]:
    for entry in nav if isinstance(nav, list) else [nav]:
        if isinstance(entry, dict):
            for inner in entry.values():
                yield from pages(inner)
        else:
            yield entry


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Tolerant)
    there = sorted(pages(settings["nav"]))
    written = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
    assert there == sorted([*written, *BESIDE]), "a page of docs/ has its line in `nav` of mkdocs.yml"


class Assets(HTMLParser):
    """What a page loads, its anchors, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.loads += [value for name, value in values.items() if (tag, name) in LOADS]
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make site` builds it: --strict makes every warning a fault."""
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(made)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def outside(text: str) -> bool:
    return text.startswith(("http:", "https:", "//"))


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    html = sorted(site.rglob("*.html"))
    assert len(html) > 30
    for page in html:
        loads = Assets(page.read_text(encoding="utf-8")).loads
        assert loads and not [one for one in loads if outside(one) and "canonical" not in one], page.name
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(@import\s+|url\()\s*[\"']?(https?:)?//", text), style.name


@pytest.mark.slow
def test_every_link_leads_to_a_place_of_the_site(site: Path) -> None:
    read = {page: Assets(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    gone = []
    for page, found in read.items():
        if page.name == "404.html":
            continue
        for link in found.links:
            if outside(link) or link.startswith(("mailto:", "javascript:")):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if target.is_dir():
                target /= "index.html"
            if not target.exists() or (anchor and target in read and anchor not in read[target].ids):
                gone.append(f"{page.name}: {link}")
    assert gone == []


@pytest.mark.slow
def test_the_search_is_there_and_knows_the_pages(site: Path) -> None:
    (index,) = site.rglob("search_index.js")
    text = index.read_text(encoding="utf-8")
    known = json.loads(text[text.index("{") : text.rindex("}") + 1])
    locations = {entry["location"].partition("#")[0] for entry in known["docs"]}
    assert {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")} <= locations
    assert any("early drop" in entry["text"].lower() for entry in known["docs"])


@pytest.mark.slow
def test_tables_are_drawn_as_tables(site: Path) -> None:
    """A table that is not read as one stands there as a line of bars."""
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.S)
        assert "|---" not in text, page.name
