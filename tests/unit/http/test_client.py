from __future__ import annotations

import asyncio
import gzip
import os
import socket
import time
from collections.abc import AsyncIterator

import psutil
import pytest

from apx.backends.http.client import HttpBackendClient
from apx.errors import Permanent, Retryable
from apx.requests.execution_call import (
    BackendFailure,
    BackendRequest,
    CallTimedOut,
    ConnectFailed,
    ConnectionLost,
    Headers,
    ProtocolBroken,
    ResponseTooLarge,
)
from examples.demo_backend.record import Record
from examples.demo_backend.server import serving
from tests.unit.http.raw import answering, request_to

OK = b"HTTP/1.1 200 OK\r\n"
MIB = 1024 * 1024


@pytest.fixture
async def client() -> AsyncIterator[HttpBackendClient]:
    async with HttpBackendClient() as made:
        yield made


@pytest.fixture
async def demo() -> AsyncIterator[str]:
    async with serving(record=Record()) as port:
        yield f"http://127.0.0.1:{port}"


async def whole(client: HttpBackendClient, request: BackendRequest) -> tuple[int, Headers, bytes]:
    async with client.call(request) as answer:
        body = b"".join([chunk async for chunk in answer.chunks()])
        return answer.status, answer.headers, body


async def read_and_forget(client: HttpBackendClient, request: BackendRequest) -> None:
    async with client.call(request) as answer:
        async for _ in answer.chunks():
            pass


async def test_an_answer_has_status_headers_and_body(client: HttpBackendClient) -> None:
    async with answering(OK + b"Content-Type: text/plain\r\nX-Tier: gold\r\nContent-Length: 2\r\n\r\nhi") as raw:
        status, headers, body = await whole(client, request_to(raw.url))
    assert (status, body) == (200, b"hi")
    assert headers == (("content-type", "text/plain"), ("x-tier", "gold"))


async def test_hop_by_hop_headers_and_cookies_of_the_answer_are_dropped(client: HttpBackendClient) -> None:
    head = b"Connection: close, X-Inner\r\nX-Inner: 1\r\nSet-Cookie: a=b\r\nServer: s\r\nETag: 1\r\n"
    head += b"Content-Length: 0\r\n\r\n"
    async with answering(OK + head) as raw:
        _, headers, _ = await whole(client, request_to(raw.url))
    assert headers == (("etag", "1"),)


async def test_nothing_is_added_to_the_headers_that_are_sent(client: HttpBackendClient) -> None:
    async with answering(OK + b"Content-Length: 0\r\n\r\n") as raw:
        await whole(client, request_to(raw.url, method="POST", body=b"{}", headers=(("x-request-id", "r1"),)))
    names = {line.partition(":")[0].lower() for line in raw.heads[0].splitlines()[1:] if line}
    assert names == {"host", "x-request-id", "content-length"}


async def test_the_path_goes_out_as_it_is_written(client: HttpBackendClient) -> None:
    async with answering(OK + b"Content-Length: 0\r\n\r\n") as raw:
        await whole(client, request_to(raw.url + "a%2Fb/%E2%82%AC?q=%20x&y=a+b"))
    assert raw.heads[0].startswith("GET /a%2Fb/%E2%82%AC?q=%20x&y=a+b HTTP/1.1\r\n")


async def test_a_redirect_is_a_result(client: HttpBackendClient) -> None:
    async with answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") as raw:
        status, headers, _ = await whole(client, request_to(raw.url))
    assert (status, dict(headers)["location"]) == (302, "http://127.0.0.1:1/")
    assert len(raw.heads) == 1


async def test_cookies_are_not_kept_for_the_next_call(client: HttpBackendClient) -> None:
    async with answering(OK + b"Set-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n") as raw:
        await whole(client, request_to(raw.url))
        await whole(client, request_to(raw.url))
    assert "cookie" not in raw.heads[1].lower()


