from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.admission.bodies import has_one_reading, is_json_type

SEVERAL_READINGS: dict[str, bytes] = {
    "nothing": b"",
    "white space alone": b"  ",
    "a name twice": b'{"a":1,"a":2}',
    "a name twice with the same value": b'{"a":1,"a":1}',
    "a name twice, once escaped": b'{"a":1,"\\u0061":2}',
    "a name twice in a deeper object": b'[{"b":{"a":1,"a":2}}]',
    "byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "invalid UTF-8": b'"\xff"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a lone surrogate": b'"\\ud800"',
    "a lone low surrogate": b'"\\udc00"',
    "surrogates in the wrong order": b'"\\udc00\\ud800"',
    "a lone surrogate in a name": b'{"\\ud800":1}',
    "NaN": b"NaN",
    "infinity": b"Infinity",
    "minus infinity": b"[-Infinity]",
    "a float out of range": b"1e400",
    "a negative float out of range": b"[-1e400]",
    "an integer out of a double's range": b"1" + b"0" * 309,
    "a negative integer out of a double's range": b"[-1" + b"0" * 400 + b"]",
    "an integer of five thousand digits": b"1" * 5000,
    "an integer of a million digits": b"1" * 1_000_000,
    "100,000 arrays in one another": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects in one another": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "513 levels": b"[" * 513 + b"]" * 513,
    "513 levels of both kinds": b'[{"a":' * 256 + b"[]" + b"}]" * 256,
    "a comma at the end": b"[1,]",
    "a comment": b"{}//",
    "single quotes": b"{'a':1}",
    "a leading zero": b"01",
    "a plus sign": b"+1",
    "hexadecimal": b"0x10",
    "a bare point": b"1.",
    "a control character in a text": b'"\x01"',
    "a raw line feed in a text": b'"\n"',
    "NUL after the document": b"{}\0",
    "two documents": b"{}{}",
    "cut short": b'{"a":',
    "digits of another script": '{"a":١}'.encode(),  # noqa: RUF001 -- an Arabic-Indic digit, on purpose
    "white space of Unicode": "\u00a0{}".encode(),
}


@pytest.mark.parametrize("body", SEVERAL_READINGS.values(), ids=SEVERAL_READINGS.keys())
def test_a_body_that_parsers_read_differently_is_refused(body: bytes) -> None:
    assert not has_one_reading(body)


ONE_READING: dict[str, bytes] = {
    "an object": b'{"a":[1,2.5,null,true,"x"]}',
    "a text alone": b'"a"',
    "white space around": b" \t\r\n{}\n",
    "the same name in two objects": b'[{"a":1},{"a":2}]',
    "an escaped pair of surrogates": b'"\\ud83d\\ude00"',
    "a character outside the first plane": '"😀"'.encode(),
    "the largest double": b"1.7976931348623157e308",
    "an integer of 300 digits": b"1" * 300,
    "a tiny float": b"1e-400",
    "many digits inside a text": b'"' + b"1" * 5000 + b'"',
    "512 levels": b"[" * 512 + b"]" * 512,
    "brackets inside a text": b'"' + b"[" * 2000 + b'"',
    "escaped quotes and brackets inside a text": b'["' + b'\\"[' * 2000 + b'","\\\\"]',
    "many shallow objects": b"[" + b",".join([b'{"a":[]}'] * 2000) + b"]",
    "an escaped NUL": b'"\\u0000"',
}


@pytest.mark.parametrize("body", ONE_READING.values(), ids=ONE_READING.keys())
def test_a_body_with_one_reading_is_taken(body: bytes) -> None:
    assert has_one_reading(body)


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(_values, st.booleans())
def test_what_json_writes_has_one_reading(value: object, ascii_only: bool) -> None:  # noqa: FBT001 -- hypothesis gives it
    try:
        body = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    has_lone_surrogate = _has_lone_surrogate(value)
    assert has_one_reading(body) is not has_lone_surrogate


def _has_lone_surrogate(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


@given(st.binary() | st.text(alphabet='[]{}",:\\u0d8 1eE+-.nulltrfas').map(str.encode))
@settings(max_examples=300)
def test_what_json_refuses_is_refused_and_nothing_is_raised(body: bytes) -> None:
    if has_one_reading(body):
        json.loads(body.decode())


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/merge-patch+json",
        "application/json; version=1",
    ],
)
def test_a_json_type_is_known(content_type: str) -> None:
    assert is_json_type(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/jsonp",
        "application/xml",
        "json",
        "+json",
        "text/html, application/json",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json;charset=utf-8;charset=utf-16",
        "application/x-www-form-urlencoded",
    ],
)
def test_another_type_or_charset_is_not_json(content_type: str) -> None:
    assert not is_json_type(content_type)
