"""What operators, workflows and the controller do to rollouts: each is one compare-and-swap with its audit entry.

`Conflict` says that somebody else was first, or that the state does not allow it: look again, then decide anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from apx.errors import ApxError, Conflict, NotFound, Unsupported
from apx.release.digest import short
from apx.release.load import Loader
from apx.release.model import Manifest
from apx.rollout.active import MOST_ABORTED, Aborted, Active, AuditEntry, RolloutStore
from apx.rollout.budget import Budget
from apx.rollout.freeze import frozen_until
from apx.rollout.model import TRANSITIONS, Event, Revert, Rollout, Verdict, moved


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A release that shall take over."""

    digest: str
    commit: str = ""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a wish.

    `started`: a rollout is pending. `waiting`: it starts when the one under way has ended. `under-way`, `live`: it was
    there already. `activated`: the product's first release, live at once since there is nothing to compare with.
    `refused`: `reason` says why, and nothing has changed for this product. `note` is what was not known meanwhile.
    """

    product: str
    digest: str
    outcome: Literal["started", "waiting", "under-way", "live", "activated", "refused"]
    rollout: str = ""
    reason: str = ""
    note: str = ""


async def start(
    store: RolloutStore,
    loader: Loader,
    wishes: Sequence[Wish],
    *,
    actor: str,
    why: str = "",
    force: bool = False,
    budgets: dict[str, Budget] | None = None,
    source: str = "",
) -> list[Started]:
    """Begin to roll releases out, at most one of each product; those of one call are a wave.

    Every release that is not live is loaded and verified whole first, and the stable one beside it: without a sound N-1
    there is no way back. With `force` and a `why`, a freeze window, a spent error budget or an earlier abort does not
    stand in the way. Raises `ReleaseRejected`, `NotFound` or `Unavailable`, and then nothing has changed; `Unsupported`
    for `force` without `why`; `Conflict` when somebody changed a product meanwhile (those before it have changed).
    """
    if force and not why:
        raise Unsupported("to force a rollout, say why: it goes into the history")
    now_ms = await store.now_ms()
    products = (await store.read()).products
    manifests = [await _verified(loader, wish.digest, products) for wish in wishes]
    wave = f"{now_ms:x}" if len(wishes) > 1 else ""
    started = []
    for wish, manifest in zip(wishes, manifests, strict=True):
        active = products.get(manifest.product)
        starting = _Starting(wish, manifest, actor, source, why, force, wave, now_ms)
        started.append(await _start_one(store, active, starting, (budgets or {}).get(manifest.product)))
    return started


async def move(
    store: RolloutStore,
    product: str,
    event: Event,
    *,
    actor: str,
    reason: str,
    verdict: Verdict | None = None,
    expected: Active | None = None,
    source: str = "",
) -> Active:
    """Move a product's rollout by one event, from the state as it is now (or as `expected` was read).

    A promotion makes the candidate stable; an abort brings the whole N-1 back and remembers the release as taken back.
    Raises `NotFound` without a rollout, `Conflict` where it cannot move so or somebody was first, `Unavailable`.
    """
    active = expected or await _active(store, product)
    if active.rollout is None or not active.rollout.under_way:
        raise Conflict(f"{product} has no rollout under way; `apx rollout start` begins one")
    now_ms = await store.now_ms()
    rollout = moved(active.rollout, event, now_ms=now_ms, reason=reason, verdict=verdict)
    changed = msgspec.structs.replace(active, rollout=rollout)
    if event == "promote":
        changed = msgspec.structs.replace(changed, stable=rollout.candidate, previous=active.stable)
    elif event == "abort":
        changed = _taken_back(changed, rollout, now_ms, reason)
    audit = _entry(active, changed, now_ms, actor=actor, source=source, action=event, why=reason)
    return await store.change(changed, audit)


async def begin_waiting(store: RolloutStore, active: Active, *, actor: str) -> Active:
    """Let the waiting rollout begin, now that the one before it has ended. Raises as `move` does."""
    waiting = active.waiting
    if waiting is None or active.candidate is not None:
        raise Conflict(f"{active.product} has no rollout that could begin")
    now_ms = await store.now_ms()
    changed = msgspec.structs.replace(active, waiting=None)
    if waiting.candidate != active.stable:
        rollout = msgspec.structs.replace(
            waiting, stable=active.stable, started_ms=now_ms, entered_ms=now_ms, reason="its turn has come"
        )
        changed = msgspec.structs.replace(changed, rollout=rollout)
    audit = _entry(active, changed, now_ms, actor=actor, action="begin-waiting", why=waiting.why)
    return await store.change(changed, audit)


async def note_revert(store: RolloutStore, active: Active, revert: Revert, *, actor: str) -> Active:
    """Note what became of putting Git right. Raises as `move` does."""
    if active.rollout is None:
        raise Conflict(f"{active.product} has no rollout")
    changed = msgspec.structs.replace(active, rollout=msgspec.structs.replace(active.rollout, revert=revert))
    why = revert.where or revert.detail
    return await store.change(
        changed, _entry(active, changed, await store.now_ms(), actor=actor, action=f"revert-{revert.state}", why=why)
    )


async def rollback(
    store: RolloutStore,
    loader: Loader,
    product: str,
    *,
    to: str | None = None,
    actor: str,
    why: str = "",
    source: str = "",
) -> Active:
    """Serve an earlier release at once; nothing is built.

    Without `to`: a rollout under way is aborted (N-1 serves everybody again), else the release before the stable one
    comes back. What is left behind is not rolled out again without a reason. Raises as `move` and `start` do.
    """
    active = await _active(store, product)
    if to is None and active.candidate is not None:
        reason = why or "rolled back"
        return await move(store, product, "abort", actor=actor, reason=reason, expected=active, source=source)
    to = to or active.previous
    if to is None:
        raise NotFound(f"{product} has no release before {short(active.stable)}; name one: --to DIGEST")
    if to == active.stable and active.candidate is None:
        raise Conflict(f"{short(to)} serves {product} already")
    await loader.load(to, product)
    now_ms = await store.now_ms()
    reason = why or "rolled back"
    changed = active
    if active.rollout is not None and active.candidate is not None:
        aborted = moved(active.rollout, "abort", now_ms=now_ms, reason=reason)
        changed = _taken_back(changed, aborted, now_ms, reason)
    if to != active.stable:
        changed = _with_aborted(changed, active.stable, now_ms, reason)
        if changed.rollout is not None and changed.rollout.candidate == active.stable:
            changed = _taken_back(changed, changed.rollout, now_ms, reason)
    previous = active.stable if to != active.stable else active.previous
    changed = msgspec.structs.replace(changed, stable=to, previous=previous, waiting=None)
    audit = _entry(active, changed, now_ms, actor=actor, source=source, action="rollback", why=reason)
    return await store.change(changed, audit)


class _Starting(msgspec.Struct, frozen=True):
    wish: Wish
    manifest: Manifest
    actor: str
    source: str
    why: str
    force: bool
    wave: str
    now_ms: int


async def _verified(loader: Loader, digest: str, products: dict[str, Active]) -> Manifest:
    """Return a release's manifest once it, and the stable release that it would stand beside, were read whole."""
    manifest = (await loader.load(digest)).manifest
    active = products.get(manifest.product)
    if active is not None and active.stable != digest:
        try:
            stable = (await loader.load(active.stable, manifest.product)).manifest
        except ApxError as error:
            raise Unsupported(
                f"{manifest.product}: there is no way back, its stable release is bad: {error}"
            ) from error
        _check_side_by_side(manifest, stable)
    return manifest


