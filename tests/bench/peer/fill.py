"""Queues orders for the peer's worker: `python -m tests.bench.peer.fill COUNT`. Runs in the peers' environment."""

from __future__ import annotations

import sys

from tests.bench.peer.orders_tasks import app, place

ORDER = {"item": "lamp", "quantity": 2, "amount_usd": 40}


def main() -> None:
    """Queue them one by one over one connection."""
    with app.producer_or_acquire() as producer:
        for _ in range(int(sys.argv[1])):
            place.apply_async((ORDER,), producer=producer)


if __name__ == "__main__":
    main()
