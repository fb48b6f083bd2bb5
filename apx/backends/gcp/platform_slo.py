"""How much is left of the platform's own error budget, which Cloud Monitoring computes (stacks/objectives.py).

This is the objective of all products together: the router's answers that are not 5xx.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

from google.api_core.exceptions import InvalidArgument, NotFound
from google.auth.credentials import Credentials
from google.cloud.monitoring_v3 import (
    ListTimeSeriesRequest,
    ListTimeSeriesResponse,
    MetricServiceAsyncClient,
    Point,
    TimeInterval,
)
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcAsyncIOTransport as Transport

from apx.backends.gcp import names
from apx.backends.gcp.connection import CALL_TIMEOUT_S, unavailable
from apx.backends.gcp.identity import Identity
from apx.clock import Clock
from apx.errors import Unavailable

LOOKED_BACK_S = 3_600
"""How old the last point may be: Google computes an objective every few minutes, or later."""


def to_google(credentials: Credentials) -> Transport:
    """Return the way to Google."""
    return Transport(credentials=credentials)


class PlatformSlo:
    """Reads one number through Google's own client, which is opened by the first question."""

    def __init__(
        self, identity: Identity, project: str, clock: Clock, open_: Callable[[Credentials], Transport] = to_google
    ) -> None:
        """Nothing is asked yet."""
        self._identity = identity
        self._project = f"projects/{project}"
        self._clock = clock
        self._open = open_
        self._client: MetricServiceAsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.transport.close()  # type: ignore[no-untyped-call]

    async def left(self) -> float | None:
        """Return the share of the budget of 30 days that is left: 1 is all, 0 none, less is overspent.

        None where the objective does not exist yet (it takes a first request) or has no point of the last hour.
        Raises `Unavailable` within `CALL_TIMEOUT_S`, also where the answer is not whole, and `Misconfigured`.
        """
        with unavailable("reading the platform's error budget"):
            client = await self._opened()
            try:
                pager = await client.list_time_series(self._request(), retry=None, timeout=CALL_TIMEOUT_S)
            except (NotFound, InvalidArgument):
                return None
            async for page in pager.pages:
                return _last(page)
        return None

    async def _opened(self) -> MetricServiceAsyncClient:
        credentials = await self._identity.credentials()
        if self._client is None:
            self._client = MetricServiceAsyncClient(transport=self._open(credentials))
        return self._client

    def _request(self) -> ListTimeSeriesRequest:
        now_s = int(self._clock.time())
        slo = f"{self._project}/services/{names.SERVICE}/serviceLevelObjectives/{names.AVAILABILITY}"
        return ListTimeSeriesRequest(
            name=self._project,
            filter=f'select_slo_budget_fraction("{slo}")',
            interval=TimeInterval(start_time={"seconds": now_s - LOOKED_BACK_S}, end_time={"seconds": now_s}),
            view=ListTimeSeriesRequest.TimeSeriesView.FULL,
        )


def _last(page: ListTimeSeriesResponse) -> float | None:
    if page.execution_errors:
        said = page.execution_errors[0].message
        raise Unavailable(f"reading the platform's error budget: its answer may not be whole: {said[:200]}")
    points: list[Point] = [point for series in page.time_series for point in series.points]
    if not points:
        return None
    left = float(max(points, key=lambda point: point.interval.end_time).value.double_value)
    if not math.isfinite(left):
        raise Unavailable(f"reading the platform's error budget: {left} is no number")
    return left