def _check_side_by_side(candidate: Manifest, stable: Manifest) -> None:
    """Refuse what the edge cannot split by org: it knows the org only after path and token were looked at."""
    new, old = candidate.spec, stable.spec
    for field, differs in (
        ("base_path", new.base_path != old.base_path),
        ("mode", new.mode != old.mode),
        ("auth", new.auth != old.auth),
    ):
        if differs:
            raise Unsupported(
                f"{candidate.product}: {field} changes, which no two releases can differ in side by side: "
                "`apx release activate` switches everybody at once"
            )


async def _start_one(store: RolloutStore, active: Active | None, starting: _Starting, budget: Budget | None) -> Started:
    product, digest = starting.manifest.product, starting.wish.digest
    if active is None:
        first = Active(product=product, stable=digest)
        by = {"actor": starting.actor, "source": starting.source}
        audit = _entry(None, first, starting.now_ms, **by, action="activate", why=starting.why)
        await store.change(first, audit)
        return Started(product=product, digest=digest, outcome="activated")
    if known := _known(active, digest):
        return known
    rollout = _rollout(active, starting)
    if not starting.force and (refusal := _refusal(active, starting, budget)):
        return Started(product=product, digest=digest, outcome="refused", reason=refusal)
    changed, outcome = _placed(active, rollout)
    before = active.rollout if outcome == "started" else active.waiting
    why = starting.why
    if before is not None and before.under_way:
        why = f"{why} (supersedes {before.id})".strip()
    by = {"actor": starting.actor, "source": starting.source}
    audit = _entry(active, changed, starting.now_ms, **by, action="start", why=why)
    state = outcome if outcome == "waiting" else "pending"
    shown = msgspec.structs.replace(audit, rollout=rollout.id, state=state)
    await store.change(changed, shown)
    return Started(product=product, digest=digest, outcome=outcome, rollout=rollout.id, note=_note(budget))


