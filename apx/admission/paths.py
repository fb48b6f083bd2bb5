"""One canonical form of a path, the same for route, policy, limit, log and backend.

The edge normalises first; what still has a second reading here is refused, never repaired.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_PLAIN = re.compile(r"(?:/[A-Za-z0-9\-._~!$&'()*+,=:@]*)+")
_ESCAPED = re.compile(r"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-Fa-f]{2})*)+")
_HIDDEN = re.compile(r"%(?:2[EeFf]|5[Cc]|[01][0-9A-Fa-f]|7[Ff]|25|3[Bb])")
"""Escapes of `.`, `/`, `\\`, control characters, `%` and `;`: with these a path reads differently once decoded."""


def canonical_path(path: str) -> str | None:
    """Return the path in its one form, or None when it has several.

    Refused: empty segments, `.` and `..`, matrix parameters, back-slashes, raw bytes outside ASCII, escapes that hide
    a delimiter or a control character, escapes that are not UTF-8. Kept: `/a/`, which is another path than `/a`.
    """
    if _PLAIN.fullmatch(path) is None:
        if _ESCAPED.fullmatch(path) is None or _HIDDEN.search(path) is not None:
            return None
        try:
            decoded = unquote(path, errors="strict")
        except UnicodeDecodeError:
            return None
        if _C1_CONTROL.search(decoded) is not None:
            return None
        path = _UNRESERVED.sub(lambda found: chr(int(found[1], 16)), path)
        path = _LOWER.sub(lambda found: found[0].upper(), path)
    if "//" in path or "/./" in path or "/../" in path or path.endswith(("/.", "/..")):
        return None
    return path


_C1_CONTROL = re.compile("[\x80-\x9f]")
_UNRESERVED = re.compile(r"%(3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe]|2[Dd])")
_LOWER = re.compile(r"%[0-9A-Fa-f]{2}")
