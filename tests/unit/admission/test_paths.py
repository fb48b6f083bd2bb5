from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apx.admission.paths import canonical_path

SEVERAL_READINGS = {
    "empty": "",
    "relative": "orders",
    "asterisk form": "*",
    "absolute form": "http://a/orders",
    "double slash": "/a//b",
    "double slash at the start": "//a",
    "double slash at the end": "/a//",
    "dot": "/a/./b",
    "dot at the end": "/a/.",
    "dot dot": "/a/../b",
    "dot dot at the end": "/a/..",
    "dot dot alone": "/..",
    "matrix parameter": "/a;x=1/b",
    "dot dot with a matrix parameter": "/a/..;/b",
    "dot dot with a named matrix parameter": "/a/..;x/b",
    "escaped semicolon": "/a%3bx",
    "escaped dot dot, lower case": "/a/%2e%2e/b",
    "escaped dot dot, upper case": "/a/%2E%2E/b",
    "half escaped dot dot": "/a/.%2e/b",
    "escaped slash": "/a%2fb",
    "escaped slash, upper case": "/a%2Fb",
    "back-slash": "/a\\b",
    "escaped back-slash": "/a%5cb",
    "doubly escaped": "/a%252e%252e/b",
    "escaped percent": "/a%25",
    "NUL": "/a\0b",
    "escaped NUL": "/a%00",
    "escaped line feed": "/a%0ab",
    "escaped carriage return": "/a%0Db",
    "escaped delete": "/a%7f",
    "escaped C1 control": "/a%C2%85b",
    "escaped C1 control, lower case": "/a%c2%9b",
    "overlong UTF-8 slash": "/a%c0%afb",
    "overlong UTF-8 dot": "/%c0%ae%c0%ae/b",
    "escaped surrogate": "/a%ED%A0%80",
    "escape that is no UTF-8": "/a%FF",
    "cut UTF-8": "/a%C3",
    "escape cut short": "/a%2",
    "escape with a letter that is no digit": "/a%zz",
    "IIS escape": "/a%u002e",
    "raw byte outside ASCII": "/caf\xe9",
    "space": "/a b",
    "tab": "/a\tb",
    "line feed at the end": "/a\n",
    "query": "/a?b",
    "fragment": "/a#b",
    "quotes": '/a"b',
}


@pytest.mark.parametrize("path", SEVERAL_READINGS.values(), ids=SEVERAL_READINGS.keys())
def test_a_path_with_several_readings_is_refused(path: str) -> None:
    assert canonical_path(path) is None


ONE_FORM = {
    "plain": ("/orders/1", "/orders/1"),
    "root": ("/", "/"),
    "slash at the end is kept": ("/orders/", "/orders/"),
    "dots inside a segment": ("/a..b/.c/d./...", "/a..b/.c/d./..."),
    "sub-delimiters": ("/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b"),
    "an escaped letter is written plainly": ("/%61", "/a"),
    "an escaped tilde is written plainly": ("/%7Ea", "/~a"),
    "an escaped hyphen is written plainly": ("/a%2db", "/a-b"),
    "hex digits are upper case": ("/caf%c3%a9", "/caf%C3%A9"),
    "an escaped space stays escaped": ("/a%20b", "/a%20b"),
    "composed and decomposed letters stay two paths": ("/e%CC%81", "/e%CC%81"),
}


@pytest.mark.parametrize(("path", "canonical"), ONE_FORM.values(), ids=ONE_FORM.keys())
def test_a_path_has_one_canonical_form(path: str, canonical: str) -> None:
    assert canonical_path(path) == canonical


_escapes = st.integers(0, 255).map(lambda byte: f"%{byte:02x}") | st.integers(0, 255).map(lambda byte: f"%{byte:02X}")
_utf8_escapes = (
    st.characters()
    .filter(lambda c: not 0xD800 <= ord(c) <= 0xDFFF)
    .map(lambda c: "".join(f"%{byte:02X}" for byte in c.encode()))
)
_pieces = st.sampled_from(["/", ".", "..", "a", "Z", "9", "~", ";", "\\", "%", "%2", "é", " ", "\n"])
_paths = st.lists(_pieces | _escapes | _utf8_escapes, max_size=12).map(lambda parts: "/" + "".join(parts)) | st.text()


@given(_paths)
@example("/%2%65%2e")
@example("/%%32%65")
def test_the_canonical_form_of_a_canonical_form_is_itself(path: str) -> None:
    canonical = canonical_path(path)
    assert canonical is None or canonical_path(canonical) == canonical


@given(_paths)
def test_a_canonical_path_hides_nothing_once_decoded(path: str) -> None:
    canonical = canonical_path(path)
    if canonical is None:
        return
    decoded = unquote(canonical, errors="strict")
    assert decoded.count("/") == canonical.count("/")
    assert "//" not in decoded
    assert not {".", ".."} & set(decoded.split("/"))
    assert not any(character in "\\;" or unicodedata.category(character) == "Cc" for character in decoded)
    assert unquote(decoded) == decoded


@given(_paths)
def test_a_canonical_path_stands_for_the_same_text(path: str) -> None:
    canonical = canonical_path(path)
    assert canonical is None or unquote(canonical) == unquote(path)
