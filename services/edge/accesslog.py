"""The edge's access log: one JSON line on stdout for what only the edge knows.

The router writes one line for each request that it answers. The edge adds: every synchronous request (its answer
comes from the backend), everything that failed or was refused here, and a sample of the rest to compare with.
No header of a caller, no query.
"""

from __future__ import annotations

from typing import Any

from services.edge.admission import ADMITTED_MARK, METADATA
from services.edge.answerlog import without_tunnels
from services.edge.problems import CEL, REQUEST_ID
from services.edge.settings import EdgeSettings

_STDOUT = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"

_LINE = {
    "event": "edge.request",
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "request_id": REQUEST_ID,
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
    return [{"name": "stdout", "filter": without_tunnels(_wanted(settings)), "typed_config": config}]


def _wanted(settings: EdgeSettings) -> dict[str, Any]:
    admitted = {
        "filter": METADATA,
        "path": [{"key": ADMITTED_MARK}],
        "value": {"present_match": True},
    }
    failed = _status_from(500, "edge.log.failed")
    refused_here = {"and_filter": {"filters": [_status_from(400, "edge.log.refused"), _details_are_ours()]}}
    was_admitted = {"metadata_filter": {"matcher": admitted, "match_if_key_not_found": False}}
    sampled = {"runtime_filter": _sample(settings.edge_log_sample_percent)}
    return {"or_filter": {"filters": [was_admitted, {"response_flag_filter": {}}, failed, refused_here, sampled]}}


def _status_from(status: int, key: str) -> dict[str, Any]:
    return {"status_code_filter": {"comparison": {"op": "GE", "value": _runtime(status, key)}}}


def _details_are_ours() -> dict[str, Any]:
    expression = 'response.code_details != "via_upstream"'
    return {"extension_filter": {"name": "cel", "typed_config": {"@type": CEL, "expression": expression}}}


def _runtime(value: int, key: str) -> dict[str, Any]:
    return {"default_value": value, "runtime_key": key}


def _sample(percent: float) -> dict[str, Any]:
    fraction = {"numerator": round(percent * 10_000), "denominator": "MILLION"}
    return {"runtime_key": "edge.log.sample", "percent_sampled": fraction, "use_independent_randomness": True}
