from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.catalog.scalars import NumberRefused, resolve_plain


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "y", "N", "1:30", "1_000", "2026-11-23", "+", "-", ".", "1.2.3", "e5"]
)
def test_words_that_older_yaml_changes_stay_text(text: str) -> None:
    assert resolve_plain(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000),
        ("30.0", 30),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_numbers_are_numbers(text: str, value: float) -> None:
    assert resolve_plain(text) == value
    assert type(resolve_plain(text)) is type(value)


@pytest.mark.parametrize(("text", "value"), [("", None), ("~", None), ("null", None), ("true", True), ("False", False)])
def test_the_words_of_the_core_schema_mean_what_they_say(text: str, value: object) -> None:
    assert resolve_plain(text) is value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("010", "number-ambiguous"),
        ("-010", "number-ambiguous"),
        ("08", "number-ambiguous"),
        ("0x1F", "number-ambiguous"),
        ("0o17", "number-ambiguous"),
        ("0b11", "number-ambiguous"),
        ("9223372036854775808", "number-too-large"),
        ("1" * 5000, "number-too-large"),
        (".inf", "number-not-finite"),
        ("-.INF", "number-not-finite"),
        (".NaN", "number-not-finite"),
        ("1e400", "number-not-finite"),
    ],
)
def test_a_number_that_could_be_misread_is_refused(text: str, code: str) -> None:
    with pytest.raises(NumberRefused) as raised:
        resolve_plain(text)
    assert raised.value.code == code
    assert len(str(raised.value)) < 200


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_yaml_writes_is_read_back(number: float) -> None:
    assert resolve_plain(yaml.safe_dump(number).partition("\n")[0]) == number
