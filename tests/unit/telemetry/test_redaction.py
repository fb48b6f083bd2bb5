import string
import timeit

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from apx.telemetry import logs
from apx.telemetry.redaction import forbidden, mask, mask_text

from .conftest import Sink

KEY = "apx_live_0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
CANARIES = {
    "key": (KEY, "0aB1cD2eF3gH4iJ5"),
    "cut key": (KEY[:24], "0aB1cD2eF3gH4iJ"),
    "secret of a webhook": ("whsec_Q2FuYXJ5Q2FuYXJ5+/Q2FuYXJ5Q2FuYXJ5Q2FuYXI=", "Q2FuYXJ5"),
    "bearer": ("Bearer canary-opaque/+=", "canary-opaque"),
    "shouted bearer": ("BEARER canary-opaque", "canary-opaque"),
    "bearer on a line": ("Authorization:\n\tBearer\tcanary-opaque", "canary-opaque"),
    "basic": ("Basic Y2FuYXJ5OmNhbmFyeQ==", "Y2FuYXJ5"),
    "jwt": (JWT, "eyJzdWIiOiJjYW5hcnkifQ"),
    "jwe": ("eyJhbGciOiJkaXIifQ..aXY-canary.Y2lwaGVy-canary.dGFn-canary", "canary"),
    "query": ("/orders?api_key=canary-query&page=2", "canary-query"),
    "query token": ("/orders?access_token=canary-query", "canary-query"),
    "encoded bearer": ("authorization: Bearer%20canary-opaque", "canary-opaque"),
}


@pytest.mark.parametrize(("text", "secret"), CANARIES.values(), ids=CANARIES.keys())
def test_a_credential_is_masked_wherever_it_stands(sink: Sink, text: str, secret: str) -> None:
    logs.canonical("request", path=text, nested={"list": [text, {"deep": f"before {text} after"}]})
    structlog.get_logger().error("failed", detail=f"<{text}>", exc_info=ValueError(f"with {text} inside"))
    written = sink.text()
    assert secret not in written
    assert written.count("***") >= 5


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Authorization", "x-api-key", "X-API-Key", "api_key", "apiKey", "token", "access_token"),
        *("accessToken", "client_secret", "webhookSecret", "cookie", "Set-Cookie", "password", "private_key", "body"),
        *("request_body", "proxy-authorization", "credentials", "jwt", "http.request.header.authorization", "API_KEYS"),
    ],
)
def test_a_field_of_this_name_is_dropped_at_every_depth(sink: Sink, name: str) -> None:
    logs.canonical("request", **{name: "canary", "nested": {name: "canary", "list": [{name: "canary"}]}})
    assert "canary" not in sink.text()


@pytest.mark.parametrize("name", ["body_bytes", "key_id", "token_type", "product", "path", "keyboard", "somebody"])
def test_a_field_that_only_measures_or_names_stays(name: str) -> None:
    assert not forbidden(name)


@pytest.mark.parametrize(
    "text",
    ["plain", "apx_admissions_total", "a=b", "Bearer", "eyJ", "the basics", "/orders/v1?page=2", "sha256:ab=="],
)
def test_a_text_without_a_credential_is_left_as_it_is(text: str) -> None:
    assert mask_text(text) == text


@given(
    st.text(max_size=30),
    st.text(string.ascii_letters + string.digits, min_size=33, max_size=33),
    st.text(max_size=30),
)
def test_no_text_around_a_key_hides_it_from_the_mask(before: str, digits: str, after: str) -> None:
    line = f"{before}apx_live_{digits}{after}".encode("utf-8", "replace")
    assert f"apx_live_{digits}".encode() not in mask(line)


@pytest.mark.parametrize("part", [b"eyJ", b"apx_", b"apx_live_", b"bearer ", b"eyJaaaaaaaaa.", b"basic%20", b"key="])
def test_masking_look_alikes_takes_time_in_proportion_to_their_length(part: bytes) -> None:
    short, long = part * 2_000, part * 20_000
    once = min(timeit.repeat(lambda: mask(short), number=1, repeat=5))
    assert min(timeit.repeat(lambda: mask(long), number=1, repeat=3)) < 40 * once
