"""Rollouts on the whole platform: real traffic, a real judge, processes that are killed."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time

import aiohttp
import pytest

from apx import bootstrap
from apx.errors import Unavailable
from apx.local.repository import repository
from apx.rollout.actions import shown_state
from tests.e2e.rollout.world import NO_SHADOW, QUICK, World, in_canary, over

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

POLICY = "policies/products/orders/policy.rego"
PRODUCT = "products/orders/product.yaml"
ALLOW = "else := answers.allow({"
AWAY_S = 60.0
DETAIL = "over what your plan allows."


async def test_a_good_candidate_is_promoted_though_the_monitor_is_killed_in_each_state(world: World) -> None:
    digest = await world.changed(POLICY, DETAIL, "over what your plan allows: one.")
    killed: dict[str, bool] = {}
    async with world.traffic() as traffic:
        await world.roll_out(digest)
        end = time.monotonic() + 120
        while (rollout := (await world.active()).rollout) and rollout.under_way and time.monotonic() < end:
            state = shown_state(rollout)
            if not killed.get(state):
                killed[state] = True
                await asyncio.to_thread(kill, world, "monitor")
            await asyncio.sleep(0.05)
    assert rollout is not None
    assert (rollout.state, rollout.candidate) == ("promoted", digest)
    assert {"shadow", "canary 1/2", "canary 2/2"} <= killed.keys()
    history = await world.backends.rollouts.history("orders")
    moves = [entry.action for entry in reversed(history) if entry.rollout == rollout.id]
    assert moves == ["start", "begin", "advance", "advance", "promote"]
    assert not set(traffic.answers) - {202}, traffic.answers


def kill(world: World, name: str) -> None:
    try:
        world.platform.kill(name, signal.SIGKILL)
    except Unavailable:
        return  # it is just being started again


async def test_a_policy_that_locks_orgs_out_never_serves_one_when_the_shadow_sees_it(world: World) -> None:
    locked = f'else := answers.deny("closed", "Closed.") if startswith(input.org, "org-0")\n\n{ALLOW}'
    digest = await world.changed(POLICY, ALLOW, locked)
    async with world.traffic() as traffic:
        await world.roll_out(digest)
        rollout = await world.until(over)
    assert (rollout.state, rollout.step, rollout.weight_percent) == ("aborted", 0, 0)
    assert "new denials" in rollout.reason
    assert set(traffic.answers) == {202}


async def test_a_candidate_whose_backend_fails_is_taken_back_in_every_router_and_git_is_put_right(world: World) -> None:
    before = await world.active()
    digest = await world.changed(PRODUCT, "x-served-for: apx", 'x-demo-fail: "500"')
    async with world.traffic():
        await world.roll_out(digest)
        await world.until(in_canary)
        rollout = await world.until(over)
        taken_back = time.monotonic()
        while digest in (await world.releases()).values():
            assert time.monotonic() - taken_back < 5
    active = await world.active()
    assert (rollout.state, active.stable, active.candidate) == ("aborted", before.stable, None)
    assert rollout.verdict is not None
    assert rollout.verdict.outcome == "fail"
    settled = await world.until(lambda one: one.revert is not None and one.revert.state != "wanted", within_s=20)
    assert settled.revert is not None
    assert settled.revert.state == "open", settled.revert
    branch = settled.revert.where.split(" ")[0]
    assert branch == f"apx/revert-orders-{digest[7:19]}"
    assert re.search(r"^-.*x-demo-fail", await asyncio.to_thread(difference, world, branch), re.MULTILINE)


def difference(world: World, branch: str) -> str:
    repo = str(repository(world.platform.home))
    words = ["git", "--git-dir", repo, "diff", "main", branch]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


async def test_a_policy_that_takes_too_long_on_some_inputs_is_taken_back(world: World) -> None:
    slow = (
        'else := answers.deny("slow", "") if {\n\tinput.body.amount_usd == 40\n'
        "\tcount([1 | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i == j]) == 0\n}\n\n"
    )
    quick = f"{QUICK}", f"{NO_SHADOW}"
    path = world.tree / PRODUCT
    text = path.read_text()
    path.write_text(text.replace(*quick))
    try:
        digest = await world.changed(POLICY, ALLOW, slow + ALLOW)
    finally:
        path.write_text(text)
    async with world.traffic():
        await world.roll_out(digest)
        rollout = await world.until(over, within_s=90)
    assert rollout.state == "aborted"
    assert rollout.verdict is not None
    denials = next(one for one in rollout.verdict.evidence if one.measure == "denials")
    failures = next(one for one in rollout.verdict.evidence if one.measure == "policy-failures")
    assert denials.candidate.events > 0
    assert failures.candidate.events > 0


async def test_a_router_that_starts_during_a_rollout_splits_as_the_one_before(world: World) -> None:
    digest = await world.changed(PRODUCT, "title: Orders\n", "title: Orders, seen by a second router\n")
    await world.roll_out(digest)
    await world.until(in_canary)
    before = await world.releases()
    assert len(set(before.values())) == 2
    await asyncio.to_thread(kill, world, "router")
    await asyncio.to_thread(world.platform.wait_ready, "router")
    assert await world.releases() == before


async def test_while_the_store_is_away_traffic_goes_on_at_the_last_weights_and_nothing_moves(world: World) -> None:
    digest = await world.changed(
        "products/forecast/product.yaml", "title: Forecast\n", "title: Forecast, next\n", product="forecast"
    )
    await world.roll_out(digest)
    before = await world.until(in_canary, product="forecast")
    assert set((await world.forecasts()).values()) == {200}
    pid, stopped_at = world.platform.kill("valkey", signal.SIGSTOP), time.monotonic()
    try:
        await asyncio.to_thread(until_unready, world, "monitor")
        while time.monotonic() - stopped_at < AWAY_S:
            assert set((await world.forecasts()).values()) == {200}
            await asyncio.sleep(1)
        await asyncio.to_thread(kill, world, "router")
        await asyncio.to_thread(world.platform.wait_ready, "router")
        live = await metrics_of(world, "router")
        assert f'apx_release_active_info{{arm="candidate",digest="{digest[7:19]}",product="forecast"}} 1.0' in live
        assert set((await world.forecasts()).values()) == {503}, "a new router knows no key without the store"
    finally:
        signal_to(pid, signal.SIGCONT)
    await asyncio.to_thread(world.platform.wait_ready, "monitor")
    after = await world.until(in_canary, product="forecast")
    assert (after.step, after.weight_percent) == (before.step, before.weight_percent)
    end = time.monotonic() + 20
    while set((await world.forecasts()).values()) != {200}:
        assert time.monotonic() < end


def signal_to(pid: int, number: int) -> None:
    subprocess.run(["kill", f"-{number}", str(pid)], check=True)


def until_unready(world: World, name: str, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not world.platform._declared(name).ready.missing():  # noqa: SLF001 -- what `status` asks as well
        assert time.monotonic() < end, f"{name} does not say that something is wrong"
        time.sleep(0.1)


async def metrics_of(world: World, name: str) -> str:
    address = world.platform._declared(name).address  # noqa: SLF001 -- as above
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        return await answer.text()


async def test_a_tester_reaches_the_candidate_of_a_product_before_any_org_does(world: World) -> None:
    digest = await world.changed(PRODUCT, "title: Orders\n", "title: Orders, for testers\n")
    await world.roll_out(digest)
    await world.until(lambda one: one.state in ("shadow", "canary"))
    active = await world.active()
    token = bootstrap.arm_tokens(world.settings).mint("orders", "candidate", int(time.time()) + 60)
    served = await world.releases()
    org = next(org for org in world.keys if served[org] == active.stable)
    async with aiohttp.ClientSession() as session:
        headers = {"x-api-key": world.keys[org], "apx-arm": token}
        async with session.post(f"{world.platform.edge}/orders/", json={"amount_usd": 5}, headers=headers) as answer:
            assert (await answer.json())["release"] == digest
