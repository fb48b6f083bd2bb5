"""The peer's tasks: Celery as its documentation advises for tasks that must not be lost.

Runs in the peers' environment. PEER_STORE is the socket of the store, PEER_BACKEND the backend's `host:port`.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import urllib3
from celery import Celery

_STORE = f"redis+socket://{os.environ['PEER_STORE']}"

app = Celery("orders", broker=_STORE, backend=_STORE)
app.conf.update(
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    broker_pool_limit=64,
    result_expires=86_400,
    task_acks_late=True,  # a worker that dies loses nothing, as in APX
    task_reject_on_worker_lost=True,
    task_send_sent_event=False,
    worker_prefetch_multiplier=int(os.environ.get("PEER_PREFETCH", "16")),
    worker_send_task_events=False,
)


@cache
def _pool() -> urllib3.HTTPConnectionPool:
    """Return the pool of this process: made in the worker, after it has forked."""
    host, _, port = os.environ["PEER_BACKEND"].partition(":")
    return urllib3.HTTPConnectionPool(host, int(port), maxsize=64, block=True)


def call_backend(order: dict[str, Any]) -> dict[str, Any]:
    """Call the backend; what it answers is the task's result."""
    answer = _pool().request("POST", "/orders", json=order, timeout=10.0, retries=False)
    return {"status": answer.status, "body": answer.data.decode()}


place = app.task(name="orders.place")(call_backend)
