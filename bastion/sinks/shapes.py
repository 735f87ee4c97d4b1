"""Lines of the audit log in the shapes of their receivers (L2, pure).

Invariant: the line itself is in each of them byte for byte (its JSON string, where the shape is JSON), so that what a
receiver has kept can be proved as the log can; and its id, by which a receiver drops what comes twice.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from bastion.sinks.lines import ERROR, WARNING, AuditLine

APP_NAME: Final = "bastion"

SD_ID: Final = "bastion@32473"
"""Of the structured data of RFC 5424. The number is the one for examples (RFC 5612): we have none of our own."""

_ABOUT: Final = ("session", "user", "target", "login", "source")

# -- RFC 5424, RFC 5425 ----------------------------------------------------------------------------------------------


def syslog_frame(line: AuditLine, node: str, facility: int) -> bytes:
    """One message with its length in front (RFC 5425 section 4.3)."""
    message = syslog_message(line, node, facility)
    return b"%d %b" % (len(message), message)


def syslog_message(line: AuditLine, node: str, facility: int) -> bytes:
    """RFC 5424. MSGID is the event; the id, its parts and whom it is about are structured data."""
    stamp = line.word("ts") if line.nanoseconds else "-"
    host, event = _header(node, 255), _header(line.word("event"), 32)
    parts = {"id": line.id, "chain": line.chain, "seq": str(line.serial)}
    parts |= {name: found for name in _ABOUT if (found := line.word(name))}
    data = " ".join(f'{name}="{_sd_value(value)}"' for name, value in parts.items())
    header = f"<{facility * 8 + line.severity}>1 {stamp} {host} {APP_NAME} - {event} [{SD_ID} {data}] "
    # MSG-ANY, without a BOM: the line's own bytes, and JSON says what they are.
    return header.encode("utf-8", "replace") + line.raw


def _header(text: str, longest: int) -> str:
    """PRINTUSASCII, "-" for nothing."""
    return "".join(letter for letter in text if "!" <= letter <= "~")[:longest] or "-"


def _sd_value(text: str) -> str:
    """RFC 5424 section 6.3.3."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


# -- journald --------------------------------------------------------------------------------------------------------


def journal_entry(line: AuditLine, facility: int) -> bytes:
    """systemd's native protocol: fields of one entry."""
    fields = {
        "MESSAGE": line.raw,
        "PRIORITY": str(line.severity).encode(),
        "SYSLOG_IDENTIFIER": APP_NAME.encode(),
        "SYSLOG_FACILITY": str(facility).encode(),
        "BASTION_ID": line.id.encode(),
        "BASTION_CHAIN": line.chain.encode(),
        "BASTION_SEQ": str(line.serial).encode(),
    }
    for name in ("event", *_ABOUT):
        if found := line.word(name):
            fields[f"BASTION_{name.upper()}"] = found.encode("utf-8", "replace")
    return b"".join(_journal_field(name.encode(), value) for name, value in fields.items())


def _journal_field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:  # a newline would begin another field
        return name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name + b"=" + value + b"\n"


# -- HTTP ------------------------------------------------------------------------------------------------------------


def loki_body(lines: Sequence[AuditLine], node: str, labels: Mapping[str, str]) -> bytes:
    """Loki's push: a stream for each event. The same line at the same time is one entry to Loki, so the nanoseconds
    that the log does not have are the line's number: they keep the order, and are the same each time."""
    streams: dict[str, list[list[str]]] = {}
    for line in lines:
        stamp = line.nanoseconds + line.serial % 1_000_000
        streams.setdefault(line.word("event") or "unknown", []).append([str(stamp), line.text])
    fixed = {**labels, "job": APP_NAME, "node": node}
    return orjson.dumps(
        {
            "streams": [
                {"stream": {**fixed, "event": event}, "values": values} for event, values in streams.items()
            ]
        }
    )


def elastic_body(lines: Sequence[AuditLine], node: str, index: str) -> bytes:
    """Elasticsearch's bulk: `create` with an id does nothing where that id is there (409)."""
    rows: list[bytes] = []
    for line in lines:
        fields = {name: value for name, value in line.document.items() if name != "prev"}
        document = {
            "@timestamp": line.word("ts"),
            "message": line.text,
            "host": {"name": node},
            "service": {"name": APP_NAME},
            "bastion": fields,
        }
        rows.append(orjson.dumps({"create": {"_index": index, "_id": line.id}}))
        rows.append(orjson.dumps(document))
    return b"\n".join(rows) + b"\n" if rows else b"\n"


_OTLP_SEVERITY: Final = {ERROR: (17, "ERROR"), WARNING: (13, "WARN")}
_OTLP_INFO: Final = (9, "INFO")


def otlp_body(lines: Sequence[AuditLine], node: str, version: str) -> bytes:
    """OTLP's ExportLogsServiceRequest as JSON. `log.record.uid` is what tells doubles by."""
    resource = {"service.name": APP_NAME, "service.version": version, "host.name": node}
    scope = {"scope": {"name": "bastion.audit"}, "logRecords": [_otlp_record(line) for line in lines]}
    logs = [{"resource": {"attributes": _attributes(resource)}, "scopeLogs": [scope]}]
    return orjson.dumps({"resourceLogs": logs if lines else []})


def _otlp_record(line: AuditLine) -> dict[str, Any]:
    number, word = _OTLP_SEVERITY.get(line.severity, _OTLP_INFO)
    event = line.word("event")
    known = {"log.record.uid": line.id, "event.name": event}
    known |= {f"bastion.{name}": line.word(name) for name in _ABOUT}
    attributes: list[dict[str, Any]] = _attributes({name: value for name, value in known.items() if value})
    attributes.append({"key": "bastion.seq", "value": {"intValue": str(line.serial)}})
    return {
        "timeUnixNano": str(line.nanoseconds),
        "observedTimeUnixNano": str(line.nanoseconds),
        "severityNumber": number,
        "severityText": word,
        "eventName": event,
        "body": {"stringValue": line.text},
        "attributes": attributes,
    }


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def authorization(scheme: str, token: bytes) -> str:
    """The header's value. Of "Basic" (RFC 7617) the token is NAME:PASSWORD."""
    text = b64encode(token).decode() if scheme == "Basic" else token.decode("latin-1")
    return f"{scheme} {text}"
