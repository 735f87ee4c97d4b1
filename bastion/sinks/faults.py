"""What is wrong with the files that sinks name (L2), for `bastion check`. Nobody is contacted."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

from bastion.ca.secrets import read_secret_file
from bastion.errors import ConfigError
from bastion.sinks.journal import socket_of
from bastion.sinks.link import make_context
from bastion.sinks.section import Sink


def sink_faults(sinks: Mapping[str, Sink]) -> Iterator[tuple[bool, str, str, str, str]]:
    """(is an error, the sink, key, problem, what is allowed)."""
    for name, sink in sinks.items():
        for error, key, problem, allowed in _faults_of(sink):
            yield error, name, key, problem, allowed


def _faults_of(sink: Sink) -> Iterator[tuple[bool, str, str, str]]:
    if sink.token_file is not None:
        try:
            read_secret_file(sink.token_file, "sink's token")
        except ConfigError as error:
            yield True, "token_file", str(error), ""
    if sink.ca_file is not None or sink.client_certificate is not None:
        key = "client_certificate" if sink.client_certificate is not None else "ca_file"
        try:
            make_context(sink)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            why = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
            files = " ".join(str(one) for one in (sink.ca_file, sink.client_certificate) if one is not None)
            yield True, key, f"{files}: cannot be used: {why}", "certificates and keys as PEM"
    if sink.kind == "journald":
        try:
            is_there = stat.S_ISSOCK(os.stat(socket_of(sink.namespace)).st_mode)
        except OSError:
            is_there = False
        if not is_there:
            text = f"{socket_of(sink.namespace)} is no socket: no journald runs here"
            yield False, "namespace" if sink.namespace else "kind", text, ""
