import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.restrictions import PermitOpen, Restrictions
from bastion.clock import FixedClock
from bastion.errors import PolicyReason
from bastion.policy import decide
from bastion.policy.decide import FORWARDS_MAX, GrantDecider
from bastion.policy.grant import authorise
from bastion.relay.passlist import JUDGED_GLOBAL_REQUESTS, JUDGED_REQUESTS, OPENABLE
from bastion.sides import Side
from bastion.wire.requests import (
    CHANNEL_OPENS,
    CHANNEL_REQUESTS,
    GLOBAL_REQUESTS,
    DirectStreamlocal,
    Empty,
    Env,
    Exec,
    ForwardedStreamlocal,
    PtyRequest,
    StreamlocalForward,
    Subsystem,
    TcpipForward,
    TcpipOpen,
    X11Open,
    X11Request,
)
from tests.support.examples import examples

from .world import NOW, TARGETS, grant_of, inventory_of, person, policy_of, rule

CLIENT, TARGET = Side.CLIENT, Side.TARGET
EMPTY = Empty()
EVERYTHING = rule(
    '["shell", "exec", "sftp", "subsystem", "pty", "env", "forward-local", "forward", "forward-remote",'
    ' "streamlocal", "agent", "x11"]',
    'subsystems = ["netconf"]\nforward = ["*:*", "0.0.0.0/0:*", "cache.example.com:6379"]',
)
NOTHING = rule('["env"]')


def decider(policy=EVERYTHING, restrictions=None, target="web1"):
    return GrantDecider(grant_of(policy, target=target, restrictions=restrictions))


def ask_open(asked, kind, body=EMPTY, side=CLIENT):
    return asked.open(side, kind, body)


def ask(asked, name, body=EMPTY, side=CLIENT, kind="session"):
    return asked.request(side, kind, name, body)


def forward(asked, host, port):
    return ask_open(asked, "direct-tcpip", TcpipOpen(host, port, "127.0.0.1", 50000))


REQUESTS = {
    "shell": ("shell", EMPTY),
    "exec": ("exec", Exec(b"id")),
    "sftp": ("subsystem", Subsystem("sftp")),
    "subsystem": ("subsystem", Subsystem("netconf")),
    "pty": ("pty-req", PtyRequest(b"xterm", 80, 24)),
    "agent": ("auth-agent-req@openssh.com", EMPTY),
    "x11": ("x11-req", X11Request(False, b"MIT-MAGIC-COOKIE-1", b"00", 0)),
}


@pytest.mark.parametrize("verb", sorted(REQUESTS))
def test_each_request_needs_its_own_verb(verb):
    name, body = REQUESTS[verb]
    allowed = ask(decider(), name, body)
    assert (allowed.allowed, allowed.reason, allowed.rule) == (True, PolicyReason.ALLOWED, "one")
    others = [other for other in REQUESTS if other not in (verb, "subsystem")]
    refused = ask(decider(rule(str(others).replace("'", '"'))), name, body)
    assert (refused.allowed, refused.reason) == (False, PolicyReason.VERB_NOT_ALLOWED)
    assert refused.rule == decide.DEFAULT_REFUSE
    assert "web1" in refused.text


def test_the_refusal_says_what_is_allowed():
    text = ask(decider(rule('["exec", "sftp"]')), "shell").text
    assert text == "shell is not allowed on web1 as deploy; allowed: exec, sftp"


def test_a_session_channel_needs_a_verb_that_uses_one():
    assert ask_open(decider(), "session").allowed
    assert ask_open(decider(rule('["sftp"]')), "session").allowed
    assert ask_open(decider(NOTHING), "session").reason is PolicyReason.VERB_NOT_ALLOWED


def test_requests_belong_to_the_engineer_and_to_session_channels():
    for name, body in REQUESTS.values():
        assert ask(decider(), name, body, side=TARGET).reason is PolicyReason.UNKNOWN_REQUEST
        assert ask(decider(), name, body, kind="direct-tcpip").reason is PolicyReason.UNKNOWN_REQUEST


