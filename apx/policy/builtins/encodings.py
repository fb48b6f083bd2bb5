"""Encodings and digests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

from apx.policy.builtins.base import ANY, OBJECT, TEXT, BuiltinError, Host, RegoSet, host

_HEX = frozenset("0123456789abcdefABCDEF")


@host(TEXT)
def hex_encode(text: str) -> str:
    """Write the bytes of a string in hex."""
    return text.encode().hex()


@host(TEXT)
def hex_decode(text: str) -> str:
    """Read hex; bytes that are not UTF-8 become U+FFFD."""
    if len(text) % 2 or not _HEX.issuperset(text):
        raise BuiltinError
    return bytes.fromhex(text).decode(errors="replace")


@host(TEXT)
def base64url_encode_no_pad(text: str) -> str:
    """Write base64url without its padding."""
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@host(TEXT)
def urlquery_encode(text: str) -> str:
    """Escape a string for a query."""
    return quote_plus(text, safe="")


@host(TEXT)
def urlquery_decode(text: str) -> str:
    """Undo the escapes of a query's part."""
    return _unescape(text)


@host(OBJECT)
def urlquery_encode_object(parameters: dict[str, Any]) -> str:
    """Write a query, sorted by name."""
    pairs = []
    for name in sorted(parameters, key=str.encode):
        head = quote_plus(name, safe="")
        pairs += [f"{head}={quote_plus(value, safe='')}" for value in _strings(parameters[name])]
    return "&".join(pairs)


@host(TEXT)
def urlquery_decode_object(query: str) -> dict[str, list[str]]:
    """Read a query into the values of each name."""
    found: dict[str, list[str]] = {}
    for part in query.split("&"):
        if ";" in part:
            raise BuiltinError
        if part:
            name, _, value = part.partition("=")
            found.setdefault(_unescape(name), []).append(_unescape(value))
    return found


@host(ANY, OBJECT)
def json_marshal_with_options(value: Any, options: dict[str, Any]) -> str:
    """Write JSON, indented if asked, with the escapes of Go's encoder."""
    unknown = options.keys() - {"pretty", "indent", "prefix"}
    if unknown or not isinstance(options.get("pretty", True), bool):
        raise BuiltinError
    prefix, indent = TEXT(options.get("prefix", "")), TEXT(options.get("indent", "\t"))
    pretty = options.get("pretty", "indent" in options or "prefix" in options)
    return prefix + _go_json(value, indent, "\n" + prefix) if pretty else _go_json(value, None, "")


def _go_json(value: Any, indent: str | None, line: str) -> str:
    if isinstance(value, dict):
        items = [f"{_go_string(key)}:{'' if indent is None else ' '}" for key in sorted(value, key=str.encode)]
        parts = [
            head + _go_json(value[key], indent, line + (indent or ""))
            for head, key in zip(items, sorted(value, key=str.encode), strict=True)
        ]
        return _wrapped("{", parts, "}", indent, line)
    if isinstance(value, (list, RegoSet)):
        return _wrapped("[", [_go_json(item, indent, line + (indent or "")) for item in value], "]", indent, line)
    if isinstance(value, str):
        return _go_string(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value).lower()


def _wrapped(opening: str, parts: list[str], closing: str, indent: str | None, line: str) -> str:
    if indent is None or not parts:
        return opening + ",".join(parts) + closing
    inner = line + indent
    return opening + inner + f",{inner}".join(parts) + line + closing


def _go_string(value: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, RegoSet)):
        return [TEXT(item) for item in value]
    raise BuiltinError


def _unescape(text: str) -> str:
    raw = bytearray()
    at = 0
    while at < len(text):
        char = text[at]
        if char == "%":
            digits = text[at + 1 : at + 3]
            if len(digits) < 2 or not _HEX.issuperset(digits):  # noqa: PLR2004
                raise BuiltinError
            raw.append(int(digits, 16))
            at += 3
            continue
        raw += b" " if char == "+" else char.encode()
        at += 1
    return raw.decode(errors="replace")


def _digest(name: str) -> Host:
    @host(TEXT)
    def digest(text: str) -> str:
        return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

    return digest


def _hmac(algorithm: Callable[..., Any]) -> Host:
    @host(TEXT, TEXT)
    def mac(text: str, key: str) -> str:
        return hmac.new(key.encode(), text.encode(), algorithm).hexdigest()

    return mac


@host(TEXT, TEXT)
def hmac_equal(one: str, other: str) -> bool:
    """Compare two MACs in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


ENCODINGS: dict[str, Host] = {
    "base64url.encode_no_pad": base64url_encode_no_pad,
    "crypto.hmac.equal": hmac_equal,
    "crypto.hmac.md5": _hmac(hashlib.md5),
    "crypto.hmac.sha1": _hmac(hashlib.sha1),
    "crypto.hmac.sha256": _hmac(hashlib.sha256),
    "crypto.hmac.sha512": _hmac(hashlib.sha512),
    "crypto.md5": _digest("md5"),
    "crypto.sha1": _digest("sha1"),
    "crypto.sha256": _digest("sha256"),
    "hex.decode": hex_decode,
    "hex.encode": hex_encode,
    "json.marshal_with_options": json_marshal_with_options,
    "urlquery.decode": urlquery_decode,
    "urlquery.decode_object": urlquery_decode_object,
    "urlquery.encode": urlquery_encode,
    "urlquery.encode_object": urlquery_encode_object,
}
