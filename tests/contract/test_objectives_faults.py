"""What Cloud Monitoring may answer, or not, and is no budget; and who asks it."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, RefreshError

from apx.backends.gcp.promql import MOST_ANSWER_BYTES
from apx.catalog.model import Slo
from apx.errors import Misconfigured, Unavailable
from apx.rollout.budget import Budget
from tests.contract.cloud_monitoring import (
    Handler,
    Labels,
    Monitoring,
    cut_short,
    elsewhere,
    endless,
    monitoring,
    serving,
    vector,
    whole,
)

SLO = Slo(availability_percent=99.0)


@pytest.fixture
async def google() -> AsyncIterator[Monitoring]:
    """Cloud Monitoring with a healthy product in it."""
    async with monitoring() as opened:
        opened.prometheus.count("orders", 200, 10_000)
        yield opened


def text(body: str, status: int = 200, kind: str = "application/json", **headers: str) -> Handler:
    return whole(lambda: web.Response(text=body, status=status, content_type=kind, headers=headers))


def classes(*samples: tuple[str, object], **beside: object) -> Handler:
    return whole(lambda: vector({(("status_class", one),): value for one, value in samples}, **beside))


HEALTHY = ("2xx", 10_000)
WELL = vector({(("status_class", "2xx"),): 10_000}).text or ""
HTML = "<!doctype html><title>502</title>"
NO_BUDGET: dict[str, Handler] = {
    "an expression it does not take": text('{"status":"error","errorType":"bad_data","error":"no"}', 400),
    "not found": text(HTML, 404, "text/html"),
    "over its quota": text('{"error":{"code":429,"message":"quota"}}', 429),
    "a fault": text("", 500),
    "a page of a proxy": text(HTML, 502, "text/html"),
    "an answer that came too late": text('{"status":"error","errorType":"timeout","error":"late"}', 503),
    "a page that says 200": text(HTML, 200, "text/html"),
    "nothing": text(""),
    "no object": text("[]"),
    "half an object": text('{"status":"success","data":{"resultType":"vector","result":[{"metric"'),
    "an error that says 200": text('{"status":"error","errorType":"internal","error":"no"}'),
    "no result": text('{"status":"success","data":{"resultType":"vector"}}'),
    "a scalar": text('{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}'),
    "a matrix": text('{"status":"success","data":{"resultType":"matrix","result":[]}}'),
    "a number that is no text": text(
        '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"status_class":"2xx"},"value":[1,1]}]}}'
    ),
    "no number": classes(HEALTHY, ("5xx", "NaN")),
    "endlessly many": classes(("2xx", "+Inf")),
    "fewer than none": classes(HEALTHY, ("5xx", "-1")),
    "a word": classes(("2xx", "many")),
    "a class that nobody counts": classes(HEALTHY, ("6xx", 1)),
    "no class": whole(lambda: vector({(): 10_000})),
    "a part, with a warning": classes(HEALTHY, warnings=["some series were left out"]),
    "a body cut short": cut_short,
    "a body without end": endless,
    "a body over the bound": text(WELL + " " * MOST_ANSWER_BYTES),
    "a packed body": whole(
        lambda: web.Response(body=gzip.compress(WELL.encode() + b" " * 10**6), headers={"content-encoding": "gzip"})
    ),
    "a header without end": text("", 200, "application/json", x="y" * 100_000),
}


class TestOnGoogle:
    """What is no budget, however healthy it looks."""

    @pytest.mark.parametrize("what", NO_BUDGET)
    async def test_an_answer_that_is_no_whole_vector_of_counts_is_unavailable(
        self, google: Monitoring, what: str
    ) -> None:
        google.prometheus.instead = NO_BUDGET[what]
        with pytest.raises(Unavailable, match="Cloud Monitoring"):
            await google.objectives.spent("orders", SLO)
        google.prometheus.instead = None
        assert await google.objectives.spent("orders", SLO) is not None

    async def test_a_class_that_comes_twice_is_no_count(self, google: Monitoring) -> None:
        twice: dict[Labels, object] = {(("status_class", "2xx"), ("region", one)): 9_000 for one in ("here", "there")}
        google.prometheus.instead = whole(lambda: vector(twice))
        with pytest.raises(Unavailable, match="no count"):
            await google.objectives.spent("orders", SLO)

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_process_that_is_refused_is_told_why(self, google: Monitoring, status: int) -> None:
        google.prometheus.instead = text('{"error":{"message":"monitoring.timeSeries.list is missing"}}', status)
        with pytest.raises(Misconfigured, match=rf"{status}: monitoring.timeSeries.list is missing"):
            await google.objectives.spent("orders", SLO)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_a_redirect_is_not_followed(self, google: Monitoring, status: int) -> None:
        followed = []

        async def other(request: web.Request) -> web.StreamResponse:
            followed.append(request.headers)
            return vector({(("status_class", "2xx"),): 10_000})

        async with serving(other, "/") as (url, _):
            google.prometheus.instead = elsewhere(url, status)
            with pytest.raises(Unavailable, match=str(status)):
                await google.objectives.spent("orders", SLO)
        assert followed == []

    async def test_one_that_does_not_answer_is_waited_for_no_longer_than_bounded(self, google: Monitoring) -> None:
        async def never(_: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        google.prometheus.instead, google.client.timeout_s = never, 0.2
        async with asyncio.timeout(2):
            with pytest.raises(Unavailable, match="in time"):
                await google.objectives.spent("orders", SLO)

    async def test_nobody_who_listens_is_unavailable(self, google: Monitoring) -> None:
        await google.stop()
        with pytest.raises(Unavailable):
            await google.objectives.spent("orders", SLO)

    async def test_numbers_that_are_no_longer_current_are_no_budget(self, google: Monitoring) -> None:
        google.prometheus.workers = 0
        with pytest.raises(Unavailable, match="what it has is old"):
            await google.objectives.spent("orders", SLO)

    async def test_what_it_says_beside_the_numbers_without_doubting_them_is_passed_over(
        self, google: Monitoring
    ) -> None:
        google.prometheus.instead = classes(HEALTHY, infos=["a hint"], trace={})
        assert await google.objectives.spent("orders", SLO) is not None

    async def test_numbers_are_estimates_and_are_rounded(self, google: Monitoring) -> None:
        google.prometheus.instead = classes(("2xx", "9899.6"), ("5xx", "1.0001e2"))
        found = await google.objectives.spent("orders", SLO)
        assert found is not None
        assert found.spent == pytest.approx(1.0)


async def spent_orders(google: Monitoring) -> Budget:
    google.prometheus.count("orders", 500, 10_000)
    found = await google.objectives.spent("orders", SLO)
    assert found is not None
    assert found.spent == pytest.approx(50)
    return found


class TestThePlatformsBudget:
    """What is told of it where a product's is spent."""

    @pytest.mark.parametrize(
        ("points", "told"), [([0.5, 0.98], "98 %"), ([0.98, -1.2], "-120 %"), ([], "nobody knows")]
    )
    async def test_the_last_that_is_known_is_told(self, google: Monitoring, points: list[float], told: str) -> None:
        google.slo.points = points
        assert f"of the platform's own budget {told}" in (await spent_orders(google)).text

    async def test_it_is_not_told_of_a_product_that_is_well(self, google: Monitoring) -> None:
        found = await google.objectives.spent("orders", SLO)
        assert found is not None
        assert "platform" not in found.text

    @pytest.mark.parametrize("way", ["not found", "no such filter", "refused", "away", "partial", "no number"])
    async def test_that_it_cannot_be_read_changes_no_products(self, google: Monitoring, way: str) -> None:
        codes = {
            "not found": grpc.StatusCode.NOT_FOUND,
            "no such filter": grpc.StatusCode.INVALID_ARGUMENT,
            "refused": grpc.StatusCode.PERMISSION_DENIED,
            "away": grpc.StatusCode.UNAVAILABLE,
        }
        google.slo.code, google.slo.incomplete = codes.get(way), way == "partial"
        if way == "no number":
            google.slo.points = [float("nan")]
        assert "of the platform's own budget nobody knows what is left" in (await spent_orders(google)).text


class TestIdentity:
    """Who asks."""

    async def test_without_credentials_it_is_misconfigured(self) -> None:
        def find() -> Credentials:
            raise DefaultCredentialsError("none")  # type: ignore[no-untyped-call]

        async with monitoring(find) as opened:
            with pytest.raises(Misconfigured, match="refused this process"):
                await opened.objectives.spent("orders", SLO)

    async def test_a_token_that_cannot_be_renewed_is_unavailable(self) -> None:
        class Ended(Credentials):
            def refresh(self, _: Any) -> None:
                raise RefreshError("the metadata server is away")  # type: ignore[no-untyped-call]

        async with monitoring(Ended) as opened:
            with pytest.raises(Unavailable, match="metadata server"):
                await opened.objectives.spent("orders", SLO)

    async def test_looking_for_credentials_blocks_nobody_and_is_bounded(self) -> None:
        end = threading.Event()

        def find() -> Credentials:
            end.wait(10)
            raise DefaultCredentialsError("none")  # type: ignore[no-untyped-call]

        async with monitoring(find) as opened:
            opened.client.timeout_s = 0.2
            async with asyncio.timeout(2):
                with pytest.raises(Unavailable, match="in time"):
                    await opened.objectives.spent("orders", SLO)
            end.set()