def test_a_subsystem_is_judged_by_its_name():
    asked = decider()
    assert ask(asked, "subsystem", Subsystem("netconf2")).reason is PolicyReason.VERB_NOT_ALLOWED
    only_others = decider(rule('["subsystem"]', 'subsystems = ["*"]'))
    assert not ask(only_others, "subsystem", Subsystem("sftp")).allowed
    assert ask(only_others, "subsystem", Subsystem("anything")).allowed


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("LANG", True),
        ("LC_ALL", True),
        ("GIT_PROTOCOL", True),
        ("LC", False),
        ("lang", False),
        ("LANGUAGE", False),
        ("LC_A\n", False),
        ("LC_\0", False),
        ("LD_PRELOAD", False),
    ],
)
def test_env_goes_by_the_list(name, allowed):
    verdict = ask(decider(), "env", Env(name, b"x"))
    assert verdict.allowed is allowed
    assert verdict.reason is (PolicyReason.ALLOWED if allowed else PolicyReason.ENV_NOT_ALLOWED)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "BASH_ENV", "PATH", "PYTHONPATH"])
def test_some_variables_are_never_sent_whatever_a_rule_says(name):
    verdict = ask(decider(rule('["env"]', 'env = ["*"]')), "env", Env(name, b"x"))
    assert (verdict.allowed, verdict.rule) == (False, decide.NEVER_SENT)


def test_env_patterns_count_only_in_rules_with_the_verb_and_name_their_rule():
    policy = rule('["shell", "env"]', 'env = ["FOO"]', "a") + rule('["env"]', 'env = ["BAR"]', "b")
    assert ask(decider(policy), "env", Env("BAR", b"")).rule == "b"
    assert ask(decider(policy), "env", Env("LANG", EMPTY)).allowed is False


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"])
def test_forward_local_is_the_literal_loopback_of_the_target(host):
    assert forward(decider(rule('["forward-local"]')), host, 5432).allowed
    refused = forward(decider(rule('["forward"]', 'forward = ["*:*", "127.0.0.0/8:*"]')), host, 5432)
    assert refused.reason is PolicyReason.VERB_NOT_ALLOWED


@pytest.mark.parametrize(
    "host",
    ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "", "localhost.",
     "x.localhost", "ip6-localhost", "local\nhost", "[::1]", "::1%lo", "127.0.0.1\0"],
)  # fmt: skip
def test_other_spellings_of_loopback_are_refused_by_every_verb(host):
    verdict = forward(decider(), host, 5432)
    assert (verdict.allowed, verdict.reason) == (False, PolicyReason.DESTINATION_NOT_ALLOWED)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("localhost", 22),
        ("127.0.0.1", 22),
        ("::1", 22),
        ("127.1", 22),
        ("0.0.0.0", 22),
        ("web2", 22),
        ("WEB2.", 22),
        ("www", 22),
        ("web1.example.com", 22),
        ("10.1.0.2", 22),
        ("10.1.2", 22),
        ("0x0a010002", 22),
        ("::ffff:10.1.0.2", 22),
        ("[10.1.0.2]", 22),
        ("db1", 2200),
        ("db1.example.com", 2200),
    ],
)
def test_ssh_servers_of_targets_are_refused_in_every_spelling(host, port):
    verdict = forward(decider(), host, port)
    assert (verdict.allowed, verdict.reason, verdict.rule) == (
        False,
        PolicyReason.NESTED_SSH,
        decide.NESTED_SSH,
    )


def test_the_targets_own_ssh_port_is_refused_wherever_it_is():
    assert forward(decider(target="web1"), "localhost", 2200).allowed
    on_db = GrantDecider(grant_of(EVERYTHING.replace("deploy", "postgres"), target="db1"))
    assert forward(on_db, "localhost", 2200).reason is PolicyReason.NESTED_SSH


