"""RADIUS packets: the examples of RFC 2865, and what may never pass for an answer."""

from __future__ import annotations

from hashlib import md5
from hmac import digest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.radius_packets import (
    MAX_PASSWORD,
    MAX_VALUE,
    Answer,
    Attribute,
    BadAnswer,
    Code,
    Request,
)

SECRET = b"xyzzy5461"
AUTHENTICATOR = bytes.fromhex("0f403f9473978057bd83d5cb98f4227a")


def request(*attributes: tuple[Attribute, bytes], password: bytes = b"arctangent") -> Request:
    return Request(7, AUTHENTICATOR, SECRET, attributes, password)


def values(data: bytes) -> dict[int, bytes]:
    """Of a request, by the kind of attribute, in order."""
    found, at = {}, 20
    while at < len(data):
        found[data[at]] = data[at + 2 : at + data[at + 1]]
        at += data[at + 1]
    return found


def hidden(password: bytes) -> bytes:
    return values(request(password=password).data)[Attribute.USER_PASSWORD]


def test_the_password_of_rfc_2865_section_7_1() -> None:
    assert hidden(b"arctangent").hex() == "0dbe708d93d413ce3196e43f782a0aee"


def revealed(value: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """As a server reads it."""
    plain, last = b"", authenticator
    for start in range(0, len(value), 16):
        block = value[start : start + 16]
        key = md5(secret + last).digest()
        plain += bytes(one ^ other for one, other in zip(block, key, strict=True))
        last = block
    return plain.rstrip(b"\0")


@given(st.binary(max_size=MAX_PASSWORD).filter(lambda one: not one.endswith(b"\0")))
def test_a_password_is_read_as_it_was_typed(password: bytes) -> None:
    value = hidden(password)
    assert len(value) % 16 == 0 and 16 <= len(value) <= MAX_PASSWORD
    assert revealed(value, SECRET, AUTHENTICATOR) == password


def test_a_password_has_an_end() -> None:
    with pytest.raises(ValueError, match="too long"):
        request(password=b"x" * (MAX_PASSWORD + 1))


def test_a_request_begins_with_its_message_authenticator() -> None:
    made = request((Attribute.USER_NAME, b"nemo"), (Attribute.NAS_PORT_TYPE, bytes(4))).data
    assert made[0] == Code.ACCESS_REQUEST and made[1] == 7 and int.from_bytes(made[2:4], "big") == len(made)
    assert made[4:20] == AUTHENTICATOR and made[20:22] == bytes((80, 18))
    blank = made[:22] + bytes(16) + made[38:]
    assert made[22:38] == digest(SECRET, blank, "md5") and made[38:44] == b"\x01\x06nemo"


@pytest.mark.parametrize("value", [b"", b"x" * (MAX_VALUE + 1)])
def test_an_attribute_has_a_length(value: bytes) -> None:
    with pytest.raises(ValueError, match="attribute"):
        request((Attribute.USER_NAME, value))
    with pytest.raises(ValueError, match="attribute"):
        request((Attribute.USER_NAME, b"alice"), (Attribute.STATE, b""))


def answer(
    code: int = 2,
    *attributes: tuple[int, bytes],
    identifier: int = 7,
    secret: bytes = SECRET,
    authenticator: bytes = AUTHENTICATOR,
    signed: bool = True,
    at: int = 0,
) -> bytes:
    """As a server makes it: its Message-Authenticator stands at place `at`."""
    parts = [bytes((kind, len(value) + 2)) + value for kind, value in attributes]
    if signed:
        parts.insert(at, bytes((80, 18)) + bytes(16))
    body = b"".join(parts)
    head = bytes((code, identifier)) + (20 + len(body)).to_bytes(2, "big")
    if signed:
        proof = digest(secret, head + authenticator + body, "md5")
        place = len(b"".join(parts[:at])) + 2
        body = body[:place] + proof + body[place + 16 :]
    return head + md5(head + authenticator + body + secret).digest() + body


def read(data: bytes) -> Answer:
    return request().answered_by(data)


@pytest.mark.parametrize("code", [Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_answer_of_who_knows_the_secret(code: Code, at: int) -> None:
    attributes = ((18, b"hello"), (24, b"state"), (18, b"you"))
    found = read(answer(code, *attributes, at=at))
    assert found.code is code and found.all(Attribute.STATE) == (b"state",)
    assert found.all(Attribute.REPLY_MESSAGE) == (b"hello", b"you")
    assert read(answer(code, *attributes, at=at) + b"padding") == found


BAD = {
    "no Message-Authenticator: CVE-2024-3596": answer(2, (33, b"proxy"), signed=False),
    "another secret": answer(secret=b"another"),
    "another request": answer(authenticator=bytes(16)),
    "another identifier": answer(identifier=8),
    "a request": answer(1),
    "an accounting answer": answer(5),
    "a Proxy-State that was not sent": answer(2, (33, b"proxy")),
    "an empty datagram": b"",
    "a short one": answer()[:19],
    "longer than it says it is there": answer()[:-1],
    "a length below its header": b"\x02\x07\x00\x13" + answer()[4:],
    "too long": answer() + bytes(4096),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        read(data)


def resigned(data: bytes) -> bytes:
    """With a right Response Authenticator over whatever it says: what a collision of MD5 gives an attacker."""
    return data[:4] + md5(data[:4] + AUTHENTICATOR + data[20:] + SECRET).digest() + data[20:]


def test_a_reject_that_was_made_an_accept_is_none() -> None:
    reject = answer(3, (33, b"chosen by an attacker"))
    accept = resigned(b"\x02" + reject[1:])
    with pytest.raises(BadAnswer, match="proves nothing"):
        read(accept)


def test_two_message_authenticators_are_none() -> None:
    twice = answer()
    twice = twice[:2] + (len(twice) + 18).to_bytes(2, "big") + twice[4:] + bytes((80, 18)) + bytes(16)
    with pytest.raises(BadAnswer, match="proves nothing"):
        read(resigned(twice))


@pytest.mark.parametrize(
    "attribute", [b"\x50\x02", b"\x50\x11" + bytes(15), b"\x01\x00", b"\x01", b"\x01\xffx"]
)
def test_an_attribute_that_does_not_fit(attribute: bytes) -> None:
    data = answer()
    data = data[:2] + (len(data) + len(attribute)).to_bytes(2, "big") + data[4:] + attribute
    with pytest.raises(BadAnswer):
        read(resigned(data))


@given(st.binary(max_size=80), st.integers(0, 3))
def test_garbage_is_a_bad_answer(noise: bytes, place: int) -> None:
    data = bytearray(answer(2, (18, b"hello")))
    with pytest.raises(BadAnswer):
        read(bytes(noise))
    start = place * 16
    data[start : start + len(noise)] = noise
    if bytes(data) != answer(2, (18, b"hello")):
        try:
            read(bytes(data))
        except BadAnswer:
            return
        assert bytes(data[: len(answer(2, (18, b"hello")))]) == answer(2, (18, b"hello")), (
            "padding alone may differ"
        )


@given(st.data())
def test_one_bit_makes_it_another(data: st.DataObject) -> None:
    whole = bytearray(answer(2, (18, b"hello"), (24, b"state")))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadAnswer):
        read(bytes(whole))
