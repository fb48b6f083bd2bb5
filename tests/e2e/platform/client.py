"""What a client of an org does: send, collect, follow, cancel; and what the demo backend received of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import httpx

from apx.local.platform import Platform

ORDER: dict[str, Any] = {"item": "lamp", "quantity": 2, "amount_usd": 40}


class Client(httpx.Client):
    """An HTTP client with the key of an org."""

    def __init__(self, platform: Platform, org: str) -> None:
        super().__init__(base_url=platform.edge, headers={"X-API-Key": platform.keys[org]}, timeout=30, trust_env=False)

    def order(self, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Place an order; keyword arguments are header fields with `_` for `-`."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.post("/orders/", json=ORDER if body is None else body, headers=fields)

    def finished(self, location: str, *, within_s: float = 30) -> dict[str, Any]:
        """Return the operation once it is done."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            answer = self.get(location, headers={"Prefer": "wait=5"})
            if answer.status_code == 200 and answer.json()["done"]:
                document: dict[str, Any] = answer.json()
                return document
        raise AssertionError(f"{location} is not done after {within_s} s: {answer.text}")

    def __enter__(self) -> Self:
        super().__enter__()
        return self


def received(platform: Platform, since: int = 0) -> list[dict[str, Any]]:
    """Return what the demo backend received, in order."""
    entries: list[dict[str, Any]] = []
    while True:
        url = f"http://127.0.0.1:{platform.settings.demo_port}/_demo/record"
        page = httpx.get(url, params={"since": since, "limit": 10_000}, timeout=30, trust_env=False).text.splitlines()
        if not page:
            return entries
        entries += [entry | {"headers": dict(entry["headers"])} for entry in map(json.loads, page)]
        since = entries[-1]["n"] + 1


def eventually(holds: Callable[[], bool], within_s: float = 15) -> bool:
    """Tell whether something comes true in time."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while time.monotonic() < deadline:
        if holds():
            return True
        pause.wait(0.05)
    return holds()
