"""From an aborted rollout to the wish for a revert, with the evidence in it.

Texts of policies and operators end up in Markdown that a host renders: each is one code span, where nothing links,
mentions, closes an issue or ends a table's row.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from apx.errors import Conflict, Unsupported
from apx.release.digest import short
from apx.release.store import ReleaseStore
from apx.rollout.githost import GitHost, RevertWish, check_commit
from apx.rollout.model import Evidence, Interval, Rollout

MOST_EVIDENCE = 50
"""Rows of the table: what decides comes first; a body has at most 65,536 characters on GitHub."""
MOST_TEXT = 300
_LONGEST_SHARED = 40

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\s\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+")
"""White space, control characters, and what hides or turns the text around it."""


async def wish_for(
    product: str,
    rollout: Rollout,
    *,
    host: GitHost,
    releases: ReleaseStore,
    package_of: Callable[[str], Awaitable[str]],
    others: Iterable[str],
    root: str,
) -> RevertWish:
    """Gather what a revert needs, and return the wish: `host.open_revert` takes it.

    `package_of` returns the policy package of a release by its digest, `others` are the packages of the other products,
    `root` is the tree's path in the repository. Raises as `revert_wish`, `GitHost.changed` and the release store do.
    """
    commit = rollout.commit or await built_from(releases, rollout.candidate)
    rollout = msgspec.structs.replace(rollout, commit=commit)
    good_commit = await built_from(releases, rollout.stable)
    check_built_from(product, commit)
    packages = [await package_of(digest) for digest in (rollout.candidate, rollout.stable)]
    return revert_wish(
        product,
        rollout,
        good_commit=good_commit,
        paths=product_paths(root, product, packages, others),
        changed=await host.changed(good_commit, commit, root),
    )


def revert_wish(
    product: str, rollout: Rollout, *, good_commit: str, paths: Sequence[str], changed: Sequence[str] = ()
) -> RevertWish:
    """Return what is to be undone after `rollout` was aborted.

    `good_commit` is what the stable release was built from (`built_from`), `paths` are the product's own
    (`product_paths`), `changed` is all that the two commits differ in under the tree (`GitHost.changed`). Raises
    `Conflict` for a rollout that was not aborted, `Unsupported` where there is no commit to undo.
    """
    if rollout.state != "aborted":
        raise Conflict(f"{product}: rollout {rollout.id} is {rollout.state}; only an aborted one is reverted")
    check_built_from(product, rollout.commit)
    check_built_from(product, good_commit)
    return RevertWish(
        product=product,
        commit=rollout.commit,
        good_commit=good_commit,
        paths=tuple(paths),
        branch=f"apx/revert-{product}-{short(rollout.candidate)}",
        title=f"Revert {product}: release {short(rollout.candidate)} was aborted",
        body="\n\n".join(_body(product, rollout, good_commit, paths, _shared(paths, changed))) + "\n",
    )


def product_paths(root: str, product: str, packages: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return the folders of a product in the repository: its own, and those of its policy packages.

    `root` is the tree's path in the repository, `packages` those of the candidate and of the stable release, `others`
    the packages of all other products: what lies in, around or at one of these is shared, and left out.
    """
    foreign = [_folder(other) for other in others]
    own = sorted({_folder(package) for package in packages})
    kept = [folder for folder in own if not any(_touch(folder, other) for other in foreign)]
    outer = [folder for folder in kept if not any(folder.startswith(f"{around}/") for around in kept)]
    at = f"{root}/" if root else ""
    return (f"{at}products/{product}", *(f"{at}policies/{folder}" for folder in outer))


async def built_from(releases: ReleaseStore, digest: str) -> str:
    """Return the commit that a release was built from. Raises `Unsupported` where a revert can name none."""
    async for listed in releases.list_releases():
        if listed.digest == digest:
            commit = listed.annotations.get("commit", "")
            check_built_from(listed.product, commit)
            return commit
    raise Unsupported(f"release {short(digest)} is not in the store, so its commit is not known: revert by hand")


def check_built_from(product: str, commit: str) -> None:
    """Raise `Unsupported`, with the way out, unless a release was built from exactly this commit."""
    if not commit:
        raise Unsupported(
            f"{product}: the release was built outside Git: restore its files by hand, or build from a clone"
        )
    if commit.endswith("-dirty"):
        raise Unsupported(
            f"{product}: the release was built from {commit[:12]} with changes that were not committed, so no revert "
            "can be made: restore its files by hand, and commit before `apx release build`"
        )
    check_commit(commit)


