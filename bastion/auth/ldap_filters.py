"""Is a filter of the configuration a filter? (L2): asked of the library that will send it."""

from __future__ import annotations

from ldap3.core.exceptions import LDAPExceptionError
from ldap3.operation.search import parse_filter


def is_filter(text: str) -> bool:
    """Can it be sent to a server?"""
    try:
        parse_filter(text, None, False, True, None, False)  # type: ignore[no-untyped-call]
    except (LDAPExceptionError, IndexError, ValueError):
        return False
    return True
