"""Strategies for what nobody should send: methods, paths, header fields, bodies, framings, ids."""

from __future__ import annotations

import gzip
import string

from hypothesis import strategies as st

from tests.e2e.platform.unharmed import FORGED

Field = tuple[str, str]

METHODS = st.sampled_from(
    [
        *("GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PROPFIND"),
        *("get", "Post", "FOO", "M-SEARCH", "PRI", "A" * 1024, "", "G@T", '"GET"', "GET\x00", "\xff"),
    ]
)
PIECES = st.sampled_from(
    [
        *("%2e%2e", "..", "//", "/../", "/./", "/.", "..;x", ";a=b", ";", "%3b", "%2f", "%5c", "\\", "%00", "\x00"),
        *("%c0%af", "%c0%ae", "%e0%80%af", "%ed%a0%80", "%f5%80%80%80", "%ff", "\xff", "\xc3\xa9", "e%CC%81", "%"),
        *("%2", "%zz", "%252e", "%41", "%0d%0aX:", "\t", " ", "?", "??a=%ff", "?a=%00", "?a=1&a=2", "#", "*", "{x}"),
        *("/events", "/result", "-", "~", "@", ":80", "http://other/", "a" * 9_000, "/a" * 3_000, "a" * 100_000),
    ]
)
FORGED_NAMES = st.sampled_from(
    [
        *("x-apx-org", "X-APX-Jwt-Payload", "x-apx-product", "x-apx-anything", "X-Real-IP"),
        *("x-envoy-external-address", "X-Envoy-Retry-On", "x-envoy-max-retries", "x-envoy-original-path"),
        *("x-envoy-internal", "x-envoy-decorator-operation", "x-envoy-upstream-rq-timeout-ms", "Forwarded"),
        *("X-Forwarded-For", "x-forwarded-host", "x-forwarded-proto", "true-client-ip", "x-original-url"),
        *("x-rewrite-url", "x-http-method-override"),
    ]
)
"""Not `x-request-id`: a request without a host is refused before a client's own name is replaced (docs/edge.md)."""
_LATIN = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=20)
_JUNK = _LATIN | st.sampled_from(
    [
        *("", ",", ";", '"', "=", "0", "-1", "1e9", "9" * 30, "\x00", "\xff\xfe", "a\tb", "%0d%0a", "gzip", "chunked"),
        *("close", "*", "../../etc/passwd", "${jndi:ldap://x}", "' OR 1=1--", "<script>", "a" * 7_000, "a" * 70_000),
    ]
)
_NAMES = st.sampled_from(
    [
        *("Accept", "Accept-Encoding", "Accept-Language", "Cookie", "Content-Type", "Content-Encoding", "Expect", "TE"),
        *("Trailer", "Upgrade", "Range", "If-Match", "If-None-Match", "Keep-Alive", "Proxy-Connection", "User-Agent"),
        *("Proxy-Authorization", "Authorization", "X-API-Key", "Idempotency-Key", "Last-Event-ID", "traceparent"),
        *("Via", "Host", "tracestate", "baggage", "HTTP2-Settings", "X_Api_Key", "x_apx_org", "X Y", "", ":path"),
        *("X(Y)", "x\xff", "X" * 7_000),
    ]
)
_PREFERENCES = [
    *(
        "wait=1",
        "wait",
        "wait=",
        "wait=-1",
        "wait=1e9",
        "wait=0x1",
        "wait=1_0",
        'wait="1',
        "wait=\xb2",
        "respond-async",
    ),
    *("handling=strict", "wait=99999999999999999999", "", ";", "=", "a" * 500, "\xff"),
]
_CONNECTIONS = [
    *("close", "keep-alive", "x-api-key", "authorization", "content-type", "content-length", "upgrade", "host", "te"),
    *("x-request-id", "x-envoy-external-address", "x-apx-org", "transfer-encoding", "\xff"),
]
_WHOLE = [
    *(("Expect", "100-continue"), ("Upgrade", "websocket"), ("Upgrade", "h2c"), ("TE", "trailers"), ("Host", "other")),
    *(
        ("Cookie", "a=b; " * 500),
        ("Content-Encoding", "gzip"),
        ("Content-Type", "text/plain"),
        ("Content-Type", "\xff"),
    ),
    *(("Content-Type", "application/json; charset=utf-16"), ("traceparent", f"00-{'0' * 32}-{'0' * 16}-01")),
]
FIELDS: st.SearchStrategy[list[Field]] = st.lists(
    st.tuples(_NAMES, _JUNK)
    | st.tuples(FORGED_NAMES, st.just(FORGED))
    | st.tuples(st.just("Prefer"), st.lists(st.sampled_from(_PREFERENCES), max_size=6).map(", ".join))
    | st.tuples(st.just("Connection"), st.lists(st.sampled_from(_CONNECTIONS), max_size=5).map(", ".join))
    | st.tuples(
        st.sampled_from(["Idempotency-Key", "Last-Event-ID"]), _JUNK | st.sampled_from(['"a', '"a"', "a" * 256])
    )
    | st.sampled_from(_WHOLE),
    max_size=5,
)

