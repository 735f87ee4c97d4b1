"""News of saved searches by mail and a real mail server: one mail a night, tried again, and to whom it may go."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from bastion.clock import SystemClock
from bastion.config.mail import Mail
from bastion.console import telling as module
from bastion.console.telling import Gateway, mail, mail_of
from bastion.options.kinds import Address
from bastion.state.saved import Hit, Saved, Way, all_searches, owed
from tests.support.smtpd import MailServer, running
from tests.support.tls import make_certificate
from tests.unit.console.made import SECTION, ConsoleSite, index
from tests.unit.console.test_saved import NEW, NEWER, run, save, shown

HERE = Gateway("gw1", "https://console.example.com")
ONE = Saved("a" * 16, "u-ada", "ada", "rm \N{EM DASH} <x>", "rm", "user=alice", 1.0, mail="ada@example.com")
HITS = [Hit(ONE.id, NEW, "alice, deploy@web1", 1_800_000_000.0, 2.0)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "mail")


@pytest.fixture
def there(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[MailServer]:
    with running(tmp_path, certificate, "starttls", "bastion", "hush") as made:
        yield made


@pytest.fixture
def site(
    tmp_path_factory: pytest.TempPathFactory, there: MailServer, certificate: tuple[Path, Path]
) -> Iterator[ConsoleSite]:
    section = f'''[mail]
server = "127.0.0.1:{there.port}"
ca_file = "{certificate[0]}"
user = "bastion"
password_file = "mail-password"
sender = "bastion@example.com"
domains = ["example.com"]
'''
    made = ConsoleSite(tmp_path_factory.mktemp("told"), SECTION + section)
    made.write("mail-password", "hush\n", 0o600)
    shown(made, NEW, -60.0)
    made.start()
    yield made
    made.close()


def read(text: str) -> EmailMessage:
    return email.message_from_string(text, _class=EmailMessage, policy=email.policy.default)  # type: ignore[arg-type]


@pytest.mark.slow
def test_one_mail_a_night_says_how_many_and_where(site: ConsoleSite, there: MailServer) -> None:
    ada = site.browser("ada")
    index(site)
    assert "and mail me at" in ada.get("/search?q=done").text
    assert save(ada, q="done", user="alice", title="who is <done>", mail="ada@example.com") == 303
    assert run(site).exit_code == 0 and run(site).exit_code == 0
    (got,) = there.mails
    assert (got["from"], got["to"], got["user"]) == (
        "bastion@example.com",
        "ada@example.com",
        "bastion",
    ) and got["tls"]
    told = read(got["body"])
    assert told["Subject"] == "who is <done>: 1 new session" and told["To"] == "ada@example.com"
    text = told.get_content()
    assert "/search?q=done&user=alice" in text and "/searches" in text
    assert NEW not in text and "alice," not in text and "oops" not in text, "a count and a link"
    shown(site, NEWER, -30.0)
    run(site)
    assert len(there.mails) == 2 and read(there.mails[1]["body"])["Message-ID"] != told["Message-ID"]
    assert "mail to ada@example.com" in ada.get("/searches").text
    assert ada.get("/api/v1/searches").json["searches"][0]["mail"] == "ada@example.com"


@pytest.mark.slow
def test_an_address_that_may_get_none_is_refused_when_it_is_saved_and_when_it_is_sent(
    site: ConsoleSite, there: MailServer
) -> None:
    ada = site.browser("ada")
    for address in (
        "ada@evil.example",
        "ada@sub.example.com",
        "ada",
        "a b@example.com",
        "a@example.com, b@example.com",
    ):
        assert save(ada, q="done", title="x", mail=address) == 400, address
    assert all_searches(site.database) == []
    assert save(ada, q="done", title="x", mail="ada@EXAMPLE.com") == 303
    text = site.config.read_text()
    site.write("bastion.toml", text.replace('domains = ["example.com"]', 'domains = ["example.org"]'))
    done = run(site)
    assert done.exit_code == 1 and "is at none of: example.org" in done.output and there.mails == []
    site.write("bastion.toml", text)
    assert run(site).exit_code == 0 and len(there.mails) == 1, "it waited"


@pytest.mark.slow
def test_what_a_server_does_not_take_waits_for_the_next_night_and_is_posted_once(
    site: ConsoleSite, there: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", ())
    assert save(site.browser("ada"), q="done", title="x", mail="refused@example.com") == 303
    done = run(site)
    assert done.exit_code == 1 and "550" in done.output and there.mails == []
    (one,) = all_searches(site.database)
    assert [hit.session_id for hit in owed(site.database, one.id, Way.MAIL, 10)[0]] == [NEW]
    shown(site, NEWER, -30.0)
    text = site.config.read_text()
    site.write("bastion.toml", text.replace(f"127.0.0.1:{there.port}", "127.0.0.1:1"))
    away = run(site)
    assert away.exit_code == 1 and "refused" in away.output.lower()
    site.write("bastion.toml", text)
    site.write("mail-password", "hush\n", 0o644)
    closed = run(site)
    assert closed.exit_code == 1 and "lets others in" in closed.output and "hush" not in closed.output
    assert len(owed(site.database, one.id, Way.MAIL, 10)[0]) == 2


def test_a_mail_that_is_put_off_is_tried_again_in_the_same_night(
    there: MailServer, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("hush\n")
    wanted = Mail(
        server=Address("127.0.0.1", there.port), ca_file=certificate[0], user="bastion",
        password_file=tmp_path / "password", sender="bastion@example.com", domains=("example.com",),
    )  # fmt: skip
    waited: list[float] = []
    once = Saved(ONE.id, ONE.uid, ONE.name, ONE.title, ONE.words, ONE.query, 1.0, mail="once@example.com")
    assert mail(wanted, HERE, once, HITS, False, 5.0, waited.append) == ""
    assert waited == [module.PAUSES[0]] and len(there.mails) == 1
    later = Saved(ONE.id, ONE.uid, ONE.name, ONE.title, ONE.words, ONE.query, 1.0, mail="later@example.com")
    assert "451" in mail(wanted, HERE, later, HITS, False, 5.0, waited.append)
    assert waited[1:] == list(module.PAUSES)
    refused = Saved(
        ONE.id, ONE.uid, ONE.name, ONE.title, ONE.words, ONE.query, 1.0, mail="refused@example.com"
    )
    assert "550" in mail(wanted, HERE, refused, HITS, False, 5.0, waited.append) and len(waited) == 3


def test_a_mail_names_sessions_if_an_option_says_so_and_never_what_was_recorded() -> None:
    wanted = Mail(sender="bastion@example.com", domains=("example.com",))
    quiet, loud = (
        read(mail_of(one, HERE, ONE, HITS, True, 5.0).as_string())
        for one in (wanted, Mail(sender="bastion@example.com", domains=("example.com",), sessions=True))
    )
    assert quiet["Subject"] == "rm \N{EM DASH} <x>: 1 new session, and more"
    assert (
        "https://console.example.com/search?q=rm&user=alice" in quiet.get_content()
        and NEW not in quiet.get_content()
    )
    assert f"https://console.example.com/sessions/{NEW}" in loud.get_content()
    assert "2027-01-15T08:00:00" in loud.get_content() and "alice, deploy@web1" in loud.get_content()
    assert quiet["Auto-Submitted"] == "auto-generated" and quiet["Message-ID"] == loud["Message-ID"]


def test_what_a_title_says_stays_on_its_line() -> None:
    nasty = Saved(
        ONE.id, "u", "ada", "x\r\nBcc: eve@example.com\x1b\ud800", "rm", "", 1.0, mail="ada@example.com"
    )
    made = mail_of(Mail(sender="bastion@example.com"), HERE, nasty, HITS * 100, False, SystemClock().time())
    again = read(made.as_bytes().decode())
    assert (
        again["Bcc"] is None
        and "Bcc: eve" in again["Subject"]
        and len(again.keys()) == len(set(again.keys()))
    )
