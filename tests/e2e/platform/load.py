"""Clients that do not give up: each org sends one request after the other until every one is accepted, and keeps a
ledger of what it was promised."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
import msgspec

from apx.local.platform import Platform

TRY_AGAIN = frozenset({502, 503, 504})


class Promise(msgspec.Struct, frozen=True):
    """One 202."""

    org: str
    number: int
    location: str


async def send_all(
    platform: Platform, orgs: Sequence[str], each: int, *, beside: int = 1, ledger: list[Promise] | None = None
) -> list[Promise]:
    """Send `each` numbered orders of every org in order, `beside` lanes of numbers per org; return the promises."""
    ledger = [] if ledger is None else ledger
    limits = httpx.Limits(max_connections=len(orgs) * beside)
    async with httpx.AsyncClient(base_url=platform.edge, timeout=10, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(_send(client, platform, org, each, ledger) for org in orgs for _ in range(beside)))
    return ledger


async def _send(client: httpx.AsyncClient, platform: Platform, org: str, each: int, ledger: list[Promise]) -> None:
    for number in range(each):
        body = {"note": f"{org}/{number}", "amount_usd": 1}
        # The same Idempotency-Key for every try: a try whose answer was lost and its repetition are one request.
        headers = {"X-API-Key": platform.keys[org], "Idempotency-Key": f"{org}-{number}"}
        while True:
            try:
                answer = await client.post("/orders/", json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code not in TRY_AGAIN:
                break
            await asyncio.sleep(0.05)
        assert answer.status_code == 202, f"{org}/{number}: {answer.status_code} {answer.text}"
        ledger.append(Promise(org, number, answer.headers["location"]))


Documents = dict[Promise, dict[str, str]]


async def collect_all(platform: Platform, promises: Sequence[Promise], *, within_s: float) -> Documents:
    """Return the final document of every promise; one that has none in time stays out."""
    found: Documents = {}
    limits = httpx.Limits(max_connections=32)
    gate = asyncio.Semaphore(32)
    async with httpx.AsyncClient(base_url=platform.edge, timeout=30, limits=limits, trust_env=False) as client:

        async def one(promise: Promise) -> None:
            async with gate:
                while True:
                    headers = {"X-API-Key": platform.keys[promise.org], "Prefer": "wait=5"}
                    try:
                        answer = await client.get(promise.location, headers=headers)
                    except httpx.TransportError:
                        await asyncio.sleep(0.1)
                        continue
                    if answer.status_code == 200 and answer.json()["done"]:
                        found[promise] = answer.json()
                        return
                    await asyncio.sleep(0.1)

        tasks = [asyncio.create_task(one(promise)) for promise in promises]
        _, late = await asyncio.wait(tasks, timeout=within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found
