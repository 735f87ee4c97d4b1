"""The bytes of every declared message, written down before there were declarations: they are what crosses the wire.

Made from the codecs that were written by hand, one field after the other. A row is never changed to fit the code.
"""

from __future__ import annotations

from typing import Any

import pytest

from bastion.errors import ProtocolError
from bastion.wire import forwards as f
from bastion.wire import messages as m
from bastion.wire import requests as r
from bastion.wire import userauth as u
from bastion.wire.numbers import Disconnect
from tests.support.declared import DECLARED

Codec = Any  # a declared message, or one of the two that are written by hand

VECTORS: list[tuple[Codec, str]] = [
    (
        m.GlobalRequest("tcpip-forward", True, b"\x00\x00\x00\x01a\x00\x00\x00\x16"),
        "500000000d74637069702d666f727761726401000000016100000016",
    ),
    (
        m.GlobalRequest("keepalive@openssh.com", False),
        "50000000156b656570616c697665406f70656e7373682e636f6d00",
    ),
    (m.RequestSuccess(), "51"),
    (m.RequestSuccess(b"\x00\x00\x1fV"), "5100001f56"),
    (m.RequestFailure(), "52"),
    (m.ChannelOpen("session", 0, 0x200000, 0x8000), "5a0000000773657373696f6e000000000020000000008000"),
    (
        m.ChannelOpen("x11", 0xFFFFFFFF, 0, 1, b"\x00body"),
        "5a00000003783131ffffffff000000000000000100626f6479",
    ),
    (m.ChannelOpenConfirmation(1, 2, 0x200000, 0x8000), "5b00000001000000020020000000008000"),
    (m.ChannelOpenConfirmation(0xFFFFFFFF, 0, 0xFFFFFFFF, 1), "5bffffffff00000000ffffffff00000001"),
    (
        m.ChannelOpenFailure(3, 1, "not for you", b"en"),
        "5c00000003000000010000000b6e6f7420666f7220796f7500000002656e",
    ),
    (m.ChannelOpenFailure(0, 0xFE000000, ""), "5c00000000fe0000000000000000000000"),
    (m.ChannelOpenFailure(7, 2, "caf\u00e9"), "5c000000070000000200000005636166c3a900000000"),
    (m.WindowAdjust(0, 0), "5d0000000000000000"),
    (m.WindowAdjust(258, 0xFFFFFFFF), "5d00000102ffffffff"),
    (m.Data(0, b""), "5e0000000000000000"),
    (m.Data(4, b"ls -l\r\n"), "5e00000004000000076c73202d6c0d0a"),
    (m.ExtendedData(4, 1, b"oops\n"), "5f0000000400000001000000056f6f70730a"),
    (m.ExtendedData(0xFFFFFFFF, 2, b""), "5fffffffff0000000200000000"),
    (m.Eof(0), "6000000000"),
    (m.Eof(0x01020304), "6001020304"),
    (m.Close(0), "6100000000"),
    (m.Close(0x01020304), "6101020304"),
    (m.ChannelRequest(0, "shell", True), "6200000000000000057368656c6c01"),
    (
        m.ChannelRequest(9, "exit-status", False, b"\x00\x00\x00\x7f"),
        "62000000090000000b657869742d737461747573000000007f",
    ),
    (m.ChannelSuccess(0), "6300000000"),
    (m.ChannelSuccess(0xFFFFFFFF), "63ffffffff"),
    (m.ChannelFailure(0), "6400000000"),
    (m.ChannelFailure(0xFFFFFFFF), "64ffffffff"),
    (r.Empty(), ""),
    (
        r.PtyRequest(b"xterm-256color", 80, 24, 640, 480, b"\x35\x00\x00\x00\x01\x00"),
        "0000000e787465726d2d323536636f6c6f72000000500000001800000280000001e000000006350000000100",
    ),
    (r.PtyRequest(b"", 0, 0), "00000000000000000000000000000000000000000000000100"),
    (r.WindowChange(132, 43), "000000840000002b0000000000000000"),
    (r.WindowChange(1, 2, 3, 0xFFFFFFFF), "000000010000000200000003ffffffff"),
    (r.Exec(b""), "00000000"),
    (r.Exec(b"cat caf\xe9"), "0000000863617420636166e9"),
    (r.Subsystem("sftp"), "0000000473667470"),
    (r.Subsystem("\u00fc"), "00000002c3bc"),
    (r.Env("LANG", b"de_DE.UTF-8"), "000000044c414e470000000b64655f44452e5554462d38"),
    (r.Env("", b"\xff"), "0000000000000001ff"),
    (r.Signal("TERM"), "000000045445524d"),
    (r.Signal(""), "00000000"),
    (r.Break(0), "00000000"),
    (r.Break(1000), "000003e8"),
    (r.XonXoff(True), "01"),
    (r.XonXoff(False), "00"),
    (r.ExitStatus(0), "00000000"),
    (r.ExitStatus(255), "000000ff"),
    (
        r.ExitSignal("SEGV", True, b"core dumped", b"en"),
        "0000000453454756010000000b636f72652064756d70656400000002656e",
    ),
    (r.ExitSignal("KILL"), "000000044b494c4c000000000000000000"),
    (
        r.X11Request(True, b"MIT-MAGIC-COOKIE-1", b"00ffAB", 1),
        "01000000124d49542d4d414749432d434f4f4b49452d310000000630306666414200000001",
    ),
    (r.X11Request(False, b"", b"", 0), "00000000000000000000000000"),
    (
        f.TcpipOpen("db1.example.com", 5432, "127.0.0.1", 65535),
        "0000000f6462312e6578616d706c652e636f6d00001538000000093132372e302e302e310000ffff",
    ),
    (f.TcpipOpen("", 0, "", 0), "00000000000000000000000000000000"),
    (f.X11Open("::1", 6010), "000000033a3a310000177a"),
    (f.X11Open("", 0), "0000000000000000"),
    (f.DirectStreamlocal("/run/x.sock"), "0000000b2f72756e2f782e736f636b0000000000000000"),
    (
        f.DirectStreamlocal("/run/x.sock", b"127.0.0.1", 52022),
        "0000000b2f72756e2f782e736f636b000000093132372e302e302e310000cb36",
    ),
    (f.ForwardedStreamlocal("/run/x.sock"), "0000000b2f72756e2f782e736f636b00000000"),
    (f.ForwardedStreamlocal("", b"m"), "00000000000000016d"),
    (f.TcpipForward("", 0), "0000000000000000"),
    (f.TcpipForward("0.0.0.0", 8022), "00000007302e302e302e3000001f56"),
    (f.ForwardedPort(8022), "00001f56"),
    (f.ForwardedPort(0xFFFFFFFF), "ffffffff"),
    (f.StreamlocalForward("/run/x.sock"), "0000000b2f72756e2f782e736f636b"),
    (f.StreamlocalForward(""), "00000000"),
    (u.ServiceRequest("ssh-userauth"), "050000000c7373682d7573657261757468"),
    (u.ServiceRequest("a@b"), "0500000003614062"),
    (
        u.UserauthRequest("alice+deploy+web1", "ssh-connection", "none"),
        "3200000011616c6963652b6465706c6f792b776562310000000e7373682d636f6e6e656374696f6e000000046e6f6e65",
    ),
    (
        u.UserauthRequest("", "ssh-connection", "password", b"\x00\x00\x00\x00\x01x"),
        "32000000000000000e7373682d636f6e6e656374696f6e0000000870617373776f7264000000000178",
    ),
    (u.PublicKeyBody("ssh-ed25519", b"blob"), "000000000b7373682d6564323535313900000004626c6f62"),
    (
        u.PublicKeyBody("ssh-ed25519", b"blob", b"signature"),
        "010000000b7373682d6564323535313900000004626c6f62000000097369676e6174757265",
    ),
    (u.PasswordBody(b"old"), "00000000036f6c64"),
    (u.PasswordBody(b"old", b"new"), "01000000036f6c64000000036e6577"),
    (u.KeyboardInteractiveBody(), "0000000000000000"),
    (u.KeyboardInteractiveBody(b"en", b"pam,otp"), "00000002656e0000000770616d2c6f7470"),
    (u.UserauthFailure(("publickey", "password"), True), "33000000127075626c69636b65792c70617373776f726401"),
    (u.UserauthFailure(()), "330000000000"),
    (u.UserauthBanner(b"welcome\n", b"en"), "350000000877656c636f6d650a00000002656e"),
    (u.UserauthBanner(b""), "350000000000000000"),
    (u.PkOk("rsa-sha2-512", b"blob"), "3c0000000c7273612d736861322d35313200000004626c6f62"),
    (u.PkOk("ssh-ed25519", b""), "3c0000000b7373682d6564323535313900000000"),
    (
        u.InfoRequest(
            "name", "do", prompts=(u.Prompt("Password: "), u.Prompt("Code: ", True)), language=b"en"
        ),
        "3c000000046e616d6500000002646f00000002656e000000020000000a50617373776f72643a200000000006436f64653a2001",
    ),
    (u.InfoRequest(), "3c00000000000000000000000000000000"),
    (u.InfoResponse((b"secret", b"")), "3d000000020000000673656372657400000000"),
    (u.InfoResponse(()), "3d00000000"),
]

