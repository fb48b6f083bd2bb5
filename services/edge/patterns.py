"""Regular expressions (RE2, whole-string) for what the edge compares with: paths, names, templates."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NOT_DOT = r"[A-Za-z0-9\-_~!$&'()*+,=:@]"
_CONTINUED = "%[89ABab][0-9A-Fa-f]"
_ASCII = "%(?:2[0-46-9A-Ca-c]|3[AaC-Fc-f]|40|5[BbDdEe]|60|7[B-Db-d])"
"""Escapes of printable ASCII, without those that give a path a second reading: of `.`, `/`, `\\`, `;`, `%`, of control
characters, and of letters and digits, which have no need of one (RFC 3986, 2.3)."""
_UTF8 = "|".join(
    (
        f"%(?:[Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f]){_CONTINUED}",
        f"%[Ee]0%[AaBb][0-9A-Fa-f]{_CONTINUED}",
        f"%[Ee](?:[1-9A-Ca-cEeFf]){_CONTINUED}{_CONTINUED}",
        f"%[Ee][Dd]%[89][0-9A-Fa-f]{_CONTINUED}",
        f"%[Ff]0%[9ABab][0-9A-Fa-f]{_CONTINUED}{_CONTINUED}",
        f"%[Ff][1-3](?:{_CONTINUED}){{3}}",
        f"%[Ff]4%8[0-9A-Fa-f]{_CONTINUED}{_CONTINUED}",
    )
)
"""Escaped UTF-8 in its shortest form (RFC 3629, 4): an overlong one hides another character."""

_UNIT = rf"(?:{_NOT_DOT}|{_ASCII}|{_UTF8})"
_ANY = rf"(?:\.|{_UNIT})"
_SEGMENT = rf"(?:{_UNIT}{_ANY}*|\.{_UNIT}{_ANY}*|\.\.{_ANY}+)"
"""Anything but nothing, `.` and `..`."""

CANONICAL_TARGET = rf"(?:/|(?:/{_SEGMENT})+/?)(?:\?[!-~]*)?"
"""A path with one reading and an optional query of printable ASCII."""

ONE_HOST = r"(?:[A-Za-z0-9._\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
"""One name or address with an optional port: no list, no user, no path (RFC 9112, 3.2)."""

COMPACT_JWS = r"Bearer [A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+"
"""One token of three parts and nothing else: no second token, no JWE, no padding, no other scheme."""

JWS_WITH_CRIT = r"Bearer [A-Za-z0-9_\-]*(?:ImNyaXQi|[CSiy]Jjcml0I[g-v]|[AEIMQUYcgkosw048]iY3JpdC[I-L])[^.]*\..*"
"""A token whose header holds `"crit"`, at each of base64's three alignments.

We understand no extension, so such a token must be refused (RFC 7515, 4.1.11); Envoy does not look.
"""


def route_regex(base_path: str, template: str) -> str:
    """Return the expression of a route's whole path: `{name}` is one segment, `{name=**}` is all that is left."""
    parts = [_segment(segment) for segment in template.split("/") if segment]
    path = "".join("/" + part for part in parts)
    return re.escape(base_path) + (path or "/?")


def none_of(names: Iterable[str], prefixes: Iterable[str] = ()) -> str:
    """Return an expression that takes every string except `names` and whatever starts with one of `prefixes`.

    RE2 has no negative look-ahead, and Envoy's lists of headers can only be added to; so this walks the tree of the
    refused words and takes what leaves it.
    """
    return _outside(sorted(set(names)), sorted(set(prefixes)))


def _segment(segment: str) -> str:
    if not segment.startswith("{"):
        return re.escape(segment)
    return ".*" if segment.endswith("=**}") else "[^/]+"


def _outside(names: list[str], prefixes: list[str]) -> str:
    heads = sorted({word[0] for word in names + prefixes if word})
    if not heads:
        return ".+" if "" in names else ".*"
    branches = [f"[^{''.join(re.escape(head) for head in heads)}].*"]
    for head in heads:
        below_names, below_prefixes = ([w[1:] for w in words if w[:1] == head] for words in (names, prefixes))
        if "" not in below_prefixes:  # else nothing that starts so is outside
            branches.append(re.escape(head) + _outside(below_names, below_prefixes))
    if "" not in names:
        branches.append("")
    return "(?:" + "|".join(branches) + ")"
