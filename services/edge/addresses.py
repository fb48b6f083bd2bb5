"""Where the names of backends lead, judged before Envoy may connect there.

A backend that is not allowed to be private gets its addresses from here, fixed: Envoy looks nothing up for it, so a
name that changes its mind after the judgement (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from apx.backends.http.connect_to import parse_connect_to
from apx.catalog.addresses import is_public
from apx.release.model import Manifest
from services.edge.settings import EdgeSettings
from services.edge.targets import target

_log = structlog.get_logger(__name__)
_AT_A_TIME = 16
_PATIENCE_S = 5.0

Addresses = Mapping[str, Sequence[str]]
"""Name → its addresses, all of them public; a name that leads elsewhere has none."""
LookUp = Callable[[str], Awaitable[Sequence[str]]]


async def system_look_up(name: str) -> Sequence[str]:
    """Ask the system's resolver. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def names_to_judge(manifests: Sequence[Manifest], settings: EdgeSettings) -> set[str]:
    """Return the names that only public addresses may stand behind."""
    redirected = parse_connect_to(settings.connect_to)
    urls = [m.spec.backend.url for m in manifests if m.spec.mode == "sync" and not m.spec.backend.allow_private]
    urls += [m.spec.auth.jwt.jwks_url for m in manifests if m.spec.auth.jwt is not None and m.spec.auth.jwt.jwks_url]
    places = []
    for url in urls:
        try:
            places.append(target(url))
        except ValueError:
            continue  # the product is refused when it is rendered, with the reason
    return {t.host for t in places if (t.host, t.port) not in redirected and not is_address(t.host)}


async def judged(names: set[str], known: Addresses, look_up: LookUp = system_look_up) -> dict[str, tuple[str, ...]]:
    """Look `names` up. A name that is not answered for keeps what is `known`; one that leads inside has nothing."""
    gate = asyncio.Semaphore(_AT_A_TIME)

    async def one(name: str) -> tuple[str, ...]:
        try:
            async with gate, asyncio.timeout(_PATIENCE_S):
                found = await look_up(name)
        except (OSError, TimeoutError) as error:
            _log.warning("edge.name-not-known", name=name, reason=str(error))
            return tuple(known.get(name, ()))
        if all(map(is_public, found)):
            return tuple(found)
        _log.error("edge.name-leads-inside", name=name)
        return ()

    ordered = sorted(names)
    return dict(zip(ordered, await asyncio.gather(*map(one, ordered)), strict=True))


def is_address(host: str) -> bool:
    """Tell whether a host is written as an address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
