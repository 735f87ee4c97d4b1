"""A real Prometheus scrapes a running gateway, loads the rules that are shipped, and answers every query of them.

The gateway has two workers and its page is behind TLS and a password; Prometheus is told of both as an operator would.
"""

from __future__ import annotations

import base64
import re
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from tests.support.net import LOOPBACK
from tests.support.prometheus import Prometheus
from tests.support.sshd import sshd_missing
from tests.support.tls import make_certificate
from tests.support.world import World, poll
from tests.unit.test_alerts import ALERTS, RECORDS, panels

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "sshd"),
]

SECRET = "a scraper's secret"
SECTION = """
tls_certificate = "tls.crt"
tls_key = "tls.key"
users = "metrics.users"
targets = ["web1"]
"""


class Watched(World):
    """A world whose metrics page is behind TLS and a password."""

    def __init__(self) -> None:
        super().__init__(workers=2)
        self.certificate, _ = make_certificate(self.folder)
        users = self.folder / "metrics.users"
        users.touch(0o600)
        users.write_text(f"prometheus:{PasswordHasher(1, 8, 1).hash(SECRET)}\n")
        text = self.config.read_text()
        self.config.write_text(
            text.replace(
                f'[metrics]\nlisten = "{LOOPBACK}:0"\n', f'[metrics]\nlisten = "{LOOPBACK}:0"{SECTION}'
            )
        )

    def get(self, path: str, secret: str | None = SECRET, accept: str = "") -> tuple[int, str]:
        """The status and the text of a page."""
        asked = urllib.request.Request(f"https://{LOOPBACK}:{self.metrics_port}{path}")
        if secret is not None:
            token = base64.b64encode(f"prometheus:{secret}".encode()).decode()
            asked.add_header("Authorization", f"Basic {token}")
        if accept:
            asked.add_header("Accept", accept)
        context = ssl.create_default_context(cafile=str(self.certificate))
        try:
            with urllib.request.urlopen(asked, timeout=10, context=context) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def world() -> Iterator[Watched]:
    made = Watched()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def prometheus(world: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "secret").write_text(SECRET)
    job = {
        "scheme": "https",
        "tls_config": {"ca_file": str(world.certificate)},
        "basic_auth": {"username": "prometheus", "password_file": str(folder / "secret")},
    }
    made = Prometheus(folder, world.metrics_port, job)
    try:
        poll(lambda: made.value('up{job="bastion"}') == 1, 20, "the gateway was never scraped")
        assert world.ssh("echo hi").stdout == b"hi\n"
        assert world.bastion("verify", "--config", str(world.config), "--all").returncode == 0
        poll(
            lambda: made.value("sum(bastion_sessions_started_total)") == 1,
            20,
            "the session was never counted",
        )
        poll(lambda: (made.value("count_over_time(bastion_draining[1m])") or 0) > 3, 20)
        yield made
    finally:
        made.stop()


def test_only_who_has_the_password_reads_the_metrics(world: Watched) -> None:
    assert world.get("/metrics", None)[0] == 401
    assert world.get("/metrics", "wrong")[0] == 401
    status, text = world.get("/metrics")
    assert status == 200 and "bastion_connections_live" in text
    assert world.get("/readyz", None) == (200, "ok\n")
    status, text = world.get("/readyz")
    assert status == 200 and "worker-1 recordings ok" in text
    asked = f"http://{LOOPBACK}:{world.metrics_port}/metrics"
    with pytest.raises((OSError, urllib.error.URLError)):
        urllib.request.urlopen(asked, timeout=10)


def test_the_counts_of_both_workers_and_of_one_target_are_there(prometheus: Prometheus) -> None:
    assert prometheus.value('sum(bastion_workers{state="serving"})') == 2
    assert prometheus.value('bastion_auth_attempts_total{method="publickey",reason="ok"}') == 1
    assert prometheus.value('bastion_target_sessions_started_total{target="web1"}') == 1
    assert prometheus.value('bastion_target_dials_total{target="web1",result="ok"}') == 1


def test_an_exemplar_leads_to_the_session(world: Watched, prometheus: Prometheus) -> None:
    query = "bastion_first_output_seconds_bucket"
    found = poll(lambda: prometheus.ask("query_exemplars", query=query, start="0", end="9999999999"), 20)
    sessions = {one["labels"]["session_id"] for each in found for one in each["exemplars"]}
    (started,) = world.audit("session_started")
    assert sessions == {started["session"]}


def test_every_rule_is_loaded_and_none_is_broken(prometheus: Prometheus) -> None:
    groups = poll(lambda: (data := prometheus.ask("rules")) and data["groups"], 20)
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {
        one.get("alert") or one["record"] for one in (*ALERTS, *RECORDS)
    }

    def evaluated() -> bool:
        groups = prometheus.ask("rules")["groups"]
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    poll(evaluated, 20, "a rule was never evaluated")
    firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
    assert firing == [], "nothing is wrong here"


def test_every_query_of_the_dashboards_has_an_answer(prometheus: Prometheus) -> None:
    def empty() -> list[str]:
        found = []
        for where, query in panels():
            asked = query.replace("$instance", ".*").replace("$__rate_interval", "1m")
            if not prometheus.ask("query", query=asked)["result"]:
                found.append(f"{where}: {asked}")
        return found

    poll(lambda: not empty(), 30, "\n".join(empty()))


def test_openmetrics_is_whole(world: Watched, prometheus: Prometheus) -> None:
    status, text = world.get("/metrics", accept="application/openmetrics-text;version=1.0.0")
    assert status == 200 and text.endswith("# EOF\n")
    marked = r'^bastion_upstream_phase_seconds_bucket\{.*\} \S+ # \{session_id="[a-z2-7]{16}"\} '
    assert re.search(marked, text, re.MULTILINE)
