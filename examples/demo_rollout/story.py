"""The story that the demo tells: a fine change takes over, a bad one is taken back, and Git is put right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from apx import bootstrap
from apx.admission.issue import issue_key
from apx.bootstrap import Backends
from apx.catalog.load import load_catalog
from apx.errors import Conflict, Unavailable
from apx.release.digest import short
from apx.rollout.actions import Wish, rollback, shown_state, start
from apx.rollout.activate import activate
from apx.rollout.active import Active
from apx.rollout.assess import assess
from apx.rollout.counts import Counts
from apx.rollout.model import Revert, Rollout
from apx.settings import Settings
from examples.demo_rollout.repository import Clone
from examples.demo_rollout.traffic import Traffic

PRODUCT = "orders"
ORGS = tuple(f"demo-{number:02}" for number in range(1, 41))
LOCKED_OUT = "demo-07"
PER_SECOND = 100.0
ACTOR = "demo"
_NOTE = "demo rollout"
_LONGEST_ACT_S = 80.0
_TOLD_EVERY_S = 4.0
_ORG = """# yaml-language-server: $schema=../schemas/org.json
apiVersion: apx.dev/v1
kind: Org
metadata:
  name: {name}
spec:
  title: {name}
  region: us
  contacts: [api@{name}.example]
  entitlements:
    orders: enterprise
"""
_ROLLOUT = """  rollout:
    shadow:
      share_percent: 100
      hold_s: 6
    steps:
      - weight_percent: 25
        hold_s: 5
      - weight_percent: 50
        hold_s: 5
    max_hold_s: 60
"""
_DETAIL, _BETTER = "over what your plan allows.", "over what your plan allows: ask for a larger one."
_ALLOW = "else := answers.allow({"
_BAD = f"""else := answers.deny("org-unknown", "This organisation is not known.") if input.org == "{LOCKED_OUT}"

