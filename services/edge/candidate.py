"""Tries a configuration on an Envoy of its own before the one that serves gets to see it."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from apx.errors import Unsupported
from services.edge.binary import find_envoy
from services.edge.jwt import JWT_FILTER
from services.edge.render import Rendered
from services.edge.settings import EdgeSettings

_PATIENCE_S = 60.0


async def validate(rendered: Rendered, settings: EdgeSettings) -> None:
    """Let `envoy --mode validate` read the whole of it. Raises `Unsupported` with what Envoy says."""
    with tempfile.TemporaryDirectory(prefix="apx-edge-") as folder:
        path = Path(folder) / "candidate.json"
        path.write_bytes(msgspec.json.encode(in_one(rendered), order="sorted"))
        command = [str(find_envoy(settings)), "--mode", "validate", "--config-path", str(path), "--log-level", "error"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), _PATIENCE_S)
        except (TimeoutError, asyncio.CancelledError):
            process.kill()
            await process.wait()
            raise
    if process.returncode != 0:
        raise Unsupported(f"Envoy refuses the configuration: {output.decode(errors='replace')[-2000:]}")


def in_one(rendered: Rendered) -> dict[str, Any]:
    """Return the configuration as one static bootstrap; files beside it Envoy would not read here."""
    whole = copy.deepcopy(rendered.bootstrap)
    whole.pop("dynamic_resources")
    whole.pop("admin")
    listeners = [_bare(one) for one in copy.deepcopy(rendered.listeners)]
    for listener in listeners:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager.pop("rds")
        manager["route_config"] = _bare(rendered.routes[0])
        for http_filter in manager["http_filters"]:
            if http_filter["name"] == JWT_FILTER:
                http_filter.pop("config_discovery")
                http_filter["typed_config"] = rendered.filters[0]["typed_config"]
    whole["static_resources"]["listeners"] = listeners
    whole["static_resources"]["clusters"] += [_bare(one) for one in rendered.clusters]
    return whole


def _bare(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "@type"}
