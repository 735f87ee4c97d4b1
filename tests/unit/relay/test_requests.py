"""Requests and replies: who may ask what, and answers in the order of the questions."""

from __future__ import annotations

import pytest

from bastion.errors import PolicyReason
from bastion.policy.verdict import Verdict
from bastion.relay import events as e
from bastion.relay.relay import RelayLimits
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import asks, asks_all, no, opens, sends
from tests.unit.relay.conftest import MakePlaybook

OK, NO = m.ChannelSuccess(0), m.ChannelFailure(0)
ALL_OK, ALL_NO = m.RequestSuccess(), m.RequestFailure()
ENV = asks(0, "env", r.Env("LANG", b"C"))
UNKNOWN = asks(0, "made-up@example.com", b"whatever")
KEEPALIVE = "keepalive@openssh.com"
WINADJ = "winadj@putty.projects.tartarus.org"


# -- what passes, what is judged, what is refused


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("pty-req", r.PtyRequest(b"xterm", 80, 24)),
        ("x11-req", r.X11Request(True, b"MIT-MAGIC-COOKIE-1", b"c00c1e", 0)),
        ("env", r.Env("LC_ALL", b"C")),
        ("shell", r.Empty()),
        ("exec", r.Exec(b"\xff not UTF-8")),
        ("subsystem", r.Subsystem("netconf")),
        ("auth-agent-req@openssh.com", r.Empty()),
    ],
)
def test_requests_of_the_client_that_policy_judges(playbook: MakePlaybook, name: str, body: r.Body) -> None:
    book = playbook()
    book.session()
    book.client(asks(0, name, body)).to_target(asks(0, name, body))
    book.told(e.RequestForwarded(1, Side.CLIENT, name, body.detail(), "test rule"))
    assert book.policy.asked[-1] == (Side.CLIENT, name)
    book.target(OK).to_client(OK).told(e.RequestAnswered(1, Side.TARGET, name, True))
    book.done()
    book = playbook(refused={name: no("not for alice")})
    book.session()
    book.client(asks(0, name, body)).to_client(NO)
    refused = e.RequestRefused(
        1, Side.CLIENT, name, PolicyReason.VERB_NOT_ALLOWED, "not for alice", "test rule", body.detail()
    )
    book.told(refused)
    book.client(asks(0, name, body, reply=False)).silence().told(refused)
    book.client(sends(0, b"the channel lives")).to_target(sends(0, b"the channel lives"))
    book.done()


@pytest.mark.parametrize(
    ("name", "body", "event"),
    [
        ("window-change", r.WindowChange(132, 43), e.WindowChanged(1, 132, 43)),
        ("signal", r.Signal("TERM"), e.RequestForwarded(1, Side.CLIENT, "signal", {"signal": "TERM"})),
        ("break", r.Break(500), e.RequestForwarded(1, Side.CLIENT, "break", {"length": 500})),
        ("eow@openssh.com", r.Empty(), e.RequestForwarded(1, Side.CLIENT, "eow@openssh.com", {})),
        (KEEPALIVE, r.Empty(), None),
        (WINADJ, r.Empty(), None),
    ],
)
def test_requests_of_the_client_that_pass_unasked(
    playbook: MakePlaybook, name: str, body: r.Body, event: e.Event | None
) -> None:
    book = playbook()
    book.session()
    asked = len(book.policy.asked)
    book.client(asks(0, name, body)).to_target(asks(0, name, body))
    book.told(*[event] if event else [])
    book.target(NO).to_client(NO)
    assert len(book.policy.asked) == asked
    book.done()


@pytest.mark.parametrize(
    ("name", "body", "event"),
    [
        ("exit-status", r.ExitStatus(3), e.ExitStatus(1, 3)),
        ("exit-signal", r.ExitSignal("SEGV", True, b"caf\xe9"), e.ExitSignal(1, "SEGV", True, "caf\\xe9")),
        ("xon-xoff", r.XonXoff(True), e.RequestForwarded(1, Side.TARGET, "xon-xoff", {"client_can_do": 1})),
        ("eow@openssh.com", r.Empty(), e.RequestForwarded(1, Side.TARGET, "eow@openssh.com", {})),
        (KEEPALIVE, r.Empty(), None),
    ],
)
def test_requests_of_the_target_that_pass_unasked(
    playbook: MakePlaybook, name: str, body: r.Body, event: e.Event | None
) -> None:
    book = playbook()
    book.session()
    book.target(asks(0, name, body)).to_client(asks(0, name, body)).told(*[event] if event else [])
    book.client(NO).to_target(NO)
    book.done()