{_ALLOW}"""

Say = Callable[[str], None]


class Story:
    """Tells it on a running platform."""

    def __init__(self, settings: Settings, backends: Backends, clone: Clone, edge: str, say: Say) -> None:
        self._settings = settings
        self._backends = backends
        self._clone = clone
        self._edge = edge
        self._say = say

    async def tell(self) -> bool:
        """Tell all of it; True when it went as it should. What served before serves again at the end."""
        before = await self._active()
        if before.candidate is not None:
            raise Conflict(f"{PRODUCT} has a rollout under way: end it first (`apx rollout status`)")
        self._say(f"Setting: {len(ORGS)} orgs that place {PER_SECOND:g} orders a second between them.")
        await self._prepare()
        try:
            traffic = Traffic(self._edge, await self._keys(), PER_SECOND)
            async with traffic.flowing():
                return await self._good(traffic) and await self._bad(traffic)
        finally:
            await self._leave(before.stable)

    async def _good(self, traffic: Traffic) -> bool:
        self._say("\n1. A change that is fine: those who are refused are told more.")
        commit = self._change(_DETAIL, _BETTER, "Say what to do when an order is too large")
        active = await self._roll_out(commit)
        refused = sum(traffic.refused.values())
        self._say(f"   {sum(traffic.answers.values())} orders were answered meanwhile, {refused} refused.")
        return active.rollout is not None and active.rollout.state == "promoted"

    async def _bad(self, traffic: Traffic) -> bool:
        self._say(f"\n2. A change that is not: one line too many denies {LOCKED_OUT}. It compiles, its tests pass.")
        refused = traffic.refused[LOCKED_OUT]
        commit = self._change(_ALLOW, _BAD, "Check the organisation of an order")
        active = await self._roll_out(commit)
        rollout = active.rollout
        if rollout is None or rollout.state != "aborted":
            return False
        self._say(f"   Refused to {LOCKED_OUT} because of it: {traffic.refused[LOCKED_OUT] - refused} orders.")
        return await self._git_is_right()

    async def _git_is_right(self) -> bool:
        self._say("\n3. Git says otherwise than what runs, so a revert is opened, with the evidence:")
        revert = await self._revert()
        if revert.state != "open":
            self._say(f"   It could not be opened: {revert.detail}")
            return False
        branch = revert.where.split(" ", maxsplit=1)[0]
        self._say(f"   {revert.where}\n")
        self._say("\n".join(f"   {line}" for line in self._clone.shown(branch).splitlines()[:40]))
        return True

    async def _revert(self) -> Revert:
        """Wait for what becomes of putting Git right."""
        async with asyncio.timeout(20):
            async for snapshot in self._backends.rollouts.watch():
                rollout = snapshot.products[PRODUCT].rollout
                if rollout is not None and rollout.revert is not None and rollout.revert.state != "wanted":
                    return rollout.revert
        raise Conflict(f"{PRODUCT}'s rollout has gone")

    async def _prepare(self) -> None:
        for org in ORGS:
            (self._clone.gitops / "orgs" / f"{org}.yaml").write_text(_ORG.format(name=org))
        path = self._clone.gitops / "products" / PRODUCT / "product.yaml"
        path.write_text(path.read_text().rstrip() + "\n" + _ROLLOUT)
        commit = self._clone.commit("Move orders in two short steps")
        await activate(
            self._backends.rollouts,
            bootstrap.loader(self._settings),
            [await self._built(commit)],
            actor=ACTOR,
            why="the demo's short steps",
            clock=bootstrap.CLOCK,
        )

    async def _keys(self) -> dict[str, str]:
        catalog = load_catalog(self._clone.gitops)
        made = {}
        for org in ORGS:
            made[org], _ = await issue_key(
                self._backends.keys, catalog, org, environment="local", note=_NOTE, clock=bootstrap.CLOCK
            )
        return made

    def _change(self, old: str, new: str, message: str) -> str:
        """Change the policy as a pull request would, and merge it; return the commit."""
        path = self._clone.gitops / "policies" / "products" / PRODUCT / "policy.rego"
        path.write_text(path.read_text().replace(old, new, 1))
        commit = self._clone.commit(message)
        self._say(f"   commit {commit[:12]}: {message}")
        return commit

    async def _built(self, commit: str) -> str:
        catalog = load_catalog(self._clone.gitops)
        builder = bootstrap.builder(self._settings, {"commit": commit})
        (built,) = [one async for one in builder.build(catalog, [PRODUCT])]
        return built.digest

    async def _roll_out(self, commit: str) -> Active:
        """Build and start a release; tell what happens until it has ended."""
        digest = await self._built(commit)
        loader = bootstrap.loader(self._settings)
        (started,) = await start(
            self._backends.rollouts, loader, [Wish(digest=digest, commit=commit)], actor=ACTOR, force=True, why="demo"
        )
        self._say(f"   release {short(digest)}: built, tested, signed; rollout {started.outcome}")
        try:
            async with asyncio.timeout(_LONGEST_ACT_S):
                return await self._ended(digest)
        except TimeoutError as error:
            raise Unavailable(f"it has not ended after {_LONGEST_ACT_S:g} s: `./dev logs monitor` says more") from error

    async def _ended(self, digest: str) -> Active:
        told, told_at = "", 0.0
        while True:
            active = await self._active()
            rollout = active.rollout
            if rollout is None or rollout.candidate != digest:
                raise Conflict(f"somebody else rolls {PRODUCT} out at the same time: look at `apx rollout status`")
            if not rollout.under_way:
                self._say(f"   {shown_state(rollout)}: {rollout.reason}")
                return active
            state, now = shown_state(rollout), bootstrap.CLOCK.monotonic()
            if state != told or now - told_at >= _TOLD_EVERY_S:
                self._say(f"   {await self._line(rollout)}")
                told, told_at = state, now
            await asyncio.sleep(0.5)

    async def _line(self, rollout: Rollout) -> str:
        seen = await assess(self._backends.counts, PRODUCT, rollout)
        candidate, stable = _total(seen.candidate.values()), _total(seen.stable.values())
        arms = (
            f"candidate {candidate.requests} requests, {candidate.newly_denied} newly denied, {candidate.errors} errors"
        )
        verdict = f"{seen.verdict.outcome}: {seen.verdict.reason}"
        return (
            f"{shown_state(rollout):<11} {rollout.weight_percent:>3g} % of the orgs | {arms} | "
            f"stable {stable.requests}, {stable.errors} errors | {verdict}"
        )

    async def _active(self) -> Active:
        return (await self._backends.rollouts.read()).products[PRODUCT]

    async def _leave(self, digest: str) -> None:
        """Leave the platform as it was: the release that served before, and none of the demo's keys."""
        active = await self._active()
        if active.candidate is not None or active.stable != digest:
            await rollback(
                self._backends.rollouts,
                bootstrap.loader(self._settings),
                PRODUCT,
                to=digest,
                actor=ACTOR,
                why="the demo is over",
            )
        for record in await self._backends.keys.list_keys():
            if record.note == _NOTE:
                await self._backends.keys.revoke(record.id)
        self._say(f"\nWhat served before serves again ({short(digest)}); the demo's keys are revoked.")


def _total(seen: Any) -> Counts:
    total = Counts(latency={})
    for counts in seen:
        total.add(counts)
    return total