def test_forward_goes_by_the_list_and_names_the_rule():
    policy = rule('["forward"]', 'forward = ["cache:6379"]', "a") + rule(
        '["forward"]', 'forward = ["db:5432"]', "b"
    )
    assert forward(decider(policy), "db", 5432).rule == "b"
    assert forward(decider(policy), "DB.", 5432).allowed
    refused = forward(decider(policy), "db", 5433)
    assert (refused.reason, refused.rule) == (PolicyReason.DESTINATION_NOT_ALLOWED, decide.DEFAULT_REFUSE)


def test_permitopen_narrows_every_forward():
    narrowed = Restrictions(permit_open=(PermitOpen((("localhost", 5432),)),))
    assert forward(decider(restrictions=narrowed), "localhost", 5432).allowed
    refused = forward(decider(restrictions=narrowed), "localhost", 5433)
    assert (refused.reason, refused.rule) == (PolicyReason.CERT_RESTRICTION, decide.CREDENTIAL)
    assert forward(decider(restrictions=narrowed), "example.com", 80).reason is PolicyReason.CERT_RESTRICTION


def test_what_the_credential_withholds_is_named_as_such():
    bare = decider(restrictions=Restrictions(extensions=frozenset()))
    for verb in ("pty", "agent", "x11"):
        name, body = REQUESTS[verb]
        verdict = ask(bare, name, body)
        assert (verdict.reason, verdict.rule) == (PolicyReason.CERT_RESTRICTION, decide.CREDENTIAL)
    assert forward(bare, "localhost", 80).reason is PolicyReason.CERT_RESTRICTION
    assert ask(bare, "shell").allowed


FORCED = "/usr/bin/backup --now"


def test_a_forced_command_runs_in_the_place_of_every_other():
    forced = decider(restrictions=Restrictions(force_command=FORCED))
    as_it_is = ask(forced, "exec", Exec(FORCED.encode()))
    assert as_it_is.allowed and as_it_is.runs is None
    for name, body, sees_asked in (
        ("shell", EMPTY, True),
        ("exec", Exec(b"/usr/bin/backup --now; sh"), True),
        ("exec", Exec(b""), True),
        ("subsystem", Subsystem("sftp"), False),
        ("subsystem", Subsystem("netconf"), False),
        ("subsystem", Subsystem("unheard-of"), False),
    ):
        verdict = ask(forced, name, body)
        assert (verdict.allowed, verdict.runs, verdict.sees_asked) == (True, FORCED, sees_asked)
    assert ask(forced, "pty-req", PtyRequest(b"xterm", 80, 24)).runs is None
    assert forward(forced, "localhost", 80).allowed, "as with OpenSSH, which has other words against forwards"


def test_a_target_without_certificates_is_told_nothing_of_what_was_typed():
    """Nothing but the gateway stands between it and another command."""
    keyed = f'{TARGETS}[targets.keyed]\nhost = "10.1.0.9"\nkey_file = "id"\n'
    alice = person("alice", "staff", restrictions=Restrictions(force_command=FORCED))
    grant = authorise(
        policy_of(EVERYTHING), inventory_of(keyed), alice, "keyed", None, "192.0.2.1", NOW, "sess"
    )
    verdict = ask(GrantDecider(grant), "exec", Exec(b"ls"))
    assert verdict.runs == FORCED and not verdict.sees_asked


def test_a_forced_command_gives_no_verb():
    forced = decider(rule('["shell"]'), Restrictions(force_command="id"))
    assert ask(forced, "exec", Exec(b"id")).reason is PolicyReason.VERB_NOT_ALLOWED
    assert ask(forced, "shell").reason is PolicyReason.VERB_NOT_ALLOWED, "what would run is a command"
    assert ask(decider(rule('["exec"]'), Restrictions(force_command="id")), "shell").runs == "id"


def test_forced_internal_sftp_is_the_sftp_subsystem_and_nothing_else():
    forced = decider(restrictions=Restrictions(force_command="internal-sftp"))
    assert ask(forced, "subsystem", Subsystem("sftp")).allowed
    for name, body in (
        ("shell", EMPTY),
        ("exec", Exec(b"internal-sftp")),
        ("subsystem", Subsystem("netconf")),
    ):
        verdict = ask(forced, name, body)
        assert (verdict.reason, verdict.rule) == (PolicyReason.CERT_RESTRICTION, decide.CREDENTIAL)
        assert verdict.text == "your key or certificate allows one command only: internal-sftp"


