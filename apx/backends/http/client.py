"""`BackendClient` by aiohttp: pooled, bounded, guarded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from apx.backends.http.connect_to import ConnectTo
from apx.backends.http.resolver import JudgedResolver, Lookup, judge
from apx.requests.execution_call import (
    BackendFailure,
    BackendRequest,
    CallTimedOut,
    ConnectFailed,
    ConnectionLost,
    Headers,
    ProtocolBroken,
    ResponseTooLarge,
    kept_headers,
)

DNS_TTL_S = 10
KEEPALIVE_S = 15
_SWITCHING_PROTOCOLS = 101
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What aiohttp would add by itself: the backend gets the client's own, or nothing."""


class HttpBackendClient:
    """Calls backends over two pools: one whose connections were judged, one for products that allow private ones.

    A connection made for one kind of product is never used for the other. `connections` bounds each pool.
    """

    def __init__(
        self,
        connect_to: ConnectTo | None = None,
        *,
        connections: int = 256,
        lookup: Lookup | None = None,
    ) -> None:
        self._connect_to = connect_to or {}
        self._connections = connections
        self._lookup = lookup
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    @asynccontextmanager
    async def call(self, request: BackendRequest) -> AsyncIterator[_Answer]:
        """Send `request`; see `BackendClient`."""
        try:
            async with asyncio.timeout(request.timeout_s) as deadline:
                response = await self._send(request)
                try:
                    yield _Answer(response, request)
                finally:
                    if not response.closed:
                        response.close()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise CallTimedOut(f"{request.url}: no whole answer in {request.timeout_s} s") from error

    async def _send(self, request: BackendRequest) -> aiohttp.ClientResponse:
        url, headers, name = self._route(request)
        try:
            response = await self._session(allow_private=request.allow_private).request(
                request.method,
                url,
                headers=headers,
                data=aiohttp.BytesPayload(request.body) if request.body else None,
                allow_redirects=False,
                timeout=self._timeout(request.connect_timeout_s),
                server_hostname=name,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(request, error) from error
        if response.status == _SWITCHING_PROTOCOLS:
            response.close()
            raise ProtocolBroken(f"{request.url}: 101 to a call that asked for no upgrade")
        return response

    def _route(self, request: BackendRequest) -> tuple[URL, Mapping[str, str], str | None]:
        """Return URL, headers and TLS name; addresses written into the URL are judged or mapped here."""
        url = URL(request.url, encoded=True)
        headers = CIMultiDict(request.headers)
        host = url.host or ""
        if not _is_address(host):
            return url, headers, None
        mapped = self._connect_to.get((host, url.port or 0))
        if mapped is None:
            if not request.allow_private:
                judge(host, [host])
            return url, headers, None
        headers["host"] = url.authority
        return url.with_host(mapped[0]).with_port(mapped[1]), headers, host if url.scheme == "https" else None

    def _timeout(self, connect_s: float) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(connect_s)
        if timeout is None:
            timeout = self._timeouts[connect_s] = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        return timeout

    def _session(self, *, allow_private: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(allow_private)
        if session is None:
            session = self._sessions[allow_private] = self._open(allow_private=allow_private)
        return session

    def _open(self, *, allow_private: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=JudgedResolver(self._connect_to, guard=not allow_private, lookup=self._lookup),
            family=socket.AF_UNSPEC,
            limit=self._connections,
            ttl_dns_cache=DNS_TTL_S,
            keepalive_timeout=KEEPALIVE_S,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_NOT_ADDED,
        )


class _Answer:
    """A head that has come, and the body that is coming."""

    def __init__(self, response: aiohttp.ClientResponse, request: BackendRequest) -> None:
        self._response = response
        self._request = request
        self.status = response.status
        self.headers: Headers = kept_headers(
            tuple((name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers),
        )

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises `ResponseTooLarge` as soon as it is known to be."""
        cap = self._request.max_response_bytes
        if (self._response.content_length or 0) > cap and self._request.method != "HEAD":
            raise ResponseTooLarge(f"{self._request.url}: {self._response.content_length} bytes are over {cap}")
        content = self._response.content
        size = 0
        while not content.at_eof():
            try:
                chunk = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise _failure(self._request, error) from error
            size += len(chunk)
            if size > cap:
                raise ResponseTooLarge(f"{self._request.url}: the body is over {cap} bytes")
            if chunk:
                yield chunk


def _failure(request: BackendRequest, error: Exception) -> BackendFailure:
    """Name what aiohttp raised."""
    what = f"{request.url}: {type(error).__name__}: {error}"
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return ProtocolBroken(what)
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return ConnectFailed(what)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | aiohttp.ClientOSError():
            return ConnectionLost(what)
        case aiohttp.ClientError() | ValueError():
            return ProtocolBroken(what)
        case _:
            return ConnectionLost(what)


@lru_cache(maxsize=4096)
def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