def code(text: str, *, cell: bool = False) -> str:
    """Return a text that others wrote as one code span, on one line, at most `MOST_TEXT` characters long."""
    line = _UNSEEN.sub(" ", text).strip()
    line = line if len(line) <= MOST_TEXT else line[: MOST_TEXT - 1] + "…"
    line = line.replace("`", "'")  # so that one backtick ends it, wherever it stands
    if cell:
        line = line.replace("|", "\\|")
    return f"`{line}`" if line else "—"


def _body(
    product: str, rollout: Rollout, good_commit: str, paths: Sequence[str], shared: Sequence[str]
) -> Iterable[str]:
    yield (
        f"The rollout of {code(product)} was aborted: {code(rollout.reason)}. Release {code(short(rollout.stable))} "
        "serves every org again; this makes Git say so too."
    )
    yield _table(("", ""), _facts(rollout, good_commit))
    if rollout.verdict is not None:
        yield "## What decided"
        yield f"{code(rollout.verdict.outcome)}: {code(rollout.verdict.reason)}"
        yield from _evidence(rollout.verdict.evidence)
    yield "## What changes"
    yield f"These read again as in {code(good_commit[:12])}, and nothing else changes:"
    yield "\n".join(f"- {code(path)}" for path in paths)
    if shared:
        yield "## What stays"
        yield f"{code(rollout.commit[:12])} also has other shared policies or plans. Other products use them: look."
        yield "\n".join(f"- {code(path)}" for path in shared[:_LONGEST_SHARED])
        if len(shared) > _LONGEST_SHARED:
            yield f"and {len(shared) - _LONGEST_SHARED} more."
    yield "## To try again"
    yield "Correct the cause and merge; the next release starts a rollout by itself. To start the same release again:"
    yield f"```\napx rollout start {short(rollout.candidate)} --why 'what is different now'\n```"


def _facts(rollout: Rollout, good_commit: str) -> list[tuple[str, str]]:
    weights = " → ".join(f"{step.weight_percent:g} %" for step in rollout.spec.steps)
    return [
        ("rollout", code(rollout.id, cell=True)),
        ("aborted release", f"{code(short(rollout.candidate))}, built from {code(rollout.commit[:12])}"),
        ("stable release", f"{code(short(rollout.stable))}, built from {code(good_commit[:12])}"),
        ("weights", f"{weights}; it came to step {rollout.step + 1} of {len(rollout.spec.steps)} at most"),
        ("started by", code(rollout.by, cell=True)),
        ("why", code(rollout.why, cell=True) + (", by force" if rollout.forced else "")),
    ]


def _evidence(evidence: Sequence[Evidence]) -> Iterable[str]:
    if not evidence:
        return
    first = sorted(evidence, key=lambda one: ("fail", "inconclusive", "pass").index(one.says))
    yield _table(
        ("measure", "says", "candidate", "stable", "most more", "org", "in words"),
        [
            (
                one.measure,
                one.says,
                _interval(one.candidate),
                _interval(one.stable) if one.stable else "—",
                f"{one.limit:.2%}",
                code(one.org, cell=True),
                code(one.text, cell=True),
            )
            for one in first[:MOST_EVIDENCE]
        ],
    )
    if len(evidence) > MOST_EVIDENCE:
        yield f"and {len(evidence) - MOST_EVIDENCE} more."


def _interval(seen: Interval) -> str:
    return f"{seen.events} of {seen.requests}: {seen.rate:.2%} ({seen.low:.2%} to {seen.high:.2%})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shared(paths: Sequence[str], changed: Sequence[str]) -> list[str]:
    """Return the changed policies and plans that are not the product's own; other products have their own rollouts."""
    root = paths[0].rpartition("products/")[0]
    ours = tuple(f"{path}/" for path in paths)
    kinds = (f"{root}policies/", f"{root}plans/")
    return [path for path in changed if path.startswith(kinds) and not path.startswith(ours)]


def _folder(package: str) -> str:
    return package.replace(".", "/")


def _touch(a: str, b: str) -> bool:
    return a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/")
