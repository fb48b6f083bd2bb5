"""The rendered files and the order in which Envoy gets to see them, so that no request falls between two versions.

    1. clusters and filters: the old and the new ones together
    2. routes: the new ones, once Envoy has taken the first step over
    3. clusters and filters: the new ones, and for a grace those that a request under way may still ask for (`grace.py`)

Each file is replaced by a rename on the same file system, which is what Envoy watches for; nobody sees half a file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import structlog

from apx.clock import Clock, SystemClock
from apx.errors import Unavailable
from services.edge.admin import Admin, Subscription
from services.edge.grace import Grace, grace_s
from services.edge.render import Rendered, document, version
from services.edge.settings import EdgeSettings

_log = structlog.get_logger(__name__)
_TAKE_OVER_S = 60.0
"""Thousands of clusters take Envoy seconds; what it refuses it says at once."""


class Files:
    """The folder that Envoy reads."""

    def __init__(self, settings: EdgeSettings, clock: Clock | None = None) -> None:
        self._folder = settings.folder
        self._published = settings.published_path
        self._admin = Admin(settings.admin_path)
        clock = clock or SystemClock()
        self._clusters = Grace(grace_s(settings), clock)
        self._providers = Grace(grace_s(settings), clock)

    @property
    def complete(self) -> bool:
        """Tell whether an Envoy could start from what is there."""
        names = ("bootstrap", "listeners", "clusters", "filters", "routes")
        return all((self._folder / f"{name}.json").exists() for name in names)

    def start_from(self, rendered: Rendered) -> None:
        """Write everything, for an Envoy that is not running yet; what was served last is kept where it is there."""
        for name in ("clusters", "filters", "routes"):
            if not (self._folder / f"{name}.json").exists():
                self._write(name, document(getattr(rendered, name)))
        self._write("listeners", document(rendered.listeners))
        self._write("bootstrap", msgspec.json.encode(rendered.bootstrap, order="sorted"))

    async def publish(self, rendered: Rendered) -> bool:
        """Swap the configuration of a running Envoy; False when Envoy refused a part and goes on with the old one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        both = {
            "clusters": _together(self._read("clusters"), rendered.clusters),
            "filters": _filters_together(self._read("filters"), rendered.filters),
        }
        steps: list[tuple[Subscription, list[dict[str, Any]]]] = [
            ("clusters", both["clusters"]),
            ("filters", both["filters"]),
            ("routes", rendered.routes),
            ("listeners", rendered.listeners),
        ]
        for name, resources in steps:
            if not await self._swap(name, resources):
                return False
        self._write("bootstrap", msgspec.json.encode(rendered.bootstrap, order="sorted"))
        return await self.tidy(rendered)

    async def tidy(self, rendered: Rendered) -> bool:
        """Take away what no request can ask for any more, now that `rendered` is served; False when Envoy refused."""
        filters = _filters_kept(self._read("filters"), rendered.filters, self._providers)
        clusters = _kept(self._read("clusters"), rendered.clusters, self._clusters)
        return await self._swap("filters", filters) and await self._swap("clusters", clusters)

    def note_published(self, products: int) -> None:
        """Leave a file whose age says when the live releases were last published: what readiness looks at."""
        replace_file(self._published, msgspec.json.encode({"products": products}))

    async def _swap(self, name: Subscription, resources: list[dict[str, Any]]) -> bool:
        content = document(resources)
        path = self._folder / f"{name}.json"
        before = path.read_bytes() if path.exists() else None
        if before == content:
            return True
        try:
            refused = (await self._admin.rejected())[name]
        except Unavailable:
            self._write(name, content)  # no Envoy yet: it starts from what is there
            return True
        self._write(name, content)
        try:
            if await self._admin.took_over(name, version(resources), refused=refused, within_s=_TAKE_OVER_S):
                return True
        except Unavailable:
            return True
        _log.error("edge.refused", file=str(path), version=version(resources))
        if before is not None:
            self._write(name, before)
        return False

    def _read(self, name: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = msgspec.json.decode((self._folder / f"{name}.json").read_bytes())["resources"]
        except (OSError, msgspec.MsgspecError, KeyError, TypeError):
            return []
        return found

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.json"
        if not path.exists() or path.read_bytes() != content:
            replace_file(path, content)


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in a file's place in one step."""
    draft = path.with_suffix(f".{os.getpid()}.draft")  # the edge and its configuration both prepare the folder
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _together(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(({one["name"]: one for one in old} | {one["name"]: one for one in new}).values())


def _kept(old: list[dict[str, Any]], new: list[dict[str, Any]], grace: Grace) -> list[dict[str, Any]]:
    kept = grace.kept((one["name"] for one in old), (one["name"] for one in new))
    return _together([one for one in old if one["name"] in kept], new)


def _filters_together(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    before = {one["name"]: one["typed_config"] for one in old}
    return [{**one, "typed_config": _merged(before.get(one["name"], {}), one["typed_config"])} for one in new]


def _filters_kept(old: list[dict[str, Any]], new: list[dict[str, Any]], grace: Grace) -> list[dict[str, Any]]:
    both = _filters_together(old, new)
    providers = [one["typed_config"]["providers"] for one in new]
    kept = grace.kept(
        (name for one in both for name in one["typed_config"]["providers"]), (name for one in providers for name in one)
    )
    return [
        {**one, "typed_config": _merged(_only(whole["typed_config"], kept), one["typed_config"])}
        for whole, one in zip(both, new, strict=True)
    ]


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {**new, **{name: {**old.get(name, {}), **new.get(name, {})} for name in _NAMED}}


def _only(config: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {part: {name: one for name, one in config.get(part, {}).items() if name in names} for part in _NAMED}


_NAMED = ("providers", "requirement_map")
"""Parts of the JWT filter's configuration that are maps by product."""
