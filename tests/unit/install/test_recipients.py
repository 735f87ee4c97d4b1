"""age recipients: every mistyped one is told."""

import pytest

from bastion.install.recipients import check_recipient

# From the age specification's README and from `age-keygen`.
GOOD = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def test_what_age_keygen_prints_is_a_recipient():
    assert check_recipient(GOOD) == ""


@pytest.mark.parametrize("place", range(4, len(GOOD)))
def test_one_wrong_letter_anywhere_is_told(place):
    wrong = "q" if GOOD[place] != "q" else "p"
    assert "checksum" in check_recipient(GOOD[:place] + wrong + GOOD[place + 1 :])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no age recipient"),
        (GOOD[:-1], "no age recipient"),
        (GOOD + "q", "no age recipient"),
        (GOOD.upper(), "no age recipient"),
        ("ssh-ed25519 AAAA", "no age recipient"),
        (GOOD.replace("z", "b", 1), "letter"),
        ("AGE-SECRET-KEY-1QQPQ", "secret key"),
    ],
)
def test_what_is_none_is_told_why(text, word):
    assert word in check_recipient(text)
