"""Distinguished names (RFC 4514), read strictly (L1, pure): to compare them and to take a name out of one.

A DN that cannot be read is no DN: `parse_dn` raises ValueError, and the callers treat it as not matching.
"""

from __future__ import annotations

import re
import unicodedata

# One "type=value" pair, type lower-cased; a DN is its RDNs, each a set of pairs, the most specific first.
Pair = tuple[str, str]
Dn = tuple[frozenset[Pair], ...]

# Far above what directories make; a DN goes into filters and audit lines.
MAX_DN = 4096
_TYPE = re.compile(r" *([A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*) *= *")
_ESCAPABLE = ' "#+,;<>=\\'
_SPECIAL = '"+,;<>=\\'  # of these, what has to be escaped wherever it stands


def parse_dn(text: str) -> Dn:
    """Read a DN. Values keep their case; compare with `is_within`. "" is the empty DN."""
    if len(text) > MAX_DN or "\0" in text:
        raise ValueError("the DN is too long or has a NUL character")
    rdns: list[frozenset[Pair]] = []
    pairs: set[Pair] = set()
    at = 0
    if not text.strip(" "):
        return ()
    while True:
        found = _TYPE.match(text, at)
        if found is None:
            raise ValueError("the DN has no type=value where one belongs")
        value, at = _value(text, found.end())
        pairs.add((found.group(1).lower(), value))
        if at == len(text) or text[at] in ",;":
            rdns.append(frozenset(pairs))
            pairs = set()
        if at == len(text):
            return tuple(rdns)
        at += 1


def _value(text: str, at: int) -> tuple[str, int]:
    """RFC 4514 section 3: the value up to an unescaped comma, semicolon or plus, and the place after."""
    out = bytearray()
    kept = 0  # trailing blanks are part of the value only when escaped
    while at < len(text) and text[at] not in ",;+":
        character = text[at]
        if character == "\\":
            escaped = text[at + 1 : at + 3]
            if re.fullmatch(r"[0-9A-Fa-f]{2}", escaped):
                out.append(int(escaped, 16))
                at += 3
            elif escaped[:1] and escaped[0] in _ESCAPABLE:
                out += escaped[0].encode()
                at += 2
            else:
                raise ValueError("the DN has a bad escape")
            kept = len(out)
            continue
        if character in '"<>':
            raise ValueError("the DN has a bare special character")
        out += character.encode("utf-8", "surrogatepass")
        at += 1
        if character != " ":
            kept = len(out)
    try:
        return out[:kept].decode("utf-8"), at
    except UnicodeDecodeError:
        raise ValueError("the DN is not UTF-8") from None


def prepared(value: str) -> str:
    """As caseIgnoreMatch prepares a value (RFC 4518 section 2): compatibility forms and case folded, blanks at the ends
    taken off and others made one."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
    return " ".join(folded.split())


def _folded(dn: Dn) -> Dn:
    return tuple(frozenset((kind, prepared(value)) for kind, value in rdn) for rdn in dn)


def dn_form(text: str) -> str | None:
    """The one form of a DN, so that DNs which LDAP holds for equal are equal; of no other text is it the form. None for
    what is no DN of two parts or more: a lone "team=a" is a name."""
    if "=" not in text or not ("," in text or ";" in text):
        return None
    try:
        parts = _folded(parse_dn(text))
    except ValueError:
        return None
    if len(parts) < 2:
        return None
    return ",".join("+".join(sorted(f"{kind}={_escaped(value)}" for kind, value in rdn)) for rdn in parts)


def _escaped(value: str) -> str:
    return "".join(f"\\{character}" if character in _SPECIAL else character for character in value)


def is_within(dn: str, base: str) -> bool:
    """Whether `dn` is `base` or below it. A DN that cannot be read, or an empty one, is nowhere."""
    try:
        inner, outer = _folded(parse_dn(dn)), _folded(parse_dn(base))
    except ValueError:
        return False
    return bool(inner) and inner[len(inner) - len(outer) :] == outer and len(inner) >= len(outer)


def first_value(dn: str, kind: str) -> str:
    """The value of `kind` (such as cn) in the first RDN. Raises ValueError when there is none."""
    for found, value in next(iter(parse_dn(dn)), frozenset()):
        if found == kind.lower():
            return value
    raise ValueError(f"the DN does not begin with {kind}=")
