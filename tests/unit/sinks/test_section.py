"""[audit.sinks.NAME]: what fits together, and what is said of what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bastion.config.outputs import Audit, read_section
from bastion.errors import ConfigError
from bastion.options.kinds import Address
from bastion.sinks.section import SINKS_MAX, Sink, digest_of

GOOD = {
    "journald": 'kind = "journald"\nnamespace = "bastion"\nconfirm = false\nfacility = "audit"',
    "syslog": (
        'kind = "syslog"\naddress = "logs.example.com:6514"\nca_file = "ca.pem"\nserver_name = "logs"\n'
        'client_certificate = "a.pem"\nclient_key = "a.key"\nfacility = "local0"'
    ),
    "plain syslog": 'kind = "syslog"\naddress = "127.0.0.1:514"\ntls = false',
    "loki": (
        'kind = "loki"\nurl = "https://loki.example.com/x"\ntenant = "security"\ntoken_file = "t"\n'
        'labels = { env = "prod" }'
    ),
    "elastic": 'kind = "elastic"\nurl = "https://es:9200"\nindex = "audit"\ntoken_scheme = "ApiKey"\ntoken_file = "t"',
    "otlp": 'kind = "otlp"\nurl = "http://127.0.0.1:4318"\nbatch = 10\ntimeout = "5s"',
}


def read(folder: Path, text: str) -> Audit:
    file = folder / "bastion.toml"
    file.write_text(f'[audit]\nfile = "audit.jsonl"\n{text}\n')
    return read_section(file, Audit)


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_each_kind(tmp_path: Path, text: str) -> None:
    (sink,) = read(tmp_path, f"[audit.sinks.siem]\n{text}").sinks.values()
    assert sink.kind in text and sink.place


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("", "kind", "is required"),
        ('kind = "kafka"', "kind", "not one of the choices"),
        ('kind = "loki"', "url", "required with this kind"),
        ('kind = "syslog"', "address", "required with this kind"),
        ('kind = "loki"\nurl = "http://loki.example.com"', "url", "no URL of a sink"),
        ('kind = "loki"\nurl = "https://u:p@loki.example.com"', "url", "no URL of a sink"),
        ('kind = "loki"\nurl = "https://loki.example.com?x=1"', "url", "no URL of a sink"),
        ('kind = "syslog"\naddress = "logs.example.com:514"\ntls = false', "tls", "reads and changes"),
        ('kind = "journald"\naddress = "logs:6514"', "address", "no effect with this kind"),
        ('kind = "loki"\nurl = "https://l"\nindex = "x"', "index", "no effect with this kind"),
        ('kind = "otlp"\nurl = "https://l"\nfacility = "auth"', "facility", "no effect with this kind"),
        ('kind = "otlp"\nurl = "https://l"\nclient_key = "k"', "client_certificate", "is missing"),
        ('kind = "otlp"\nurl = "http://127.0.0.1:1"\nca_file = "c"', "ca_file", "no effect without TLS"),
        ('kind = "journald"\nbatch = 100000', "batch", "not a whole number in range"),
        ('kind = "journald"\nkafka = 1', "kafka", "unknown key"),
        ('kind = "loki"\nurl = "https://l"\nlabels = { "a b" = "x" }', "labels", "not a valid key"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, text: str, key: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[audit.sinks.siem]\n{text}")
    assert f"audit.sinks.siem.{key}" in str(caught.value) and said in str(caught.value)


def test_names_and_how_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a valid name"):
        read(tmp_path, '[audit.sinks."../x"]\nkind = "journald"')
    many = "".join(f'[audit.sinks.s{number}]\nkind = "journald"\n' for number in range(SINKS_MAX + 1))
    with pytest.raises(ConfigError, match=f"{SINKS_MAX} at most"):
        read(tmp_path, many)
    assert read(tmp_path, "").sinks == {}


def test_a_digest_is_another_one_when_anything_is() -> None:
    sink = Sink(kind="syslog", address=Address("logs", 6514))
    log, sinks = Path("/a"), {"siem": sink}
    first = digest_of(sinks, log, "gw1")
    others = [
        digest_of({"siem": replace(sink, batch=7)}, log, "gw1"),
        digest_of({"logs": sink}, log, "gw1"),
        digest_of(sinks, Path("/b"), "gw1"),
        digest_of(sinks, log, "gw2"),
    ]
    assert digest_of({}, log, "gw1") == "" and first == digest_of(dict(sinks), log, "gw1")
    assert len({first, *others}) == 5


def test_the_name_that_is_verified() -> None:
    sink = Sink(kind="syslog", address=Address("192.0.2.1", 6514))
    assert sink.verified_name == "192.0.2.1" and replace(sink, server_name="logs").verified_name == "logs"
    assert sink.place == "192.0.2.1:6514" and Sink(kind="journald", namespace="x").place == "journald x"
    assert not sink.in_the_clear and replace(sink, tls=False).in_the_clear
    assert not Sink(kind="journald").in_the_clear
