"""Inputs of decisions without what nobody else may read, and as near to what was decided on as that allows.

What is masked (docs/decision-impact.md): what stands under the name of a credential or of a personal secret,
credentials by their form, the local part of e-mail addresses, long tokens, card numbers, the host bits of addresses,
and texts that are too long to be a word or a name. What stays: org, plan, product, key id, method,
route, names and numbers.

Within one input the same value has the same mask, so that comparisons inside it still hold; across inputs it has not.
Masking what is masked changes nothing.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from apx.policy.values import dump
from apx.telemetry.redaction import credential, mask_text, words_of

MASK = "***"
LONGEST_TEXT = 200
"""Characters; a longer text becomes as many `*`: policies count it, and nobody reads it."""

_DEPTH = 64
_ROUNDS = 5
_TOKEN_CHARACTERS = 20
_CARD_DIGITS = range(13, 20)
_CARD_NUMBERS = range(10**14, 10**16)
_SECRET_WORDS = frozenset(
    {"session", "sessionid", "sessid", "sid", "jsessionid", "phpsessid", "signature", "sig", "csrf", "xsrf", "nonce"}
    | {"jti", "auth", "otp", "pin", "cvv", "cvc", "pan", "iban", "ssn", "passport", "card", "dob", "birthdate"}
    | {"birthday", "phone", "mobile", "surname", "firstname", "lastname", "fullname", "street", "pwd", "pass"}
)
_SECRET_ENDS = (
    ("access", "key"),
    ("secret", "key"),
    ("signing", "key"),
    ("encryption", "key"),
    ("first", "name"),
    ("last", "name"),
    ("full", "name"),
    ("family", "name"),
    ("given", "name"),
    ("account", "number"),
    ("tax", "id"),
    ("of", "birth"),
)
_SECRET_PARTS = re.compile("token|secret|passw|passphrase|apikey|authoriz|cookie|credential|cardnumber")

_EMAIL = re.compile(r"""([^\s@/?&=,;<>()"'\[\]{}|\\]+)(@|%40)(?=\w)""")
_MASKED = re.compile(r"\*\*\*[0-9]*")
_TOKEN = re.compile(rf"[A-Za-z0-9_+=-]{{{_TOKEN_CHARACTERS},}}")
_SLASHED_TOKEN = re.compile(r"[A-Za-z0-9_+/=-]{40,}")
_CARD = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")
_IPV4 = re.compile(r"(?<![0-9.])([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.)[0-9]{1,3}(?![0-9.])")


def mask_input(input_json: bytes) -> bytes:
    """Return the input document, masked. Raises `ValueError` for what is no JSON object."""
    try:
        document = json.loads(input_json, parse_float=Decimal)
        if not isinstance(document, dict):
            raise ValueError("an input is an object")  # noqa: TRY004 -- the value is wrong, not the caller
        return dump(_Masking().document(document))
    except RecursionError as error:
        raise ValueError("the input nests too deeply") from error


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Tell whether what stands under a name is masked, whatever it is."""
    words = words_of(name)
    joined = "".join(words)
    measures = words[-1] in ("count", "type", "length", "bytes", "size", "id") and words[-2:] != ["tax", "id"]
    return (
        credential(name)
        or not _SECRET_WORDS.isdisjoint(words)
        or any(tuple(words[-len(end) :]) == end for end in _SECRET_ENDS)
        or (_SECRET_PARTS.search(joined) is not None and not measures)
    )


class _Masking:
    """The masks of one input."""

    def __init__(self) -> None:
        self._masks: dict[str, str] = {}

    def document(self, document: dict[str, Any]) -> dict[str, Any]:
        """Mask the input's own fields as what they are, and all others by their names."""
        return {
            name: value
            if name in ("org", "region", "product", "plan", "key") and _is_plain(name, value)
            else self._request(value)
            if name == "request" and isinstance(value, dict)
            else self._any(name, value)
            for name, value in document.items()
        }

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        route = request.get("route")
        return {
            name: value
            if name in ("method", "route") and isinstance(value, str) and len(value) <= 1024  # noqa: PLR2004
            else self._path(value, route)
            if name == "path" and isinstance(value, str) and isinstance(route, str)
            else self._any(name, value)
            for name, value in request.items()
        }

    def _path(self, path: str, route: str) -> str:
        """Mask the values of a path, and leave the words of its route: it still has to be found by them."""
        template = route.split("/")
        return "/".join(
            self._segment(segment, template[min(at, len(template) - 1)]) for at, segment in enumerate(path.split("/"))
        )

    def _segment(self, segment: str, template: str) -> str:
        if segment == template:
            return segment
        name = template[1:-1].removesuffix("=**") if template.startswith("{") else ""
        return MASK if segment and name and is_secret(name) else self._text(segment)

    def _any(self, name: str, value: Any) -> Any:
        return self._walk(value, is_secret(name), _counts_tokens(name), _DEPTH)

    def _walk(self, value: Any, secret: bool, counts: bool, depth: int) -> Any:  # noqa: FBT001
        if isinstance(value, str):
            return (MASK if value else "") if secret else self._text(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, (int, Decimal)):
            return 0 if (secret and not counts) or _is_card(value) else value
        if depth == 0:
            return MASK
        if isinstance(value, list):
            return [self._walk(item, secret, counts, depth - 1) for item in value]
        return {
            self._text(name): self._walk(item, secret or is_secret(name), _counts_tokens(name), depth - 1)
            for name, item in value.items()
        }

    def _text(self, text: str) -> str:
        if len(text) > LONGEST_TEXT:
            return "*" * len(text)
        for _ in range(_ROUNDS):
            masked = self._once(text)
            if masked == text:
                return text
            text = masked
        return MASK

    def _once(self, text: str) -> str:
        text = mask_text(text)
        if "@" in text or "%40" in text:
            text = _EMAIL.sub(lambda found: self._mask(found[1]) + found[2], text)
        text = _address(text) or _IPV4.sub(r"\g<1>0", text)
        text = _CARD.sub(lambda found: self._mask(found[0]) if _passes_luhn(found[0]) else found[0], text)
        text = _SLASHED_TOKEN.sub(lambda found: self._mask(found[0]) if _is_mixed(found[0]) else found[0], text)
        return _TOKEN.sub(lambda found: self._mask(found[0]) if _is_mixed(found[0]) else found[0], text)

    def _mask(self, text: str) -> str:
        if _MASKED.fullmatch(text):
            return text
        return self._masks.setdefault(text, f"{MASK}{len(self._masks) + 1}")


def _is_plain(name: str, value: Any) -> bool:
    """Tell whether one of APX's own fields is what APX writes there: a name, or the key's public id."""
    if name == "key":
        return isinstance(value, dict) and value.keys() == {"id"} and _is_plain("", value["id"])
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", value) is not None


def _counts_tokens(name: str) -> bool:
    """Tell whether a number of this name is how many, as in `max_tokens`."""
    return words_of(name)[-1] == "tokens"


def _is_mixed(text: str) -> bool:
    """Tell a token from a long word: it has digits, or letters of both sizes."""
    return any(c.isdigit() for c in text) or (text.lower() != text and text.upper() != text)


def _is_card(value: int | Decimal) -> bool:
    return isinstance(value, int) and value in _CARD_NUMBERS and _passes_luhn(str(value))


def _passes_luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    if len(digits) not in _CARD_DIGITS:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _address(text: str) -> str:
    """Return an IPv6 address, or a list of addresses, without host bits; empty for anything else."""
    if ":" not in text:
        return ""
    try:
        return ", ".join(_network(part.strip()) for part in text.split(","))
    except ValueError:
        return ""


def _network(text: str) -> str:
    address = ip_address(text)
    if not isinstance(address, IPv6Address):
        return _IPV4.sub(r"\g<1>0", text)
    kept = 15 if address.ipv4_mapped else 6
    return str(IPv6Address(address.packed[:kept] + bytes(16 - kept)))
