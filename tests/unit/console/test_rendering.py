"""Templates escape everything, and nothing in them runs or is loaded from elsewhere."""

from __future__ import annotations

import re

import pytest

from bastion.console.rendering import TEMPLATES, Pages, clock_text, duration_text, size_text, time_text

PAGES = sorted(TEMPLATES.glob("*.html"))
HOSTILE = "</script><img src=x onerror=alert(1)>'\"&"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_template_trusts_a_value_or_has_anything_inline(path: object) -> None:
    text = path.read_text()  # type: ignore[attr-defined]
    assert not re.search(r"\|\s*safe|autoescape|Markup", text)
    assert not re.search(r"""\s(?:on[a-z]+|style)\s*=\s*[\"']""", text)
    assert "javascript:" not in text and "<style" not in text
    for source in re.findall(r"""(?:src|href|action)="([^"{]*)""", text):
        assert source.startswith(("/", "#")) or source == "", source
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", text, re.DOTALL)
    assert all(
        'src="/static/' in attributes or 'type="application/json"' in attributes for attributes, _ in scripts
    )
    assert [body for _, body in scripts if body] in ([], ["{{ stream }}"])


def test_a_hostile_value_is_text() -> None:
    page = Pages().page(
        "refused.html",
        who="",
        text=HOSTILE,
        here="/",
        looks=False,
        acts=False,
        keeps=False,
        roles=[],
        token="",
    )
    body = page.body.decode()
    assert "<img" not in body and "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&#39;&#34;&amp;" in body


def test_the_files_are_there_and_load_nothing() -> None:
    files = Pages().files
    scripts = {"live.js", "passkey.js", "player.js", "reel.js"}
    assert set(files) == {"console.css", "icon.svg"} | scripts and all(files.values())
    for name in scripts:
        assert not re.search(
            rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", files[name]
        )
    assert b"url(" not in files["console.css"] and b"@import" not in files["console.css"]


def test_words() -> None:
    assert [size_text(size) for size in (0, 1023, 1536, 5 << 20, 3 << 40)] == [
        "0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 TiB",
    ]  # fmt: skip
    assert [duration_text(one) for one in (0.4, 65, 3720, 90_000)] == [
        "0 s",
        "1 min 5 s",
        "1 h 2 min",
        "1 d 1 h",
    ]
    assert clock_text(3723.9) == "1:02:03"
    assert (
        time_text(1_800_000_000.0) == "2027-01-15 08:00:00"
        and time_text(None) == "–"
        and time_text(1e20) == "?"
    )
