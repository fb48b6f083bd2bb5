"""Envoy's side of the counts of synchronous products: one line in a file for each request that was admitted.

Latency is taken from the last attempt's first byte out to its first byte back (`US_TX_BEG:US_RX_BEG`, microseconds),
and the wait for a connection is added: a backend that does not keep up makes requests wait there. What Envoy calls
`%RESPONSE_DURATION%` holds the client's upload and admission too, and `%DURATION%` the whole of a stream. Where nothing
came back, it is the time from the request's end to the edge's own answer.
"""

from __future__ import annotations

from typing import Any

from services.edge.admission import METADATA, RELEASE_HEADER
from services.edge.settings import EdgeSettings

_FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"

TUNNEL = "DownstreamTunnelSuccessfullyEstablished"
"""The type of line that Envoy writes when a WebSocket has opened, which may be hours before its end."""

FIELDS = {
    "at_s": "%EMIT_TIME(%s.%3f)%",
    "type": "%ACCESS_LOG_TYPE%",
    "product": f"%DYNAMIC_METADATA({METADATA}:x-apx-product)%",
    "arm": f"%DYNAMIC_METADATA({METADATA}:x-apx-arm)%",
    "release": f"%DYNAMIC_METADATA({METADATA}:{RELEASE_HEADER})%",
    "org": f"%DYNAMIC_METADATA({METADATA}:x-apx-org)%",
    "route": "%ROUTE_NAME%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "answer_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
    "connection_ms": "%UPSTREAM_CONNECTION_POOL_READY_DURATION%",
    "gave_up_us": "%COMMON_DURATION(DS_RX_END:DS_TX_BEG:us)%",
}
"""What stands in a line, in its order, between spaces; `-` for what there is not."""


def answer_log(settings: EdgeSettings) -> dict[str, Any]:
    """Return the access logger."""
    line = " ".join(FIELDS.values()) + "\n"
    config = {
        "@type": _FILE,
        "path": str(settings.answers_path),
        "log_format": {"text_format_source": {"inline_string": line}},
    }
    matcher = {"filter": METADATA, "path": [{"key": RELEASE_HEADER}], "value": {"present_match": True}}
    admitted = {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}
    return {"name": "answers", "filter": admitted, "typed_config": config}


def without_tunnels(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return a filter that passes what `wanted` passes, but not the second line of a WebSocket."""
    ended = {"log_type_filter": {"types": [TUNNEL], "exclude": True}}
    return {"and_filter": {"filters": [ended, wanted]}}
