"""Deliveries that are held but do nothing: they wait for a token, a release or a store, and take up no room."""

from __future__ import annotations

from asyncio import Task, current_task
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Resting:
    """The deliveries that rest, by their tasks and counted by product; `began` is called as each begins."""

    def __init__(self) -> None:
        self.began: Callable[[], None] = lambda: None
        self._by_product: Counter[str] = Counter()
        self._tasks: set[Task[Any] | None] = set()
        self.total = 0

    @contextmanager
    def one(self, product: str) -> Iterator[None]:
        """Count one of `product` while the block runs."""
        task = current_task()
        self._tasks.add(task)
        self._by_product[product] += 1
        self.total += 1
        self.began()
        try:
            yield
        finally:
            self._tasks.discard(task)
            self.total -= 1
            self._by_product[product] -= 1
            if not self._by_product[product]:
                del self._by_product[product]

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def crowded(self, least: int) -> set[str]:
        """Return the products of which `least` or more rest."""
        if self.total < least:
            return set()
        return {product for product, n in self._by_product.items() if n >= least}