REFUSED: list[tuple[type[Codec], str, str]] = [
    (m.GlobalRequest, "", "message is truncated"),
    (m.GlobalRequest, "500000000001", "name is empty or not printable US-ASCII"),
    (m.GlobalRequest, "500000000361206201", "name is empty or not printable US-ASCII"),
    (m.GlobalRequest, "5000000041" + "61" * 65 + "01", "string is longer than allowed"),
    (m.GlobalRequest, "51000000016101", "payload is no GLOBAL_REQUEST"),
    (m.RequestSuccess, "52", "payload is no REQUEST_SUCCESS"),
    (m.RequestFailure, "5200", "message has trailing bytes"),
    (m.ChannelOpen, "5a0000000773657373696f6e0000000100000002000000", "message is truncated"),
    (m.ChannelOpen, "5affffffff73657373696f6e", "string is longer than allowed"),
    (m.ChannelOpenConfirmation, "5b0000000100000001000000010000000178", "message has trailing bytes"),
    (m.ChannelOpenConfirmation, "5b000000010000000100000001", "message is truncated"),
    (m.ChannelOpenFailure, "5c000000010000000100001001", "string is longer than allowed"),
    (
        m.ChannelOpenFailure,
        "5c0000000100000001000000026e6f00000041" + "65" * 65,
        "string is longer than allowed",
    ),
    (m.ChannelOpenFailure, "5c0000000100000001000000026e6f00000002656e00", "message has trailing bytes"),
    (m.WindowAdjust, "5d00000001000000", "message is truncated"),
    (m.WindowAdjust, "5d000000010000000100000001", "message has trailing bytes"),
    (m.Data, "5e0000000100040001", "string is longer than allowed"),
    (m.Data, "5e00000001000000036162", "message is truncated"),
    (m.Data, "5e00000001000000016162", "message has trailing bytes"),
    (m.ExtendedData, "5f0000000100000001", "message is truncated"),
    (m.ExtendedData, "5f0000000100000001000000016162", "message has trailing bytes"),
    (m.Eof, "6100000001", "payload is no CHANNEL_EOF"),
    (m.Eof, "600000000100", "message has trailing bytes"),
    (m.Close, "61000000", "message is truncated"),
    (m.ChannelRequest, "6200000001000000057368656c6c", "message is truncated"),
    (m.ChannelSuccess, "63", "message is truncated"),
    (m.ChannelFailure, "640000000100000001", "message has trailing bytes"),
    (r.Empty, "00", "message has trailing bytes"),
    (r.PtyRequest, "00000101" + "78" * 257, "string is longer than allowed"),
    (
        r.PtyRequest,
        "00000005787465726d0000000100000001000000010000000100000322",
        "string is longer than allowed",
    ),
    (
        r.PtyRequest,
        "00000005787465726d00000001000000010000000100000001000000043500000000",
        "message is truncated",
    ),
    (
        r.PtyRequest,
        "00000005787465726d0000000100000001000000010000000100000005350000000100",
        "message has trailing bytes",
    ),
    (r.WindowChange, "000000010000000100000001", "message is truncated"),
    (r.WindowChange, "0000000100000001000000010000000100000001", "message has trailing bytes"),
    (r.Exec, "00040001", "string is longer than allowed"),
    (r.Exec, "000000026c7300", "message has trailing bytes"),
    (r.Subsystem, "00000001ff", "string is not UTF-8"),
    (r.Subsystem, "00000101" + "78" * 257, "string is longer than allowed"),
    (r.Env, "00000001ff00000000", "string is not UTF-8"),
    (r.Env, "00000401" + "78" * 1025, "string is longer than allowed"),
    (r.Signal, "00000041" + "78" * 65, "string is longer than allowed"),
    (r.Break, "00", "message is truncated"),
    (r.XonXoff, "", "message is truncated"),
    (r.XonXoff, "0101", "message has trailing bytes"),
    (r.ExitStatus, "0000000100", "message has trailing bytes"),
    (r.ExitSignal, "000000044b494c4c0000001001", "string is longer than allowed"),
    (r.ExitSignal, "000000044b494c4c000000000000000041" + "78" * 65, "string is longer than allowed"),
    (r.X11Request, "01000000034d4954000000027a7a00000000", "the cookie is not in hexadecimal"),
    (r.X11Request, "01000000034d4954000000027a7a000000", "message is truncated"),
    (r.X11Request, "01000000034d4954000000027a7a0000000000", "message has trailing bytes"),
    (r.X11Request, "0100000101", "string is longer than allowed"),
    (r.X11Request, "010000000000000081", "string is longer than allowed"),
    (f.TcpipOpen, "00000402" + "78" * 1026, "string is longer than allowed"),
    (f.TcpipOpen, "00000001ff00000001", "string is not UTF-8"),
    (f.TcpipOpen, "00000001610000000100000402" + "78" * 1026, "string is longer than allowed"),
    (f.X11Open, "00000001610000000100", "message has trailing bytes"),
    (f.DirectStreamlocal, "00001001" + "78" * 4097, "string is longer than allowed"),
    (f.DirectStreamlocal, "000000022f7800000402" + "78" * 1026, "string is longer than allowed"),
    (f.ForwardedStreamlocal, "000000022f78", "message is truncated"),
    (f.TcpipForward, "00000001610000000100000001", "message has trailing bytes"),
    (f.ForwardedPort, "", "message is truncated"),
    (f.StreamlocalForward, "000000022f7800", "message has trailing bytes"),
    (u.ServiceRequest, "0500000003612c62", "name is empty or not printable US-ASCII"),
    (u.ServiceRequest, "05000000016100", "message has trailing bytes"),
    (u.UserauthRequest, "3200000401" + "78" * 1025, "string is longer than allowed"),
    (u.UserauthRequest, "3200000001ff00000001610000000162", "string is not UTF-8"),
    (u.UserauthRequest, "320000000161000000000000000162", "name is empty or not printable US-ASCII"),
    (u.PublicKeyBody, "000000000161000000016200", "message has trailing bytes"),
    (u.PublicKeyBody, "0100000001610000000162", "message is truncated"),
    (u.PasswordBody, "0000010001", "string is longer than allowed"),
    (u.PasswordBody, "00000000036f6c64000000036e6577", "message has trailing bytes"),
    (u.KeyboardInteractiveBody, "00000101" + "78" * 257, "string is longer than allowed"),
    (u.KeyboardInteractiveBody, "0000000000010001", "string is longer than allowed"),
    (u.UserauthFailure, "3300000004612c2c6200", "name-list holds an empty or unprintable name"),
    (u.UserauthFailure, "3300004001", "string is longer than allowed"),
    (u.UserauthFailure, "3300000001610000", "message has trailing bytes"),
    (u.UserauthBanner, "3500000002686900000101" + "78" * 257, "string is longer than allowed"),
    (u.PkOk, "3c000000016100010001", "string is longer than allowed"),
    (u.InfoRequest, "3c00000000000000000000000000000021", "too many prompts"),
    (u.InfoRequest, "3c00000000000000000000000000000002000000016100", "message is truncated"),
    (u.InfoRequest, "3c000000000000000000000101" + "78" * 257, "string is longer than allowed"),
    (u.InfoRequest, "3c0000000000000000000000000000000000", "message has trailing bytes"),
    (u.InfoResponse, "3d00000021", "too many responses"),
    (u.InfoResponse, "3d0000000100010001", "string is longer than allowed"),
    (u.InfoResponse, "3d000000020000000161", "message is truncated"),
]
"""Codec, payload, the error's text."""


@pytest.mark.parametrize(
    ("value", "raw"), VECTORS, ids=lambda one: None if isinstance(one, str) else type(one).__name__
)
def test_the_bytes_are_what_they_were(value: Codec, raw: str) -> None:
    assert value.encode().hex() == raw
    assert type(value).parse(bytes.fromhex(raw)) == value


@pytest.mark.parametrize(
    ("kind", "raw", "text"), REFUSED, ids=lambda one: None if isinstance(one, str) else one.__name__
)
def test_what_was_refused_is_refused_in_the_same_words(kind: type[Codec], raw: str, text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        kind.parse(bytes.fromhex(raw))
    assert caught.value.text == text
    assert caught.value.code == Disconnect.PROTOCOL_ERROR


def test_no_declared_message_is_without_vectors() -> None:
    assert {type(value) for value, _ in VECTORS} >= {*DECLARED} - {u.Prompt}
