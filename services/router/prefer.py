"""The `Prefer` field (RFC 7240): `wait=SECONDS` and `respond-async`; anything else is ignored, as it says."""

from __future__ import annotations

import msgspec


class Preference(msgspec.Struct, frozen=True):
    """What the client would like."""

    wait_s: float = 0.0
    respond_async: bool = False

    @property
    def applied(self) -> str:
        """Return the value of `Preference-Applied`, or nothing."""
        if self.wait_s:
            return f"wait={self.wait_s:g}"
        return "respond-async" if self.respond_async else ""


NONE = Preference()


def parse(header: str | None, longest_wait_s: float) -> Preference:
    """Read the field; a wait is clamped to `longest_wait_s`, and one that is no whole number of seconds is ignored."""
    if not header:
        return NONE
    wait_s, respond_async = 0.0, False
    for preference in header.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async":
            respond_async = True
        elif name == "wait" and value.isascii() and value.isdigit() and not wait_s:
            wait_s = min(float(value[:9]), longest_wait_s)
    return Preference(wait_s, respond_async)