async def test_a_proxy_of_the_environment_is_not_used(
    client: HttpBackendClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with answering(OK + b"Content-Length: 0\r\n\r\n") as raw:
        status, _, _ = await whole(client, request_to(raw.url))
    assert status == 200


async def test_a_packed_body_stays_packed(client: HttpBackendClient) -> None:
    packed = gzip.compress(b"x" * 100_000)
    head = f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with answering(OK + head + packed) as raw:
        _, headers, body = await whole(client, request_to(raw.url, max_response_bytes=1000))
    assert body == packed
    assert dict(headers)["content-encoding"] == "gzip"


async def test_header_values_outside_ascii_do_not_break_the_result(client: HttpBackendClient) -> None:
    async with answering(OK + b"X-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n") as raw:
        _, headers, _ = await whole(client, request_to(raw.url))
    assert dict(headers)["x-name"] == "caf\u00e9"


async def test_nobody_listening_is_a_failed_connect(client: HttpBackendClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed) as caught:
            await whole(client, request_to(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert isinstance(caught.value, Retryable)


async def test_an_unknown_name_is_a_failed_connect() -> None:
    async def unknown(host: str, _port: int, _family: socket.AddressFamily) -> list[object]:
        raise OSError(f"{host} is not known")

    async with HttpBackendClient(lookup=unknown) as client:  # type: ignore[arg-type]  # it never returns
        with pytest.raises(ConnectFailed):
            await whole(client, request_to("http://nowhere.example/"))


@pytest.mark.parametrize("fault", ["x-demo-close=head", "x-demo-close=body"])
async def test_a_connection_that_is_cut_is_lost_and_may_be_retried(
    client: HttpBackendClient, demo: str, fault: str
) -> None:
    with pytest.raises(ConnectionLost) as caught:
        await whole(client, request_to(f"{demo}/null?{fault}", method="POST"))
    assert isinstance(caught.value, Retryable)


@pytest.mark.parametrize("fault", ["x-demo-hang=head", "x-demo-hang=body", "x-demo-drip=50&x-demo-size=500"])
async def test_the_timeout_covers_the_answer_to_its_last_byte(client: HttpBackendClient, demo: str, fault: str) -> None:
    began = time.monotonic()
    with pytest.raises(CallTimedOut):
        await whole(client, request_to(f"{demo}/null?{fault}", timeout_s=0.3))
    assert time.monotonic() - began < 1.3


async def test_a_cancelled_call_is_cancelled_and_not_timed_out(client: HttpBackendClient, demo: str) -> None:
    call = asyncio.create_task(whole(client, request_to(f"{demo}/null?x-demo-hang=head")))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_body_that_says_it_is_too_large_is_not_read(client: HttpBackendClient, demo: str) -> None:
    with pytest.raises(ResponseTooLarge) as caught:
        await whole(client, request_to(f"{demo}/null?x-demo-size=1000001"))
    assert isinstance(caught.value, Permanent)


async def test_an_endless_body_stops_at_the_cap_and_memory_stays_flat(client: HttpBackendClient, demo: str) -> None:
    before = psutil.Process(os.getpid()).memory_info().rss
    with pytest.raises(ResponseTooLarge):
        await read_and_forget(client, request_to(f"{demo}/null?x-demo-bomb=endless", max_response_bytes=50 * MIB))
    assert psutil.Process(os.getpid()).memory_info().rss - before < 40 * MIB


async def test_a_gzip_bomb_stays_as_small_as_it_came(client: HttpBackendClient, demo: str) -> None:
    before = psutil.Process(os.getpid()).memory_info().rss
    _, _, body = await whole(client, request_to(f"{demo}/null?x-demo-bomb=gzip&x-demo-size={64 * MIB}"))
    assert len(body) < MIB
    assert psutil.Process(os.getpid()).memory_info().rss - before < 32 * MIB


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_not_an_answer_is_a_failure(client: HttpBackendClient, answer: bytes) -> None:
    async with answering(answer) as raw:
        with pytest.raises(BackendFailure):
            await whole(client, request_to(raw.url, method="POST"))


async def test_a_broken_head_is_permanent(client: HttpBackendClient) -> None:
    async with answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as raw:
        with pytest.raises(ProtocolBroken) as caught:
            await whole(client, request_to(raw.url, method="POST"))
    assert isinstance(caught.value, Permanent)


async def test_the_callers_own_errors_pass_unchanged(client: HttpBackendClient, demo: str) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with client.call(request_to(f"{demo}/null")):
            raise TimeoutError("mine")
