"""Regular expressions by RE2, which is what Go's are: linear time, the same syntax."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from apx.policy.builtins.base import INTEGER, TEXT, BuiltinError, Host, host

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        raise BuiltinError(str(error)) from error


def _matches(pattern: str, text: str, most: int = -1) -> list[Any]:
    """Find matches as Go does: an empty one is not taken right after another."""
    found: list[Any] = []
    previous = -1
    for match in _compiled(pattern).finditer(text):
        if 0 <= most <= len(found):
            break
        if match.start() == match.end() == previous:
            continue
        previous = match.end()
        found.append(match)
    return found


@host(TEXT, TEXT, INTEGER)
def find_n(pattern: str, text: str, most: int) -> list[str]:
    """List the first matches; all for a negative number."""
    return [match[0] for match in _matches(pattern, text, most)]


@host(TEXT, TEXT)
def split(pattern: str, text: str) -> list[str]:
    """Split a string at each match."""
    matches = _matches(pattern, text)
    if pattern and not text:
        return [""]
    parts = []
    begin = end = 0
    for match in matches:
        end = match.start()
        if match.end() != 0:
            parts.append(text[begin:end])
        begin = match.end()
    if end != len(text):
        parts.append(text[begin:])
    return parts


@host(TEXT, TEXT, TEXT)
def replace(text: str, pattern: str, value: str) -> str:
    """Replace each match; `$1` and `${name}` stand for what groups matched."""
    out = []
    end = 0
    for match in _matches(pattern, text):
        out += [text[end : match.start()], _expand(value, match)]
        end = match.end()
    return "".join([*out, text[end:]])


@host(TEXT, TEXT, TEXT, TEXT)
def template_match(template: str, text: str, opening: str, closing: str) -> bool:
    """Match a template whose patterns stand between delimiters."""
    if len(opening.encode()) != 1 or len(closing.encode()) != 1:
        raise BuiltinError
    parts = ["^"]
    end = 0
    for begin, after in _delimited(template, opening, closing):
        inner = template[begin + 1 : after - 1]
        _compiled(f"^{inner}$")
        parts += [re2.escape(template[end:begin]), f"({inner})"]
        end = after
    parts += [re2.escape(template[end:]), "$"]
    return _compiled("".join(parts)).search(text) is not None


def _delimited(template: str, opening: str, closing: str) -> list[tuple[int, int]]:
    found = []
    level = begin = 0
    for at, char in enumerate(template):
        if char == opening:
            level += 1
            begin = at if level == 1 else begin
        elif char == closing:
            level -= 1
            if level == 0:
                found.append((begin, at + 1))
        if level < 0:
            raise BuiltinError
    if level:
        raise BuiltinError
    return found


def _expand(value: str, match: Any) -> str:
    """Fill a template as Go's Regexp.Expand: the longest name counts, `$$` is a dollar, no such group is empty."""
    out = []
    at = 0
    while (dollar := value.find("$", at)) >= 0:
        out.append(value[at:dollar])
        at = dollar + 1
        if value[at : at + 1] == "$":
            out.append("$")
            at += 1
            continue
        braced = value[at : at + 1] == "{"
        end = begin = at + braced
        while end < len(value) and (value[end] == "_" or value[end].isalnum()):
            end += 1
        if end == begin or (braced and value[end : end + 1] != "}"):
            out.append("$")
            continue
        out.append(_group(value[begin:end], match))
        at = end + braced
    return "".join([*out, value[at:]])


def _group(name: str, match: Any) -> str:
    if name.isdigit() and name.isascii():
        number = int(name)
        return (match[number] or "") if number <= match.re.groups else ""
    return (match[name] or "") if name in match.re.groupindex else ""


PATTERNS: dict[str, Host] = {
    "regex.find_n": find_n,
    "regex.replace": replace,
    "regex.split": split,
    "regex.template_match": template_match,
}