def test_an_empty_forced_command_is_none_that_could_run():
    forced = decider(restrictions=Restrictions(force_command=""))
    for name, body in (("shell", EMPTY), ("exec", Exec(b"")), ("subsystem", Subsystem("sftp"))):
        assert ask(forced, name, body).reason is PolicyReason.CERT_RESTRICTION


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_remote_forward_is_bound_to_the_targets_loopback(host):
    body = TcpipForward(host, 8080)
    assert decider().global_request(CLIENT, "tcpip-forward", body).rule == "one"
    assert (
        decider(NOTHING).global_request(CLIENT, "tcpip-forward", body).reason is PolicyReason.VERB_NOT_ALLOWED
    )


@pytest.mark.parametrize("host", ["", "*", "0.0.0.0", "::", "10.0.0.1", "web1"])
def test_a_remote_forward_is_bound_nowhere_else(host):
    verdict = decider().global_request(CLIENT, "tcpip-forward", TcpipForward(host, 8080))
    assert (verdict.allowed, verdict.reason) == (False, PolicyReason.DESTINATION_NOT_ALLOWED)


def test_the_target_opens_only_what_was_asked_for():
    asked = decider()
    back = TcpipOpen("localhost", 8080, "127.0.0.1", 5)
    refused = ask_open(asked, "forwarded-tcpip", back, TARGET)
    assert (refused.allowed, refused.rule) == (False, decide.NOT_ASKED)
    asked.global_request(CLIENT, "tcpip-forward", TcpipForward("localhost", 8080))
    assert ask_open(asked, "forwarded-tcpip", back, TARGET).allowed
    other = TcpipOpen("localhost", 8081, "127.0.0.1", 5)
    assert not ask_open(asked, "forwarded-tcpip", other, TARGET).allowed
    asked.global_request(CLIENT, "cancel-tcpip-forward", TcpipForward("localhost", 8080))
    assert not ask_open(asked, "forwarded-tcpip", back, TARGET).allowed


def test_a_forward_to_a_port_of_the_targets_choice_takes_any_port():
    asked = decider()
    asked.global_request(CLIENT, "tcpip-forward", TcpipForward("localhost", 0))
    assert ask_open(asked, "forwarded-tcpip", TcpipOpen("localhost", 40001, "::1", 5), TARGET).allowed
    assert not ask_open(asked, "forwarded-tcpip", TcpipOpen("0.0.0.0", 40001, "::1", 5), TARGET).allowed


def test_a_refused_forward_invites_nothing():
    asked = decider()
    asked.global_request(CLIENT, "tcpip-forward", TcpipForward("0.0.0.0", 80))
    assert not ask_open(asked, "forwarded-tcpip", TcpipOpen("0.0.0.0", 80, "::1", 5), TARGET).allowed


def test_sockets_agents_and_displays_too_are_opened_only_when_asked_for():
    asked = decider()
    channels = {
        "forwarded-streamlocal@openssh.com": ForwardedStreamlocal("/run/s"),
        "auth-agent@openssh.com": EMPTY,
        "x11": X11Open("::1", 5),
    }
    for kind, body in channels.items():
        assert ask_open(asked, kind, body, TARGET).rule == decide.NOT_ASKED
    asked.global_request(CLIENT, "streamlocal-forward@openssh.com", StreamlocalForward("/run/s"))
    ask(asked, *REQUESTS["agent"])
    ask(asked, *REQUESTS["x11"])
    for kind, body in channels.items():
        assert ask_open(asked, kind, body, TARGET).allowed
    asked.global_request(CLIENT, "cancel-streamlocal-forward@openssh.com", StreamlocalForward("/run/s"))
    kind = "forwarded-streamlocal@openssh.com"
    assert not ask_open(asked, kind, channels[kind], TARGET).allowed
    assert ask_open(asked, "direct-streamlocal@openssh.com", DirectStreamlocal("/run/s")).allowed


