"""The peer's API: FastAPI that checks a key and a limit and hands the order to Celery.

Runs in the peers' environment. PEER_KEY is the one key that the store is given, PEER_DISPATCH `thread` or `direct`.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, PositiveFloat
from redis.asyncio import Redis
from starlette.concurrency import run_in_threadpool

from tests.bench.peer.orders_tasks import place

ORG = "acme"
RATE_PER_SECOND, BURST = 1_000_000.0, 10_000_000.0
MOST_USD = 1_000_000
FRESH_S = 60.0
IN_THREAD = os.environ.get("PEER_DISPATCH") == "thread"

# By default no more than 100 connections: when a key has to be looked up again, every request under way does.
store = Redis(unix_socket_path=os.environ["PEER_STORE"], decode_responses=True, max_connections=1024)
known: dict[str, tuple[str, float]] = {}
buckets: dict[str, tuple[float, float]] = {}


class Order(BaseModel):
    """What is ordered."""

    item: str
    quantity: int
    amount_usd: PositiveFloat


@asynccontextmanager
async def _with_key(_: FastAPI) -> AsyncIterator[None]:
    await store.set(f"key:{_hash(os.environ['PEER_KEY'])}", ORG)
    yield
    await store.aclose()


app = FastAPI(lifespan=_with_key)


async def caller(authorization: Annotated[str, Header()]) -> str:
    """Return the org of the key: its hash is looked up once a minute."""
    digest = _hash(authorization.removeprefix("Bearer "))
    org, until = known.get(digest, ("", 0.0))
    if until < time.monotonic():
        org = await store.get(f"key:{digest}") or ""
        known[digest] = org, time.monotonic() + FRESH_S
    if not org:
        raise HTTPException(401)
    return org


async def within_limit(org: Annotated[str, Depends(caller)]) -> str:
    """Take a token of the org's bucket, which this process keeps, as APX's router does."""
    now = time.monotonic()
    tokens, at = buckets.get(org, (BURST, now))
    tokens = min(BURST, tokens + (now - at) * RATE_PER_SECOND)
    if tokens < 1:
        raise HTTPException(429, headers={"retry-after": "1"})
    buckets[org] = tokens - 1, now
    return org


@app.post("/orders/", status_code=202)
async def accept(order: Order, org: Annotated[str, Depends(within_limit)]) -> dict[str, str]:
    """Queue the order; the answer comes once the store has it."""
    if order.amount_usd > MOST_USD:
        raise HTTPException(403)
    request_id = f"{org}-{uuid.uuid4()}"
    if IN_THREAD:
        await run_in_threadpool(_queue, order, request_id)
    else:
        _queue(order, request_id)
    return {"id": request_id, "state": "accepted"}


def _queue(order: Order, request_id: str) -> None:
    # ignore_result saves the peer a subscription for each task, which a service that polls for results does not need.
    place.apply_async((order.model_dump(),), task_id=request_id, ignore_result=True)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