@pytest.mark.parametrize(
    "name", ["exec", "shell", "pty-req", "env", "window-change", "signal", "subsystem", "x11-req", "made-up"]
)
def test_a_target_cannot_ask_what_clients_ask(playbook: MakePlaybook, name: str) -> None:
    bodies = {
        "pty-req": r.PtyRequest(b"", 1, 1),
        "window-change": r.WindowChange(1, 1),
        "env": r.Env("A", b""),
    }
    bodies |= {"x11-req": r.X11Request(True, b"", b"", 0), "exec": r.Exec(b""), "signal": r.Signal("X")}
    body = bodies.get(name, r.Subsystem("sftp") if name == "subsystem" else r.Empty())
    book = playbook()
    book.session()
    book.untold()
    book.target(asks(0, name, body)).to_target(NO)
    (heard,) = book.tap.heard[-1:]
    assert isinstance(heard, e.RequestRefused)
    assert (heard.by, heard.reason) == (Side.TARGET, PolicyReason.UNKNOWN_REQUEST)
    book.done()


@pytest.mark.parametrize(
    "name", ["exit-status", "exit-signal", "xon-xoff", "made-up", "hostkeys-00@openssh.com"]
)
def test_a_client_cannot_ask_what_targets_ask_or_nobody_knows(playbook: MakePlaybook, name: str) -> None:
    bodies = {
        "exit-status": r.ExitStatus(0),
        "exit-signal": r.ExitSignal("TERM"),
        "xon-xoff": r.XonXoff(True),
    }
    book = playbook()
    book.session()
    book.client(asks(0, name, bodies.get(name, r.Empty()))).to_client(NO)
    book.done()


@pytest.mark.parametrize(
    "name", ["shell", "exec", "pty-req", "env", "signal", "window-change", "exit-status"]
)
def test_requests_of_sessions_on_a_tunnel_are_refused(playbook: MakePlaybook, name: str) -> None:
    bodies = {"exec": r.Exec(b"sh"), "pty-req": r.PtyRequest(b"", 1, 1), "env": r.Env("A", b"")}
    bodies |= {
        "signal": r.Signal("HUP"),
        "window-change": r.WindowChange(1, 1),
        "exit-status": r.ExitStatus(0),
    }
    book = playbook()
    tunnel = opens("direct-tcpip", 0, body=r.TcpipOpen("db", 5432, "::1", 1).encode())
    book.client(tunnel).to_target(tunnel)
    confirmed = m.ChannelOpenConfirmation(0, 0, 100, 1000)
    book.target(confirmed).to_client(confirmed)
    book.client(asks(0, name, bodies.get(name, r.Empty()))).to_client(NO)
    book.client(asks(0, WINADJ)).to_target(asks(0, WINADJ))
    book.done()


@pytest.mark.parametrize("sees_asked", [False, True])
@pytest.mark.parametrize(
    ("name", "body", "asked"),
    [
        ("shell", r.Empty(), "shell"),
        ("exec", r.Exec(b"ls -l"), "exec ls -l"),
        ("subsystem", r.Subsystem("sftp"), "subsystem sftp"),
    ],
)
def test_a_command_runs_in_the_place_of_what_was_asked_for(
    playbook: MakePlaybook, name: str, body: r.Body, asked: str, sees_asked: bool
) -> None:
    """What ran and what was asked for are told of; only a server that puts it there itself sees the latter."""
    forced = Verdict(True, PolicyReason.ALLOWED, "test rule", runs="backup", sees_asked=sees_asked)
    book = playbook(refused={name: forced})
    book.session()
    crosses = asks(0, name, body) if sees_asked else asks(0, "exec", r.Exec(b"backup"))
    book.client(asks(0, name, body)).to_target(crosses)
    book.told(e.RequestForwarded(1, Side.CLIENT, "exec", {"command": "backup", "asked": asked}, "test rule"))
    book.target(OK).to_client(OK)
    book.told(e.RequestAnswered(1, Side.TARGET, "exec", True))
    data = sends(0, b"no sftp, whatever was asked for")
    book.target(data).to_client(data).client(data).to_target(data)
    book.done()


