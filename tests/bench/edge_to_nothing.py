"""The floor of the accept path: Envoy in front of an application that does nothing, with the router's own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from apx.local.settings import free_ports
from services.edge.binary import find_envoy
from services.edge.settings import EdgeSettings
from tests.bench.bench import Bench, python

_TYPE = "type.googleapis.com/envoy.extensions."
_HCM = _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = _TYPE + "filters.http.router.v3.Router"


class Floor(msgspec.Struct, frozen=True):
    """Where it listens, and its two processes."""

    port: int
    envoy_pid: int
    application_pid: int


def serve_nothing(bench: Bench) -> Floor:
    """Start both."""
    (port,) = free_ports(1)
    application = bench.folder / "null.sock"
    config = bench.folder / "null-envoy.json"
    config.write_bytes(msgspec.json.encode(_bootstrap(port, application)))
    served = bench.start(*python("tests.bench.peer.null_app", str(application)), log="null-app")
    bench.await_port(application, served, "null-app")
    envoy = bench.start(
        str(find_envoy(EdgeSettings.load())),
        *("--config-path", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"),
        log="null-envoy",
    )
    bench.await_port(port, envoy, "null-envoy")
    return Floor(port, envoy.pid, served.pid)


def _bootstrap(port: int, application: Path) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "application"}}
    manager = {
        "@type": _HCM,
        "stat_prefix": "null",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(application)}}}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "null",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "application",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": {"cluster_name": "application", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
