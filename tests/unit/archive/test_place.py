"""Keys and URLs of objects."""

from __future__ import annotations

import pytest

from bastion.archive.place import SCHEME, S3Place, parse_url
from bastion.recording import listing

PLACE = S3Place("recordings", prefix="gw1/")


def test_a_listing_knows_an_object_by_the_same_beginning() -> None:
    assert listing.SCHEME == SCHEME


def test_an_object_is_found_again_by_what_the_index_says() -> None:
    key = PLACE.key("2027-01-15/aaaabbbbccccdddd.rec")
    assert PLACE.url(key) == "s3://recordings/gw1/2027-01-15/aaaabbbbccccdddd.rec"
    assert parse_url(PLACE.url(key)) == ("recordings", key)


@pytest.mark.parametrize(
    "url", ["", "s3://", "s3://b", "s3://bu/", "http://bucket/key", "s3://Bucket/key", "s3://bucket/a b", "s3://bucket/a\n"]
)  # fmt: skip
def test_anything_else_is_none(url: str) -> None:
    assert parse_url(url) is None
