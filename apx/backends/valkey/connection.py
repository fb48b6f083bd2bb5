"""The client of a Valkey (or Redis ≥ 7.2) server: bounded in time, and with errors that the domain knows.

A server that is gone, hung, loading or full raises `Unavailable` within `CALL_TIMEOUT_S` of each attempt. Nothing here
retries by itself: only the caller knows whether a second try is safe (see `Script`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any, cast
from urllib.parse import urlsplit

import libvalkey
from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from valkey.credentials import CredentialProvider
from valkey.exceptions import (
    AuthenticationError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from valkey.exceptions import ConnectionError as ConnectionLost
from valkey.exceptions import TimeoutError as NoReply

from apx.backends.valkey.log import SYNC_TIMEOUT_MS, Log, check_synced
from apx.errors import Misconfigured, Unavailable

CALL_TIMEOUT_S = 1.5
"""Longest wait for one reply; a hung server is seen after this."""
CONNECT_TIMEOUT_S = 1.0
MAX_CONNECTIONS = 32
"""Per client. Callers above it wait for a free connection, up to `CALL_TIMEOUT_S`: no storm against a slow server."""
RETRY_WINDOW_S = 2.0
"""How long a repeatable call tries again after a connection was lost; covers a restart with a small log."""

_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
_BUSY = ("LOADING", "BUSY", "MISCONF", "OOM", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN", "CLUSTERDOWN", "READONLY")


def connect(
    url: str,
    *,
    timeout_s: float = CALL_TIMEOUT_S,
    max_connections: int = MAX_CONNECTIONS,
    credentials: CredentialProvider | None = None,
) -> Valkey:
    """Return a client for `redis://`, `rediss://` or `unix://`; it connects when first used.

    With `?ssl_ca_certs=FILE` only these authorities are trusted, whatever name the certificate carries: they are the
    store's own, as Memorystore's are, whose certificates name no address.

    Close it with `await client.aclose()`. Raises `Misconfigured` for any other address.
    """
    if urlsplit(url).scheme not in _SCHEMES:
        raise Misconfigured(f"{_hide_password(url)!r} is no address of a store: use redis://, rediss:// or unix://")
    url = url.replace("redis", "valkey", 1) if url.startswith("redis") else url
    own_authority = "ssl_ca_certs=" in urlsplit(url).query
    tls: dict[str, Any] = {"ssl_check_hostname": not own_authority} if url.startswith("valkeys:") else {}
    pool = BlockingConnectionPool.from_url(
        url,
        timeout=timeout_s,
        max_connections=max_connections,
        socket_timeout=timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        lib_name=None,
        lib_version=None,
        **({} if credentials is None else {"credential_provider": credentials}),
        **tls,
    )
    pool.connection_class = _FAST[pool.connection_class]
    return Valkey.from_pool(pool)


class _PackedInC:
    """Commands packed by libvalkey; in Python this was the largest cost of a publish (1.5 us for each argument)."""

    def pack_command(self, *args: Any) -> list[bytes]:
        verb = args[0] if isinstance(args[0], bytes) else args[0].encode()
        return [libvalkey.pack_command((*verb.split(), *args[1:]))]


class _FastConnection(_PackedInC, Connection):
    pass


class _FastTlsConnection(_PackedInC, SSLConnection):
    pass


class _FastUnixConnection(_PackedInC, UnixDomainSocketConnection):
    pass


_FAST: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _FastConnection,
    SSLConnection: _FastTlsConnection,
    UnixDomainSocketConnection: _FastUnixConnection,
}


@contextmanager
def unavailable(doing: str) -> Iterator[None]:
    """Turn the client's errors into `Unavailable` (or `Misconfigured`, where trying again cannot help)."""
    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise Misconfigured(f"{doing}: the store refused this process: {error}") from error
    except (ConnectionLost, NoReply, OutOfMemoryError, ReadOnlyError, OSError) as error:
        raise Unavailable(f"{doing}: the store does not answer: {error}") from error
    except ResponseError as error:
        if str(error).startswith(_BUSY):
            raise Unavailable(f"{doing}: the store is not ready: {error}") from error
        raise


class Script:
    """A Lua script, called by its SHA; loaded again when the server does not know it (it was restarted)."""

    def __init__(self, client: Valkey, name: str, *, prelude: str = "", log: Log | None = None) -> None:
        """Read `<name>.lua` beside this file, after the shared `<prelude>.lua`.

        With `log`, a call returns only when what the script wrote is on the server's disk.
        """
        self._source = (_read(prelude) if prelude else "") + _read(name)
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()
        self._client = client
        self._name = name
        self._log = log

    async def __call__(self, *args: bytes | str | float) -> Any:
        """Run it once. Raises `Unavailable`; then it may or may not have run."""
        try:
            with unavailable(self._name):
                try:
                    return await self._run(args)
                except NoScriptError:
                    await self._client.script_load(self._source)
                    return await self._run(args)
        except Unavailable:
            if self._log is not None:
                self._log.forget()
            raise

    async def repeat(self, *args: bytes | str | float) -> Any:
        """Run it, and again while the connection is lost: only for scripts that are safe to run twice.

        A server that hangs is asked twice; one that refuses is asked for `RETRY_WINDOW_S`. Raises `Unavailable`.
        """
        loop = asyncio.get_running_loop()
        start, pause_s = loop.time(), 0.02
        while True:
            try:
                return await self(*args)
            except Unavailable:
                if loop.time() - start + pause_s > RETRY_WINDOW_S:
                    raise
            await asyncio.sleep(pause_s)
            pause_s *= 2

    async def _run(self, given: tuple[bytes | str | float, ...]) -> Any:
        args = cast("tuple[str, ...]", given)  # the client encodes bytes and numbers as well
        if self._log is None or await self._log.synced():
            return await cast("Awaitable[Any]", self._client.evalsha(self._sha, 0, *args))
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.evalsha(self._sha, 0, *args)
            # WAITAOF waits for the last write of its own connection; a repeated script may have had nothing to write.
            pipe.set("apx:sync", "")
            pipe.execute_command("WAITAOF", 1, 0, SYNC_TIMEOUT_MS)
            # Errors that the pipeline raises by itself quote the whole command, bodies and all.
            answer, _, synced = await pipe.execute(raise_on_error=False)
        if isinstance(answer, Exception):
            raise answer
        check_synced(synced)
        return answer


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")


def _hide_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(parts.password, "…") if parts.password else url
