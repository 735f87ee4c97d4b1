"""How many processes there are to be, from the file alone; and what of it a supervisor follows."""

from __future__ import annotations

import os

import pytest

from bastion.config.load import load
from bastion.config.start import read_sections, workers_of
from bastion.supervisor.settings import settings_of
from tests.unit.config.site import Site


@pytest.mark.parametrize(
    ("written", "workers"), [("", 1), ("workers = 3", 3), ('workers = "auto"', len(os.sched_getaffinity(0)))]
)
def test_the_number_is_known_without_anything_that_the_file_names(
    site: Site, written: str, workers: int
) -> None:
    site.edit("[audit]", f"[process]\n{written}\n[audit]")
    (site.folder / "policy.toml").unlink()
    (site.folder / "host_key").unlink()
    sections = read_sections(site.config)
    assert sections is not None and workers_of(sections) == workers


@pytest.mark.parametrize(
    "fault", ["workers = 0", "workers = 65", 'workers = "many"', "workers = true", "worker = 2"]
)
def test_a_faulty_file_says_nothing(site: Site, fault: str) -> None:
    """Whoever loads all of it tells what is wrong."""
    site.edit("[audit]", f"[process]\n{fault}\n[audit]")
    assert read_sections(site.config) is None


def test_a_file_that_is_none(site: Site) -> None:
    site.write("bastion.toml", "[[[")
    assert read_sections(site.config) is None
    site.config.unlink()
    assert read_sections(site.config) is None


def test_a_supervisor_follows_what_its_workers_have_read(site: Site) -> None:
    site.edit("[audit]", "[limits.penalties]\nfree = 2\n[audit]\nrequired = true")
    sections = read_sections(site.config)
    assert sections is not None
    settings = settings_of(sections)
    assert settings == settings_of(load(site.config))
    assert (settings.audit_required, settings.penalties.free) == (True, 2)
    assert settings.audit_file == str(site.folder / "audit.jsonl")