def _known(active: Active, digest: str) -> Started | None:
    def at(outcome: Literal["live", "under-way", "waiting"], rollout: Rollout | None = None) -> Started:
        return Started(
            product=active.product, digest=digest, outcome=outcome, rollout=rollout.id if rollout is not None else ""
        )

    if active.candidate == digest:
        return at("under-way", active.rollout)
    if active.waiting is not None and active.waiting.candidate == digest:
        return at("waiting", active.waiting)
    return at("live") if active.stable == digest and active.candidate is None else None


def _refusal(active: Active, starting: _Starting, budget: Budget | None) -> str:
    """Return why a rollout may not start now without force, or an empty text."""
    aborted = active.was_aborted(starting.wish.digest)
    if aborted is not None:
        return f"this release was taken back ({aborted.reason}): change it, or give --force and --why"
    frozen = frozen_until(starting.manifest.spec.rollout.freeze, starting.now_ms)
    if frozen is not None:
        return f"{frozen[0].why}, until {frozen[1]:%a %H:%M %Z}: wait, or give --force and --why"
    if budget is not None and budget.spent >= 1:
        return f"the error budget is spent ({budget.told}): wait, or give --force and --why"
    return ""


def _note(budget: Budget | None) -> str:
    return f"error budget: {budget.told}" if budget is not None and budget.doubt else ""


def _rollout(active: Active, starting: _Starting) -> Rollout:
    digest = starting.wish.digest
    return Rollout(
        id=f"{active.product}-{short(digest)}-{active.revision + 1}",
        candidate=digest,
        stable=active.stable,
        spec=starting.manifest.spec.rollout,
        started_ms=starting.now_ms,
        entered_ms=starting.now_ms,
        by=starting.actor,
        why=starting.why,
        wave=starting.wave,
        commit=starting.wish.commit,
        forced=starting.force,
        reason="waits for its turn",
    )


def _placed(active: Active, rollout: Rollout) -> tuple[Active, Literal["started", "waiting"]]:
    """Put a rollout in its place: now, instead of one that has moved nobody yet, or behind one that has."""
    before = active.rollout
    if before is not None and before.under_way and (before.state, "supersede") not in TRANSITIONS:
        return msgspec.structs.replace(active, waiting=rollout), "waiting"
    return msgspec.structs.replace(active, rollout=rollout, waiting=None), "started"


def _taken_back(active: Active, rollout: Rollout, at_ms: int, reason: str) -> Active:
    """Remember a rollout's candidate as taken back, and that Git says otherwise where we know from which commit."""
    if rollout.commit:
        rollout = msgspec.structs.replace(rollout, revert=Revert(state="wanted"))
    return _with_aborted(msgspec.structs.replace(active, rollout=rollout), rollout.candidate, at_ms, reason)


def _with_aborted(active: Active, digest: str, at_ms: int, reason: str) -> Active:
    kept = [one for one in active.aborted if one.digest != digest]
    aborted = (*kept, Aborted(digest=digest, at_ms=at_ms, reason=reason))
    return msgspec.structs.replace(active, aborted=aborted[-MOST_ABORTED:])


async def _active(store: RolloutStore, product: str) -> Active:
    active = (await store.read()).products.get(product)
    if active is None:
        raise NotFound(f"there is no live product {product!r}; `apx status` lists them")
    return active


def _entry(
    before: Active | None, after: Active, now_ms: int, *, actor: str, action: str, why: str, source: str = ""
) -> AuditEntry:
    rollout = after.rollout
    return AuditEntry(
        at_ms=now_ms,
        actor=actor,
        action=action,
        product=after.product,
        before=before.stable if before else None,
        after=after.stable,
        why=why,
        rollout=rollout.id if rollout else "",
        state=shown_state(rollout) if rollout else "",
        verdict=rollout.verdict if rollout else None,
        source=source,
    )


def shown_state(rollout: Rollout) -> str:
    """Return a rollout's state as people read it: `canary 2/3`."""
    steps = len(rollout.spec.steps)
    at = f" {rollout.step + 1}/{steps}" if "canary" in (rollout.state, rollout.paused_in) and steps > 1 else ""
    return f"{rollout.state}{at}"
