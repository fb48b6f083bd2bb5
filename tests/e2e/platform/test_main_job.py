"""The main job, through every real part: what a client sees."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial

import httpx
import pytest

from apx import bootstrap
from apx.local.platform import Platform, environment_of
from apx.usage.quantities import SERIES_PER_ENDPOINT, SERIES_PER_PRODUCT
from examples.demo_issuer.tokens import sign_token
from tests.e2e.platform.client import ORDER, Client, eventually, received

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("platform", ["local", "gcp"], indirect=True),
]


def person(subject: str) -> str:
    return sign_token(subject, org="acme", now=time.time())


def test_an_order_is_accepted_at_once_and_its_answer_collected_later(acme: Client) -> None:
    accepted = acme.order()

    assert accepted.status_code == 202
    assert accepted.json()["state"] == "accepted"
    assert int(accepted.headers["retry-after"]) >= 1
    operation = acme.finished(accepted.headers["location"])
    assert (operation["state"], operation["product"]) == ("succeeded", "orders")
    result = acme.get(f"{accepted.headers['location']}/result")
    assert (result.status_code, result.json()["received"]) == (201, ORDER)


def test_a_client_that_prefers_to_wait_gets_the_backends_answer(acme: Client) -> None:
    answer = acme.order(prefer="wait=20")

    assert (answer.status_code, answer.json()["received"]) == (201, ORDER)
    assert answer.headers["preference-applied"] == "wait=20"


def test_a_wait_that_is_too_short_ends_in_a_202(acme: Client) -> None:
    answer = acme.post("/orders/", json=ORDER, headers={"Prefer": "wait=1", "x-demo-delay-ms": "3000"})

    assert answer.status_code == 202
    assert acme.finished(answer.headers["location"])["state"] == "succeeded"


def test_a_repeated_idempotency_key_is_the_same_request(acme: Client, platform: Platform) -> None:
    first = acme.order(idempotency_key="order-17")
    again = acme.order(idempotency_key="order-17")
    other = acme.order({**ORDER, "quantity": 3}, idempotency_key="order-17")

    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    acme.finished(first.headers["location"])
    sent = [entry for entry in received(platform) if entry["headers"].get("idempotency-key") == first.json()["id"]]
    assert len(sent) == 1


def test_another_org_cannot_tell_a_request_from_one_that_never_was(acme: Client, globex: Client) -> None:
    location = acme.order().headers["location"]
    forged = location[:-4] + ("AAAA" if not location.endswith("AAAA") else "BBBB")

    for path in ("", "/result", "/events"):
        real, never = globex.get(location + path), globex.get(forged + path)
        assert real.status_code == never.status_code == 404
        assert {**real.json(), "request_id": ""} == {**never.json(), "request_id": ""}
    assert globex.delete(location).status_code == 404


def test_a_policy_refuses_with_its_own_reason(globex: Client) -> None:
    refused = globex.order({"item": "yacht", "quantity": 1, "amount_usd": 9_999_999})

    assert (refused.status_code, refused.json()["code"]) == (403, "order-too-large")
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_sync_product_is_proxied_and_never_queued(acme: Client, platform: Platform) -> None:
    answer = acme.get("/forecast/paris")

    assert (answer.status_code, answer.json()["city"]) == (200, "paris")
    assert "ratelimit" in answer.headers
    sent = received(platform)[-1]
    assert sent["path"] == "/forecast/paris"
    assert not {"x-api-key", "authorization"} & set(sent["headers"])


def test_a_sync_product_streams_through_the_edge(acme: Client) -> None:
    with acme.stream("GET", "/forecast/paris/live", params={"ticks": 3}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert sum(line.startswith("data:") for line in answer.iter_lines()) == 3


def test_chunks_of_a_streaming_backend_arrive_as_they_are_made(acme: Client) -> None:
    accepted = acme.post("/summaries/", json={"text": "one two three four five"}, params={"word_ms": "300"})
    assert accepted.status_code == 202, accepted.text
    moments, kinds, states = [], [], []
    with acme.stream("GET", f"{accepted.headers['location']}/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line.startswith("event:"):
                kinds.append(line.partition(": ")[2])
            elif line.startswith("data:") and kinds[-1] == "chunk":
                moments.append(time.monotonic())
            elif line.startswith("data:") and kinds[-1] == "state":
                states.append(json.loads(line.partition(": ")[2])["state"])

    assert kinds.count("chunk") >= 5
    assert states[-1] == "succeeded"
    assert moments[4] - moments[0] > 0.6  # they came one by one, not together at the end
    result = acme.get(f"{accepted.headers['location']}/result")
    assert result.headers["content-type"].startswith("text/event-stream")
    assert all(word in result.text for word in ("one", "two", "three", "four", "five"))


def test_cancelling_a_running_export_ends_the_call_to_its_backend(acme: Client, platform: Platform) -> None:
    location = acme.post("/exports/", json={"days": 30}, params={"seconds": "60"}).headers["location"]
    assert eventually(lambda: acme.get(location).json()["state"] == "running")

    cancelled = acme.delete(location)

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert eventually(
        lambda: any(e["path"].startswith("/exports") and e["outcome"] == "cancelled" for e in received(platform))
    )
    assert acme.get(f"{location}/result").status_code == 410


def test_exports_of_one_org_run_beside_one_another(acme: Client) -> None:
    started = time.monotonic()
    locations = [
        acme.post("/exports/", json={"days": n + 1}, params={"seconds": "2"}).headers["location"] for n in range(3)
    ]

    assert [acme.finished(location)["state"] for location in locations] == ["succeeded"] * 3
    assert time.monotonic() - started < 5.9


def test_a_product_with_jwt_asks_for_the_persons_token_and_the_orgs_key(acme: Client) -> None:
    path = "/staff-payslips/e-1"
    bearer = {"Authorization": f"Bearer {person('e-1')}"}

    assert acme.get(path, headers=bearer).status_code == 200
    assert acme.get(path).status_code == 401
    without_key = httpx.get(str(acme.base_url).rstrip("/") + path, headers=bearer, trust_env=False)
    assert without_key.status_code == 401


def test_a_large_answer_comes_back_whole(acme: Client) -> None:
    size = 3_000_000
    accepted = acme.post("/orders/", json=ORDER, headers={"x-demo-size": str(size), "Prefer": "wait=20"})

    assert len(accepted.content) == size


def test_a_backend_that_fails_for_a_while_is_tried_again(acme: Client, platform: Platform) -> None:
    accepted = acme.post("/orders/", json=ORDER, headers={"x-demo-fail": "503,2"})

    assert acme.finished(accepted.headers["location"])["state"] == "succeeded"
    tries = [e for e in received(platform) if e["headers"].get("idempotency-key") == accepted.json()["id"]]
    assert len(tries) == 3


def test_a_request_can_be_followed_through_every_process(acme: Client, platform: Platform) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    accepted = acme.order(traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    acme.finished(accepted.headers["location"])
    control = f"http://127.0.0.1:{platform.settings.control_port}"
    admin = {"Authorization": f"Bearer {platform.admin_token}"}
    entry = next(e for e in received(platform) if e["headers"].get("idempotency-key") == accepted.json()["id"])
    followed = entry["headers"]["traceparent"].split("-")[1]

    def services() -> set[str]:
        spans = httpx.get(f"{control}/api/v1/traces/{followed}", headers=admin, trust_env=False).json()
        return {span["service"] for span in spans}

    assert eventually(lambda: {"apx-edge", "apx-router", "apx-worker"} <= services()), services()


def test_the_control_api_asks_for_the_admins_token(platform: Platform) -> None:
    control = f"http://127.0.0.1:{platform.settings.control_port}"

    assert httpx.get(f"{control}/api/v1/products", trust_env=False).status_code == 401
    admin = {"Authorization": f"Bearer {platform.admin_token}"}
    products = httpx.get(f"{control}/api/v1/products", headers=admin, trust_env=False).json()
    assert {p["product"] for p in products} >= {"orders", "forecast", "summaries", "exports"}
    assert httpx.get(f"{control}/api/openapi.json", trust_env=False).json()["openapi"].startswith("3.")


def test_metrics_of_router_and_worker_are_there(acme: Client, platform: Platform) -> None:
    acme.finished(acme.order().headers["location"])
    ports = platform.settings
    router = httpx.get(f"http://127.0.0.1:{ports.router_port}/metrics", trust_env=False).text
    worker = httpx.get(f"http://127.0.0.1:{ports.worker_port}/metrics", trust_env=False).text

    assert 'apx_accepts_total{outcome="accepted",product="orders"}' in router.replace(
        'product="orders",outcome="accepted"', 'outcome="accepted",product="orders"'
    )
    assert "apx_worker_results_total" in worker


@pytest.mark.parametrize(("process", "pod"), [("router", "edge"), ("worker", "worker")])
def test_metrics_are_no_more_than_the_model_of_costs_takes_for_granted(
    acme: Client, platform: Platform, process: str, pod: str
) -> None:
    """By half at most, whatever was sent before: a label without a bound would be a bill without one."""
    acme.finished(acme.order().headers["location"])
    port = getattr(platform.settings, f"{process}_port")
    told = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    series = [line for line in told.splitlines() if not line.startswith("#")]
    of_products = Counter(found[1] for line in series if (found := re.search(r'product="([^"]*)"', line)))
    assert max(of_products.values()) <= 1.5 * SERIES_PER_PRODUCT[pod]
    assert len(series) - of_products.total() <= 1.5 * SERIES_PER_ENDPOINT


def test_nothing_that_was_written_holds_a_key_or_a_body(acme: Client, platform: Platform) -> None:
    home = platform.home
    canary = "canary-7f3a91c04e"
    accepted = acme.order({**ORDER, "item": canary}, authorization=f"Bearer {platform.keys['acme']}")
    acme.finished(accepted.headers["location"])
    acme.get("/orders/", headers={"Authorization": "Bearer apx_local_not-a-key"})
    acme.get("/orders/", params={"api_key": platform.keys["acme"]})
    secrets = [*platform.keys.values(), platform.admin_token, person("e-2").rsplit(".", 1)[0]]

    found = [
        (str(path.relative_to(home)), secret[:14])
        for path in home.rglob("*")
        if path.is_file() and "keys" not in path.relative_to(home).parts
        for secret in secrets
        if secret.encode() in path.read_bytes()
    ]
    told = [path for path in (*home.glob("logs/*"), *home.glob("traces/*")) if canary.encode() in path.read_bytes()]

    assert not found
    assert not told


def test_what_backends_of_both_modes_answered_is_counted(acme: Client, platform: Platform) -> None:
    """The worker counts for an asynchronous product, the edge for a synchronous one."""
    acme.finished(acme.order().headers["location"])
    acme.get("/forecast/paris")

    async def answers(product: str) -> int:
        with environment_of(platform.settings):
            async with bootstrap.backends(platform.settings) as outside:
                now_ms = await outside.rollouts.now_ms()
                counted = await outside.counts.read(product, now_ms - 600_000, now_ms + 1_000)
                return sum(counts.answers for counts in counted.by.values())

    for product in ("orders", "forecast"):
        assert eventually(partial(_positive, answers, product)), product


def _positive(count: Callable[[str], Coroutine[None, None, int]], product: str) -> bool:
    return asyncio.run(count(product)) > 0
