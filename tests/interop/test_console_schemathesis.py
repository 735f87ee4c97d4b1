"""The interface for programs, asked what its own document allows and what it does not, by Schemathesis.

An hour in `make soak`; `BASTION_SCHEMATHESIS_SECONDS` is another time for the questions that are made up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.made import FIRST, SECOND, START, record
from tests.unit.console.conftest import HOSTILE, header, hostile
from tests.unit.console.made import SECTION, ConsoleSite

pytestmark = [pytest.mark.soak, pytest.mark.interop]

SECONDS = int(os.environ.get("BASTION_SCHEMATHESIS_SECONDS", "3600"))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
EXPECTED = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 413, 503]
"""
"""503: no gateway runs, and so none answers about what is live."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    made = ConsoleSite(tmp_path_factory.mktemp("console"), SECTION)
    for about in (header(FIRST, "alice", "web1"), header(SECOND, "bob", "db1", START + 60)):
        record(made.store, about)
        made.index(about)
    bad = header(HOSTILE, "eve", "web1", START + 120)
    hostile(made, bad)
    made.index(bad)
    made.start()
    yield made
    made.close()


def test_it_is_what_its_document_says_whatever_is_asked(site: ConsoleSite, tmp_path: Path) -> None:
    program = site.browser("adm").program()
    document = program.get("/api/v1/openapi.json").json
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                if parameter["name"] == "session":  # half of them are there
                    parameter["examples"] = {one: {"value": one} for one in (FIRST, SECOND, HOSTILE)}
    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(document))
    (tmp_path / "schemathesis.toml").write_text(EXPECTED)
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", str(schema),
            "--url", site.origin, "--header", f"Authorization: Bearer {program.bearer}",
            "--checks", ",".join(CHECKS), "--mode", "all", "--phases", "examples,coverage,fuzzing",
            "--rate-limit", "8/s", "--request-timeout", "60", "--max-time", str(SECONDS), "--max-examples", "100000",
            "--continue-on-failure", "--suppress-health-check", "all", "--no-color",
        ],
        capture_output=True, text=True, timeout=SECONDS + 1800, cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    refused = [line["reason"] for line in site.audit("console_refused")]
    assert "failed" not in refused