ORDER = b'{"item":"lamp","quantity":2,"amount_usd":40}'
_MEMBERS = [
    *(b'"amount_usd":2', b'"a":1e400', b'"a":-1e400', b'"a":1e-400', b'"a":NaN', b'"a":Infinity', b'"a":01', b'"a":1.'),
    *(b'"a":"\\ud800"', b'"a":"\\udc00\\ud800"', b'"\\ud800":1', b'"\\u0061mount_usd":2', b'"a":"\\u0000"'),
    *(b'"a":"\x00"', b'"a":"\xff"', b'"a":"\xc0\xaf"', b'"a":"\xed\xa0\x80"', b'"a":{"b":1,"b":2}', b'"":1', b'"a":'),
    *(b'"a":' + b"9" * 400, b'"a":0.' + b"1" * 50_000, b'"a":1e' + b"0" * 5_000, b'"a":"' + b"\\u2028" * 5_000 + b'"'),
    *(b'"a":' + b"[" * 511 + b"]" * 511, b'"a":' + b"[" * 30_000 + b"]" * 30_000, b'"a":' + b'{"a":' * 9_000),
    *(b'"a":[' + b"1," * 30_000 + b"1]", b",".join(b'"k%d":1' % n for n in range(5_000)), b'"__proto__":{}'),
]
_DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES = (
    st.lists(st.sampled_from(_MEMBERS), max_size=3).map(lambda some: b"{%s}" % b",".join([b'"amount_usd":1', *some]))
    | st.sampled_from([b"", b"null", b"[]", b"1", b'"a"', b"\x00", b"\xef\xbb\xbf" + ORDER, ORDER + b"\n", ORDER * 2])
    | st.sampled_from([_DEEP, b" " * 65_000, ORDER.decode().encode("utf-16"), gzip.compress(ORDER), b"a" * 200_000])
    | st.binary(max_size=60)
    | st.builds(lambda at, piece: _spliced(ORDER, at, piece), st.integers(0, len(ORDER) - 1), st.binary(max_size=3))
)
_CONTENT_TYPES = ("", "/", "text/plain", "application/json; charset=latin-1", "application/a+json; charset=UTF-8")
_CONTENT_CODINGS = ("gzip", "br", "identity", "deflate, gzip", "\xff")
TYPES: st.SearchStrategy[list[Field]] = st.sampled_from(
    [
        *([], [], [("Content-Type", "application/json")]),
        *([("Content-Type", kind)] for kind in _CONTENT_TYPES),
        *([("Content-Encoding", coding)] for coding in _CONTENT_CODINGS),
    ]
)

_LENGTHS = ["0", "5", "+5", "-1", "0x5", "0_5", "5 5", "5, 5", "5,0", "", "9" * 20, "\xb2", "5\x0b"]
_CODINGS = [
    *("chunked", "gzip, chunked", "chunked, gzip", "chunked, chunked", "xchunked", "identity", "", "\x0bchunked"),
    '"chunked"',
]
_FRAMES = st.tuples(st.just("Content-Length"), st.sampled_from(_LENGTHS)) | st.tuples(
    st.just("Transfer-Encoding"), st.sampled_from(_CODINGS)
)
_PLAIN = [("Content-Length", "0"), ("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
FRAMINGS: st.SearchStrategy[list[Field]] = st.lists(_FRAMES, min_size=1, max_size=3).filter(
    lambda some: len(some) > 1 or some[0] not in _PLAIN
)
"""Header fields after which two parsers may see the body end in different places."""
CHUNKS = st.lists(
    st.sampled_from(
        [
            *(b"0\r\n\r\n", b"2\r\nab\r\n", b"2\r\nabc\r\n", b"+2\r\nab\r\n", b"0x2\r\nab\r\n", b"zz\r\n", b"-1\r\n"),
            *(b"2\nab\n", b"2;a=b\r\nab\r\n", b"F" * 17 + b"\r\n", b"0\r\nX-A: b\r\n\r\n", b"0\r\nHost: b\r\n\r\n"),
            *(b"2 \r\nab\r\n", b"\r\n", b"2;" + b"a" * 70_000 + b"\r\nab\r\n"),
        ]
    )
    | st.binary(max_size=8),
    min_size=1,
    max_size=4,
).map(b"".join)


def inserted(text: str, pieces: list[tuple[int, str]]) -> str:
    """Put each piece somewhere into a text, never before its first character."""
    for at, piece in pieces:
        cut = 1 + at % len(text)
        text = text[:cut] + piece + text[cut:]
    return text


def damaged(known: str, other: str) -> st.SearchStrategy[str]:
    """Return ids that are no id of the caller: forged, truncated, of another alphabet, of another org, too long."""
    at = st.integers(0, len(known) - 1)
    digit = st.sampled_from(string.ascii_letters + string.digits + "-_.~!$&'()*+,=:@")
    made = (
        st.tuples(at, digit).map(lambda a: known[: a[0]] + a[1] + known[a[0] + 1 :])
        | at.map(lambda n: known[:n])
        | st.sampled_from([other, known.upper(), known.swapcase(), known[4:], known + "A", known + "=", known * 160])
        | st.sampled_from(["req_" + "A" * 60, "req_" + "_" * 60, "REQ_" + known[4:], "a" * 10_000, "*", "null", "-1"])
        | st.text(digit, min_size=1, max_size=70).map("req_".__add__)
    )
    return made.filter(lambda made: made not in (known, ".", ".."))


def _spliced(body: bytes, at: int, piece: bytes) -> bytes:
    return body[:at] + piece + body[at + len(piece) :]
