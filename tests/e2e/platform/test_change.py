"""A change in gitops/ reaches the next request without failing any; a broken one changes nothing and says why."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from apx.local.platform import Platform, isolated
from tests.e2e.platform.client import Client, eventually
from tests.e2e.platform.trees import copied, edit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def own() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    copied(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def changing(own: Path) -> Iterator[Platform]:
    with Platform.start(isolated(own / "home", gitops=own / "gitops")) as platform:
        yield platform


def apx(platform: Platform, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **platform.settings.environment()}
    return subprocess.run(
        [sys.executable, "-m", "apx.cli.main", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def release(platform: Platform) -> tuple[int, str]:
    for words in (("release", "build"), ("release", "activate", "--why", "a test")):
        done = apx(platform, *words)
        if done.returncode:
            return done.returncode, done.stderr
    return 0, ""


async def under_load(
    platform: Platform, change: Callable[[], None], *, path: str, after_s: float = 2.0
) -> Counter[int]:
    """Call `path` from 8 clients while `change` runs in a thread and `after_s` longer; count the answers by status."""
    method = "POST" if path.startswith("/orders") else "GET"
    statuses: Counter[int] = Counter()
    done = asyncio.Event()

    async def call(client: httpx.AsyncClient) -> None:
        while not done.is_set():
            answer = await client.request(method, path, json={"amount_usd": 60} if method == "POST" else None)
            statuses[answer.status_code] += 1

    headers = {"X-API-Key": platform.keys["acme"]}
    async with httpx.AsyncClient(base_url=platform.edge, headers=headers, timeout=20, trust_env=False) as client:
        calls = [asyncio.create_task(call(client)) for _ in range(8)]
        try:
            await asyncio.to_thread(change)
            await asyncio.sleep(after_s)
        finally:
            done.set()
            await asyncio.gather(*calls)
    return statuses


async def test_a_changed_policy_decides_the_next_request_and_no_request_fails(changing: Platform, own: Path) -> None:
    policy = own / "gitops" / "policies" / "products" / "orders" / "policy.rego"

    with Client(changing, "acme") as acme:
        assert acme.order({"item": "unicorn", "amount_usd": 1}).status_code == 202

        def change() -> None:
            rule = 'else := answers.deny("extinct", "There are none left.") if input.body.item == "unicorn"'
            edit(policy, "else := answers.allow(", f"{rule}\n\nelse := answers.allow(")
            assert release(changing) == (0, "")

        statuses = await under_load(changing, change, path="/orders/")
        refused = acme.order({"item": "unicorn", "amount_usd": 1})

    assert set(statuses) == {202}, statuses
    assert (refused.status_code, refused.json()["code"]) == (403, "extinct")


async def test_a_changed_sync_product_is_swapped_without_dropping_a_connection(changing: Platform, own: Path) -> None:
    product = own / "gitops" / "products" / "forecast" / "product.yaml"

    def change() -> None:
        edit(product, "url: http://demo.localhost:9000/forecast", "url: http://demo.localhost:9000/staff-payslips")
        assert release(changing) == (0, "")

    statuses = await under_load(changing, change, path="/forecast/rome")

    assert set(statuses) == {200}, statuses
    with Client(changing, "acme") as acme:
        assert eventually(lambda: "employee" in acme.get("/forecast/rome").json())


def test_a_broken_edit_changes_nothing_and_says_why(changing: Platform, own: Path) -> None:
    product = own / "gitops" / "products" / "orders" / "product.yaml"
    before = apx(changing, "status", "--json").stdout
    edit(product, "timeout_s: 10\n", "timeout_s: 100000\n")
    try:
        code, said = release(changing)
    finally:
        edit(product, "timeout_s: 100000\n", "timeout_s: 10\n")

    assert code == 1
    assert "gitops/products/orders/product.yaml:" in said
    assert "100000" in said
    assert "Traceback" not in said
    assert apx(changing, "status", "--json").stdout == before


def test_a_policy_that_does_not_pass_its_tests_is_not_released(changing: Platform, own: Path) -> None:
    policy = own / "gitops" / "policies" / "products" / "summaries" / "policy.rego"
    before, text = apx(changing, "status", "--json").stdout, policy.read_text()
    policy.write_text(text.replace("default decision := ", "default decision := {} # ", 1))
    try:
        code, said = release(changing)
    finally:
        policy.write_text(text)

    assert code == 1
    assert "summaries" in said
    assert "Traceback" not in said
    assert apx(changing, "status", "--json").stdout == before


def test_a_release_that_was_altered_is_refused_and_the_last_good_one_serves(changing: Platform, own: Path) -> None:
    product = own / "gitops" / "products" / "orders" / "product.yaml"
    edit(product, "title: Orders", "title: Orders of the day")
    assert apx(changing, "release", "build", "--product", "orders").returncode == 0
    stored = max((own / "home" / "releases" / "releases").glob("*.json"), key=lambda path: path.stat().st_mtime)
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)

    refused = apx(changing, "release", "activate", f"sha256:{stored.stem}")

    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    with Client(changing, "acme") as acme:
        assert acme.order().status_code == 202