def test_forwards_of_one_session_are_bounded():
    asked = decider()
    for port in range(1, FORWARDS_MAX + 1):
        assert asked.global_request(CLIENT, "tcpip-forward", TcpipForward("localhost", port)).allowed
    refused = asked.global_request(CLIENT, "tcpip-forward", TcpipForward("localhost", 9999))
    assert refused.reason is PolicyReason.CHANNEL_LIMIT


@pytest.mark.parametrize(
    "kind", ["session@openssh.com", "tun@openssh.com", "direct-tcpip\0", "", "forwarded-tcpip"]
)
def test_unknown_channel_kinds_are_refused(kind):
    body = TcpipOpen("localhost", 80, "", 0)
    assert ask_open(decider(), kind, body).reason is PolicyReason.UNKNOWN_CHANNEL_TYPE


def test_a_target_opens_no_session_and_no_direct_channel():
    for kind, body in (("session", EMPTY), ("direct-tcpip", TcpipOpen("localhost", 80, "", 0))):
        assert ask_open(decider(), kind, body, TARGET).reason is PolicyReason.UNKNOWN_CHANNEL_TYPE


def test_the_target_makes_no_global_request():
    body = TcpipForward("localhost", 80)
    verdict = decider().global_request(TARGET, "tcpip-forward", body)
    assert verdict.reason is PolicyReason.UNKNOWN_REQUEST


def test_nothing_new_is_opened_after_the_end_of_the_grant():
    clock = FixedClock(NOW)
    asked = GrantDecider(grant_of(), clock)
    assert ask_open(asked, "session").allowed
    clock.advance(12 * 3600)
    ended = ask_open(asked, "session")
    assert (ended.allowed, ended.reason, ended.rule) == (False, PolicyReason.GRANT_ENDED, decide.GRANT_ENDED)


def test_an_old_login_starts_nothing_on_a_channel_that_stayed_open():
    """max_auth_age held for opens only: a channel kept open was good for a shell a day later."""
    clock = FixedClock(NOW)
    asked = GrantDecider(decider().grant, clock)
    forward = TcpipForward("localhost", 80)
    assert asked.global_request(CLIENT, "tcpip-forward", forward).allowed
    clock.advance(12 * 3600)
    for name, body in REQUESTS.values():
        verdict = ask(asked, name, body)
        starts = name in ("shell", "exec", "subsystem", "x11-req", "auth-agent-req@openssh.com")
        assert (verdict.reason is PolicyReason.GRANT_ENDED) == starts, name
    assert asked.global_request(CLIENT, "tcpip-forward", forward).reason is PolicyReason.GRANT_ENDED
    assert asked.global_request(CLIENT, "cancel-tcpip-forward", forward).allowed


def test_everything_that_the_relay_asks_about_can_be_allowed():
    """The two tables, the relay's and this one, name the same kinds and requests."""
    assert {kind for kinds in OPENABLE.values() for kind in kinds} == set(CHANNEL_OPENS)
    asked = decider()
    reached = {name for name, body in REQUESTS.values() if ask(asked, name, body).allowed}
    reached |= {"env"} if ask(asked, "env", Env("LANG", EMPTY)).allowed else set()
    assert reached == JUDGED_REQUESTS
    places = (TcpipForward("localhost", 80), StreamlocalForward("/run/s"))
    for name in JUDGED_GLOBAL_REQUESTS:
        assert any(asked.global_request(CLIENT, name, body).allowed for body in places)