@pytest.mark.parametrize("second", ["shell", "exec", "subsystem"])
@pytest.mark.parametrize("answer", ["none yet", "yes", "none wanted"])
def test_one_program_per_session_channel(playbook: MakePlaybook, second: str, answer: str) -> None:
    bodies: dict[str, r.Body] = {"exec": r.Exec(b"id"), "subsystem": r.Subsystem("sftp")}
    book = playbook()
    book.session()
    first = asks(0, "exec", r.Exec(b"true"), reply=answer != "none wanted")
    book.client(first).to_target(first)
    if answer == "yes":
        book.target(OK).to_client(OK)
    asked = len(book.policy.asked)
    book.client(asks(0, second, bodies.get(second, r.Empty())))
    if answer == "none yet":
        book.silence().target(OK).to_client(OK, NO)
    else:
        book.to_client(NO)
    assert len(book.policy.asked) == asked
    book.done()


def test_another_program_may_be_tried_when_the_target_refused_the_first(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    first, second = asks(0, "subsystem", r.Subsystem("sftp")), asks(0, "exec", r.Exec(b"sftp-server"))
    book.client(first).to_target(first)
    book.target(NO).to_client(NO)
    book.client(second).to_target(second)
    book.done()


def test_another_program_may_be_tried_when_policy_refused_the_first(playbook: MakePlaybook) -> None:
    book = playbook(refused={"shell": no()})
    book.session()
    book.client(asks(0, "shell")).to_client(NO)
    run = asks(0, "exec", r.Exec(b"id"))
    book.client(run).to_target(run)
    book.done()


@pytest.mark.parametrize(("reply", "granted"), [(True, True), (True, False), (False, True)])
def test_a_channel_knows_whether_it_has_a_pty(playbook: MakePlaybook, reply: bool, granted: bool) -> None:
    book = playbook()
    channel = book.session()
    asked = asks(0, "pty-req", r.PtyRequest(b"xterm", 80, 24), reply)
    book.client(asked).to_target(asked)
    if reply:
        assert not channel.has_pty
        answer = OK if granted else NO
        book.target(answer).to_client(answer)
    assert channel.has_pty is granted
    book.done()


@pytest.mark.parametrize(
    "request_line", [asks(0, "env", b"\x00\x00\x00\x09LANG"), asks(0, "shell", b"x"), asks(0, "exec")]
)
def test_a_malformed_request_is_an_error(playbook: MakePlaybook, request_line: m.ChannelRequest) -> None:
    book = playbook()
    book.session()
    book.client_breaks(request_line, request_line.name).done()


# -- the order of answers


def test_a_refusal_with_nothing_pending_is_said_at_once(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(UNKNOWN).to_client(NO)
    book.done()


def test_a_refusal_waits_for_the_replies_to_earlier_requests(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(ENV, UNKNOWN, ENV, UNKNOWN, UNKNOWN).to_target(ENV, ENV)
    book.target(OK).to_client(OK, NO)
    book.target(OK).to_client(OK, NO, NO)
    book.client(UNKNOWN).to_client(NO)
    book.done()


def test_a_refusal_waits_for_the_newest_of_several_pending_replies(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(ENV, ENV).to_target(ENV, ENV)
    book.target(OK).to_client(OK)
    book.client(UNKNOWN).silence()
    book.target(OK).to_client(OK, NO)
    book.done()


def test_refusals_of_one_channel_do_not_wait_for_another(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session(0, 0)
    book.session(1, 1)
    book.client(ENV).to_target(ENV)
    book.client(asks(1, "made-up")).to_client(m.ChannelFailure(1))
    book.done()


def test_requests_without_reply_have_no_place_in_the_order(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    quiet = asks(0, "env", r.Env("A", b""), reply=False)
    book.client(quiet, ENV, asks(0, "made-up", reply=False)).to_target(quiet, ENV)
    book.target(OK).to_client(OK)
    book.done()


def test_both_directions_have_an_order_of_their_own(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(ENV).to_target(ENV)
    book.target(asks(0, "made-up")).to_target(NO)
    book.target(asks(0, KEEPALIVE), asks(0, "made-up")).to_client(asks(0, KEEPALIVE))
    book.target(NO).to_client(NO)
    book.client(NO).to_target(NO, NO)
    book.done()


def test_a_waiting_refusal_dies_with_its_channel(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.client(ENV, UNKNOWN).to_target(ENV)
    book.target(m.Close(0)).to_client(m.Close(0))
    book.client(m.Close(0)).to_target(m.Close(0))
    book.session(0, 0)
    book.client(UNKNOWN).to_client(NO)
    book.done()


def test_nothing_is_refused_aloud_on_a_channel_whose_close_went_out(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.target(m.Close(0)).to_client(m.Close(0))
    book.client(UNKNOWN).silence()
    book.done()


def test_a_reply_to_nothing_is_dropped_and_counted(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.untold()
    book.target(OK, NO, ALL_OK, m.RequestSuccess(b"body"), ALL_NO).silence().told()
    book.client(OK, ALL_NO).silence()
    assert book.relay.unsolicited == (2, 5)
    book.done()


def test_too_many_requests_without_an_answer(playbook: MakePlaybook) -> None:
    book = playbook(limits=RelayLimits(channel_replies=3, connection_replies=2))
    book.session()
    book.client(ENV, UNKNOWN, UNKNOWN).to_target(ENV)
    book.client_breaks(ENV, "too many requests").done()
    book = playbook(limits=RelayLimits(channel_replies=3, connection_replies=2))
    forward = asks_all("tcpip-forward", r.TcpipForward("", 0))
    book.client(forward, forward).to_target(forward, forward)
    book.client_breaks(asks_all("made-up"), "too many requests").done()


def test_a_side_that_takes_no_refusal_for_an_answer(playbook: MakePlaybook) -> None:
    book = playbook(limits=RelayLimits(refusals=6))
    book.session()
    for _ in range(2):
        book.target(opens("made-up", 9)).to_target(
            m.ChannelOpenFailure(9, 3, "channel type is not known here")
        )
        book.target(asks_all("made-up", reply=False)).silence()
        book.target(asks(0, "made-up", reply=False)).silence()
    book.client(UNKNOWN).to_client(NO)
    book.untold()
    book.target_breaks(opens("made-up", 9), "too many refused requests").told().done()


def test_answered_requests_make_room(playbook: MakePlaybook) -> None:
    book = playbook(limits=RelayLimits(channel_replies=2))
    book.session()
    for _ in range(10):
        book.client(ENV, UNKNOWN).to_target(ENV)
        book.target(OK).to_client(OK, NO)
    book.done()


# -- of the connection


def test_a_remote_forward_and_its_port(playbook: MakePlaybook) -> None:
    book = playbook()
    forward = asks_all("tcpip-forward", r.TcpipForward("localhost", 0))
    book.client(forward).to_target(forward)
    detail: r.Detail = {"host": "localhost", "port": 0}
    book.told(e.RequestForwarded(0, Side.CLIENT, "tcpip-forward", detail, "test rule"))
    answer = m.RequestSuccess(b"\x00\x00\xa0\x01")
    book.target(answer).to_client(answer)
    book.told(e.RequestAnswered(0, Side.TARGET, "tcpip-forward", True, 40961))
    cancel = asks_all("cancel-tcpip-forward", r.TcpipForward("localhost", 40961))
    book.client(cancel).to_target(cancel).untold()
    book.target(ALL_OK).to_client(ALL_OK)
    book.told(e.RequestAnswered(0, Side.TARGET, "cancel-tcpip-forward", True))
    book.done()


def test_a_port_that_was_not_asked_for_is_taken_off(playbook: MakePlaybook) -> None:
    """paramiko's server and Go's name the port in every answer to tcpip-forward; paramiko's may say 1 for yes."""
    book = playbook()
    forward = asks_all("tcpip-forward", r.TcpipForward("localhost", 8022))
    for body in (b"\xde\xad\xbe\xef", b"\1", b"words" * 100):
        book.client(forward).to_target(forward).untold()
        book.target(m.RequestSuccess(body)).to_client(ALL_OK)
        book.told(e.RequestAnswered(0, Side.TARGET, "tcpip-forward", True))
    book.done()


PLACE = r.TcpipForward("", 8022)
SOCKET = r.StreamlocalForward("/run/x.sock")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (KEEPALIVE, r.Empty()),
        ("no-more-sessions@openssh.com", r.Empty()),
        ("cancel-tcpip-forward", PLACE),
        ("streamlocal-forward@openssh.com", SOCKET),
        ("cancel-streamlocal-forward@openssh.com", SOCKET),
    ],
)
def test_no_other_answer_has_a_body(playbook: MakePlaybook, name: str, body: r.Body) -> None:
    book = playbook()
    book.client(asks_all(name, body)).to_target(asks_all(name, body))
    book.target_breaks(m.RequestSuccess(b"\0\0\0\1"), "has a body").done()


@pytest.mark.parametrize("body", [b"\0", b"\0\0\0", b"\0\0\xa0\1" + b"more"])
def test_the_body_of_an_answer_is_one_port(playbook: MakePlaybook, body: bytes) -> None:
    book = playbook()
    forward = asks_all("tcpip-forward", r.TcpipForward("", 0))
    book.client(forward).to_target(forward)
    book.target_breaks(m.RequestSuccess(body), "tcpip-forward").done()


def test_the_client_answers_without_a_body_too(playbook: MakePlaybook) -> None:
    book = playbook()
    book.target(asks_all(KEEPALIVE)).to_client(asks_all(KEEPALIVE))
    book.client_breaks(m.RequestSuccess(bytes(200_000)), "has a body").done()


@pytest.mark.parametrize("truth", [2, 0x42, 0xFF])
def test_a_boolean_crosses_as_one(playbook: MakePlaybook, truth: int) -> None:
    """RFC 4251 section 5 reads any value but 0 as true; one bit of it is passed on."""
    book = playbook()
    book.session()
    asked = asks(0, "shell").encode()
    book.client(asked[:-1] + bytes([truth])).to_target(asked)
    forward = asks_all(KEEPALIVE).encode()
    book.client(forward[:-1] + bytes([truth])).to_target(forward)
    book.done()


def test_a_remote_forward_refused_by_policy(playbook: MakePlaybook) -> None:
    book = playbook(refused={"tcpip-forward": no()})
    book.client(asks_all("tcpip-forward", r.TcpipForward("", 80))).to_client(ALL_NO)
    book.told(
        e.RequestRefused(
            0,
            Side.CLIENT,
            "tcpip-forward",
            PolicyReason.VERB_NOT_ALLOWED,
            "not for you",
            "test rule",
            {"host": "", "port": 80},
        )
    )
    book.done()


def test_a_target_cannot_ask_for_a_forward(playbook: MakePlaybook) -> None:
    book = playbook()
    book.target(asks_all("tcpip-forward", r.TcpipForward("", 80))).to_target(ALL_NO)
    book.target(asks_all("no-more-sessions@openssh.com", reply=False)).silence()
    book.session()
    book.done()


def test_unknown_global_requests_are_refused_in_their_turn(playbook: MakePlaybook) -> None:
    book = playbook()
    forward = asks_all("tcpip-forward", r.TcpipForward("", 80))
    book.client(asks_all("made-up")).to_client(ALL_NO)
    book.client(asks_all("made-up", reply=False)).silence()
    book.client(forward, asks_all("made-up"), forward).to_target(forward, forward)
    book.target(ALL_NO).to_client(ALL_NO, ALL_NO)
    book.target(ALL_OK).to_client(ALL_OK)
    book.done()


@pytest.mark.parametrize("side", ["client", "target"])
def test_keepalives_of_both_sides_pass_quietly(playbook: MakePlaybook, side: str) -> None:
    book = playbook()
    if side == "client":
        book.client(asks_all(KEEPALIVE)).to_target(asks_all(KEEPALIVE))
        book.target(ALL_NO).to_client(ALL_NO).told()
    else:
        book.target(asks_all(KEEPALIVE)).to_client(asks_all(KEEPALIVE))
        book.client(ALL_NO).to_target(ALL_NO).told()
    book.done()


# -- asked by us


def test_the_reply_to_a_question_of_ours_is_swallowed_in_its_turn(playbook: MakePlaybook) -> None:
    book = playbook()
    answered: list[Side] = []
    book.relay.answered = answered.append
    forward = asks_all("tcpip-forward", r.TcpipForward("", 80))
    book.client(forward).to_target(forward)
    assert book.relay.ask(Side.TARGET, KEEPALIVE, book.out)
    book.to_target(asks_all(KEEPALIVE))
    book.client(asks_all("made-up"), forward).to_target(forward)
    book.target(ALL_OK).to_client(ALL_OK, ALL_NO)
    assert answered == []
    book.untold().target(ALL_NO).silence().told()
    assert answered == [Side.TARGET]
    book.target(ALL_OK).to_client(ALL_OK)
    book.done()


def test_a_refusal_does_not_wait_for_a_question_of_ours(playbook: MakePlaybook) -> None:
    book = playbook()
    assert book.relay.ask(Side.TARGET, KEEPALIVE, book.out)
    book.to_target(asks_all(KEEPALIVE))
    book.client(asks_all("made-up")).to_client(ALL_NO)
    book.done()


def test_asking_the_client(playbook: MakePlaybook) -> None:
    book = playbook()
    answered: list[Side] = []
    book.relay.answered = answered.append
    assert book.relay.ask(Side.CLIENT, KEEPALIVE, book.out)
    book.to_client(asks_all(KEEPALIVE))
    book.client(ALL_NO).silence()
    assert answered == [Side.CLIENT]
    book.done()


def test_asking_stops_when_a_side_owes_too_many_replies(playbook: MakePlaybook) -> None:
    book = playbook(limits=RelayLimits(connection_replies=2))
    assert book.relay.ask(Side.TARGET, KEEPALIVE, book.out)
    assert book.relay.ask(Side.TARGET, KEEPALIVE, book.out)
    assert not book.relay.ask(Side.TARGET, KEEPALIVE, book.out)
    book.to_target(asks_all(KEEPALIVE), asks_all(KEEPALIVE))
    book.done()


@pytest.mark.parametrize("name", ["env", "exec"])
def test_the_text_of_what_is_refused_is_cut_before_it_is_escaped(playbook: MakePlaybook, name: str) -> None:
    """A refused value of 250 kB took 76 ms to escape, and stood in the recording with a megabyte."""
    value = b"\xff" * 250_000
    body: r.Body = r.Env("SECRET", value) if name == "env" else r.Exec(value)
    book = playbook(refused={name: no()})
    book.session()
    book.client(asks(0, name, body)).to_client(m.ChannelFailure(0))
    refused = book.tap.heard[-1]
    assert isinstance(refused, e.RequestRefused)
    text = refused.detail["value" if name == "env" else "command"]
    assert text == "\\xff" * r.REFUSED_TEXT and refused.detail["cut_to"] == r.REFUSED_TEXT
    book.done()


def test_what_goes_through_is_told_in_full(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    asked = asks(0, "exec", r.Exec(b"a\xff" * 5000))
    book.client(asked).to_target(asked)
    book.told(e.RequestForwarded(1, Side.CLIENT, "exec", {"command": "a\\xff" * 5000}, "test rule")).done()


# -- our host keys, on the client's leg


PROVE = asks_all("hostkeys-prove-00@openssh.com", b"which")
PROOF = m.RequestSuccess(b"proof").encode()


def test_the_question_about_our_host_keys_is_answered_once_and_by_us(playbook: MakePlaybook) -> None:
    book = playbook()
    book.client(PROVE).to_client(ALL_NO)
    asked: list[bytes] = []
    book.relay.prove_host_keys(lambda body: asked.append(body) or PROOF)  # type: ignore[func-returns-value]
    book.target(asks_all("hostkeys-prove-00@openssh.com", b"which")).to_target(ALL_NO)
    book.client(PROVE).to_client(m.RequestSuccess(b"proof"))
    book.client(PROVE).to_client(ALL_NO)
    assert asked == [b"which"]
    book.done()


def test_an_answer_of_ours_waits_for_its_turn(playbook: MakePlaybook) -> None:
    """Behind what the target still owes, between the refusals that came before and after it."""
    book = playbook()
    book.relay.prove_host_keys(lambda body: PROOF)
    book.client(asks_all(KEEPALIVE)).to_target(asks_all(KEEPALIVE))
    book.client(asks_all("hostkeys-00@openssh.com"), PROVE, asks_all("hostkeys-00@openssh.com")).silence()
    book.target(ALL_OK).to_client(ALL_OK, ALL_NO, m.RequestSuccess(b"proof"), ALL_NO)
    book.done()


def test_a_question_that_nothing_answers_is_refused(playbook: MakePlaybook) -> None:
    book = playbook()
    book.relay.prove_host_keys(lambda body: b"")
    book.client(PROVE).to_client(ALL_NO)
    book.done()
