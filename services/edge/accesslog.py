"""The edge's access log: one JSON line on stdout for what only the edge knows.

The router writes one line for each request that it answers. The edge adds: every synchronous request (its answer
comes from the backend), everything that failed or was refused here, and a sample of the rest to compare with.
No header of a caller, no query.
"""

from __future__ import annotations

from typing import Any

from services.edge.admission import METADATA
from services.edge.settings import EdgeSettings

_STDOUT = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"

_LINE = {
    "event": "edge.request",
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:PATH)%",
    "protocol": "%PROTOCOL%",
    "route": "%ROUTE_NAME%",
    "product": f"%DYNAMIC_METADATA({METADATA}:x-apx-product)%",
    "org": f"%DYNAMIC_METADATA({METADATA}:x-apx-org)%",
    "release": f"%DYNAMIC_METADATA({METADATA}:x-apx-release)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%RESPONSE_DURATION%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "cluster": "%UPSTREAM_CLUSTER%",
}


def access_log(settings: EdgeSettings) -> list[dict[str, Any]]:
    """Return the HCM's access loggers."""
    config = {"@type": _STDOUT, "log_format": {"json_format": _LINE, "omit_empty_values": True}}
    return [{"name": "stdout", "filter": _wanted(settings), "typed_config": config}]


def _wanted(settings: EdgeSettings) -> dict[str, Any]:
    admitted = {
        "filter": METADATA,
        "path": [{"key": "x-apx-org"}],
        "value": {"present_match": True},
    }
    return {
        "or_filter": {
            "filters": [
                {"response_flag_filter": {}},
                {"status_code_filter": {"comparison": {"op": "GE", "value": _runtime(500, "edge.log.status")}}},
                {"metadata_filter": {"matcher": admitted, "match_if_key_not_found": False}},
                {"runtime_filter": _sample(settings.edge_log_sample_percent)},
            ]
        }
    }


def _runtime(value: int, key: str) -> dict[str, Any]:
    return {"default_value": value, "runtime_key": key}


def _sample(percent: float) -> dict[str, Any]:
    fraction = {"numerator": round(percent * 10_000), "denominator": "MILLION"}
    return {"runtime_key": "edge.log.sample", "percent_sampled": fraction, "use_independent_randomness": True}