NAMES = st.sampled_from([*CHANNEL_OPENS, *CHANNEL_REQUESTS, *GLOBAL_REQUESTS]) | st.text(max_size=12)
HOSTS = st.text(max_size=20) | st.sampled_from(
    ["localhost", "127.0.0.1", "web2", "10.1.0.2", "99999999999", "1.2.3.4.5"]
)
NUMBERS = st.integers(0, 0xFFFFFFFF)
SHORT = st.binary(max_size=64)
BODIES = st.one_of(
    st.just(EMPTY),
    st.builds(Exec, SHORT),
    st.builds(Subsystem, HOSTS | st.just("sftp")),
    st.builds(Env, HOSTS | st.just("LANG"), SHORT),
    st.builds(PtyRequest, SHORT, NUMBERS, NUMBERS),
    st.builds(X11Request, st.booleans(), SHORT, SHORT, NUMBERS),
    st.builds(TcpipOpen, HOSTS, NUMBERS, HOSTS, NUMBERS),
    st.builds(TcpipForward, HOSTS, NUMBERS),
    st.builds(DirectStreamlocal, HOSTS),
    st.builds(ForwardedStreamlocal, HOSTS),
    st.builds(StreamlocalForward, HOSTS),
)


@examples(400)
@given(
    st.lists(st.tuples(st.sampled_from(Side), st.sampled_from("ogr"), NAMES, BODIES), max_size=8),
    st.sampled_from([EVERYTHING, NOTHING]),
)
def test_no_message_makes_a_decider_raise_and_every_verdict_names_what_decided(messages, policy):
    asked = decider(policy)
    for side, way, name, body in messages:
        if way == "o":
            verdict = ask_open(asked, name, body, side)
        elif way == "g":
            verdict = asked.global_request(side, name, body)
        else:
            verdict = ask(asked, name, body, side)
        assert verdict.rule
        assert verdict.allowed is (verdict.reason is PolicyReason.ALLOWED)
        assert bool(verdict.text) is not verdict.allowed
        assert verdict.text.isprintable()
        if policy is NOTHING:
            assert not verdict.allowed or name == "env"


@examples(300)
@given(HOSTS, st.integers(0, 0xFFFFFFFF))
def test_a_forward_that_is_allowed_is_a_plain_name_or_address_and_no_known_ssh_server(host, port):
    verdict = forward(decider(), host, port)
    if verdict.allowed:
        assert 1 <= port <= 65535 or host in ("localhost", "127.0.0.1")
        assert not decider().grant.inventory.is_ssh_place(host, port)
        assert host.isascii() and host.isprintable() and " " not in host


def test_one_rule_that_forbids_what_nobody_can_replay_takes_it_from_all():
    wide = rule('["shell", "exec", "forward-local", "agent", "x11", "streamlocal", "forward-remote"]')
    strict = rule('["shell"]', "opaque = false", "strict")
    assert "forward-local" in grant_of(wide).granted_by
    grant = grant_of(wide + strict)
    assert grant.granted_by.keys() == {"shell", "exec"} and grant.permits == frozenset()
    verdict = forward(decider(wide + strict), "localhost", 8080)
    assert not verdict.allowed and verdict.reason is PolicyReason.VERB_NOT_ALLOWED


def test_ssh_passes_inside_a_channel_when_a_rule_that_gives_the_channel_says_so():
    lists = 'forward = ["db9:22", "db8:1-100"]'
    local = rule('["forward-local", "streamlocal"]', "allow_ssh = true", "local")
    others = rule('["forward", "forward-remote"]', lists, "others") + rule(
        '["forward"]', 'forward = ["db9:*"]\nallow_ssh = true', "third"
    )
    asked = decider(local + others)
    assert forward(asked, "localhost", 8080).allow_ssh
    assert not forward(asked, "db8", 22).allow_ssh
    assert forward(asked, "db8", 22).allowed
    assert not forward(asked, "db9", 22).allow_ssh  # a star leaves port 22 out
    assert not forward(asked, "web2", 22).allowed
    socket = ask_open(asked, "direct-streamlocal@openssh.com", DirectStreamlocal("/run/x"))
    assert socket.allow_ssh
    asked.global_request(CLIENT, "tcpip-forward", TcpipForward("localhost", 8022))
    remote = TcpipOpen("localhost", 8022, "127.0.0.1", 5)
    verdict = ask_open(asked, "forwarded-tcpip", remote, TARGET)
    assert verdict.allowed and not verdict.allow_ssh
