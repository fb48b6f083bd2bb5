from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.policy.decision import Decision
from apx.policy.sample import Sample, line_of, read_samples, sample_of, spread

ALLOW = Decision(allow=True, reason="ok")


def document(**changes: Any) -> bytes:
    request = {"method": "GET", "route": "/{id}", "path": "/1", "params": {"id": "1"}, "query": {}, "headers": {}}
    return json.dumps(
        {"org": "acme", "region": "us", "product": "orders", "plan": "free", "key": {"id": "key_1"}}
        | {"request": request | {"client_ip": ""}}
        | changes
    ).encode()


def sample(at_ms: int = 0, *, org: str = "acme", decision: Decision = ALLOW, **changes: Any) -> Sample:
    made = sample_of(at_ms, "orders", "sha256:1", document(org=org, **changes), decision)
    assert made is not None
    return made


def test_a_sample_is_read_back_as_it_was_written() -> None:
    made = sample(7, body={"amount": 1.5})
    assert made.body_bytes == len(b'{"amount": 1.5}')
    read = read_samples([line_of(made)])
    assert read.passed_over == 0
    (back,) = read.samples
    assert msgspec.json.encode(back) == msgspec.json.encode(made)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"null",
        b"[1]",
        b"{",
        b"\xff\xfe",
        b"\x00",
        b"[" * 60_000,
        b'{"input":' * 7_000,
        b"x" * 1_000_000,
        line_of(sample()).replace(b'"allow":true', b'"allow":"yes"'),
        line_of(sample()).replace(b'"at_ms":0', b'"at_ms":1e400'),
        line_of(sample()).replace(b'"at_ms":0', b'"at_ms":99999999999999999999'),
        line_of(sample()).replace(b'"path":"/1"', b'"path":1'),
        line_of(sample()).replace(b'"path":"/1"', b'"path":"\xff"'),
        line_of(sample()).replace(b'"params":{"id":"1"}', b'"params":' + b"[" * 5_000 + b"]" * 5_000),
        line_of(sample())[:-20],
    ],
)
def test_a_line_that_is_no_sample_is_counted_and_passed_over(line: bytes) -> None:
    read = read_samples([line, b"\n", line_of(sample())])
    assert (len(read.samples), read.passed_over) == (1, 1)


@given(st.binary(max_size=200))
def test_no_line_is_an_error(line: bytes) -> None:
    assert read_samples([line]).samples == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", document(request=1), document(body="x " * 40_000)])
def test_what_is_no_input_or_too_long_is_not_kept(content: bytes) -> None:
    assert sample_of(0, "orders", "sha256:1", content, ALLOW) is None


def test_the_newest_are_kept_and_a_rare_kind_is_not_pushed_out() -> None:
    rare = [sample(1, org="rare"), sample(2, decision=Decision(allow=False, reason="no"))]
    kept = spread([*rare, *(sample(at) for at in range(100, 200))], most=10)
    assert [one.at_ms for one in kept] == [*range(199, 191, -1), 2, 1]


def test_no_more_bytes_are_kept_than_asked_for() -> None:
    samples = [sample(at) for at in range(100, 200)]
    kept = spread(samples, most_bytes=10 * len(line_of(samples[0])))
    assert [one.at_ms for one in kept] == list(range(199, 189, -1))
